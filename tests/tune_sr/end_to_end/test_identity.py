"""A study goes on with the files that it was begun with, and with its own checkpoints alone."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from events import driver_started, study_started
from PIL import Image

from trainables.checkpoints import MANIFEST, Owner, find_checkpoints
from trainables.job import Job
from trainables.networks import build_network
from trainables.networks.checkpoint import save_network
from trainables.ray_trainable import FAILED, REPORT, TRIAL, DistillTrainable
from tune_sr import search
from tune_sr.driver.preflight import prepare
from tune_sr.driver.run_study import run_study
from tune_sr.ledger.ledger import Ledger, read_events
from tune_sr.results.results import load_results
from tune_sr.storage import lock
from tune_sr.study.config import StudyConfig
from tune_sr.study.identity import owner_of, recorded_digests
from tune_sr.study.space_file import load_study

RECORDED = Path(__file__).parent / "recorded" / "study-3cb7bf0.tar.gz"
KD = {
    "method": {"name": "kd"},
    "budget": {"steps": 8, "steps_per_report": 4},
}
Configure = Callable[..., StudyConfig]


@pytest.fixture
def files(toy_folder: Path, tmp_path: Path) -> Path:
    """Teacher and images of the toy study, to be changed."""
    folder = tmp_path / "files"
    shutil.copytree(toy_folder / "images", folder / "heldout")
    shutil.copytree(toy_folder / "images", folder / "train")
    shutil.copy(toy_folder / "teacher.safetensors", folder)
    vgg19(folder, seed=0)
    return folder


def vgg19(folder: Path, seed: int) -> None:
    """A file with the shapes of torchvision's VGG19 up to relu5_1, of noise."""
    from trainables.methods.features import VGG19

    generator = torch.Generator().manual_seed(seed)
    shapes = {key: value.shape for key, value in VGG19().state_dict().items()}
    noise = {key: 0.01 * torch.randn(shape, generator=generator) for key, shape in shapes.items()}
    torch.save(noise, folder / "vgg19.pth")


def another_teacher(files: Path) -> None:
    network = {"name": "vdsr", "features": 8, "blocks": 6, "scales": [2]}
    save_network(files / "teacher.safetensors", build_network(network, seed=8))


def another_picture(folder: str) -> Callable[[Path], None]:
    def change(files: Path) -> None:
        path = files / folder / "b.png"
        pixels = np.array(Image.open(path))
        pixels[3, 5, 1] ^= 1  # a single bit
        Image.fromarray(pixels).save(path)

    return change


@pytest.fixture
def study(toy_space: Callable[..., Path], files: Path, tmp_path: Path) -> Configure:
    """`study(search={...})`: a study of KD on the images of `files`."""

    def make(name: str = "toy", **changes: Any) -> StudyConfig:
        network = {"name": "vdsr", "features": 8, "blocks": 6, "scales": [2]}
        fixed = {
            **KD,
            "teacher": {**network, "weights": str(files / "teacher.safetensors")},
            "data": {"images": str(files / "train")},
            "heldout": {"images": str(files / "heldout"), "crop": None},
            **changes.pop("fixed", {}),
        }
        whole = toy_space(fixed=fixed, first=[], study={"trials": 2, "scheduler": "none"})
        text = whole.read_text()
        head, _, tail = text.partition("search:\n")
        searched = changes.pop("search", {"optimiser.lr": {"loguniform": [0.001, 0.1]}})
        rest = tail[tail.index("first:") :]
        whole.write_text(f"{head}search: {json.dumps(searched)}\n{rest}")
        return StudyConfig(*load_study(whole), tmp_path / "runs" / name)

    return make


def begun(config: StudyConfig, **recorded: Any) -> None:
    """The ledger of a study that a driver has just begun."""
    config.folder.mkdir(parents=True)
    ledger = Ledger(config.folder / "ledger.jsonl")
    space = config.to_dict()
    ledger.append(study_started(space, name=config.name, **recorded))
    ledger.append(driver_started(study=space["study"]))


CHANGES = {
    "teacher.weights": another_teacher,
    "heldout.images": another_picture("heldout"),
    "data.images": another_picture("train"),
}


@pytest.mark.parametrize("path", CHANGES)
def test_a_start_with_other_files_is_refused_with_the_ways_out(
    study: Configure, files: Path, path: str
) -> None:
    config = study()
    begun(config, digests=prepare(config).digests)
    prepare(config)  # nothing has changed
    CHANGES[path](files)
    with pytest.raises(ValueError, match=f"{path}: .* is not what the study began with") as refused:
        prepare(config)
    assert "\n" not in str(refused.value) and "--name" in str(refused.value)
    assert str(files) in str(refused.value)


def test_a_picture_more_and_one_of_another_name_are_other_images(
    study: Configure, files: Path
) -> None:
    config = study()
    begun(config, digests=prepare(config).digests)
    (files / "train" / "a.png").rename(files / "train" / "c.png")
    with pytest.raises(ValueError, match=r"data\.images"):
        prepare(config)


