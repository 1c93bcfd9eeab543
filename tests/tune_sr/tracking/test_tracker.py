"""The process that sends to MLflow: whoever dies, nothing is missing, nothing is left behind."""

from __future__ import annotations

import logging
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path

import pytest
from events import study_ended
from tracked_studies import (
    SUMMARY_KEYS,
    add,
    begin,
    by_trial,
    held,
    params_of,
    report,
    wait_until,
    whole_study,
    without_ids,
)

from trainables.dotted import leaves
from tune_sr.cli.signals import STOP_SIGNALS
from tune_sr.tracking import tracker as module
from tune_sr.tracking.messages import TrackingSettings
from tune_sr.tracking.process import SenderProcess
from tune_sr.tracking.sender import LedgerSender
from tune_sr.tracking.store import TrackingStore
from tune_sr.tracking.tracker import MlflowTracker

TRIALS = {None, "0000", "0001", "0002"}


def started(ledger, store, said, **changes):
    """A tracker at work, whose process reads the ledger often."""
    settings = {"experiment": "laptop", "params_of": params_of, "tags": {"searcher": "tpe"}}
    settings |= {"summary_keys": SUMMARY_KEYS, "period_s": 0.05, **changes}
    tracker = MlflowTracker(ledger.path, store, say=said.append, **settings)
    tracker.start()
    return tracker


def sent_here(ledger, storage, params_of=params_of):
    """What a sender in this process leaves in MLflow, in an experiment of its own."""

    def refuse(reason):
        raise AssertionError(reason)

    sender = LedgerSender(
        TrackingSettings(
            ledger.path,
            TrackingStore.resolve(None, storage),
            "undisturbed",
            {"searcher": "tpe"},
            SUMMARY_KEYS,
        ),
        lambda point: dict(leaves(params_of(point))),
        on_failure=refuse,
        on_success=lambda: None,
    )
    sender.stop()
    sender.run()
    return without_ids(held(storage, "undisturbed"))


def has_curves(storage, experiment, trial="0000"):
    """Whether MLflow has taken a report of the trial."""
    return "ssim" in by_trial(held(storage, experiment)).get(trial, {"curves": ()})["curves"]


def processes_of(driver):
    """The processes that send for a driver, by pid."""
    found = []
    for folder in Path("/proc").iterdir():
        with suppress(OSError):
            if folder.name.isdigit() and b"tune_sr.tracking" in (folder / "cmdline").read_bytes():
                parent = (folder / "stat").read_text().rpartition(")")[2].split()[1]
                found += [int(folder.name)] if int(parent) == driver else []
    return found


def is_alive(pid):
    with suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    return False


DRIVER = """
import signal, sys
from pathlib import Path
from tune_sr.tracking.store import TrackingStore
from tune_sr.tracking.tracker import MlflowTracker

HEAVY = {"mlflow", "torch", "ray"}
assert not HEAVY & set(sys.modules)
for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
    signal.signal(number, lambda *_: None)
ledger, experiment, uri = Path(sys.argv[1]), sys.argv[2], sys.argv[3]
store = TrackingStore.resolve(uri or None, ledger.parents[1])
tracker = MlflowTracker(
    ledger, store, experiment=experiment, params_of=dict, summary_keys=(), say=print
)
tracker.start()
sys.stdin.read()  # a study's time
assert tracker.close(timeout_s=150.0)
assert not HEAVY & set(sys.modules)
"""


def driver(ledger, experiment, uri=""):
    return subprocess.Popen(
        [sys.executable, "-c", DRIVER, ledger.path, experiment, uri],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )


@pytest.mark.timeout(180)  # MLflow's migrations, twice, one after the other
def test_two_drivers_that_make_the_database_at_once_are_silent(ledger, storage):
    """And whatever a terminal sends their process groups, everything arrives, without mlflow in
    either of them."""
    whole_study(ledger)
    (storage / "mlflow.db").unlink()  # its migrations want to speak, and break each other
    drivers = [driver(ledger, experiment) for experiment in ("one", "two")]
    for each in drivers:
        wait_until(lambda each=each: processes_of(each.pid))
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            os.killpg(each.pid, number)
    assert [(each.communicate()[0], each.returncode) for each in drivers] == [(b"", 0)] * 2
    for experiment in ("one", "two"):
        assert set(by_trial(held(storage, experiment))) == TRIALS


