"""Trains many saved runs in one process, which take turns update by update.

On a GPU each run has a stream and CUDA graphs of its own, so that the updates of small networks
overlap; nothing is stacked, and runs may differ in method, network and budget. On a CPU, where one
update follows the other, every run computes the bits that it computes alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from trainables.run import Run
from trainables.saved_run import SavedRun
from trainables.values import Report

Outcome = Report | Exception
"""A run's next report, or what ended it before."""


class Studio:
    """Saved runs by name, each of which advances to its own next report.

    An exception belongs to the run that raises it: that run is dropped, and the others go on. All
    calls are made from one thread, because no other work may run while a CUDA graph is recorded.
    """

    def __init__(self) -> None:
        self._runs: dict[str, SavedRun] = {}
        self._turns: dict[str, Iterator[Report | None]] = {}

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the runs, in the order in which they came."""
        return tuple(self._runs)

    @property
    def advancing(self) -> tuple[str, ...]:
        """The names of the runs on their way to a report, in the order of their turns."""
        return tuple(self._turns)

    def run(self, name: str) -> Run:
        """Return a run that is here; raises a `KeyError` if none has this name."""
        return self._runs[name].run

    def add(self, name: str, make: Callable[[], SavedRun]) -> SavedRun:
        """Make a run, new or resumed from its checkpoints, and keep it under `name`.

        Raises:
            ValueError: the name is in use.
            Exception: what `make` raises; the studio is as before.
        """
        if name in self._runs:
            raise ValueError(f"{name}: is in the studio already")
        self._runs[name] = made = make()
        return made

    def drop(self, name: str) -> None:
        """Remove a run with its memory, at any point of its updates; its checkpoints stay.

        A name that is not here, such as that of a run that has failed, is ignored.
        """
        self._turns.pop(name, None)
        self._runs.pop(name, None)

    def advance(self, name: str) -> None:
        """Send a run on its way to its next report, which a later `turn` returns.

        Raises:
            KeyError: no run has this name.
            ValueError: it is on its way already, or has spent its budget.
        """
        saved = self._runs[name]
        if name in self._turns:
            raise ValueError(f"{name}: is on its way to a report already")
        if saved.run.finished:
            raise ValueError(f"{name}: has spent its budget")
        self._turns[name] = saved.turns()

    def turn(self) -> dict[str, Outcome]:
        """Make one update of each run that is on its way; after the last one, its evaluation.

        Returns:
            By name, the reports of the runs that have come to one, with their checkpoints on disk,
            and the exceptions of those that have failed, which are dropped.
        """
        came: dict[str, Outcome] = {}
        for name, turns in list(self._turns.items()):
            try:
                report = next(turns)
            except Exception as error:
                error.__traceback__ = None  # whose frames hold the run and its memory
                came[name] = error
                self.drop(name)
                continue
            if report is not None:
                came[name] = report
                del self._turns[name]
        return came

    def to_next(self) -> dict[str, Outcome]:
        """Take turns until a run comes to a report or fails; empty where none is on its way."""
        while self._turns:
            if came := self.turn():
                return came
        return {}
