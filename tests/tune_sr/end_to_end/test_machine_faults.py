"""Drivers on a machine that fails for a while, or for good: no point is blamed for it."""

from __future__ import annotations

import os
import pty
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
from drivers import ray_folders_of
from events import added, driver_started, ended, study_ended, study_started

from tune_sr import search
from tune_sr.driver.run_study import run_study
from tune_sr.execution import circuit_breaker
from tune_sr.execution.state import StudyState
from tune_sr.ledger.events import Event, NewEvent
from tune_sr.ledger.history import History
from tune_sr.ledger.ledger import Ledger, read_events
from tune_sr.searchers.propose import propose
from tune_sr.study.config import StudyConfig
from tune_sr.study.space_file import load_study, to_resolved

pytestmark = pytest.mark.timeout(300)
ROOT = Path(__file__).parents[3]
ToySpace = Callable[..., Path]


@pytest.fixture
def space(toy_space: ToySpace, toy_folder: Path, tmp_path: Path) -> Path:
    """Of a study of six short trials whose teacher is a file of its own."""
    shutil.copy(toy_folder / "teacher.safetensors", tmp_path / "teacher.safetensors")
    network = {"name": "vdsr", "features": 8, "blocks": 6, "scales": [2]}
    teacher = {**network, "weights": str(tmp_path / "teacher.safetensors")}
    budget = {"steps": 8, "steps_per_report": 4}
    study = {"trials": 6, "scheduler": "none", "searcher": "random"}
    return toy_space("faults", fixed={"teacher": teacher, "budget": budget}, study=study)


