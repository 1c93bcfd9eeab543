"""A disk that is really full, and has room again later.

    pytest tests/tune_sr/end_to_end/test_full_disk.py -m soak

It is a disk of its own, of 64 MB, in memory: making one takes the right to mount.
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tune_sr.driver.outcome import write_outcome
from tune_sr.driver.preflight import prepare
from tune_sr.ledger.events import Event
from tune_sr.ledger.ledger import read_events
from tune_sr.study.config import StudyConfig
from tune_sr.study.space_file import load_study

pytestmark = [pytest.mark.kill, pytest.mark.soak, pytest.mark.timeout(400)]
ROOT = Path(__file__).parents[3]
STEPS, EVERY = 200, 4


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=64m", "tmpfs", str(disk)]
    done = subprocess.run(mount, capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"no disk can be mounted here, a full one is NOT tried: {done.stderr.strip()}")
    yield disk
    subprocess.run(["umount", "--lazy", str(disk)], check=True)


def reports(folder: Path) -> list[Event]:
    return [event for event in read_events(folder) if event["event"] == "reported"]


def wait_until(holds: Callable[[], bool]) -> None:
    until = time.monotonic() + 120
    while not holds():
        assert time.monotonic() < until
        time.sleep(0.05)


def fill(disk: Path) -> Path:
    """A file that takes all the room there is."""
    filler = disk / "filler"
    with filler.open("ab", buffering=0) as file:
        for size in (2**20, 2**12, 1):
            try:
                while file.write(bytes(size)):
                    pass
            except OSError:
                continue
    return filler


def test_a_study_waits_for_room_says_so_and_lacks_nothing_in_the_end(
    small_disk: Path, toy_space: Callable[..., Path], tmp_path: Path
) -> None:
    budget = {"steps": STEPS, "steps_per_report": EVERY}
    study = {"trials": 2, "scheduler": "none", "storage": str(small_disk)}
    space = toy_space(fixed={"budget": budget}, study=study)
    folder, said = small_disk / "toy", tmp_path / "said"
    command = [sys.executable, "-m", "tune_sr.search", "--space", str(space)]
    with said.open("wb") as output:
        driver = subprocess.Popen(command, cwd=ROOT, stdout=output, stderr=subprocess.STDOUT)
    try:
        wait_until(lambda: len(reports(folder)) >= 5)
        filler = fill(small_disk)
        wait_until(lambda: "waiting: make room there" in said.read_text())
        before = len(reports(folder))
        time.sleep(3.0)
        assert len(reports(folder)) == before and driver.poll() is None
        filler.unlink()
        assert driver.wait(timeout=200) == 0, said.read_text()
    finally:
        driver.kill()
    told = said.read_text()
    assert told.count("waiting: make room there") == 1
    assert told.count("no checkpoint from step") == 1
    events = read_events(folder)
    ends = [(e["trial"], e["state"]) for e in events if e["event"] == "trial_ended"]
    assert ends == [(f"{number:04d}", "completed") for number in range(2)]
    made = Counter(event["trial"] for event in reports(folder))
    assert set(made.values()) == {STEPS // EVERY} and not list(folder.glob("trials/*/*/*/*.tmp"))


def test_results_wait_for_room(
    small_disk: Path, toy_space: Callable[..., Path], caplog: pytest.LogCaptureFixture
) -> None:
    """The disk is full when all trials have ended, where `write_outcome` meets it."""
    space = toy_space(study={"trials": 2, "scheduler": "none", "storage": str(small_disk)})
    command = [sys.executable, "-m", "tune_sr.search", "--space", str(space)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    folder = small_disk / "toy"
    results = ["summary.json", "results.csv", "best/student.safetensors", "best/panel.png"]
    for name in results:
        (folder / name).unlink()
    config = StudyConfig(*load_study(space), small_disk / "toy")
    prepared = prepare(config)
    filler = fill(small_disk)
    with ThreadPoolExecutor(1) as beside:
        written = beside.submit(write_outcome, config.folder, prepared)
        wait_until(lambda: "waiting: make room there" in caplog.text)
        time.sleep(3.0)
        assert not written.done()
        filler.unlink()
        best = written.result(timeout=60).best
    assert best is not None and all((folder / name).stat().st_size for name in results)
    assert caplog.text.count("waiting: make room there") == 1
    assert not list(folder.glob("*.tmp")) and not (folder / "best.new").exists()
