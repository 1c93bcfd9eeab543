"""`python -m tune_sr.export` on a small study: its files, their cards, and its refusals."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import optuna
import pytest
import torch
import yaml
from events import added, driver_started, ended, reported, study_ended, study_started
from optuna.trial import TrialState
from safetensors import safe_open

from trainables.networks import build_network
from trainables.networks.checkpoint import save_network
from trainables.networks.loading import load_network
from tune_sr import export
from tune_sr.exporting import write
from tune_sr.exporting.graphs import NotTheSameError
from tune_sr.ledger.ledger import Ledger
from tune_sr.results.results import write_results
from tune_sr.space.yaml_file import dump_yaml
from tune_sr.study.space_file import load_study, to_resolved

SPACE = """
fixed:
  method: {name: dfsr, latent: 8, update_ratio: 2, part_fraction: 0.5}
  student: {name: vdsr, features: 4, blocks: 2, scales: [2]}
  teacher: {name: vdsr, weights: shipped}
  optimiser: {lr: 0.001, schedule: null}
  batch: {images: 2, patch: 16}
  heldout: {images: photos, crop: 64}
  budget: {steps: 8, steps_per_report: 2}
  device: cpu
search:
  method.w_R: {uniform: [0.0, 3.0]}
  method.P: {choice: [1, 2]}
  method.new_block_init: {choice: [random, near_identity], when: {method.P: 2}}
first:
  - {method.w_R: 1.0, method.P: 2, method.new_block_init: random}
