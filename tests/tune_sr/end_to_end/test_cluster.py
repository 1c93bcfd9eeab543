"""A study on several nodes, of which some are lost; one machine pretends to be all of them.

    pytest tests/tune_sr/end_to_end/test_cluster.py -m soak

Four Rays beside the suite's own are minutes of two cores: it is run by its name.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from trainables.checkpoints import STATE, find_checkpoints
from trainables.run import Run
from tune_sr.ledger.events import Event
from tune_sr.ledger.ledger import read_events
from tune_sr.study.config import StudyConfig
from tune_sr.study.space_file import load_study

pytestmark = [pytest.mark.ray, pytest.mark.soak, pytest.mark.timeout(400)]
ROOT = Path(__file__).parents[3]
STEPS, EVERY = 1600, 4


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

    def trials_begun(self) -> int:
        """How many processes of its nodes are training: the parent of each is its node's raylet.

        Where a node is lost while a process is being made for a trial, Ray makes it another one,
        and the trial has lost nothing.
        """
        children: dict[str, list[tuple[str, str]]] = {}
        for entry in Path("/proc").glob("[0-9]*"):
            with suppress(OSError):  # it has just ended
                parent = (entry / "stat").read_text().rpartition(")")[2].split()[1]
                children.setdefault(parent, []).append(
                    (entry.name, (entry / "cmdline").read_text())
                )
        workers = [
            name
            for raylet, _ in children.get(str(self._process.pid), ())
            for _, name in children.get(raylet, ())
        ]
        return sum(name.startswith("ray::ResourceTrainable.train") for name in workers)

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
    until = time.monotonic() + 120
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
    for added in of_kind(events, "trial_added"):
        run = Run(config.trial_config(added["point"]).model_copy(update={"threads": 1}))
        made = [e["report"] for e in of_kind(events, "reported") if e["trial"] == added["trial"]]
        told = {report["step"]: report["psnr_y_db"] for report in made}
        assert told == {report["step"]: report["psnr_y_db"] for report in run.reports()}


def steps_of(events: list[Event]) -> Counter[str]:
    """How many reports each trial has made."""
    return Counter(event["trial"] for event in of_kind(events, "reported"))


def cut_newest_short(folder: Path, trial: str) -> None:
    """Leave of a trial's newest checkpoint what a node leaves that dies while writing it."""
    newest, before = None, None
    while newest is None or newest != before:  # its process may live on a little without its node
        before, newest = newest, find_checkpoints(folder.glob(f"trials/*/{trial}"))[0].folder
        time.sleep(2.0)
    os.truncate(newest / STATE, 99)


@pytest.fixture
def driver(nodes: Nodes, toy_space: Callable[..., Path]) -> Iterator[subprocess.Popen[str]]:
    """Of a study of two trials on the two nodes; its folder is its `args[-1]`."""
    space = toy_space(
        fixed={"budget": {"steps": STEPS, "steps_per_report": EVERY}},
        study={"trials": 2, "concurrent": "auto", "gpus_per_trial": 1, "scheduler": "none"},
    )
    words = ["--address", nodes.address, "--space", str(space)]
    process = subprocess.Popen(
        [sys.executable, "-m", "tune_sr.search", *words],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    yield process
    process.kill()
    process.communicate()


def folder_of(driver: subprocess.Popen[str]) -> Path:
    """The folder of a driver's study."""
    assert isinstance(driver.args, list)
    return Path(str(driver.args[-1])).parent / "runs" / "toy"


def end_of(driver: subprocess.Popen[str], nodes: Nodes) -> tuple[str, list[Event]]:
    """What a driver has said when it has ended well, and what its study's ledger has then."""
    told = driver.communicate(timeout=240)[0]
    assert driver.returncode == 0, told
    folder = folder_of(driver)
    study = load_study(folder / "space.yaml")
    check_complete(
        read_events(folder),
        2,
        StudyConfig(*study, folder.parent / "toy", nodes.address),
    )
    return told, read_events(folder)


def test_trials_move_from_nodes_that_are_lost_to_those_that_come(
    nodes: Nodes, driver: subprocess.Popen[str]
) -> None:
    folder = folder_of(driver)
    wait_until(folder, lambda _: nodes.trials_begun() == 2)
    nodes.ask("remove")  # before a checkpoint
    nodes.ask("add")
    wait_until(folder, lambda events: len(reporting(events)) == 2)  # one on each node
    wait_until(folder, lambda events: min(steps_of(events).values()) >= 3)
    moved = len(of_kind(read_events(folder), "attempt"))
    assert moved == 1
    for _ in range(2):  # there is no place left at all
        nodes.ask("remove")
    for trial in ("0000", "0001"):
        cut_newest_short(folder, trial)  # during a checkpoint
    for _ in range(2):
        nodes.ask("add")
    wait_until(folder, lambda events: len(of_kind(events, "attempt")) == moved + 2)
    before = steps_of(read_events(folder))
    wait_until(folder, lambda events: len(steps_of(events) - before) == 2)
    nodes.ask("remove")  # after a checkpoint
    nodes.ask("add")
    told, events = end_of(driver, nodes)
    reasons = {event["reason"] for event in of_kind(events, "attempt")}
    assert reasons <= {"its node was lost", "its process was lost"}
    assert len(of_kind(events, "attempt")) == moved + 3
    assert told.count("is damaged; an earlier one is used") == 2
    repeated = len(of_kind(events, "reported")) - 2 * STEPS // EVERY
    assert repeated <= len(of_kind(events, "attempt")) + 2  # a checkpoint's interval, or two
    assert events[-1]["finished"] is True
    assert not list(folder.glob(".shared-*"))
    nodes.ask("remove")  # the driver has left the cluster running


def test_a_preempted_node_is_no_failure_of_its_trial(
    nodes: Nodes, driver: subprocess.Popen[str]
) -> None:
    folder = folder_of(driver)
    wait_until(folder, lambda events: len(reporting(events)) == 2)
    wait_until(folder, lambda events: min(steps_of(events).values()) >= 3)
    nodes.ask("preempt")
    nodes.ask("add")
    _, events = end_of(driver, nodes)
    (attempt,) = of_kind(events, "attempt")
    assert attempt["reason"] == "its node was preempted"
    repeated = len(of_kind(events, "reported")) - 2 * STEPS // EVERY
    assert repeated <= 2  # a checkpoint's interval, or two
