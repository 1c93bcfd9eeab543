"""A trial's reports by student step, packed once it has ended."""

from __future__ import annotations

import math
from array import array
from bisect import bisect_left
from collections.abc import Iterator, Mapping
from itertools import pairwise
from typing import Literal, NamedTuple

Decision = Literal["continue", "stop", "complete"]
_DECISIONS: tuple[Decision, ...] = ("continue", "stop", "complete")


class Judged(NamedTuple):
    """How a trial stood at a rung, where a scheduler could have stopped it.

    >>> str(Judged(31.59, 31.74, 6, 7))
    '31.59, needed 31.74, 6th of 7'
    """

    value: float
    """What was compared: its best objective so far, in dB; nan where no report was finite."""
    needed: float
    """The smallest value with which it would have continued; -inf where any would have done."""
    rank: int
    """Its place among the compared values, from 1, the best; of equal ones the best place."""
    of: int
    """How many values were compared, its own included."""

    def __str__(self) -> str:
        needed = f", needed {self.needed:.2f}" if math.isfinite(self.needed) else ""
        return f"{self.value:.2f}{needed}, {ordinal(self.rank)} of {self.of}"

    def to_dict(self) -> dict[str, float | None]:
        """The object that a line of the ledger holds; None in place of what is not finite."""
        return {key: each if math.isfinite(each) else None for key, each in self._asdict().items()}

    @classmethod
    def from_dict(cls, written: Mapping[str, float | None] | None) -> Judged | None:
        """The inverse of `to_dict`; None of None, and where rank or count is missing."""
        found = written or {}
        rank, of, value, needed = (found.get(key) for key in ("rank", "of", "value", "needed"))
        if rank is None or of is None:
            return None
        value = math.nan if value is None else value
        return cls(value, -math.inf if needed is None else needed, int(rank), int(of))


def ordinal(number: int) -> str:
    """A whole number as a place in an order.

    >>> [ordinal(number) for number in (1, 2, 3, 4, 11, 22, 113)]
    ['1st', '2nd', '3rd', '4th', '11th', '22nd', '113th']
    """
    ending = "th" if number % 100 in (11, 12, 13) else {1: "st", 2: "nd", 3: "rd"}.get(number % 10)
    return f"{number}{ending or 'th'}"


class Reported(NamedTuple):
    """One evaluation of a trial, and what was decided on it."""

    report: Mapping[str, float]
    decision: Decision
    time: float
    """When it was written, in seconds since 1970."""
    judged: Judged | None = None
    """How it stood among the others; None where the scheduler was not asked, and in ledgers of
    earlier versions."""


class PackedReports(Mapping[int, Reported]):
    """Reports by student step: 25 bytes for one of a single figure, against more than 500.

    One at a rung takes 40 more.
    """

    def __init__(self, reports: Mapping[int, Reported], keys: tuple[str, ...]) -> None:
        self._steps = array("q", reports)
        self._times = array("d", (each.time for each in reports.values()))
        self._decisions = bytes(_DECISIONS.index(each.decision) for each in reports.values())
        self._figures = {
            key: array("d", (each.report[key] for each in reports.values())) for key in keys
        }
        asked = {step: each.judged for step, each in reports.items() if each.judged is not None}
        self._asked = array("q", asked)
        self._judged = [
            array(code, column)
            for code, column in zip("ddqq", zip(*asked.values(), strict=True), strict=False)
        ]

    def __getitem__(self, step: int) -> Reported:
        place = bisect_left(self._steps, step)
        if place == len(self._steps) or self._steps[place] != step:
            raise KeyError(step)
        report = {key: values[place] for key, values in self._figures.items()}
        decision, time = _DECISIONS[self._decisions[place]], self._times[place]
        return Reported(report, decision, time, self._judged_at(step))

    def _judged_at(self, step: int) -> Judged | None:
        place = bisect_left(self._asked, step)
        if place == len(self._asked) or self._asked[place] != step:
            return None
        return Judged(*(column[place] for column in self._judged))

    def __iter__(self) -> Iterator[int]:
        return iter(self._steps)

    def __len__(self) -> int:
        return len(self._steps)


def pack(reports: Mapping[int, Reported]) -> Mapping[int, Reported]:
    """Pack reports; return them as they are where their steps or keys are out of order.

    >>> pack({10: Reported({"psnr_y_db": 30.0}, "stop", 1.0)})[10]
    Reported(report={'psnr_y_db': 30.0}, decision='stop', time=1.0, judged=None)
    """
    keys = {tuple(each.report) for each in reports.values()}
    rising = all(earlier < later for earlier, later in pairwise(reports))
    return PackedReports(reports, keys.pop()) if len(keys) == 1 and rising else reports
