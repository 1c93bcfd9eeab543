"""A study as a job of a running cluster: handed in, stopped, handed in again, ended.

    pytest tests/tune_sr/end_to_end/test_ray_job.py -m soak

It needs `pip install 'ray[default]'`, whose dashboard takes jobs in; a Ray of its own is started.
"""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tune_sr.ledger.events import Event
from tune_sr.ledger.ledger import read_events

pytestmark = [pytest.mark.kill, pytest.mark.soak, pytest.mark.timeout(600)]
ROOT = Path(__file__).parents[3]
RAY = [sys.executable, "-m", "ray.scripts.scripts"]
PATIENT = {"env_vars": {"RAY_JOB_STOP_WAIT_TIME_S": "60"}}


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
    return port


class Head:
    """A cluster of one node that takes jobs."""

    def __init__(self, temporary: str) -> None:
        self.url = f"http://127.0.0.1:{free_port()}"
        flags = {
            "port": free_port(),
            "dashboard-port": self.url.rpartition(":")[2],
            "dashboard-agent-listen-port": free_port(),
            "ray-client-server-port": free_port(),
            "num-cpus": 2,
            "temp-dir": temporary,
        }
        self._told = Path(temporary) / "told"
        secret = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": "0" * 64}  # as a cluster should
        self._environment = {**os.environ, "PYTHONPATH": str(ROOT), **secret}
        self._process = subprocess.Popen(
            [*RAY, "start", "--head", "--block", "--disable-usage-stats"]
            + [f"--{flag}={value}" for flag, value in flags.items()],
            cwd=temporary,
            env=self._environment,
            stdout=self._told.open("w"),
            stderr=subprocess.STDOUT,
        )

    def job(self, verb: str, *words: str) -> str:
        """What `ray job VERB` prints."""
        done = self._ask(verb, *words)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def wait_until_it_takes_jobs(self) -> None:
        until = time.monotonic() + 120
        while self._ask("list").returncode:
            assert self._process.poll() is None, self._told.read_text()
            assert time.monotonic() < until
            time.sleep(1)

    def close(self) -> None:
        self._process.send_signal(signal.SIGTERM)
        self._process.wait(60)

    def _ask(self, verb: str, *words: str) -> subprocess.CompletedProcess[str]:
        command = [*RAY, "job", verb, "--address", self.url, *words]
        return subprocess.run(command, capture_output=True, text=True, env=self._environment)


@pytest.fixture
def head() -> Iterator[Head]:
    if not all(importlib.util.find_spec(each) for each in ("aiohttp_cors", "opencensus")):
        pytest.skip("ray[default] is not installed: a real `ray job submit` is NOT tried")
    temporary = tempfile.mkdtemp(prefix="tsj-", dir="/tmp")  # short: sockets lie in it
    started = Head(temporary)
    try:
        started.wait_until_it_takes_jobs()
        yield started
    finally:
        started.close()
        shutil.rmtree(temporary, ignore_errors=True)


def of_kind(events: list[Event], kind: str) -> list[Event]:
    return [event for event in events if event["event"] == kind]


def wait_until(holds: Callable[[], bool]) -> None:
    until = time.monotonic() + 180
    while not holds():
        assert time.monotonic() < until
        time.sleep(0.05)


def statuses(space: Path, toy_folder: Path) -> Counter[str]:
    """Of every run that MLflow has of the study."""
    from mlflow import MlflowClient

    client = MlflowClient(f"sqlite:///{toy_folder / 'mlflow.db'}")
    experiment = client.get_experiment_by_name(space.stem)
    return Counter(run.info.status for run in client.search_runs([experiment.experiment_id]))


def test_a_job_is_handed_in_stopped_handed_in_again_and_ends(
    head: Head, toy_space: Callable[..., Path], toy_folder: Path
) -> None:
    space = toy_space(
        "job",
        fixed={"budget": {"steps": 800, "steps_per_report": 8}},  # longer than a stop takes
        study={"trials": 3, "concurrent": "auto", "storage": "runs", "scheduler": "none"},
    )
    search = ["--", sys.executable, "-m", "tune_sr.search", "--space", str(space)]
    storage = ["--storage", str(space.parent / "runs")]
    folder = space.parent / "runs" / "job"

    patient = ["--runtime-env-json", json.dumps(PATIENT)]
    head.job("submit", "--no-wait", "--submission-id", "first", *patient, *search, *storage)
    wait_until(lambda: len(of_kind(read_events(folder), "reported")) >= 3)
    began = time.monotonic()
    head.job("stop", "first")
    print(f"stopped in {time.monotonic() - began:.1f} s")
    assert "was stopped" in head.job("status", "first")
    told = head.job("logs", "first")
    assert f"to go on: python -m tune_sr.search --resume --name job {' '.join(storage)}" in told
    events = read_events(folder)
    assert (events[-1]["event"], events[-1]["finished"]) == ("study_ended", False)
    assert not (folder / "driver.lock").exists()
    assert set(statuses(space, toy_folder)) <= {"KILLED", "FINISHED"}

    head.job("submit", "--submission-id", "second", *search, *storage, "--resume")
    assert "succeeded" in head.job("status", "second")
    events = read_events(folder)
    assert events[-1]["finished"] is True and len(of_kind(events, "driver_started")) == 2
    ended = [event["trial"] for event in of_kind(events, "trial_ended")]
    assert sorted(ended) == ["0000", "0001", "0002"]
    assert statuses(space, toy_folder) == {"FINISHED": 4}
    check_refused(head, search)


def check_refused(head: Head, search: list[str]) -> None:
    """What would go with the job's folder is refused by the job's exit code, in one line."""
    head.job("submit", "--no-wait", "--submission-id", "third", *search)
    wait_until(lambda: "failed" in head.job("status", "third"))
    assert "--storage runs: not absolute; a job's own folder goes" in head.job("logs", "third")
