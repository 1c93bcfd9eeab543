"""Drivers that really die: the study they leave behind goes on as if nothing had happened."""

from __future__ import annotations

import json
import os
import signal
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import ray
import yaml
from drivers import DriverServer, when_grown, words_of
from PIL import Image

from tune_sr.driver.run_study import run_study
from tune_sr.execution.steering import STOPPED_BY
from tune_sr.ledger.events import Event
from tune_sr.ledger.ledger import read_events
from tune_sr.results.results import load_results
from tune_sr.study.config import StudyConfig
from tune_sr.study.space_file import load_study

pytestmark = [pytest.mark.kill, pytest.mark.timeout(600)]
CLOCK = ("time", "seconds_per_step", "host", "pid")
"""What a clock or a process list says, and no study can repeat."""
POINT = {"method.w_R": 2.0, "method.P": 1, "optimiser.lr": 0.05}


class Drivers:
    """Starts one driver after the other on one study, and can end each at a chosen moment."""

    def __init__(self, server: DriverServer, space: Path, name: str, *flags: str) -> None:
        self.runs = space.parent / "runs"
        self.folder = self.runs / name
        self._server = server
        self._words = ["--space", space, "--name", name, "--storage", self.runs, *flags]
        self._ledger = b""

    def run(self, *flags: str, until: Callable[[list[Event]], bool] | None = None,
            end_by: signal.Signals = signal.SIGKILL) -> int:  # fmt: skip
        """Start a driver (a resume where there is a study); `end_by` as soon as `until` holds."""
        begun = any(event["event"] == "study_started" for event in self.events)
        resume = ["--resume"] if begun else []
        path = self.folder / "ledger.jsonl"
        reached = None if until is None else when_grown(path, lambda: until(self.events))
        code = self._server.run(*self._words, *flags, *resume, until=reached, end_by=end_by)
        before, self._ledger = self._ledger, path.read_bytes() if path.exists() else b""
        assert self._ledger.startswith(before), "it is only appended to"
        return code

    @property
    def told(self) -> str:
        return self._server.told()

    @property
    def events(self) -> list[Event]:
        return read_events(self.folder)


def joined() -> list[str]:
    """The flags of a driver that joins the suite's Ray, which is there again after it."""
    return ["--address", ray.get_runtime_context().gcs_address]


def count(events: Sequence[Event], kind: str) -> int:
    return sum(event["event"] == kind for event in events)


def reported(number: int) -> Callable[[list[Event]], bool]:
    return lambda events: count(events, "reported") >= number


def ended(number: int) -> Callable[[list[Event]], bool]:
    return lambda events: count(events, "trial_ended") >= number


def before_the_first_report(events: list[Event]) -> bool:
    return count(events, "trial_added") > 0


def story(events: Sequence[Event]) -> list[Any]:
    """Points, reports with their decisions, copies and ends; each once, in order, no clock."""
    seen, told = set(), []
    for event in events:
        if event["event"] not in ("trial_added", "reported", "cloned", "trial_ended"):
            continue
        key = (event["event"], event["trial"], event.get("step"))
        if key not in seen:
            seen.add(key)
            told.append(timeless(event))
    return told


def timeless(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: timeless(item) for key, item in value.items() if key not in CLOCK}
    return value


def mlflow_runs(space: Path, toy_folder: Path) -> list[Any]:
    """The runs of the studies of this test, parents left out."""
    from mlflow import MlflowClient

    client = MlflowClient(f"sqlite:///{toy_folder / 'mlflow.db'}")
    experiment = client.get_experiment_by_name(space.stem)
    return client.search_runs([experiment.experiment_id], max_results=1000)


def check_mlflow(space: Path, toy_folder: Path, drivers: Drivers) -> None:
    """One run a trial, none of them running, one value a step."""
    from mlflow import MlflowClient

    client = MlflowClient(f"sqlite:///{toy_folder / 'mlflow.db'}")
    runs = [
        run
        for run in mlflow_runs(space, toy_folder)
        if run.data.tags["tune_sr.study"] == drivers.folder.name
    ]
    names = Counter(run.data.tags.get("tune_sr.trial", "the study") for run in runs)
    trials = {event["trial"] for event in drivers.events if event["event"] == "trial_added"}
    assert names == Counter([*trials, "the study"])
    assert {run.info.status for run in runs} == {"FINISHED"}
    for run in runs:
        history = client.get_metric_history(run.info.run_id, "psnr_y_db")
        if "tune_sr.trial" in run.data.tags:
            steps = [point.step for point in history]
            assert steps == sorted(set(steps)) != []


