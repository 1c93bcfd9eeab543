"""A trial's reports by student step, packed once it has ended."""

from __future__ import annotations

from array import array
from bisect import bisect_left
from collections.abc import Iterator, Mapping
from itertools import pairwise
from typing import Literal, NamedTuple

Decision = Literal["continue", "stop", "complete"]
_DECISIONS: tuple[Decision, ...] = ("continue", "stop", "complete")


class Reported(NamedTuple):
    """One evaluation of a trial, and what was decided on it."""

    report: Mapping[str, float]
    decision: Decision
    time: float
    """When it was written, in seconds since 1970."""


class PackedReports(Mapping[int, Reported]):
    """Reports by student step: 25 bytes for one of a single figure, against more than 500."""

    def __init__(self, reports: Mapping[int, Reported], keys: tuple[str, ...]) -> None:
        self._steps = array("q", reports)
        self._times = array("d", (each.time for each in reports.values()))
        self._decisions = bytes(_DECISIONS.index(each.decision) for each in reports.values())
        self._figures = {
            key: array("d", (each.report[key] for each in reports.values())) for key in keys
        }

    def __getitem__(self, step: int) -> Reported:
        place = bisect_left(self._steps, step)
        if place == len(self._steps) or self._steps[place] != step:
            raise KeyError(step)
        report = {key: values[place] for key, values in self._figures.items()}
        return Reported(report, _DECISIONS[self._decisions[place]], self._times[place])

    def __iter__(self) -> Iterator[int]:
        return iter(self._steps)

    def __len__(self) -> int:
        return len(self._steps)


def pack(reports: Mapping[int, Reported]) -> Mapping[int, Reported]:
    """Pack reports; return them as they are where their steps or keys are out of order.

    >>> pack({10: Reported({"psnr_y_db": 30.0}, "stop", 1.0)})[10]
    Reported(report={'psnr_y_db': 30.0}, decision='stop', time=1.0)
    """
    keys = {tuple(each.report) for each in reports.values()}
    rising = all(earlier < later for earlier, later in pairwise(reports))
    return PackedReports(reports, keys.pop()) if len(keys) == 1 and rising else reports
