"""Sets the number of CPU threads of torch: the order of a sum, and so its last bit, depends on it.

`torch.set_num_threads` holds in the calling thread. A thread that starts later and never queries
the number multiplies matrices with as many threads as the machine has processors. Code that
computes outside the main thread therefore sets the number itself, by one of these two contexts.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import contextmanager

import torch


@contextmanager
def threads(count: int) -> Iterator[None]:
    """Let torch use `count` CPU threads in the calling thread; restores the number on leaving."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@contextmanager
def workers() -> Iterator[Executor]:
    """Yield a pool with as many threads as torch uses in the calling one; each uses one.

    Results computed in the pool are bitwise equal for any number of threads.
    """
    count = torch.get_num_threads()
    try:
        with ThreadPoolExecutor(count, initializer=torch.set_num_threads, initargs=(1,)) as pool:
            yield pool
    finally:
        torch.set_num_threads(count)  # the pool's setting also holds for threads started later
