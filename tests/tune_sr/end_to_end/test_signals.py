"""A study that is asked to end: saved, marked, resumed from where it was, and where it lies now."""

from __future__ import annotations

import os
import pty
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from drivers import DriverServer

from trainables.run import Run
from tune_sr import search
from tune_sr.cli.signals import STOP_SIGNALS, Interrupted, held_back, interruptible
from tune_sr.driver.signals import LoopSignals
from tune_sr.execution.scheduler import LedgerScheduler
from tune_sr.ledger.events import Event
from tune_sr.ledger.ledger import read_events
from tune_sr.study.space_file import load_space

ToySpace = Callable[..., Path]
ROOT = Path(__file__).parents[3]


@pytest.fixture(autouse=True)
def heard() -> Iterator[None]:
    """As in a terminal: whoever runs the suite under nohup has SIGHUP ignored."""
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    yield
    signal.signal(signal.SIGHUP, before)


@pytest.mark.parametrize("number", STOP_SIGNALS)
def test_before_a_study_starts_a_signal_interrupts_whatever_goes_on(number: signal.Signals) -> None:
    before = signal.getsignal(number)
    with pytest.raises(Interrupted) as interrupted, interruptible():
        os.kill(os.getpid(), number)
    assert interrupted.value.exit_code == 128 + number
    assert signal.getsignal(number) is before


@pytest.mark.parametrize("number", STOP_SIGNALS)
def test_while_ray_starts_a_signal_ends_it_at_once(number: signal.Signals) -> None:
    before = [signal.getsignal(each) for each in STOP_SIGNALS]
    with pytest.raises(Interrupted) as interrupted, LoopSignals():
        signal.signal(signal.SIGTERM, lambda number, _: exit(number))  # as ray.init does
        os.kill(os.getpid(), number)
    assert interrupted.value.exit_code == 128 + number
    assert [signal.getsignal(each) for each in STOP_SIGNALS] == before


@pytest.mark.parametrize("number", STOP_SIGNALS)
def test_a_loop_ends_in_order_and_a_second_signal_ends_it_at_once(number: signal.Signals) -> None:
    ended = []
    with pytest.raises(Interrupted) as interrupted, LoopSignals() as signals:
        signal.signal(signal.SIGUSR1, lambda number, _: ended.append(number))  # as Ray's loop does
        signals.wrap_ray_handler()
        os.kill(os.getpid(), number)
        assert (signals.number, ended) == (number, [signal.SIGUSR1])
        os.kill(os.getpid(), signal.SIGTERM)
    assert interrupted.value.exit_code == 128 + signal.SIGTERM


@pytest.mark.parametrize("number", STOP_SIGNALS)
def test_a_signal_while_rays_compiled_code_starts_arrives_behind_it(number: signal.Signals) -> None:
    """An exception out of a handler would end the process there by SIGSEGV."""
    done = []
    with pytest.raises(Interrupted) as interrupted, LoopSignals():
        with held_back():
            signal.signal(signal.SIGTERM, lambda *_: exit(1))  # as ray.init does
            if number != signal.SIGHUP:
                os.kill(os.getpid(), number)
            asks = "import signal; print(signal.getsignal(signal.SIGHUP).name)"
            command = [sys.executable, "-c", asks]
            told = subprocess.run(command, capture_output=True, text=True, check=True).stdout
            done.append(told.strip())
        os.kill(os.getpid(), number)  # a second one, or that of a closed terminal
        os.kill(os.getpid(), number)
    assert interrupted.value.exit_code == 128 + number
    assert done == ["SIG_IGN"]  # Ray's processes outlive the terminal


@pytest.mark.parametrize("number", STOP_SIGNALS)
def test_a_signal_before_rays_loop_has_begun_ends_its_first_step(number: signal.Signals) -> None:
    ended: list[int] = []
    with LoopSignals() as signals:
        signals.await_loop()
        os.kill(os.getpid(), number)
        os.kill(os.getpid(), number)
        assert (signals.number, signals.arrived(), ended) == (number, True, [])
        signal.signal(signal.SIGUSR1, lambda number, _: ended.append(number))  # as Ray's loop does
        signals.wrap_ray_handler()
        assert ended == [signal.SIGUSR1]


def test_a_hangup_that_is_ignored_stays_ignored() -> None:
    """As under nohup."""
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with interruptible(), LoopSignals(), held_back():
            os.kill(os.getpid(), signal.SIGHUP)
        assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)


