"""What a resume reads of a study, what it may change of it, and the line that refuses the rest."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from events import driver_started, study_started

from trainables.numerics import Precision, resolved
from trainables.run import Run
from tune_sr import search
from tune_sr.driver.preflight import prepare
from tune_sr.ledger.ledger import Ledger, read_events
from tune_sr.study.config import StudyConfig
from tune_sr.study.opening import resumed_study
from tune_sr.study.resume import (
    address_again,
    check_nothing_lost,
    load_stored_study,
    without_secrets_of_old,
)
from tune_sr.study.space_file import load_study, to_resolved

ToySpace = Callable[..., Path]
Resume = Callable[..., StudyConfig]
SECRET, KEPT = "http://me:hunter2@h:1", "http://***@h:1"


@pytest.fixture(autouse=True)
def _no_address_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)


@pytest.fixture
def begin(toy_space: ToySpace, tmp_path: Path) -> Callable[..., Path]:
    """`begin(study={...}, lacking=(...))`: the folder of a study that a driver has begun."""

    def begin(lacking: tuple[str, ...] = (), **changes: Any) -> Path:
        space, settings = load_study(toy_space(**changes))
        flags = {"name": "toy", "storage": str(tmp_path / "runs")}
        resolved = to_resolved(space, settings.with_overrides(flags, space))
        for key in lacking:
            del resolved["study"][key]
        folder = tmp_path / "runs" / "toy"
        folder.mkdir(parents=True)
        ledger = Ledger(folder / "ledger.jsonl")
        ledger.append(study_started(resolved))
        ledger.append(driver_started(study=resolved["study"]))
        return folder

    return begin


@pytest.fixture
def resume(tmp_path: Path) -> Resume:
    """`resume("--trials", 9)`: the configuration that a resume of the study would run."""

    def resume(*words: object, storage: Path = tmp_path / "runs") -> StudyConfig:
        known = ["--resume", "--name", "toy", "--storage", str(storage), *map(str, words)]
        return resumed_study(search.parse_arguments(known), None, False)

    return resume


def refusal(resume: Resume, *words: object) -> str:
    with pytest.raises(ValueError) as caught:
        resume(*words)
    (line,) = str(caught.value).splitlines()
    return line


# --- what there is to resume ----------------------------------------------------------------------


def test_a_study_is_read_as_its_latest_driver_had_it(begin: Callable[..., Path]) -> None:
    folder = begin()
    space, settings = load_stored_study(folder, read_events(folder))
    assert (settings.trials, space.path) == (6, folder / "space.yaml")
    extended = {**settings.to_dict(), "trials": 9}
    ledger = Ledger(folder / "ledger.jsonl")
    ledger.append(driver_started(2, extended))
    again, extended_settings = load_stored_study(folder, read_events(folder))
    assert (again, extended_settings.trials) == (space, 9)


def test_where_no_study_is_there_is_none_to_resume(resume: Resume, tmp_path: Path) -> None:
    rule = "no study to resume here; leave --resume out to begin one"
    assert refusal(resume) == f"{tmp_path}/runs/toy: {rule}"


def test_remains_without_their_ledger_are_refused(resume: Resume, tmp_path: Path) -> None:
    folder = tmp_path / "runs" / "toy"
    (folder / "trials").mkdir(parents=True)
    check_nothing_lost(folder, [])  # an empty folder is of no trial
    (folder / "trials" / "start-001").mkdir()
    ways = "move the folder away, or choose another --name"
    what = "has trials of a study and no ledger.jsonl"
    assert refusal(resume) == f"{folder}: {what}: bring back a copy of that file, {ways}"
    (folder / "ledger.saved.jsonl").touch()
    saved = folder / "ledger.saved.jsonl"
    assert refusal(resume) == f"{folder}: {what}: bring back {saved}, {ways}"
    Ledger(folder / "ledger.jsonl").append(driver_started())
    what = "has events of a study and not the one that began it (study_started)"
    assert refusal(resume) == f"{folder / 'ledger.jsonl'}: {what}: bring back {saved}, {ways}"


@pytest.mark.parametrize(
    ("damage", "rule"),
    [
        ({"study": None}, "its lines study_started and driver_started hold no space: bring back"),
        ({"search": None}, "its lines study_started and driver_started hold no space: bring back"),
        ({"study": {"experiment": "toy", "trials": 0}}, "study.trials: input should be greater "),
        ({"study": {"experiment": "toy", "tracking_uri": [SECRET]}}, "study.tracking_uri: input"),
    ],
)
def test_a_ledger_that_describes_no_study_is_refused_by_name(
    begin: Callable[..., Path], resume: Resume, damage: dict[str, Any], rule: str
) -> None:
    folder = begin()
    ledger = folder / "ledger.jsonl"
    started = json.loads(ledger.read_text().splitlines()[0])
    space = {**started["space"], **damage}
    ledger.write_text(json.dumps({**started, "space": space}) + "\n")
    line = refusal(resume)
    assert line.startswith(f"{ledger}: {rule}") and "hunter2" not in line


def test_keys_that_an_older_study_lacks_have_their_defaults(
    begin: Callable[..., Path], resume: Resume
) -> None:
    begin(lacking=("objective", "gpu_hours", "gpus_per_trial"))
    config = resume("--gpu-hours", 1, "--gpus-per-trial", 0.5)
    assert config.settings.objective.value == "psnr_y_db"
    assert (config.settings.gpu_hours, config.gpus_per_trial) == (1.0, 0.5)


@pytest.mark.parametrize(
    ("preset", "recorded", "weight"),
    [
        ("default", {}, 0.2),
        ("released", {}, 0.2),
        ("paper", {}, 1.0),
        ("default", {"edition": 2}, 1.0),
    ],
)
def test_a_study_keeps_the_weight_of_kd_that_it_was_begun_with(
    preset: str,
    recorded: dict[str, int],
    weight: float,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    monkeypatch.setenv("TUNE_SR_DATA", str(tmp_path))
    file = Path(search.__file__).parents[1] / "search_spaces" / "paper" / "dukd_ablation.yaml"
    resolved = to_resolved(*load_study(file))  # of its points one is KD's, without a weight
    if preset != "default":
        resolved["fixed"]["method"] = {"preset": preset}
    started = {"event": "study_started", "space": resolved, **recorded}
    space, _ = load_stored_study(tmp_path, [started])
    assert space.trial_config({"method.name": "kd"}).method.lambda_kd == weight
    own = {"method.name": "kd", "method.lambda_kd": 0.5}
    assert space.trial_config(own).method.lambda_kd == 0.5
    assert to_resolved(space, load_study(file)[1]) == resolved, "space.yaml is as it was"


# --- what a resume may change ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("flag", "value", "key"),
    [
        ("--trials", 9, "trials"),
        ("--hours", 2.5, "hours"),
        ("--concurrent", "auto", "concurrent"),
        ("--cpus-per-trial", 2.0, "cpus_per_trial"),
        ("--gpus-per-trial", 0.5, "gpus_per_trial"),
        ("--tracking-uri", "sqlite:////tmp/other.db", "tracking_uri"),
    ],
)
@pytest.mark.parametrize("said", ["flag", "override"])
def test_what_does_not_decide_what_a_trial_is_may_change(
    begin: Callable[..., Path],
    resume: Resume,
    toy_space: ToySpace,
    flag: str,
    value: Any,
    key: str,
    said: str,
) -> None:
    begin()
    override = ("--space", toy_space(), "--set", f"study.{key}={value}")
    config = resume(flag, value) if said == "flag" else resume(*override)
    assert getattr(config.settings, key) == value
    before = load_stored_study(config.folder, read_events(config.folder))[1].to_dict()
    assert config.settings.to_dict() == {**before, key: value}, "nothing else has"


def test_a_value_of_the_space_alone_does_not_override_the_study(
    begin: Callable[..., Path], resume: Resume, toy_space: ToySpace
) -> None:
    begin()
    assert resume("--space", toy_space(study={"trials": 3, "hours": 1.0})).settings.trials == 6


def test_a_study_may_be_moved_and_renamed(
    begin: Callable[..., Path], resume: Resume, tmp_path: Path
) -> None:
    moved = tmp_path / "elsewhere" / "toy"
    moved.parent.mkdir()
    begin().rename(moved)
    config = resume(storage=moved.parent)
    assert (config.folder, config.settings.storage) == (moved, str(moved.parent))
    moved.rename(moved.with_name("night"))
    config = resume("--name", "night", storage=moved.parent)
    assert (config.name, config.settings.name) == ("night", "night")


def test_gpu_hours_need_gpus(begin: Callable[..., Path], resume: Resume) -> None:
    begin()
    rule = "counts the GPUs that trials are given: say --gpus-per-trial as well"
    assert refusal(resume, "--gpu-hours", 2) == f"--gpu-hours 2: {rule}"
    config = resume("--gpu-hours", 2, "--gpus-per-trial", "auto", "--retry-failed")
    assert config.retry_failed and config.gpus_per_trial == 0.0


# --- what a resume may not change -----------------------------------------------------------------


@pytest.mark.parametrize("key", ["trials", "hours", "gpu_hours"])
def test_a_study_is_extended_and_never_shortened(
    begin: Callable[..., Path], resume: Resume, key: str
) -> None:
    begin(study={"trials": 6, "hours": 6.0, "gpu_hours": 6.0, "gpus_per_trial": 1.0})
    flag = f"--{key.replace('_', '-')}"
    rule = "the study has 6 already; give as many or more"
    assert refusal(resume, flag, 5) == f"{flag} 5: {rule}"
    assert getattr(resume(flag, 6).settings, key) == 6
    assert getattr(resume(flag, 7).settings, key) == 7


@pytest.mark.parametrize(
    ("changes", "difference"),
    [
        ({"fixed": {"batch": {"images": 3, "patch": 16}}}, "fixed.batch.images was 2 and is 3"),
        ({"fixed": {"ema": 0.9}}, "fixed.ema was absent and is 0.9"),
        (
            {"search": {"method.w_R": {"uniform": [0.0, 4.0]}}},
            "search.method.w_R.uniform was [0.0, 3.0] and is [0.0, 4.0]",
        ),
        ({"study": {"searcher": "random"}}, 'study.searcher was "tpe" and is "random"'),
        ({"study": {"experiment": "b"}}, 'study.experiment was "toy" and is "b"'),
        ({"study": {"seed": 3}}, "study.seed was 0 and is 3"),
        (
            {"study": {"scheduler": {"name": "asha", "grace_period": 4, "reduction_factor": 2}}},
            "study.scheduler.grace_period was 3 and is 4",
        ),
    ],
)
def test_what_decides_the_trials_may_not_change(
    begin: Callable[..., Path],
    resume: Resume,
    toy_space: ToySpace,
    changes: dict[str, Any],
    difference: str,
) -> None:
    folder = begin()
    space = toy_space(**changes)
    way = "Resume with the space as it was (or without --space), or begin another with --name"
    expected = f"{space}: not the space of {folder}: {difference}. {way}"
    assert refusal(resume, "--space", space) == expected
    assert resume("--space", toy_space()).folder == folder


def test_the_first_points_may_not_change(
    begin: Callable[..., Path], resume: Resume, toy_space: ToySpace
) -> None:
    begin()
    assert ": first was [{" in refusal(resume, "--space", toy_space(first=[]))
    assert "}] and is []. Resume with" in refusal(resume, "--space", toy_space(first=[]))


def test_of_many_differences_three_are_shown(
    begin: Callable[..., Path], resume: Resume, toy_space: ToySpace
) -> None:
    begin()
    fixed = {"batch": {"images": 3, "patch": 24}, "ema": 0.9}
    changed = toy_space(fixed=fixed, study={"seed": 3})
    line = refusal(resume, "--space", changed)
    assert line.count(" and is ") == 3 and " (and 1 more). Resume" in line


def test_a_seed_and_an_override_are_compared_too(
    begin: Callable[..., Path], resume: Resume, toy_space: ToySpace
) -> None:
    folder = begin()
    stored = f"{folder}/space.yaml: not the space of {folder}"
    assert f"{stored}: study.seed was 0 and is 5. " in refusal(resume, "--seed", 5)
    assert resume("--seed", 0).settings.seed == 0
    told = refusal(resume, "--space", toy_space(), "--set", "method.P=1")
    assert "search.method.P.choice was [1, 2] and is absent" in told
    assert "fixed.method.P was absent and is 1" in told
    assert (
        refusal(resume, "--set", "batch.images=3") == "--set: a resume takes it with --space only"
    )


def test_a_precision_that_was_settled_stays(
    begin: Callable[..., Path], resume: Resume, toy_space: ToySpace
) -> None:
    begin(fixed={"precision": "fp32"})
    auto = toy_space(fixed={"precision": "auto"})
    assert resume("--space", auto).space.fixed["precision"] == "fp32"
    other = refusal(resume, "--space", toy_space(fixed={"precision": "bf16"}))
    assert 'fixed.precision was "fp32" and is "bf16"' in other


@pytest.mark.parametrize(("recorded", "preferred"), [("bf16", "fp32"), ("fp32", "bf16")])
def test_another_processor_computes_in_the_precision_that_the_study_began_with(
    begin: Callable[..., Path],
    resume: Resume,
    toy_space: ToySpace,
    monkeypatch: pytest.MonkeyPatch,
    recorded: Precision,
    preferred: Precision,
) -> None:
    auto = {"precision": "auto", "threads": 1}
    space, _ = load_study(toy_space(fixed=auto))
    begin_on_this = space.settled(recorded)
    begin(fixed={**auto, "precision": recorded})
    here = preferred == "bf16"
    monkeypatch.setattr("trainables.numerics.multiplies_bfloat16", lambda device: here)
    assert resolved("auto", torch.device("cpu")) == preferred
    for words in ((), ("--space", toy_space(fixed=auto))):
        config = resume(*words)
        prepared = prepare(config)
        assert prepared.run.precision == recorded
        # As a driver settles it, and as each of its trials has it, wherever it runs.
        settled = config.space.settled(prepared.run.precision)
        assert settled.fixed == begin_on_this.fixed
        assert Run(settled.trial_config(settled.first_points[0])).precision == recorded


# --- the tracking address -------------------------------------------------------------------------


def test_the_secrets_of_an_address_are_looked_for_where_they_may_stand(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert address_again(None, SECRET) is None
    assert address_again("http://h:1", SECRET) is None, "the study's has no secret"
    assert address_again(KEPT, None) is None
    assert address_again(KEPT, KEPT) is None
    assert address_again(KEPT, SECRET) == SECRET
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://me:other@elsewhere")
    assert address_again(KEPT, None) is None, "another server's"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", SECRET)
    assert address_again(KEPT, "http://h:2") == SECRET


def test_a_resume_is_given_the_address_again(
    begin: Callable[..., Path], resume: Resume, toy_space: ToySpace
) -> None:
    folder = begin(study={"tracking_uri": SECRET})
    assert "hunter2" not in (folder / "ledger.jsonl").read_text()
    space = toy_space(study={"tracking_uri": SECRET})
    assert resume().settings.tracking_uri == KEPT
    config = resume("--space", space)
    assert config.settings.tracking_uri == SECRET
    assert config.to_dict()["study"]["tracking_uri"] == KEPT
    assert "hunter2" not in repr(config) + config.to_yaml()


def test_only_the_first_event_of_an_old_ledger_had_an_address() -> None:
    other = {"event": "driver_started", "study": {"tracking_uri": SECRET}}
    assert without_secrets_of_old(other) is other
    none: dict[str, Any] = {"event": "study_started", "space": {"study": {"trials": 3}}}
    assert without_secrets_of_old(none) is none
    study = {"trials": 3, "tracking_uri": SECRET}
    old = {"event": "study_started", "name": "a", "space": {"fixed": {}, "study": study}}
    kept = without_secrets_of_old(old)
    assert kept["space"] == {"fixed": {}, "study": {"trials": 3, "tracking_uri": KEPT}}
    assert kept["name"] == "a" and not re.search("hunter2", json.dumps(kept))
