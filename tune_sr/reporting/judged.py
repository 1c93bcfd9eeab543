"""What the scheduler compared at each rung: a trial's value, the one it needed, and its rank."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from tune_sr.ledger.events import Event, TrialReported, is_number
from tune_sr.results.results import Results
from tune_sr.schedulers.rules import SCHEDULERS, best_until
from tune_sr.schedulers.rungs import bracket_of, bracket_shares, rungs


class Judged(NamedTuple):
    """One comparison at a rung."""

    value: float
    """What was compared, in dB."""
    needed: float | None
    """What would have been enough; None where any value was."""
    rank: int | None
    """1: the best so far."""
    of: int | None
    """How many were compared, this trial included."""

    def text(self) -> str:
        """The comparison in words: `31.59, needed 31.74, 6th of 7`."""
        parts = [f"{self.value:.2f}" if math.isfinite(self.value) else "no value"]
        if self.needed is not None:
            parts.append(f"needed {self.needed:.2f}")
        if self.rank is not None and self.of is not None:
            parts.append(f"{ordinal(self.rank)} of {self.of}")
        return ", ".join(parts)


def ordinal(number: int) -> str:
    """An English ordinal.

    >>> [ordinal(n) for n in (1, 2, 3, 4, 11, 22)]
    ['1st', '2nd', '3rd', '4th', '11th', '22nd']
    """
    few = {1: "st", 2: "nd", 3: "rd"}.get(number % 10, "th")
    return f"{number}{'th' if number % 100 in (11, 12, 13) else few}"


def judged_of(results: Results, events: Iterable[Event]) -> dict[str, dict[int, Judged]]:
    """By trial and rung: what was compared, as recorded, else as the rule had it to be.

    Ledgers of earlier versions lack it. Reports then are compared as the scheduler did, in the
    order in which they were written; with two objectives nothing is inferred.
    """
    found = _recorded(events)
    if results.cost is None:
        for name, at in _inferred(results).items():
            for step, judged in at.items():
                found.setdefault(name, {}).setdefault(step, judged)
    return found


def _recorded(events: Iterable[Event]) -> dict[str, dict[int, Judged]]:
    found: dict[str, dict[int, Judged]] = {}
    for event in events:
        judged = event.get("judged")
        if event["event"] == TrialReported.kind and isinstance(judged, Mapping):
            at = found.setdefault(event["trial"], {})
            at.setdefault(event["step"], _of_event(judged))
    return found


def _of_event(judged: Mapping[str, Any]) -> Judged:
    value, needed = (_number(judged.get(key)) for key in ("value", "needed"))
    rank, of = (
        None if (number := _number(judged.get(key))) is None else int(number)
        for key in ("rank", "of")
    )
    return Judged(-math.inf if value is None else value, needed, rank, of)


def _number(value: Any) -> float | None:
    return float(value) if is_number(value) and math.isfinite(value) else None


def _inferred(results: Results) -> dict[str, dict[int, Judged]]:
    settings, budget = results.settings, results.space.budget
    scheduler, objective = settings.scheduler, settings.objective.value
    rule = SCHEDULERS[scheduler.name]
    if rule.is_population_based:
        return {}
    brackets = [frozenset(rungs(scheduler, budget, b)) for b in
                range(len(bracket_shares(scheduler, budget)))]  # fmt: skip
    found: dict[str, dict[int, Judged]] = {}
    for step in sorted(frozenset().union(*brackets) - {budget.steps}):
        others: dict[int, list[float]] = {}
        for record in results.history.reached.get(step, ()):
            bracket = bracket_of(scheduler, budget, settings.seed, record.number)
            if step not in brackets[bracket]:
                continue
            theirs = others.setdefault(bracket, [])
            own = best_until(record, step, objective)
            needed = _needed(own, theirs, scheduler.name, scheduler.reduction_factor)
            rank = 1 + sum(value > own for value in theirs)
            found.setdefault(record.name, {})[step] = Judged(own, needed, rank, len(theirs) + 1)
            theirs.append(rule.compared_value(record, step, objective))
    return found


def _needed(own: float, others: Sequence[float], rule: str, factor: int) -> float | None:
    """The value from which on a trial goes on: a quantile of all, of `median` of the others."""
    finite = [value for value in others if math.isfinite(value)]
    if not finite:
        return None
    if rule == "median":
        return float(np.median(finite))
    return float(np.quantile([*finite, own] if math.isfinite(own) else finite, 1 - 1 / factor))