study: {trials: 5, scheduler: none}
"""
MARKS = {
    "bicubic": {"psnr_y_db": 27.0, "ssim": 0.7},
    "teacher": {"psnr_y_db": 31.0, "ssim": 0.9},
}
FIRST = {"method.w_R": 1.0, "method.P": 2, "method.new_block_init": "random"}
BEST = {"method.w_R": 0.25, "method.P": 1}


def trial(ledger: Ledger, number: int, point: Any, values: list[float], state: Any = None) -> None:
    ledger.append(added(number, point))
    for step, psnr in zip(range(2, 10, 2), values, strict=False):
        ledger.append(reported(number, step, {"step": step, "psnr_y_db": psnr, "ssim": 0.75}))
    if state is not None:
        ledger.append(ended(number, state, "diverged" if state == "failed" else None))


@pytest.fixture
def study(tmp_path: Path) -> Path:
    """A study of five trials, whose best student lies in `best/`."""
    (tmp_path / "space.yaml").write_text(SPACE)
    space, settings = load_study(tmp_path / "space.yaml")
    folder = tmp_path / "runs" / "toy"
    folder.mkdir(parents=True)
    ledger = Ledger(folder / "ledger.jsonl")
    digests = {"teacher.weights=shipped:vdsr": "ab" * 32}
    resolved = to_resolved(space, settings)
    ledger.append(study_started(resolved, marks=MARKS, digests=digests))
    ledger.append(driver_started(study=resolved["study"]))
    trial(ledger, 0, FIRST, [27.0, 27.5, 27.2, 28.0], "completed")
    trial(ledger, 1, BEST, [28.0, 28.5, 28.6, 28.7], "completed")
    trial(ledger, 2, BEST, [27.9], "stopped")
    trial(ledger, 3, BEST, [], "failed")
    trial(ledger, 4, FIRST, [27.1])
    ledger.append(study_ended(finished=False))
    write_results(folder)
    network = build_network({"name": "vdsr", "features": 4, "blocks": 2, "scale": 2}, seed=1)
    notes = {"study": "toy", "trial": "0001", "step": "8", "caveat": "of a | wide student"}
    save_network(folder / "best" / "student.safetensors", network, notes)
    config = space.trial_config(BEST, 0).model_dump(mode="json")
    (folder / "best" / "config.yaml").write_text(dump_yaml(config))
    argv = ["/home/me/search.py", "--space", "/home/me/dfsr.yaml"]
    made = {"version": "0.1.0", "argv": argv, "git": {"commit": "c0ffee", "dirty": False}}
    (folder / "study.json").write_text(json.dumps({**made, "packages": {"torch": "2.13"}}))
    return folder


def run(*words: object) -> int:
    try:
        return export.main(list(map(str, words)))
    except SystemExit as refused:
        return int(str(refused.code))


def test_a_students_weights_and_their_card(study: Path, capsys: Any) -> None:
    assert run(study, "--format", "safetensors", "--openmodeldb", "me") == 0
    told = capsys.readouterr().out.splitlines()
    assert told[0] == f"{study} (best, trial 0001, 28.70 dB): vdsr x2"
    file = study / "export" / "toy_x2.safetensors"
    assert told[1] == str(file)
    with safe_open(file, framework="pt") as opened:
        facts = opened.metadata()
    assert facts["trial"] == "0001" and facts["psnr_y_db"] == "28.7000"
    assert facts["protocol"] == "yfloat" and facts["commit"] == "c0ffee"
    before = load_network(study / "best" / "student.safetensors").state_dict()
    after = load_network(file).state_dict()
    assert all(torch.equal(before[key], after[key]) for key in before)

    text = (study / "export" / "README.md").read_text()
    matter = yaml.safe_load(text.split("---")[1])
    assert matter["pipeline_tag"] == "image-to-image"
    assert {"super-resolution", "knowledge-distillation"} <= set(matter["tags"])
    (result,) = matter["model-index"][0]["results"]
    assert result["metrics"][0] == {"type": "psnr", "name": "psnr (yfloat)", "value": 28.7}
    for words in (
        "# toy: VDSR x2",
        "360 parameters",
        "Caveat: of a | wide student",
        "DFSR (Zhang et al., CVPR 2021)",
        f"teacher: vdsr, `shipped:vdsr`, SHA-256 `{'ab' * 32}`",
        "images seen: none",
        "budget: 8 of 8 updates of 2 images",
        "| `method.w_R` | 0.25 | 1 |",
        "| `method.new_block_init` |  | random |",
        "| bicubic | 27.00 | 0.7000 |",
        "| **this student**, trial 0001 | 28.70 | 0.7500 |",
        "| teacher | 31.00 | 0.9000 |",
        "Not confirmed: one seed, the best of 5 trials",
        'load_network(Path("toy_x2.safetensors"))',
        "`python -m tune_sr.search --space dfsr.yaml`, commit `c0ffee`, tune-sr 0.1.0, torch 2.13",
        "Other scales than x2",
        "## Licence",
    ):
        assert words in text, words
    assert "/home/me" not in text


def test_an_entry_of_openmodeldb_has_the_required_fields(study: Path) -> None:
    assert run(study, "--format", "safetensors", "--openmodeldb", "me") == 0
    (file,) = (study / "export").glob("*.json")
    assert re.fullmatch(r"\d+x-[a-zA-Z0-9]+(?:-[a-zA-Z0-9]+)*", file.stem)
    entry = json.loads(file.read_text())
    texts = ("name", "author", "description", "date", "architecture")
    assert all(isinstance(entry[key], str) and entry[key].strip() == entry[key] for key in texts)
    assert re.fullmatch(r"\d{4}-\d{2}-\d{2}", entry["date"])
    assert [entry[key] for key in ("scale", "inputChannels", "outputChannels")] == [2, 1, 1]
    assert entry["tags"] and entry["images"] == [] and entry["license"] is None
    (resource,) = entry["resources"]
    weights = study / "export" / "toy_x2.safetensors"
    assert resource["size"] == weights.stat().st_size
    assert re.fullmatch("[0-9a-f]{64}", resource["sha256"])
    assert (resource["type"], resource["platform"], resource["urls"]) == ("pth", "pytorch", [])


def test_a_card_of_someone_elses_stays(study: Path, tmp_path: Path) -> None:
    (tmp_path / "README.md").write_text("mine")
    words = (study, "--format", "safetensors", "--output", tmp_path / "x.safetensors")
    assert run(*words) == 0
    assert (tmp_path / "README.md").read_text() == "mine"
    assert "# toy: VDSR x2" in (tmp_path / "x.README.md").read_text()


def test_pt2_and_another_export_share_a_card(study: Path) -> None:
    assert run(study, "--format", "pt2") == 0
    assert run(study, "--format", "safetensors") == 0
    text = (study / "export" / "README.md").read_text()
    assert 'torch.export.load("toy_x2.pt2").module()' in text
    assert 'load_network(Path("toy_x2.safetensors"))' in text
    image = torch.rand(1, 3, 5, 6)
    network = torch.export.load(study / "export" / "toy_x2.pt2").module()
    assert network(image).shape == (1, 3, 10, 12)


def test_an_onnx_file_that_differs_is_removed(
    study: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    def differs(*_: Any) -> float:
        raise NotTheSameError("1 of 3x3: differs by 0.5, more than 0.0001")

    def written(path: Path, *_: Any) -> None:
        path.write_bytes(b"onnx")

    monkeypatch.setattr(write, "NEEDS", ())
    monkeypatch.setattr(write, "trace", lambda _upscaler: None)
    monkeypatch.setattr(write, "write_onnx", written)
    monkeypatch.setattr(write, "check_onnx", differs)
    assert run(study, "--format", "onnx") == 1
    assert "toy_x2.onnx was not written: 1 of 3x3: differs" in capsys.readouterr().err
    assert list((study / "export").iterdir()) == []


def test_onnx_without_its_packages_is_refused(
    study: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    monkeypatch.setattr(write, "NEEDS", ("no_package_of_this_name",))
    assert run(study, "--format", "onnx") == 2
    told = "no_package_of_this_name is not installed: pip install 'tune-sr[export]'\n"
    assert capsys.readouterr().err.endswith(told)


def test_a_journal_is_read_by_optuna(study: Path, capsys: Any) -> None:
    assert run(study, "--format", "optuna-journal") == 0
    path = study / "export" / "optuna-journal.log"
    assert f"{path}: 5 trials" in capsys.readouterr().out
    backend = optuna.storages.journal.JournalFileBackend(str(path))
    storage = optuna.storages.JournalStorage(backend)
    found = optuna.load_study(storage=storage, study_name="toy")
    assert found.directions == [optuna.study.StudyDirection.MAXIMIZE]
    states = [TrialState.COMPLETE, TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL]
    assert [each.state for each in found.trials] == [*states, TrialState.RUNNING]
    first, best = found.trials[:2]
    assert found.best_trial.number == 1 and found.best_value == 28.7
    assert best.params == BEST and first.params == FIRST
    assert best.distributions["method.w_R"] == optuna.distributions.FloatDistribution(0, 3)
    assert best.intermediate_values == {2: 28.0, 4: 28.5, 6: 28.6, 8: 28.7}
    assert best.user_attrs["step"] == 8 and best.user_attrs["ssim"] == 0.75
    assert found.trials[3].user_attrs["reason"] == "diverged"
    assert best.datetime_start is not None and best.datetime_start <= best.datetime_complete
    notes = storage.get_study_system_attrs(found._study_id)
    assert notes["dashboard:1:note_str:0"] == "**best**"
    assert notes["dashboard:3:note_str:0"] == "failed: diverged"
    assert "best: 28.70 dB" in notes["dashboard:note_str:0"]
    assert run(study, "--format", "optuna-journal", "--overwrite") == 0
    assert len(path.read_text().splitlines()) < 60  # it was replaced, not extended


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ("gone.pth --format pt2", "gone.pth: no such file"),
        ("{study}", "required: --format"),
        ("{study} --format safetensors --scale 3", "--scale 3: "),
        ("{study} --format safetensors --names spandrel", "it has no vdsr, but rcan, swinir"),
        ("{study} --format safetensors --output x.pt2", "ends in .safetensors"),
        ("{study} --format safetensors --output {study}", "is a folder"),
        ("{study} --format safetensors --output {study}/space.safetensors", "add --overwrite"),
        ("{study}/best/student.safetensors --format safetensors --overwrite "
         "--output {study}/best/student.safetensors", "is the student itself"),
        ("{study} --format safetensors --luma", "--luma goes with --format pt2 or onnx"),
        ("{study} --format pt2 --half", "--half goes with --format onnx"),
        ("{study} --format pt2 --names basicsr", "--names goes with --format safetensors"),
        ("{study} --format pt2 --openmodeldb me", "--openmodeldb goes with"),
        ("{study} --format optuna-journal --scale 2", "--scale goes with a student"),
        ("{study}/best --format optuna-journal", "no study"),
        ("shipped:edsr_x2 --format pt2 --luma", "--luma: edsr takes RGB"),
    ],
)  # fmt: skip
def test_refusals_are_one_line(study: Path, words: str, told: str, capfd: Any) -> None:
    (study / "space.safetensors").touch()
    assert run(*words.format(study=study).split()) == 2
    shown = capfd.readouterr()
    assert shown.out == ""
    assert len(shown.err.splitlines()) == 1, shown.err
    assert told in shown.err


def test_help_is_quick() -> None:
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "tune_sr.export", "--help"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert "optuna-journal" in done.stdout
    imported = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}
    assert not {"torch", "numpy", "optuna", "onnx", "ray"} & imported