def started(space: Path, *flags: str, pauses: str = "0.2, 0.4, 0.8, 12.0") -> subprocess.Popen[str]:
    """A driver whose pauses are short enough to be waited for."""
    program = "import sys\nfrom tune_sr.execution import circuit_breaker\n"
    program += f"circuit_breaker.PAUSES_S = ({pauses},)\n"
    program += "from tune_sr.search import main\nsys.exit(main())\n"
    words = ["--space", str(space), "--quiet", *flags]
    return subprocess.Popen(
        [sys.executable, "-c", program, *words],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def wait_for(folder: Path, holds: Callable[[list[Event]], bool]) -> None:
    until = time.monotonic() + 120
    while not holds(read_events(folder)):
        assert time.monotonic() < until
        time.sleep(0.01)


def ends(events: list[Event]) -> Counter[str]:
    return Counter(event["state"] for event in events if event["event"] == "trial_ended")


def any_ended(events: list[Event]) -> bool:
    return any(event["event"] == "trial_ended" for event in events)


def attempts(events: list[Event]) -> list[str]:
    return [event["reason"] for event in events if event["event"] == "attempt"]


@pytest.fixture
def config(space: Path, tmp_path: Path) -> StudyConfig:
    return StudyConfig(*load_study(space), tmp_path / "runs" / "faults")


class FileServer:
    """Takes a file away with a trial's end, and brings it back after so many attempts."""

    def __init__(self, file: Path, monkeypatch: pytest.MonkeyPatch, attempts: int) -> None:
        self._file, self._away, self._left = file, file.with_name("away"), attempts
        append = StudyState.append

        def appended(live: StudyState, event: NewEvent) -> Event:
            written = append(live, event)
            if written["event"] == "trial_ended" and self._left == attempts and self._file.exists():
                self._file.rename(self._away)
            elif written["event"] == "attempt":
                self._left -= 1
                if self._left == 0:
                    self.bring_back()
            return written

        monkeypatch.setattr(StudyState, "append", appended)

    def bring_back(self) -> None:
        self._away.rename(self._file)


@pytest.mark.ray
@pytest.mark.soak
@pytest.mark.usefixtures("ray_cluster")
def test_a_teacher_that_is_away_for_a_while_costs_no_trial(
    config: StudyConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    teacher = tmp_path / "teacher.safetensors"
    monkeypatch.setattr(circuit_breaker, "PAUSES_S", (0.1, 0.2, 0.4, 0.8))
    FileServer(teacher, monkeypatch, attempts=3)
    run_study(config, quiet=True)
    events = read_events(config.folder)
    assert ends(events) == {"completed": 6}
    reason = f"EnvironmentFault: {teacher}: No such file or directory"
    assert attempts(events) == [reason] * 3 and events[-1]["finished"] is True


@pytest.mark.ray
@pytest.mark.usefixtures("ray_cluster", "untracked")
def test_a_teacher_that_stays_away_stops_the_driver_which_can_go_on(
    space: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    folder, teacher = tmp_path / "runs" / "faults", tmp_path / "teacher.safetensors"
    monkeypatch.setattr(circuit_breaker, "PAUSES_S", (0.1,))
    server = FileServer(teacher, monkeypatch, attempts=99)
    words = ["--space", str(space), "--quiet", "--trials", "4"]
    assert search.main(words) == 1
    told = capsys.readouterr().err
    assert "trial 0001, 0002, 0003 could not begin" in told.splitlines()[-1]
    assert f"nothing counts as failed; to go on: {search.PROG} --resume" in told
    assert "o such file" in told
    events = read_events(folder)
    assert ends(events) == {"completed": 1} and len(attempts(events)) == 3
    assert (events[-1]["event"], events[-1]["finished"]) == ("study_ended", False)
    assert (folder / "best" / "student.safetensors").exists()  # of what there is
    server.bring_back()
    assert search.main([*words, "--resume"]) == 0
    assert ends(read_events(folder)) == {"completed": 4}


@pytest.mark.ray
@pytest.mark.usefixtures("ray_cluster")
def test_trials_that_failed_for_the_machines_sake_are_tried_again_where_that_is_asked(
    space: Path, config: StudyConfig, toy_folder: Path
) -> None:
    """The ledger is one of the version before: each of its failures ended a trial."""
    ledger = Ledger(config.folder / "ledger.jsonl")
    config.folder.mkdir(parents=True)
    marks = {"bicubic": {"psnr_y_db": 20.0}, "teacher": None}
    settings = config.settings.with_overrides({"name": "faults", "trials": 3}, config.space)
    resolved = to_resolved(config.space, settings)
    ledger.append(study_started(resolved, name="faults", identity="0" * 32, marks=marks))
    ledger.append(driver_started(study=resolved["study"]))
    reasons = ["its process was lost 4 times", "diverged at step 2: x", "OSError: [Errno 116] x"]
    for number, reason in enumerate(reasons):
        point = propose("random", config.space, 0, History(), number, config.settings.objective)
        ledger.append(added(number, point))
        ledger.append(ended(number, "failed", reason))
    ledger.append(study_ended())
    words = ["--space", str(space), "--resume", "--quiet"]
    assert search.main(words) == 1  # there is no student
    assert ends(read_events(config.folder)) == {"failed": 3}
    assert search.main([*words, "--retry-failed"]) == 0
    events = read_events(config.folder)
    assert [event["trial"] for event in events if event["event"] == "retried"] == ["0000", "0002"]
    last = {e["trial"]: e["state"] for e in events if e["event"] == "trial_ended"}
    assert last == {"0000": "completed", "0001": "failed", "0002": "completed"}
    assert check_mlflow(toy_folder) == {"0000": "FINISHED", "0001": "FAILED", "0002": "FINISHED"}


def check_mlflow(toy_folder: Path) -> dict[str, str]:
    """The status of every trial's run, of which there is one and none keeps an old reason."""
    from mlflow import MlflowClient

    client = MlflowClient(f"sqlite:///{toy_folder / 'mlflow.db'}")
    experiment = client.get_experiment_by_name("faults")
    runs = client.search_runs([experiment.experiment_id])
    mine = [run for run in runs if run.data.tags["tune_sr.study_id"] == "0" * 32]
    mine = [run for run in mine if "tune_sr.trial" in run.data.tags]
    for run in mine:
        assert bool(run.data.tags.get("reason")) == (run.info.status == "FAILED")
    return {run.data.tags["tune_sr.trial"]: run.info.status for run in mine}


def test_no_failed_trial_is_retried_by_a_new_study(space: Path) -> None:
    with pytest.raises(SystemExit) as refused:
        search.main(["--space", str(space), "--retry-failed"])
    assert refused.value.code == 2


@pytest.mark.kill
@pytest.mark.soak
def test_a_folder_of_rays_that_is_removed_stops_the_driver_which_can_go_on(
    space: Path, tmp_path: Path
) -> None:
    """As a program that cleans /tmp does: no process for a trial can begin any more."""
    folder = tmp_path / "runs" / "faults"
    driver = started(space, pauses="0.1, 0.2")
    wait_for(folder, any_ended)
    (made,) = ray_folders_of(driver.pid)
    shutil.rmtree(made, ignore_errors=True)
    driver.communicate(timeout=200)
    events = read_events(folder)
    assert set(ends(events)) == {"completed"}
    assert driver.returncode in (0, 1)
    driver = started(space, "--resume")
    told = driver.communicate(timeout=200)[1]
    assert driver.returncode == 0, told
    assert ends(read_events(folder)) == {"completed": 6}


@pytest.mark.kill
@pytest.mark.soak
def test_a_terminal_that_is_closed_saves_the_study(space: Path, tmp_path: Path) -> None:
    folder = tmp_path / "runs" / "faults"
    pid, terminal = pty.fork()
    if pid == 0:
        os.chdir(ROOT)
        signal.signal(signal.SIGHUP, signal.SIG_DFL)  # ignored where the suite runs under nohup
        words = ["--space", str(space), "--set", "budget.steps=4000"]
        os.execv(sys.executable, [sys.executable, "-m", "tune_sr.search", *words])
    wait_for(folder, lambda events: any(event["event"] == "reported" for event in events))
    os.close(terminal)
    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    last = read_events(folder)[-1]
    assert (last["event"], last["finished"]) == ("study_ended", False)
    assert status == 128 + signal.SIGHUP


@pytest.mark.kill
@pytest.mark.soak
@pytest.mark.timeout(900)
def test_a_signal_at_any_moment_of_the_start_ends_it_with_its_number(
    space: Path, tmp_path: Path
) -> None:
    """An exception inside Ray's compiled code ended the process by SIGSEGV at 3 of 3 moments."""
    begun = time.monotonic()
    folder = tmp_path / "runs" / "faults"
    driver = started(space)
    wait_for(folder, lambda events: any(event["event"] == "reported" for event in events))
    whole = time.monotonic() - begun
    driver.terminate()  # in order: trials of one that is killed write on for a while
    driver.communicate()
    for moment in range(20):
        shutil.rmtree(folder)
        number = (signal.SIGINT, signal.SIGTERM)[moment % 2]
        driver = started(space, "--set", "budget.steps=4000")
        time.sleep(whole * (0.3 + 0.7 * moment / 20))
        driver.send_signal(number)
        told = driver.communicate(timeout=120)[1]
        assert driver.returncode in (128 + number, -number), (moment, told)
        folder.mkdir(parents=True, exist_ok=True)
