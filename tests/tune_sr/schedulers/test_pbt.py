"""Trials that become copies of one another: by hand, by the ledger alone, and in a toy study."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import events as build
import pytest
from events import as_read, cloned, driver_started, ended, study_ended, study_started
from ray.tune.schedulers import TrialScheduler

from trainables.errors import ConfigError
from trainables.job import Job
from trainables.ray_trainable import CLONED, HEARD, TRIAL, DistillTrainable
from trainables.run import RunImages
from trainables.values import derive_seed
from tune_sr.execution.scheduler import LedgerScheduler
from tune_sr.execution.searcher import LedgerSearcher
from tune_sr.execution.state import StudyState
from tune_sr.ledger.events import Event, NewEvent, TrialCloned
from tune_sr.ledger.history import History, trial_name
from tune_sr.ledger.ledger import Ledger
from tune_sr.results.results import write_results
from tune_sr.results.student import write_best
from tune_sr.schedulers.pbt import PopulationBasedTraining, exploit_steps, is_perturbable, perturb
from tune_sr.searchers.propose import propose
from tune_sr.space.dimension import Dimension
from tune_sr.study.config import StudyConfig
from tune_sr.study.dry_run import dry_run_text
from tune_sr.study.space_file import load_space, load_study
from tune_sr.tracking.runs import StudyRun

ToySpace = Callable[..., Path]
PBT = {"name": "pbt", "grace_period": 2, "reduction_factor": 2}
LR = Dimension("optimiser.lr", "loguniform", (0.001, 0.1))
W_R = Dimension("method.w_R", "uniform", (0.0, 3.0))


@pytest.fixture
def config(toy_space: ToySpace, tmp_path: Path) -> StudyConfig:
    fixed = {"budget": {"steps": 16, "steps_per_report": 4}}
    space = toy_space(fixed=fixed, study={"scheduler": PBT, "trials": 3, "seed": 8})
    return StudyConfig(*load_study(space), tmp_path / "toy")


def added(number: int, **point: Any) -> Event:
    point = {"optimiser.lr": 0.01, "student.features": 8, **point}
    return as_read(build.added(number, point))


def reported(number: int, step: int, value: float) -> Event:
    return as_read(build.reported(number, step, {"psnr_y_db": value}))


def population(**changes: Any) -> PopulationBasedTraining:
    def configure(point: Mapping[str, Any]) -> Any:
        student = SimpleNamespace(model_dump_json=lambda: str(point["student.features"]))
        method = SimpleNamespace(name="dfsr")
        return SimpleNamespace(method=method, student=student)

    width = Dimension("student.features", "randint", (8, 17))
    dimensions = {each.path: each for each in (LR, width)}
    given = {"steps": (20, 40), "share": 3, "seed": 0, **changes}
    return PopulationBasedTraining(dimensions=dimensions, configure=configure, **given)


# --- who copies whom ----------------------------------------------------------------------------


def test_one_of_the_lowest_third_copies_one_of_the_highest() -> None:
    values = [30.0, 31.0, 32.0, 33.0, 34.0, 35.0]
    events = [*map(added, range(6)), *(reported(n, 20, v) for n, v in enumerate(values))]
    copies = [population().copy(History.from_events(events), trial_name(n), 20) for n in range(6)]
    assert [copy is not None for copy in copies] == [True, True, *[False] * 4]
    for copy in copies[:2]:
        assert copy is not None and copy.step == 20 and copy.source in ("0004", "0005")
        assert copy.point["student.features"] == 8
        assert copy.caveat.startswith("became a changed copy of better trials")
        assert 0.001 <= copy.point["optimiser.lr"] <= 0.1
    others = [
        population(seed=seed).copy(History.from_events(events), "0000", 20) for seed in range(9)
    ]
    assert {copy.source for copy in others if copy} == {"0004", "0005"}
    assert len({copy.point["optimiser.lr"] for copy in others if copy}) > 2


def test_nobody_copies_between_steps_in_small_company_an_equal_or_a_failed_one() -> None:
    events = [*map(added, range(3)), reported(0, 20, 30.0), reported(1, 20, 31.0)]
    events += [reported(0, 10, 1.0), reported(1, 10, 2.0), reported(2, 10, 3.0)]
    assert population().copy(History.from_events(events), "0000", 10) is None
    assert population().copy(History.from_events(events), "0000", 20) is None
    level = [*events, reported(2, 20, 31.0)]
    assert population().copy(History.from_events(level), "0000", 20) is not None
    assert population(unchanged=1).copy(History.from_events(level), "0000", 20) is None
    ends = [as_read(ended(number, "failed", "diverged")) for number in (1, 2)]
    assert population().copy(History.from_events([*level, *ends]), "0000", 20) is None
    equal = [*map(added, range(3)), *(reported(number, 20, 30.0) for number in range(3))]
    assert all(
        population().copy(History.from_events(equal), trial_name(n), 20) is None for n in range(3)
    )


def test_a_value_that_is_no_number_is_the_lowest_and_never_copied() -> None:
    values = [30.0, math.nan, 31.0]
    events = [*map(added, range(3)), *(reported(n, 20, v) for n, v in enumerate(values))]
    copy = population().copy(History.from_events(events), "0001", 20)
    assert copy is not None and copy.source == "0002"
    nothing = [*map(added, range(3)), *(reported(n, 20, math.nan) for n in range(3))]
    assert population().copy(History.from_events(nothing), "0000", 20) is None


def test_only_students_of_one_architecture_are_compared() -> None:
    wide = {"student.features": 16}
    events = [added(0), added(1), added(2), added(3, **wide), added(4, **wide)]
    events += [reported(number, 20, 30.0 + number) for number in range(5)]
    copy = population().copy(History.from_events(events), "0000", 20)
    assert copy is not None and copy.source == "0002"
    assert population().copy(History.from_events(events), "0003", 20) is None


def test_every_copy_is_that_of_the_ledger_before_it_and_made_up_for_after_a_kill() -> None:
    history, events, copies = History(), [added(number) for number in range(9)], 0
    for event in events:
        history.apply(event)
    for turn in range(9 * 5):
        draw = derive_seed(1, turn)
        waiting = [each for each in history.trials.values() if len(each.reports) < 5]
        record = waiting[draw % len(waiting)]
        step = 10 * (len(record.reports) + 1)
        new = [reported(record.number, step, 30 + draw % 997 / 997)]
        history.apply(new[0])
        copy = population().copy(history, record.name, step)
        assert population().unwritten_replacement([*events, *new]) == (copy and (record.name, copy))
        if copy is not None:
            copies += 1
            clone = TrialCloned(trial=record.name, **copy._asdict())
            told = as_read(clone)
            history.apply(told)
            new.append(told)
            assert record.point == copy.point and record.caveat == copy.caveat
            assert record.point_at(step) != copy.point and record.point_at(step + 10) == copy.point
        events += new
        assert History.from_events(events) == history
    assert copies > 3
    repeated = [*events, reported(0, 20, -1.0)]
    assert (
        population().unwritten_replacement(repeated) is None
        and population().unwritten_replacement([]) is None
    )


# --- how it is changed --------------------------------------------------------------------------


def test_a_changed_value_is_near_the_sources_or_drawn_anew_and_in_range() -> None:
    near = {perturb(W_R, 2.0, 0.9, where) for where in (0.0, 0.4, 0.6, 0.99)}
    assert near == {1.6, 2.4}
    assert perturb(W_R, 2.8, 0.9, 0.9) == 3.0
    assert perturb(W_R, 0.0, 0.1, 0.5) == 1.5
    assert perturb(LR, 0.09, 0.1, 0.5) == pytest.approx(0.01)
    steps = Dimension("method.w_R", "quniform", (0.0, 1.0, 0.25))
    for how, where in ((0.1, 0.7), (0.9, 0.2), (0.9, 0.8)):
        assert perturb(steps, 0.5, how, where) in (0.0, 0.25, 0.5, 0.75, 1.0)


def test_weights_and_rates_change_and_nothing_of_the_architecture() -> None:
    assert all(map(is_perturbable, (LR, W_R)))
    for path in ("student.width_mult", "method.part_fraction", "ema", "optimiser.momentum"):
        assert not is_perturbable(Dimension(path, "uniform", (0.1, 0.9)))
    assert not is_perturbable(Dimension("method.P", "choice", (1, 2)))
    assert not is_perturbable(Dimension("method.update_ratio", "randint", (1, 9)))


def test_a_space_without_anything_to_change_is_refused(toy_space: ToySpace) -> None:
    path = toy_space(study={"scheduler": {**PBT, "grace_period": 3}})
    fixed = ("method.w_R=1.0", "optimiser.lr=0.01")
    with pytest.raises(ValueError, match=r"study.scheduler.name: pbt changes weights and rates"):
        load_space(path, fixed)
    load_space(path, fixed[:1])
    load_space(path, (*fixed, "study.scheduler=none"))


def test_a_plan_says_when_and_what_is_kept_for_it(config: StudyConfig) -> None:
    assert exploit_steps(config.settings.scheduler, config.space.budget) == (8,)
    text = dry_run_text(config, 1)
    assert "after update 8 (report 2 of 4) a trial of the lowest one in 2 becomes a" in text
    assert "(3 trials completed, 0 stopped" in text and "(4 a trial" in text


# --- what others make of it ---------------------------------------------------------------------


def test_the_searcher_learns_of_the_point_that_it_proposed(config: StudyConfig) -> None:
    points = [propose("random", config.space, 0, History(), number) for number in range(7)]
    events: list[Event] = []
    for number, point in enumerate(points[:6]):
        events += [{**added(number), "point": point}, reported(number, 12, 30.0 - number)]
    clone = as_read(cloned(5, 0, 12, points[0], "a copy"))
    ends = [as_read(ended(number)) for number in range(5)]
    stopped, completed = as_read(ended(5, "stopped")), as_read(ended(5))
    copied = [*events, clone, reported(5, 32, 99.0)]
    told = propose("tpe", config.space, 0, History.from_events([*copied, *ends, completed]), 6)
    assert told == propose(
        "tpe", config.space, 0, History.from_events([*events, *ends, stopped]), 6
    )


def test_a_run_of_mlflow_is_told_in_tags_what_it_became() -> None:
    mirror = StudyRun()
    point = {"optimiser.lr": 0.5, "method.P": 2}
    copies = [
        as_read(cloned(0, source, step, point, "a copy")) for source, step in ((2, 20), (1, 40))
    ]
    for event in (added(0), reported(0, 20, 30.0), *copies, reported(0, 60, 31.0)):
        mirror.apply(event)
    trial = mirror.trials["0000"]
    assert trial.tags["caveat"] == "a copy"
    assert trial.tags["cloned"] == "from 0001 at step 40; from 0002 at step 20"
    assert trial.point["optimiser.lr"] == 0.01  # whose parameters were logged
    points, reports = trial.unsent(1000)
    assert reports == 2
    assert [(point.step, point.key, point.value) for point in points] == [
        (20, "psnr_y_db", 30.0),
        (60, "psnr_y_db", 31.0),
        (60, "point/optimiser.lr", 0.5),
    ]


# --- a toy study, begun again and again ---------------------------------------------------------


class KilledError(Exception):
    """The driver is gone."""


class Mortal(Ledger):
    """A ledger whose driver dies right after certain lines."""

    def __init__(self, path: Path, deaths: Sequence[int]) -> None:
        super().__init__(path)
        self._deaths = deaths

    def append(self, event: NewEvent) -> Event:
        written = super().append(event)
        if len(self.path.read_bytes().splitlines()) in self._deaths:
            raise KilledError
        return written


def drive(config: StudyConfig, images: RunImages, deaths: Sequence[int] = ()) -> None:
    """One driver's life, Ray's loop left out: one trial at a time, all in this process."""
    live = StudyState(Mortal(config.folder / "ledger.jsonl", deaths))
    if live.history.study is None:
        space = config.to_dict()
        live.append(study_started(space, name=config.name, identity=None))
    live.write_missing_clone(config.population())
    live.append(driver_started(study=config.settings.to_dict()))
    live.write_missing_ends()
    searcher, scheduler = LedgerSearcher(config, live), LedgerScheduler(config, live)
    keep = exploit_steps(config.settings.scheduler, config.space.budget)
    start = f"start-{live.history.starts:03d}"
    job = Job(config.trial_config, config.folder / "trials", start, 1, images, keep=keep)
    for turn in range(99):
        given = searcher.suggest(str(turn))
        if not isinstance(given, dict):
            break
        trainable = DistillTrainable.__new__(DistillTrainable)
        trainable.setup(dict(given), job)
        trial, decision = SimpleNamespace(config=given), TrialScheduler.CONTINUE
        scheduler.on_trial_add(None, trial)
        while decision == TrialScheduler.CONTINUE:
            decision = scheduler.on_trial_result(None, trial, trainable.step())
        searcher.on_trial_complete(str(turn))
    live.append(study_ended())


def story(folder: Path) -> list[Event]:
    """What happened, each thing once, without clock and drivers."""
    told: list[Event] = []
    for event in Ledger(folder / "ledger.jsonl").events():
        if event["event"] in ("trial_added", "reported", "cloned", "trial_ended"):
            report = {**event.get("report", {}), "seconds_per_step": 0.0}
            event = {**event, "report": report, "time": 0.0}
            told += [] if event in told else [event]
    return told


def test_a_population_that_is_killed_again_and_again_is_the_one_never_killed(
    config: StudyConfig, tmp_path: Path
) -> None:
    images = RunImages.of(config.trial_config(config.space.first_points[0]))
    config.folder.mkdir()
    drive(config, images)
    whole = story(config.folder)
    kinds = [event["event"] for event in Ledger(config.folder / "ledger.jsonl").events()]
    copied = [line for line, kind in enumerate(kinds, start=1) if kind == "cloned"]
    trials = History.from_events(whole).trials.values()
    assert [len(trial.clones) for trial in trials] == [0, 1, 1]
    changes = [(each.point["method.P"], trial.point["method.P"]) for trial in trials
               for each in trial.clones]  # fmt: skip
    assert changes == [(1, 2), (1, 2)]  # both never grew, and go on as what has grown

    killed = StudyConfig(config.space, config.settings, tmp_path / "killed")
    killed.folder.mkdir()
    # Each life adds lines of its own, so the first copy is met between its two lines, and after.
    deaths = [copied[0] - 1, copied[0] + 1, copied[0] + 5]
    lives = 1
    while True:
        try:
            drive(killed, images, deaths)
            break
        except KilledError:
            lives += 1
    assert lives == 4
    assert story(killed.folder) == whole
    _check_results(killed, images)


def _check_results(config: StudyConfig, images: RunImages) -> None:
    """What a study of copies leaves: checkpoints to copy, and a student that says what it is."""
    for trial in ("0000", "0002"):
        steps = {int(path.parent.name[-6:])
                 for path in config.folder.glob(f"trials/*/{trial}/*/MANIFEST.json")}  # fmt: skip
        assert {8, 16} <= steps
    results = write_results(config.folder)
    assert results.best is not None and results.best.clones
    best = results.summary()["best"]
    assert best["config"] == results.best.point_at(best["step"])
    assert best["caveat"] == results.best.caveat_at(best["step"])
    assert "changed copy of better trials" in best["caveat"]
    assert write_best(results, images)


def test_a_copy_is_issued_with_its_origin_and_one_that_cannot_be_made_fails(
    config: StudyConfig, tmp_path: Path
) -> None:
    images = RunImages.of(config.trial_config(config.space.first_points[0]))
    job = Job(config.trial_config, tmp_path / "trials", "start-001", 1, images)
    trainable = DistillTrainable.__new__(DistillTrainable)
    point = config.space.first_points[0]
    trainable.setup({TRIAL: "0001", HEARD: 12, CLONED: ("0000", 12), **point}, job)
    assert "no checkpoint at step 12 to go on from" in trainable.step()["failed"]
    with pytest.raises(ConfigError):
        config.trial_config({**point, "optimiser.lr": -1.0})
