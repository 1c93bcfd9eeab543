"""A progress bar on stderr, shown where stderr is a terminal."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TextIO


@contextmanager
def bar(total: int, stream: TextIO | None = None) -> Iterator[Callable[[str], None]]:
    """Show a progress bar of `total` steps; yields a function to call before each step.

    The function takes the step's description. The bar is removed when the context is left. Where
    the stream is no terminal, nothing is shown.

    Args:
        total: how many steps there are.
        stream: where to draw; None: stderr, so that a table on stdout can be redirected.
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