def test_a_server_that_never_answers_holds_nobody_up(ledger, storage):
    """Nor do signals end the process before its driver does, nor can others read its secrets."""
    whole_study(ledger)
    said = []
    with socket.create_server(("127.0.0.1", 0)) as silent:
        silent.settimeout(60)
        uri = f"http://me:secret@127.0.0.1:{silent.getsockname()[1]}"
        begun = time.monotonic()
        tracker = started(ledger, TrackingStore.resolve(uri, storage), said)
        assert time.monotonic() - begun < 0.5
        silent.accept()
        (process,) = processes_of(os.getpid())
        for file in ("cmdline", "environ"):
            assert b"secret" not in Path(f"/proc/{process}/{file}").read_bytes()
        for number in STOP_SIGNALS:
            os.kill(process, number)
        time.sleep(0.2)
        assert processes_of(os.getpid()) == [process]
        begun = time.monotonic()
        assert tracker.close(timeout_s=1.0) is False
        assert time.monotonic() - begun < 2.0
    assert processes_of(os.getpid()) == []
    why = "not everything was sent (it took more than 1 s); the same command with --resume sends it"
    assert said == [f"MLflow at http://***@{uri.partition('@')[2]}: {why}"]


def test_a_driver_that_is_killed_leaves_no_process(ledger):
    """Not even one in the middle of a request that nobody answers."""
    whole_study(ledger)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        killed = driver(ledger, "killed", f"http://127.0.0.1:{silent.getsockname()[1]}")
        silent.settimeout(60)
        silent.accept()
        (process,) = processes_of(killed.pid)
        killed.kill()
        assert killed.communicate() == (b"", None)
        wait_until(lambda: not is_alive(process), 5.0)


def test_a_process_that_is_killed_is_started_again_and_nothing_is_missing_or_doubled(
    ledger, storage, monkeypatch
):
    def refusing(point):
        if point.get("method.w_R") == 1.5:
            raise ValueError("method.w_R: no")
        return params_of(point)

    monkeypatch.setattr(module, "_FIRST_PAUSE_S", 0.05)
    said = []
    begin(ledger)
    add(ledger, 0)
    report(ledger, "0000", 10, 27.0)
    tracker = started(ledger, TrackingStore.resolve(None, storage), said, params_of=refusing)
    wait_until(lambda: has_curves(storage, "laptop"))
    for pid in processes_of(os.getpid()):
        os.kill(pid, signal.SIGKILL)
    add(ledger, 1)
    report(ledger, "0000", 20, 28.0, "complete")
    report(ledger, "0001", 10, 26.0)
    wait_until(lambda: len(said) == 2)
    assert "ended by SIGKILL; trials go on, what it misses is sent later" in said[0]
    assert said[1].endswith("it answers again")
    ledger.append(study_ended())
    assert tracker.close(), said
    runs = held(storage)  # which refuses two runs of one trial
    assert by_trial(runs)["0001"]["params"] == {"method.w_R": "1.5"}  # the point as it is
    flat = sent_here(
        ledger, storage, lambda point: point if point.get("method.w_R") == 1.5 else params_of(point)
    )
    assert without_ids(runs) == flat


@pytest.mark.parametrize(
    ("python", "why"),
    [
        ("/nonexistent/python", "cannot be started: No such file or directory"),
        ("/bin/false", "ended with exit code 1"),
    ],
)
def test_a_process_that_cannot_begin_is_tried_a_few_times_and_the_study_goes_on(
    python, why, ledger, storage, monkeypatch
):
    starts, said = [], []

    class Counted(SenderProcess):
        def __init__(self, settings):
            starts.append(time.monotonic())
            super().__init__(settings)

    monkeypatch.setattr(module, "SenderProcess", Counted)
    monkeypatch.setattr(module, "_FIRST_PAUSE_S", 0.001)
    monkeypatch.setattr(sys, "executable", python)
    whole_study(ledger)
    tracker = started(ledger, TrackingStore.resolve(None, storage), said)
    wait_until(lambda: len(starts) > module._RESTARTS)
    time.sleep(0.3)
    assert len(starts) == 1 + module._RESTARTS
    assert starts[-1] - starts[-2] > 0.001 * 2 ** (module._RESTARTS - 1)  # pauses are doubled
    assert tracker.close() is False
    shown = f"MLflow at sqlite:///{storage / 'mlflow.db'}: "
    what = f"the process that sends to it {why}"
    rest = f"not everything was sent ({what}); the same command with --resume sends it"
    assert said == [f"{shown}{what}; trials go on, what it misses is sent later", f"{shown}{rest}"]