def test_all_files_that_any_trial_may_read_are_recorded(study: Configure, files: Path) -> None:
    shutil.copy(files / "teacher.safetensors", files / "second.safetensors")
    teachers = [str(files / name) for name in ("teacher.safetensors", "second.safetensors")]
    config = study(
        search={"teacher.weights": {"choice": teachers}},
        fixed={
            "method": {"name": "csd", "negatives": 1, "vgg19": str(files / "vgg19.pth")},
            "teacher": {"name": "vdsr", "features": 8, "blocks": 6, "scales": [2]},
            "student": {"name": "vdsr", "features": 4, "blocks": 6, "scales": [2]},
        },
    )
    digests = prepare(config).digests
    assert {key.partition("=")[0] for key in digests} == {
        *CHANGES,
        *("method.vgg19",),
    }
    assert {key for key in digests if key.startswith("teacher")} == {
        f"teacher.weights={each}" for each in teachers
    }
    begun(config, digests=digests)
    vgg19(files, seed=1)
    with pytest.raises(ValueError, match=r"method\.vgg19"):
        prepare(config)


@pytest.fixture
def trainable(study: Configure) -> Callable[..., DistillTrainable]:
    """`trainable(owner)`: the first trial of a study as an actor of Ray holds it."""
    config = study()
    prepared = prepare(config)

    def make(
        owner: Owner | None, trial: str = "0000", start: str = "start-001", **point: Any
    ) -> Any:
        config.folder.mkdir(parents=True, exist_ok=True)
        job = Job(
            config.trial_config,
            config.folder / "trials",
            start,
            threads=1,
            images=prepared.images,
            owner=owner,
            digests=prepared.digests,
        )
        made = DistillTrainable.__new__(DistillTrainable)
        made.setup({TRIAL: trial, "optimiser.lr": 0.01, **point}, job)
        return made

    return make


def test_a_trial_refuses_a_teacher_that_was_replaced_in_the_middle(
    trainable: Callable[..., DistillTrainable], files: Path, caplog: pytest.LogCaptureFixture
) -> None:
    first = trainable(None)
    assert REPORT in first.step()
    another_teacher(files)
    first.reset_config({TRIAL: "0001", "optimiser.lr": 0.02})
    assert "teacher.safetensors is not what the study began with" in first.step()[FAILED]
    (files / "teacher.safetensors").unlink()
    first.reset_config({TRIAL: "0002", "optimiser.lr": 0.02})
    result = first.step()
    assert "EnvironmentFault: " in result[FAILED] and "No such file" in result[FAILED]


def told(result: dict[str, Any]) -> dict[str, float]:
    return {key: value for key, value in result[REPORT] if key != "seconds_per_step"}


def test_checkpoints_of_another_study_or_point_are_passed_over_and_left(
    trainable: Callable[..., DistillTrainable], study: Configure, caplog: pytest.LogCaptureFixture
) -> None:
    """What was deleted but for its trials, and begun again under its name at another rate."""
    old = trainable(Owner("a"))
    reports = [told(old.step()), told(old.step())]
    folder = study().folder / "trials" / "start-001" / "0000"
    (newest, *_) = find_checkpoints([folder])
    assert (newest.manifest.study, newest.manifest.step) == ("a", 8)

    again = trainable(Owner("a"), start="start-002")
    assert told(again.step()) == reports[1], "its own is taken up"
    strange = trainable(Owner("b"), start="start-002")
    assert told(strange.step()) == reports[0], "begun from nothing"
    assert "checkpoints of another study passed over: 2" in caplog.text
    assert len(find_checkpoints([folder])) == 2, "what is another's is not removed"
    other = trainable(Owner("a"), start="start-003", **{"optimiser.lr": 0.02})
    step = told(other.step())["step"]
    assert step == 4, "the same trial, at another point"


def test_what_names_no_study_counts_for_an_older_one_alone(
    trainable: Callable[..., DistillTrainable], study: Configure
) -> None:
    old = trainable(None)
    reports = [told(old.step()), told(old.step())]
    for path in study().folder.glob(f"trials/*/0000/*/{MANIFEST}"):  # as 3cb7bf0 wrote them
        manifest = json.loads(path.read_text())
        assert manifest.pop("study") is manifest.pop("point") is None
        path.write_text(json.dumps(manifest))
    older, newer = owner_of({"id": "a"}), owner_of({"id": "a", "digests": {}})
    assert told(trainable(newer, start="start-002").step()) == reports[0]
    shutil.rmtree(study().folder / "trials" / "start-002")
    assert told(trainable(older, start="start-002").step()) == reports[1]


