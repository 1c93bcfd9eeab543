"""CPU threads that torch computes with: the order of a sum, and so its last bit, depends on them.

`torch.set_num_threads` holds in the thread that calls it. A thread that begins later and never asks
torch for its number multiplies matrices with as many threads as the machine has processors.
Whatever computes beside the main thread therefore sets its own number, by one of these two.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import contextmanager

import torch


@contextmanager
def threads(count: int) -> Iterator[None]:
    """Let torch use `count` CPU threads in the calling thread, and afterwards as many as before."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@contextmanager
def workers() -> Iterator[Executor]:
    """Make as many threads as torch may use in the calling one, in each of which torch uses one.

    What is computed in them has the same bits however many there are.
    """
    count = torch.get_num_threads()
    try:
        with ThreadPoolExecutor(count, initializer=torch.set_num_threads, initargs=(1,)) as pool:
            yield pool
    finally:
        torch.set_num_threads(count)  # the number of threads yet to begin is the process's own