SPEAKS_ON = """
import sys, time
from tune_sr.cli.signals import Interrupted, interruptible
from tune_sr.driver.signals import LoopSignals
try:
    with interruptible(), LoopSignals() as signals:
        signals.await_loop()
        print("begun", flush=True)
        while not signals.arrived():
            time.sleep(0.01)
        for _ in range(100):
            print("to a terminal that is gone", flush=True)
            print("to a terminal that is gone", file=sys.stderr, flush=True)
        raise Interrupted(signals.number)
except Interrupted as interrupted:
    print("interrupted", flush=True)
    sys.exit(interrupted.exit_code)
"""


def test_what_is_printed_after_a_terminal_is_closed_breaks_nothing() -> None:
    pid, terminal = pty.fork()
    if pid == 0:
        os.chdir(ROOT)
        os.execv(sys.executable, [sys.executable, "-c", SPEAKS_ON])
    assert os.read(terminal, 5) == b"begun"
    os.close(terminal)
    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    assert status == 128 + signal.SIGHUP


def interrupted_by(number: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """From now on this process gets a signal with every report."""
    original = LedgerScheduler.on_trial_result

    def tell_then_signal(self: Any, controller: Any, trial: Any, result: Any) -> str:
        decision = original(self, controller, trial, result)
        os.kill(os.getpid(), number)
        return decision

    monkeypatch.setattr(LedgerScheduler, "on_trial_result", tell_then_signal)


def curve(events: list[Event]) -> dict[int, float]:
    return {e["step"]: e["report"]["psnr_y_db"] for e in events if e["event"] == "reported"}


def statuses(space: Path, toy_folder: Path) -> dict[str, str]:
    """Of every run that MLflow has of the study, by trial; it has each once."""
    from mlflow import MlflowClient

    client = MlflowClient(f"sqlite:///{toy_folder / 'mlflow.db'}")
    experiment = client.get_experiment_by_name(space.stem)
    runs = client.search_runs([experiment.experiment_id])
    told = {run.data.tags.get("tune_sr.trial", "study"): run.info.status for run in runs}
    assert len(told) == len(runs)
    return told


@pytest.mark.ray
@pytest.mark.timeout(180)
@pytest.mark.usefixtures("ray_cluster")
def test_a_study_is_saved_marked_and_goes_on_where_it_was_moved_to(
    toy_space: ToySpace,
    toy_folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    space = toy_space("told", study={"trials": 1, "hours": 1.0})
    folder = space.parent / "runs" / "told"
    with monkeypatch.context() as patched:
        interrupted_by(signal.SIGUSR1, patched)  # the other two: test_kill.py
        assert search.main(["--space", str(space), "--quiet"]) == 138
    events = read_events(folder)
    assert (events[-1]["event"], events[-1]["finished"]) == ("study_ended", False)
    assert list(curve(events)) == [4]
    told = capsys.readouterr().err
    assert f"interrupted; to go on: {search.PROG} --resume --name told --storage " in told
    assert not (folder / "driver.lock").exists()
    assert statuses(space, toy_folder) == {"0000": "KILLED", "study": "KILLED"}

    moved = space.parent / "elsewhere" / "night"
    moved.parent.mkdir()
    folder.rename(moved)
    storage = ["--storage", str(moved.parent)]
    assert search.main(["--resume", "--name", "night", *storage, "--quiet"]) == 0
    assert statuses(space, toy_folder) == {"0000": "FINISHED", "study": "FINISHED"}
    events = read_events(moved)
    config = load_space(space).trial_config(events[2]["point"]).model_copy(update={"threads": 1})
    whole = {report["step"]: report["psnr_y_db"] for report in Run(config).reports()}
    assert curve(events) == whole  # from its checkpoints in the folder that was moved
    assert sum(event["event"] == "reported" for event in events) == len(whole)
    assert not folder.exists()


@pytest.mark.soak
@pytest.mark.timeout(900)
def test_ctrl_c_at_twenty_moments_of_a_start_ends_it_in_order(
    toy_space: ToySpace, driver_server: DriverServer
) -> None:
    """Among them those in which Ray's compiled code starts, which a raised exception would kill."""
    space = toy_space("struck", study={"trials": 1, "hours": 1.0})
    assert driver_server.run("--space", space, "--dry-run") == 0  # once all is imported
    for moment in range(20):
        words = ["--space", space, "--name", f"struck-{moment}", "--quiet"]
        begun = time.monotonic()
        after = 0.4 * (moment + 1)  # a start takes some 6 s here
        code = driver_server.run(
            *words,
            until=lambda begun=begun, after=after: time.monotonic() - begun > after,
            end_by=signal.SIGINT,
        )
        told = driver_server.told()
        assert code in (130, 0), (after, code, told)  # 0: it had ended by then
        assert "Traceback" not in told, told
        assert not any(Path(folder).exists() for folder in driver_server.ray_folders), after
