"""A progress bar on a terminal, nothing anywhere else."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TextIO


@contextmanager
def bar(total: int, stream: TextIO | None = None) -> Iterator[Callable[[str], None]]:
    """Within it, the function given is told what is done next, `total` times in all.

    The bar goes to stderr, so that a table on stdout can be redirected, and is gone at the end.
    """
    stream = stream or sys.stderr
    if not stream.isatty():
        yield lambda _doing: None
        return
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
    )

    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(file=stream), transient=True) as progress:
        task = progress.add_task("", total=total)
        begun = 0

        def tick(doing: str) -> None:
            nonlocal begun
            progress.update(task, description=doing, completed=begun)
            begun += 1

        yield tick
