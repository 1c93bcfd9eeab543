"""What is promised the same bits for any number of CPU threads has them, in old and new processes.

`pytest -n 0 -m soak tests/trainables/test_threads.py` does so 200 times, in one process for each
number of threads and in as many new ones.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch

from trainables.marks import marks
from trainables.metrics.evaluate import Heldout, evaluate
from trainables.metrics.tiles import Upscale
from trainables.run import Run
from trainables.threads import threads, workers

COUNTS = (1, 2, 4)


def digests(threads: int, repeats: int) -> list[str]:
    """What a new process prints, which believes that the machine has four processors."""
    script = Path(__file__).with_name("digest_lr_images.py")
    root = Path(__file__).parents[2]
    environment = {**os.environ, "PYTHONPATH": str(root), "OMP_NUM_THREADS": "4"}
    environment.pop("MKL_NUM_THREADS", None)
    command = [sys.executable, str(script), str(threads), str(repeats)]
    done = subprocess.run(command, cwd=root, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


def test_lr_images_have_the_same_bits_in_every_process_for_any_number_of_threads() -> None:
    found = [each for count in COUNTS for each in digests(count, 3)]
    assert len(found) == 3 * len(COUNTS)
    assert len(set(found)) == 1


@pytest.mark.soak
@pytest.mark.timeout(7200)
def test_lr_images_have_the_same_bits_two_hundred_times() -> None:
    found = [each for count in COUNTS for each in digests(count, 200)]
    found += [each for number in range(200) for each in digests(COUNTS[number % 3], 1)]
    assert len(found) == 200 * (len(COUNTS) + 1)
    assert len(set(found)) == 1


@pytest.mark.bits
def test_what_a_study_is_held_against_is_computed_with_the_runs_threads_in_any_thread(
    make_run: Callable[..., Run], monkeypatch: pytest.MonkeyPatch
) -> None:
    used = []

    def noted(upscale: Upscale, heldout: Heldout) -> dict[str, float]:
        used.append(torch.get_num_threads())
        return evaluate(upscale, heldout)

    run = make_run("kd", threads=2)
    monkeypatch.setattr("trainables.marks.evaluate", noted)
    torch.set_num_threads(3)
    here = marks(run)
    with ThreadPoolExecutor(1) as beside:
        assert beside.submit(marks, run).result() == here
    assert (used, torch.get_num_threads()) == ([2, 2, 2, 2], 3)


def test_a_number_of_threads_holds_within_the_block_and_ends_with_it() -> None:
    torch.set_num_threads(3)
    with pytest.raises(ZeroDivisionError), threads(2):
        assert torch.get_num_threads() == 2
        _ = 1 / 0
    assert torch.get_num_threads() == 3


def test_workers_are_as_many_as_torch_may_use_each_with_one_thread() -> None:
    torch.set_num_threads(3)
    with workers() as pool:
        assert set(pool.map(lambda _: torch.get_num_threads(), range(20))) == {1}
        assert torch.get_num_threads() == 3
    with ThreadPoolExecutor(1) as later:
        assert later.submit(torch.get_num_threads).result() == 3
    assert torch.get_num_threads() == 3
