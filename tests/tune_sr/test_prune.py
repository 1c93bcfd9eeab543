"""`python -m tune_sr.prune` on a study of invented curves whose checkpoints hold one number."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from events import added, driver_started, ended, repeat, reported, study_ended, study_started

from trainables.checkpoints import Owner, find_checkpoints, valid_at, write_checkpoint
from tune_sr import prune
from tune_sr.ledger.events import NewEvent, TrialEnded
from tune_sr.ledger.ledger import Ledger
from tune_sr.results import summary_text as closing
from tune_sr.results.prunable import checkpoints_of
from tune_sr.results.results import Results, write_results
from tune_sr.storage.lock import DriverLock
from tune_sr.study.config import StudyConfig
from tune_sr.study.space_file import load_study, to_resolved

FIRST = {"method.w_R": 1.0, "method.P": 1, "optimiser.lr": 0.01}
OTHER = {"method.w_R": 0.5, "method.P": 1, "optimiser.lr": 0.02}
OWNER = Owner("1" * 32)
Study = Callable[..., Path]


@pytest.fixture
def study(toy_space: Callable[..., Path], tmp_path: Path) -> Study:
    """Trials 0000 (first point), 0001 (best), 0002 (stopped), 0003 (failed), a repeat of 0001."""

    def make(*more: NewEvent, **changes: Any) -> Path:
        space, settings = load_study(toy_space(first=[FIRST], **changes))
        folder = tmp_path / "runs" / "toy"
        ledger, resolved = Ledger(folder / "ledger.jsonl"), to_resolved(space, settings)
        folder.mkdir(parents=True)
        trials = [
            *(added(0, FIRST), report(0, 28, 27.9), report(0, 32, 27.8), ended(0)),
            *(added(1, OTHER), report(1, 28, 28.1), report(1, 32, 28.0), ended(1)),
            *(added(2, OTHER), report(2, 12, 27.1, "stop"), ended(2, "stopped")),
            *(added(3, OTHER), report(3, 4, 27.0), ended(3, "failed", "its process was lost")),
            *(repeat(1, 1, OTHER), TrialEnded(trial="0001.s1", state="failed", reason="diverged")),
        ]
        start = study_started(resolved, digests={})
        for event in (start, driver_started(study=resolved["study"]), *trials, *more):
            ledger.append(event)
        for name, step in (
            *(("0000", 28), ("0000", 32), ("0001", 28), ("0001", 32)),
            *(("0002", 12), ("0003", 4), ("0001.s1", 32)),
        ):
            save(folder / "trials" / "start-001" / name, step)
        write_results(folder)
        (folder / "best").mkdir()
        (folder / "best" / "student.safetensors").write_bytes(b"weights")
        return folder

    return make


def report(number: int, step: int, psnr: float, *decision: Any) -> NewEvent:
    return reported(number, step, {"step": step, "psnr_y_db": psnr, "ssim": 0.8}, *decision)


def save(folder: Path, step: int, owner: Owner = OWNER) -> None:
    made = {"step": step, "psnr_y_db": 27.0}
    write_checkpoint(folder, {"x": torch.ones(9)}, made, eligible=True, owner=owner)


def run(*words: object) -> int:
    return prune.main(list(map(str, words)))


def files(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def test_what_nothing_needs_is_listed_and_only_yes_deletes_it(study: Study, capsys: Any) -> None:
    folder = study(study_ended())
    other = folder / "trials" / "start-001" / "0002"
    save(other, 8, Owner("2" * 32))  # of another study
    (folder / "trials" / "start-001" / "tuner.pkl").write_bytes(b"Ray's")
    before, summary = files(folder), Results.load(folder).summary()
    assert run(folder) == 0
    lines = capsys.readouterr().out.splitlines()
    assert files(folder) == before
    groups = [line.split()[:-2] for line in lines[2:-1]]  # without the sizes
    assert groups == [
        ["kept", "best", "1", "2"],
        ["kept", "first", "point", "1", "2"],
        *(["can", "go", group, "1", "1"] for group in ("failed", "repeats", "stopped")),
    ]
    assert lines[-1].startswith("--yes deletes 0.0 MB; a stopped trial can then not be continued")

    assert run(folder, "--yes") == 0
    left = files(folder)
    gone = {name.split("/")[2] for name in before.keys() - left.keys()}
    assert gone == {"0002", "0003", "0001.s1"}
    assert left == {name: before[name] for name in left}
    assert [each.manifest.step for each in find_checkpoints([other])] == [8]
    assert not (folder / "trials" / "start-001" / "0003").exists()
    for trial in ("0000", "0001"):  # from which best/ and pictures/ are written again
        assert valid_at(folder.glob(f"trials/*/{trial}"), 28, OWNER) is not None
    assert Results.load(folder).summary() == summary
    capsys.readouterr()
    assert run(folder, "--yes") == 0
    assert capsys.readouterr().out.splitlines()[-1] == "nothing can go"


def test_trials_that_may_be_continued_or_copied_are_kept(study: Study) -> None:
    folder = study(added(4, OTHER), report(4, 4, 27.5), study_ended())
    save(folder / "trials" / "start-001" / "0004", 4)
    found = {each.trial: each.group for each in checkpoints_of(Results.load(folder)) if each.kept}
    assert found == {"0000": "first point", "0001": "best", "0004": "not ended"}


def test_of_a_population_every_trial_is_kept(study: Study) -> None:
    folder = study(study_ended(), study={"scheduler": "pbt"})
    assert all(each.kept for each in checkpoints_of(Results.load(folder)))


def test_a_study_at_work_an_unfinished_one_and_none_are_refused(
    study: Study, tmp_path: Path, capsys: Any
) -> None:
    folder = study(study_ended(finished=False))
    before = files(folder)
    assert run(folder, "--yes") == 2
    assert "not finished" in capsys.readouterr().err
    with DriverLock(folder / "driver.lock"):
        assert run(folder, "--yes") == 2
    assert "another driver works on this study" in capsys.readouterr().err
    assert run(tmp_path, "--yes") == 2
    assert "no study" in capsys.readouterr().err
    assert files(folder) == before


def test_the_closing_block_names_the_command_where_much_can_go(
    study: Study, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = study(study_ended())
    results = Results.load(folder)
    config = StudyConfig(results.space, results.settings, folder)
    assert "tune_sr.prune" not in closing.summary_text(config, results)
    monkeypatch.setattr(closing, "_MUCH", 0)
    shown = closing.summary_text(config, results).splitlines()[-1]
    assert shown.startswith(f"disk:     python -m tune_sr.prune {folder} --yes frees 0.0 MB")