@pytest.mark.parametrize("lost", ["ledger", "first line"])
@pytest.mark.parametrize("resume", [False, True])
def test_a_folder_that_lost_its_ledger_is_refused(
    study: Configure, capsys: pytest.CaptureFixture[str], lost: str, resume: bool
) -> None:
    config = study()
    begun(config)
    (config.folder / "trials" / "start-001" / "0000").mkdir(parents=True)
    ledger = config.folder / "ledger.jsonl"
    if lost == "ledger":
        ledger.unlink()
    else:
        ledger.write_text(ledger.read_text()[9:])
    space, storage = str(config.space.path), str(config.folder.parent)
    words = ["--space", space, "--name", "toy", "--storage", storage]
    assert search.main([*words, "--resume"] if resume else words) == 2
    (said,) = capsys.readouterr().err.splitlines()
    assert "ledger.jsonl" in said and "move the folder away" in said and "--name" in said
    assert "leave --resume out" not in said
    with pytest.raises(ValueError, match="move the folder away"):
        prepare(config)


def test_a_start_that_was_cut_short_in_its_first_line_is_no_study(study: Configure) -> None:
    config = study()
    config.folder.mkdir(parents=True)
    (config.folder / "ledger.jsonl").write_text('{"event": "study_st')
    prepare(config)


def unpacked(folder: Path) -> Path:
    """The study that 3cb7bf0 recorded, as if it had been recorded in `folder`."""
    shutil.unpack_archive(RECORDED, folder)
    for path in (*folder.glob("runs/*/ledger.jsonl"), *folder.glob("runs/*/space.yaml")):
        path.write_text(path.read_text().replace("/tmp/recorded", str(folder)))
    return folder / "runs"


@pytest.mark.ray
@pytest.mark.timeout(180)
@pytest.mark.usefixtures("untracked")
def test_a_study_recorded_at_3cb7bf0_is_gone_on_with(
    tmp_path: Path,
    ray_cluster: None,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Its ledger has no digests and its checkpoints no study; its lock has neither boot nor count.

    Killed after the third report of its third trial. Its end is that of the study never killed.
    """
    runs = unpacked(tmp_path)
    monkeypatch.setattr(lock, "STALE_S", 0.5)
    before = (runs / "killed" / "ledger.jsonl").read_bytes()
    words = ["--resume", "--name", "killed", "--storage", str(runs), "--quiet"]
    assert search.main(words) == 0
    assert (runs / "killed" / "ledger.jsonl").read_bytes().startswith(before)
    said = [each for each in caplog.messages if "digests" in each]
    assert len(said) == 1 and "cannot be checked" in said[0]
    events = read_events(runs / "killed")
    never_killed = list(Ledger(tmp_path / "never-killed.jsonl").events())
    assert story(events) == story(never_killed)
    # Bit for bit only on one machine; this may be another one.
    for ours, theirs in zip(values(events), values(never_killed), strict=True):
        assert ours == pytest.approx(theirs, rel=1e-3)
    known = [each for each in events if each["event"] != "trial_started"]  # not written then
    assert len(known) == len(never_killed) + 2, "no report was made twice"
    results = load_results(runs / "killed")
    assert results.summary()["finished"]
    assert (runs / "killed" / "best" / "student.safetensors").is_file()
    check_next_start(runs, tmp_path)


def story(events: list[dict[str, Any]]) -> list[Any]:
    """Points, decisions and ends, in order."""
    keys = ("event", "trial", "point", "step", "decision", "state")
    kinds = ("trial_added", "reported", "trial_ended")
    return [[each.get(key) for key in keys] for each in events if each["event"] in kinds]


def values(events: list[dict[str, Any]]) -> list[dict[str, float]]:
    return [
        {key: value for key, value in each["report"].items() if key != "seconds_per_step"}
        for each in events
        if each["event"] == "reported"
    ]


def check_next_start(runs: Path, folder: Path) -> None:
    """From then on the files are known."""
    assert len(recorded_digests(read_events(runs / "killed"))) == 3
    network = {"name": "vdsr", "features": 4, "blocks": 3, "scales": [2]}
    save_network(folder / "teacher.safetensors", build_network(network, seed=8))
    words = ["--resume", "--name", "killed", "--storage", str(runs), "--quiet"]
    assert search.main([*words, "--trials", "5"]) == 2


@pytest.mark.ray
@pytest.mark.timeout(180)
@pytest.mark.usefixtures("untracked")
def test_a_study_records_its_files_and_a_resume_compares_them(
    study: Configure, files: Path, ray_cluster: None
) -> None:
    config = study()
    run_study(config, quiet=True)
    (started, *_) = read_events(config.folder)
    assert {key.partition("=")[0] for key in started["digests"]} == set(CHANGES)
    manifests = [json.loads(path.read_text()) for path in config.folder.glob("trials/*/*/*/*.json")]
    assert {each["study"] for each in manifests} == {started["id"]}
    assert len({each["point"] for each in manifests}) == 2
    another_teacher(files)
    words = ["--resume", "--name", "toy", "--storage", str(config.folder.parent), "--trials", "3"]
    assert search.main(words) == 2
