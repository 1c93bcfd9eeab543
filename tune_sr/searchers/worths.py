"""What ended trials are worth to a searcher: the objective values of whole trials."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterator, Mapping

from tune_sr.ledger.history import TrialRecord
from tune_sr.searchers.context import ProposalContext

_BLAMES_THE_POINT = ("diverged", "out of memory", "invalid")
"""Beginnings of the reasons of failures that the same point would cause again."""


def worths(context: ProposalContext) -> Iterator[tuple[TrialRecord, list[float]]]:
    """Yield each ended trial that has an objective value, with `[value]` or `[value, cost]`.

    A completed trial has its score. A stopped one has its best value plus the median gain of the
    completed trials after its last step: without stopped trials a sampler would forget the poor
    part of the space, and their bare values would look worse than they are. A trial that failed
    because of its point has the worst value, and if it has no report the highest cost, of all
    others. Trials that failed because of the machine, or have no finite report, are left out.
    """
    scores = _scores(context)
    worths = {**scores, **_extrapolated(context, scores)}
    worst = min(worths.values(), default=None)
    costs = _costs(context)
    dearest = max(costs.values(), default=None)
    for record in context.ended:
        failed = failed_by_its_point(record)
        worth = worst if failed else worths.get(record.name)
        cost = costs.get(record.name, dearest)
        if worth is not None and context.objective.cost is None:
            yield record, [worth]
        elif worth is not None and cost is not None:
            yield record, [worth, cost]


def _costs(context: ProposalContext) -> dict[str, float]:
    """Return each trial's cost in its latest report, by name; empty where cost is no objective."""
    key = context.objective.cost
    return {
        record.name: record.reports[max(record.reports)].report[key]
        for record in context.ended
        if key is not None and record.reports
    }


def _extrapolated(context: ProposalContext, scores: Mapping[str, float]) -> dict[str, float]:
    """Return each stopped trial's extrapolated score, by name; see `worths`."""
    key = context.objective.value
    curves = {each.name: dict(best_so_far(each, key)) for each in context.ended}
    reached = {}
    for record in context.ended:
        if record.state == "stopped" and curves[record.name]:
            last, best = max(curves[record.name].items())
            gains = [score - curves[name].get(last, score) for name, score in scores.items()]
            reached[record.name] = best + (statistics.median(gains) if gains else 0.0)
    return reached


def _scores(context: ProposalContext) -> dict[str, float]:
    """The values that completed trials are judged by, by name; none without a finite report."""
    completed = (record for record in context.ended if record.state == "completed")
    return {record.name: score.value for record, score in context.cache.scorer.scored(completed)}


def failed_by_its_point(record: TrialRecord) -> bool:
    """Whether a trial failed for a reason that the same point would cause again."""
    return record.state == "failed" and (record.reason or "").startswith(_BLAMES_THE_POINT)


def best_so_far(record: TrialRecord, objective: str) -> Iterator[tuple[int, float]]:
    """Yield each step at which a trial reported, with its best finite value up to there."""
    best = -math.inf
    for step in sorted(record.reports):
        value = record.reports[step].report.get(objective, math.nan)
        best = max(best, value) if math.isfinite(value) else best
        if math.isfinite(best):
            yield step, best