@pytest.mark.ray
def test_killed_twice_and_interrupted_a_study_is_the_one_never_killed(
    toy_space: Callable[..., Path],
    toy_folder: Path,
    tmp_path: Path,
    driver_server: DriverServer,
    ray_cluster: None,
) -> None:
    """Once before its first report, in the middle of its search, and while it is confirmed."""
    space = toy_space("killed", study={"confirm": 2})
    whole = StudyConfig(*load_study(space), tmp_path / "runs" / "whole")
    confirmed = run_study(whole, quiet=True).summary()["confirmed"]
    never_killed = read_events(whole.folder)
    total = count(never_killed, "reported")
    in_repeats = sum(
        "." in event["trial"] for event in never_killed if event["event"] == "reported"
    )
    assert in_repeats == 2 * 2 * 8

    drivers = Drivers(driver_server, space, "killed")
    moments = [before_the_first_report, reported((total - in_repeats) // 2)]
    for moment in moments:
        assert drivers.run(*joined(), until=moment) == -signal.SIGKILL, drivers.told
        assert count(drivers.events, "study_ended") == 0
    interrupted = reported(
        total - in_repeats // 2 + 2
    )  # with a Ray of its own, as where none is named
    assert drivers.run(until=interrupted, end_by=signal.SIGINT) == 130, drivers.told
    assert "Traceback" not in drivers.told
    (ray_folder,) = driver_server.ray_folders
    assert not processes_below(ray_folder)
    resume = words_of(drivers.told.rpartition("to go on: ")[2])
    assert resume[:3] == ["--resume", "--name", "killed"]
    assert driver_server.run(*resume, *joined()) == 0, drivers.told

    events = drivers.events
    assert events[-1]["finished"] is True
    assert story(events) == story(never_killed)
    repeats = count(events, "reported") - total
    assert repeats <= len(moments) + 1  # at most a checkpoint's interval of work each
    check_mlflow(space, toy_folder, drivers)
    assert load_results(drivers.folder).summary()["confirmed"] == confirmed
    assert set(confirmed) > {"first", "best", "difference"}


@pytest.mark.soak
@pytest.mark.ray
def test_more_seeds_are_added_to_a_confirmation_and_a_kill_in_it_changes_no_value(
    toy_space: Callable[..., Path], toy_folder: Path, driver_server: DriverServer, ray_cluster: None
) -> None:
    space = toy_space("seeds", study={"confirm": 3})
    whole = Drivers(driver_server, space, "whole", *joined())
    assert whole.run() == 0, whole.told

    drivers = Drivers(driver_server, space, "later", *joined())
    assert drivers.run("--confirm", "0") == 0, drivers.told
    searched = count(drivers.events, "reported")
    assert drivers.run("--confirm", "2", until=reported(searched + 11)) == -signal.SIGKILL
    assert drivers.run("--confirm", "2") == 0, drivers.told
    assert "confirmed with 2 new seeds" in drivers.told
    before = drivers.events
    assert drivers.run("--confirm", "2") == 0, drivers.told  # there is nothing left to do
    assert drivers.events == before
    assert drivers.run("--confirm", "3") == 0, drivers.told
    assert story(drivers.events) == story(whole.events)
    found = [load_results(each.folder).summary()["confirmed"] for each in (drivers, whole)]
    assert found[0] == found[1]
    check_mlflow(space, toy_folder, drivers)


@pytest.mark.soak
@pytest.mark.ray
def test_killed_among_copies_a_population_is_the_one_never_killed(
    toy_space: Callable[..., Path],
    toy_folder: Path,
    tmp_path: Path,
    driver_server: DriverServer,
    ray_cluster: None,
) -> None:
    pbt = {"name": "pbt", "grace_period": 3, "reduction_factor": 2}
    space = toy_space("population", study={"scheduler": pbt, "trials": 4})
    whole = StudyConfig(*load_study(space), tmp_path / "runs" / "whole")
    run_study(whole, quiet=True)
    never_killed = read_events(whole.folder)
    copies = count(never_killed, "cloned")
    assert copies > 0

    drivers = Drivers(driver_server, space, "population", *joined())
    for moment in (lambda events: count(events, "cloned") > 0, ended(3)):
        assert drivers.run(until=moment) == -signal.SIGKILL, drivers.told
    assert drivers.run() == 0, drivers.told
    assert story(drivers.events) == story(never_killed)
    assert count(drivers.events, "cloned") == copies
    check_mlflow(space, toy_folder, drivers)


@pytest.mark.soak
def test_two_workers_killed_and_terminated_lose_and_double_nothing(
    toy_space: Callable[..., Path], toy_folder: Path, driver_server: DriverServer
) -> None:
    """Each driver has a Ray of its own, as it has where no cluster is named."""
    space = toy_space("two", study={"concurrent": 2})
    drivers = Drivers(driver_server, space, "two")
    assert drivers.run(until=ended(1)) == -signal.SIGKILL, drivers.told
    assert drivers.run(until=ended(4), end_by=signal.SIGTERM) == 143, drivers.told
    assert "to go on: python -m tune_sr.search --resume --name two" in drivers.told
    assert "Traceback" not in drivers.told
    (ray_folder,) = driver_server.ray_folders
    assert not processes_below(ray_folder)

    assert drivers.run("--trials", "8") == 0, drivers.told
    events = drivers.events
    added = [event["trial"] for event in events if event["event"] == "trial_added"]
    assert added == [f"{number:04d}" for number in range(8)]
    ends = Counter(event["trial"] for event in story(events) if event["event"] == "trial_ended")
    assert ends == Counter(added)
    for trial in added:  # every report of a trial is there, in order, and the last one ends it
        told = [e for e in story(events) if e.get("trial") == trial and e["event"] == "reported"]
        assert [event["step"] for event in told] == [4 * (n + 1) for n in range(len(told))]
        decisions = [event["decision"] for event in told]
        assert set(decisions[:-1]) <= {"continue"} and decisions[-1] in ("stop", "complete")
    check_mlflow(space, toy_folder, drivers)


def processes_below(word: str) -> list[str]:
    """The command lines that hold `word`: Ray's processes name the folder they work in."""
    lines = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            try:
                line = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode()
            except OSError:  # it has just ended
                continue
            lines += [line] if word in line else []
    return lines


SIZES: dict[str, Any] = {
    "fixed": {"student": {"name": "vdsr", "scales": [2]}},
    "search": {"student.blocks": {"choice": [2, 4, 6]}, "student.features": {"choice": [2, 4, 8]}},
    "first": [],
    "study": {"objective": ["psnr_y_db", "params"], "trials": 14, "searcher": "tpe"},
}
"""A study whose later proposals rest on two values of its earlier trials."""


@pytest.mark.soak
@pytest.mark.ray
def test_a_study_with_two_objectives_is_the_one_never_killed(
    toy_space: Callable[..., Path],
    toy_folder: Path,
    tmp_path: Path,
    driver_server: DriverServer,
    ray_cluster: None,
) -> None:
    space = toy_space("sizes", **SIZES)
    whole = StudyConfig(*load_study(space), tmp_path / "runs" / "whole")
    front = run_study(whole, quiet=True).summary()["front"]
    never_killed = read_events(whole.folder)
    total = count(never_killed, "reported")
    assert "stopped" in {event.get("state") for event in never_killed}

    drivers = Drivers(driver_server, space, "sizes", *joined())
    moments = [reported(total // 5), ended(11), reported(total * 9 // 10)]
    for moment in moments:
        assert drivers.run(until=moment) == -signal.SIGKILL, drivers.told
    assert drivers.run() == 0, drivers.told
    assert story(drivers.events) == story(never_killed)
    assert count(drivers.events, "reported") - total <= len(moments)
    assert load_results(drivers.folder).summary()["front"] == front
    students = drivers.folder.glob("front/*/student.safetensors")
    assert {path.parent.name for path in students} == {each["trial"] for each in front}
    check_mlflow(space, toy_folder, drivers)


@pytest.fixture
def kd_space(toy_space: Callable[..., Path], tmp_path: Path) -> Path:
    """A space of KD on luma, whose LR images every driver makes anew and hands to its trials."""
    rng = np.random.default_rng(0)
    (tmp_path / "train").mkdir()
    for number, (height, width) in enumerate(((60, 70), (75, 64), (301, 402))):
        image = Image.fromarray(rng.integers(0, 256, (height, width, 3), dtype=np.uint8))
        image.save(tmp_path / "train" / f"{number}.png")
    data = {"images": str(tmp_path / "train"), "downsizings": [1.0, 0.7]}
    path = toy_space("kd", fixed={"method": {"name": "kd"}, "data": data, "threads": 2})
    content = yaml.safe_load(path.read_text())
    content["search"] = {
        "method.lambda_kd": {"uniform": [0.0, 1.0]},
        "optimiser.lr": {"loguniform": [0.001, 0.1]},
    }
    content["first"] = []
    path.write_text(yaml.safe_dump(content))
    return path


@pytest.mark.soak
@pytest.mark.timeout(1800)
def test_killed_ten_times_a_study_on_luma_with_two_threads_is_the_one_never_killed(
    kd_space: Path, toy_folder: Path, driver_server: DriverServer
) -> None:
    whole = Drivers(driver_server, kd_space, "whole")
    assert whole.run() == 0, whole.told
    total = count(whole.events, "reported")
    assert total >= 24  # a life advances by at least one report

    drivers = Drivers(driver_server, kd_space, "killed")
    for _ in range(10):
        until = reported(count(drivers.events, "reported") + total // 12)
        assert drivers.run(until=until) == -signal.SIGKILL, drivers.told
        assert count(drivers.events, "study_ended") == 0
    assert drivers.run() == 0, drivers.told
    assert count(drivers.events, "driver_started") == 11
    assert story(drivers.events) == story(whole.events)
    marks = [next(e for e in each.events if e["event"] == "study_started")["marks"]
             for each in (drivers, whole)]  # fmt: skip
    assert marks[0] == marks[1]
    check_mlflow(kd_space, toy_folder, drivers)


@pytest.mark.soak
@pytest.mark.ray
def test_requests_are_carried_out_once_whenever_the_driver_dies(
    toy_space: Callable[..., Path], tmp_path: Path, driver_server: DriverServer
) -> None:
    space = toy_space("steered", study={"trials": 2, "scheduler": "none"})
    drivers = Drivers(driver_server, space, "steered")
    assert drivers.run(until=before_the_first_report) == -signal.SIGKILL, drivers.told
    file = tmp_path / "point.yaml"
    file.write_text(json.dumps(POINT))
    assert drivers.run("--stop-trial", "0000", "--add-point", file) == 0, drivers.told
    assert count(drivers.events, "driver_started") == 1, "the command starts nothing"
    assert drivers.run(until=reported(2)) == -signal.SIGKILL, drivers.told
    assert drivers.run() == 0, drivers.told
    trials = load_results(drivers.folder).history.trials
    assert [each.state for each in trials.values()] == ["stopped", "completed", "completed"]
    assert trials["0000"].reason == STOPPED_BY and trials["0001"].point == POINT
    file.write_text(json.dumps({**POINT, "method.w_R": 0.5}))
    assert drivers.run("--add-point", file) == 0, drivers.told
    asked = count(drivers.events, "reported")
    assert drivers.run(until=reported(asked + 1)) == -signal.SIGKILL, drivers.told
    assert drivers.run() == 0, drivers.told
    assert load_results(drivers.folder).history.trials["0003"].point["method.w_R"] == 0.5
    assert [count(drivers.events, kind) for kind in ("stop_asked", "point_asked")] == [1, 2]
    assert not list((drivers.folder / "requests").iterdir())


@pytest.mark.soak
@pytest.mark.ray
def test_a_race_killed_between_two_seeds_is_the_one_never_killed(
    toy_space: Callable[..., Path], driver_server: DriverServer
) -> None:
    fixed = {"budget": {"steps": 4, "steps_per_report": 4}}
    study = {"trials": 16, "scheduler": "none", "confirm": "auto"}
    space = toy_space("raced", fixed=fixed, study=study)
    whole = Drivers(driver_server, space, "whole")
    assert whole.run() == 0, whole.told
    found = load_results(whole.folder).summary().get("confirmed")
    assert found is not None and found["race"]["finished"] and found["race"]["of"] == 6
    killed = Drivers(driver_server, space, "killed")
    assert killed.run(until=reported(16 + 3)) == -signal.SIGKILL, killed.told
    assert killed.run() == 0, killed.told
    assert story(killed.events) == story(whole.events)
    assert load_results(killed.folder).summary()["confirmed"] == found
