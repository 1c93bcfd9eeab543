"""What a study shows by itself: whether its best trial gained, what was stopped, what it took."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping
from itertools import pairwise
from statistics import median
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple

from tune_sr.results.paired import Verdict

if TYPE_CHECKING:
    from tune_sr.ledger.history import History, TrialRecord
    from tune_sr.ledger.reports import Judged

WOBBLES: Final = 3.0
"""A gain below so many wobbles, two standard deviations of two runs' difference, is not shown."""
LEAST_CHANGE: Final = 0.02
"""A generator that moved by less, in units of the contrast of its images, is as good as untrained.
"""
NOT_SHOWN: Final = "not shown to be a gain"
NOT_CONFIRMED: Final = "not confirmed yet"


def wobble(records: Iterable[TrialRecord], objective: str) -> float | None:
    """How far a curve moves between two reports, without a trend that would explain it, in dB.

    The median of |report - report before| over the last third of the updates of all completed
    trials; a stand-in for the spread over seeds, which takes more than one run to measure. None
    where no completed trial has two finite reports in a row there.

    Args:
        records: trials, of which those that are not completed are left out.
        objective: the key of reports that is to be large.
    """
    moves = [
        abs(value - before)
        for record in records
        if record.state == "completed" and record.reports
        for before, value in _late_pairs(record, objective)
        if math.isfinite(before) and math.isfinite(value)
    ]
    return median(moves) if moves else None


def _late_pairs(record: TrialRecord, objective: str) -> Iterable[tuple[float, float]]:
    steps = sorted(record.reports)
    values = {step: record.reports[step].report.get(objective, math.nan) for step in steps}
    late = 2 * steps[-1] / 3
    return ((values[a], values[b]) for a, b in pairwise(steps) if b > late)


class Gain(NamedTuple):
    """What the best trial of a study gained over its first point, and whether that is shown."""

    db: float
    """The best trial's score less the first point's; of confirmed ones the mean over seeds."""
    verdict: Verdict | Literal["not shown to be a gain", "not confirmed yet"]
    wobble_db: float | None
    trials: int
    """How many trials the best one was chosen from."""

    @property
    def confirmed(self) -> bool:
        """Whether the verdict is one over several seeds."""
        return self.verdict not in (NOT_SHOWN, NOT_CONFIRMED)

    def __str__(self) -> str:
        """The verdict in a sentence: `+0.02 dB, not shown to be a gain (a curve moves by ...)`."""
        if self.verdict == NOT_SHOWN:
            why = f"(a curve moves by {self.wobble_db or 0:.2f} between reports)"
            return f"{self.db:+.2f} dB, {self.verdict} {why}"
        if self.verdict == NOT_CONFIRMED:
            return f"{self.db:+.2f} dB, {self.verdict}: one seed, best of {self.trials}"
        return f"{self.db:+.3f} dB, confirmed: {self.verdict}"

    def to_dict(self) -> dict[str, Any]:
        """The key `gain` of `summary.json`."""
        return {**self._asdict(), "text": str(self)}


def gain(
    best: float,
    first: float,
    wobble_db: float | None,
    trials: int,
    confirmed: Mapping[str, Any] | None = None,
) -> Gain:
    """Whether the best of `trials` trials gained over the first point.

    Args:
        best: score of the best trial, in dB.
        first: score of the first point, in dB.
        wobble_db: as `wobble` returns it.
        trials: how many trials have a score.
        confirmed: the key `confirmed` of `summary.json`, whose verdict comes before any other.

    >>> str(gain(32.28, 32.26, 0.05, 8))
    '+0.02 dB, not shown to be a gain (a curve moves by 0.05 between reports)'
    >>> str(gain(32.50, 32.26, 0.05, 8))
    '+0.24 dB, not confirmed yet: one seed, best of 8'
    """
    difference = (confirmed or {}).get("difference")
    if difference is not None:
        return Gain(difference["mean"], difference["verdict"], wobble_db, trials)
    shown = wobble_db is None or best - first >= WOBBLES * wobble_db
    return Gain(best - first, NOT_CONFIRMED if shown else NOT_SHOWN, wobble_db, trials)


def teachers_share(value: float, bicubic: float, teacher: float | None) -> float | None:
    """The share of the teacher's gain over bicubic that `value` has; None where it gains nothing.

    >>> f"{teachers_share(32.26, 30.83, 33.41):.2f}"
    '0.55'
    """
    if teacher is None or teacher <= bicubic:
        return None
    return (value - bicubic) / (teacher - bicubic)


def stopped(history: History) -> dict[int, list[tuple[str, Judged | None]]]:
    """The trials that a scheduler stopped, by the step of the rung, ascending; by name within it.

    How each stood there is None in ledgers of earlier versions.
    """
    rungs: defaultdict[int, list[tuple[str, Judged | None]]] = defaultdict(list)
    for record in sorted(history.trials.values(), key=lambda each: each.number):
        if record.state == "stopped" and record.reports:
            step = max(record.reports)
            rungs[step].append((record.name, record.reports[step].judged))
    return dict(sorted(rungs.items()))


def seconds_to_confirm(history: History, seeds: int) -> float | None:
    """About how long it takes to repeat two trials with `seeds` seeds, as fast as trials were.

    None where no trial was completed.
    """
    usage, trials = history.usage, history.trials.values()
    whole = [usage.trial_seconds(each.name) for each in trials if each.state == "completed"]
    busy = sum(usage.trial_seconds(each.name) for each in history.all_records())
    if not whole or busy <= 0:
        return None
    at_a_time = max(1.0, busy / max(usage.driver_seconds(), 1e-9))
    return 2 * seeds * sum(whole) / len(whole) / at_a_time