class Scripted:
    """Stands for a process: it sends one message after the other, each after some seconds."""

    def __init__(self, *script):
        self._script, self._killed = script, threading.Event()

    def messages(self):
        for seconds, kind in self._script:
            if self._killed.wait(seconds):
                return
            yield {"kind": kind, "reason": "Connection refused"}

    def close(self):
        pass

    def kill(self):
        self._killed.set()

    def wait(self):
        return "ended"


@pytest.mark.parametrize(
    ("then", "timeout_s", "least_s", "why"),
    [
        ([(0.2, "up_to_date"), (0.6, "closed")], 30.0, 0.7, None),
        ([(0.2, "up_to_date"), (60.0, "closed")], 1.5, 1.4, "it took more than 2 s"),
        ([(60.0, "closed")], 30.0, 0.4, "Connection refused"),
    ],
    ids=["it answers again", "it answers again and takes too long", "it stays away"],
)
def test_at_the_end_a_store_that_is_away_is_waited_for_briefly_unless_it_answers(
    then, timeout_s, least_s, why, ledger, storage, monkeypatch
):
    said = []
    monkeypatch.setattr(module, "_PATIENCE_S", 0.5)
    process = Scripted((0.0, "failed"), (0.0, "failed"), *then)
    monkeypatch.setattr(module, "SenderProcess", lambda settings: process)
    begun = time.monotonic()
    tracker = started(ledger, TrackingStore.resolve(None, storage), said)
    wait_until(lambda: said)
    assert tracker.close(timeout_s) is (why is None)
    assert least_s < time.monotonic() - begun < 10.0
    assert why is None or f"not everything was sent ({why}); the same command" in said[-1]


class Server:
    """MLflow's own server, in this process; it can be away, and it can take its time."""

    def __init__(self, storage, port):
        self.port, self.answered = port, 0
        self.answers = threading.Event()
        self.answers.set()
        self._storage = storage
        self._served = None

    def __call__(self, environ, start_response):
        from mlflow.server import app

        assert self.answers.wait(30)
        self.answered += 1
        return app(environ, start_response)

    def start(self):
        from werkzeug.serving import make_server

        self._served = make_server("127.0.0.1", self.port, self, threaded=True)
        threading.Thread(target=self._served.serve_forever, daemon=True).start()

    def stop(self):
        self._served.shutdown()
        self._served.server_close()


@pytest.fixture
def server(storage, monkeypatch):
    """Not started yet."""
    from mlflow.server import handlers

    monkeypatch.setattr(handlers, "_tracking_store", None)
    handlers.initialize_backend_stores(
        f"sqlite:///{storage / 'mlflow.db'}", default_artifact_root=str(storage / "served")
    )
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
    return Server(storage, port)


def test_a_server_that_is_away_or_takes_its_time_misses_nothing(ledger, storage, server):
    said, missing, again = [], "what it misses is sent later", "it answers again"

    def has_said(*ends):
        wait_until(lambda: len(said) >= len(ends))
        assert all(line.endswith(end) for line, end in zip(said, ends, strict=True)), said

    store = TrackingStore.resolve(f"http://127.0.0.1:{server.port}", storage)
    tracker = started(ledger, store, said, experiment="served")
    begin(ledger)
    add(ledger, 0)
    report(ledger, "0000", 10, 27.0)
    has_said(missing)  # down at the start
    assert "Connection refused" in said[0]
    server.start()
    has_said(missing, again)
    wait_until(lambda: has_curves(storage, "served"))

    server.stop()  # killed in the middle
    add(ledger, 1)
    report(ledger, "0001", 10, 26.0)
    has_said(missing, again, missing)
    server.answers.clear()
    server.start()  # where it takes its time
    add(ledger, 2)
    report(ledger, "0000", 20, 28.0, "complete")
    time.sleep(1.0)
    server.answers.set()
    has_said(missing, again, missing, again)
    wait_until(lambda: has_curves(storage, "served", "0001"))
    server.answers.clear()
    answered = server.answered
    report(ledger, "0002", 10, 25.0)  # a driver at work: it writes, and MLflow does not answer
    report(ledger, "0001", 20, 29.0, "stop")
    ledger.append(study_ended())
    assert server.answered == answered
    threading.Timer(1.0, server.answers.set).start()
    assert tracker.close(), said
    has_said(missing, again, missing, again)
    server.stop()
    assert without_ids(held(storage, "served")) == sent_here(ledger, storage)
