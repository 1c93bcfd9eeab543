"""A study on several nodes, of which some are lost; one machine pretends to be all of them.

    pytest tests/tune_sr/test_cluster.py -m soak

Four Rays beside the suite's own are minutes of two cores: it is run by its name.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from trainables.run import Run
from tune_sr.ledger import Event
from tune_sr.resume import read_events
from tune_sr.space import SearchSpace
from tune_sr.study import StudyConfig

pytestmark = [pytest.mark.ray, pytest.mark.soak, pytest.mark.timeout(180)]
ROOT = Path(__file__).parents[2]
STEPS, EVERY = 200, 4


class Nodes:
    """A cluster in a process of its own: a head, and two nodes of one CPU and one GPU each."""

    def __init__(self, temporary: str) -> None:
        script = Path(__file__).with_name("cluster_of_three.py")
        self._process = subprocess.Popen(
            [sys.executable, str(script), temporary],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        self.address = self._line()

    def ask(self, word: str) -> None:
        """`add` or `remove` a node; it has happened when this returns."""
        assert self._process.stdin is not None
        print(word, file=self._process.stdin, flush=True)
        assert self._line() == "done"

    def close(self) -> None:
        self._process.communicate(timeout=60)

    def _line(self) -> str:
        assert self._process.stdout is not None
        return self._process.stdout.readline().strip()


@pytest.fixture
def nodes() -> Iterator[Nodes]:
    temporary = tempfile.mkdtemp(prefix="tsc-", dir="/tmp")  # short: sockets lie in it
    cluster = Nodes(temporary)
    yield cluster
    cluster.close()
    shutil.rmtree(temporary, ignore_errors=True)


def of_kind(events: list[Event], kind: str) -> list[Event]:
    return [event for event in events if event["event"] == kind]


def reporting(events: list[Event]) -> set[str]:
    """The trials that have reported and not ended."""
    ended = {event["trial"] for event in of_kind(events, "trial_ended")}
    return {event["trial"] for event in of_kind(events, "reported")} - ended


def wait_until(folder: Path, holds: Callable[[list[Event]], bool]) -> None:
    until = time.monotonic() + 60
    while not holds(read_events(folder)):
        assert time.monotonic() < until
        time.sleep(0.01)


def check_complete(events: list[Event], trials: int, config: StudyConfig) -> None:
    """Every trial was added and ended once and made every report, and none differs."""
    names = [f"{number:04d}" for number in range(trials)]
    assert [event["trial"] for event in of_kind(events, "trial_added")] == names
    ends = Counter((event["trial"], event["state"]) for event in of_kind(events, "trial_ended"))
    assert ends == Counter((name, "completed") for name in names)
    for name in names:
        steps = {e["step"] for e in of_kind(events, "reported") if e["trial"] == name}
        assert steps == set(range(EVERY, STEPS + 1, EVERY))
    moved = of_kind(events, "attempt")[0]["trial"]
    point = next(e["point"] for e in of_kind(events, "trial_added") if e["trial"] == moved)
    run = Run(config.configure(point).model_copy(update={"threads": 1}))
    told = {e["step"]: e["report"] for e in of_kind(events, "reported") if e["trial"] == moved}
    for report in run.reports():
        assert told[report["step"]]["psnr_y_db"] == report["psnr_y_db"]


def test_trials_move_from_nodes_that_are_lost_to_those_that_come(
    nodes: Nodes, toy_space: Callable[..., Path]
) -> None:
    space = toy_space(
        fixed={"budget": {"steps": STEPS, "steps_per_report": EVERY}},
        study={"trials": 2, "concurrent": "auto", "gpus_per_trial": 1, "scheduler": "none"},
    )
    words = ["--space", str(space), "--address", nodes.address]
    driver = subprocess.Popen(
        [sys.executable, "-m", "tune_sr.search", *words],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    folder = space.parent / "runs" / "toy"
    wait_until(folder, lambda events: len(reporting(events)) == 2)  # one on each node
    nodes.ask("remove")
    wait_until(folder, lambda events: len(of_kind(events, "attempt")) == 1)
    nodes.ask("remove")  # now there is no place left at all
    nodes.ask("add")
    told = driver.communicate(timeout=120)[0]
    assert driver.returncode == 0, told
    config = StudyConfig.of(SearchSpace.load(space), "toy", folder.parent, nodes.address)
    events = read_events(folder)
    check_complete(events, 2, config)
    assert {event["reason"] for event in of_kind(events, "attempt")} == {"its process was lost"}
    assert events[-1]["finished"] is True
    assert not list(folder.glob(".shared-*"))
    nodes.ask("remove")  # the driver has left the cluster running
