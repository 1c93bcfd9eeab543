"""Converts trials of a ledger to Optuna's `FrozenTrial`s and values."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterator, Mapping, Sequence
from types import MappingProxyType

import optuna
from optuna.trial import FrozenTrial, TrialState

from tune_sr.ledger.history import TrialRecord
from tune_sr.searchers.context import ProposalContext
from tune_sr.space.dimension import Dimension

_BLAMES_THE_POINT = ("diverged", "out of memory", "invalid")
"""How the reason begins of a failure that would come again at the same point."""

optuna.logging.set_verbosity(optuna.logging.ERROR)  # it reports every study it makes


def worths(question: ProposalContext) -> Iterator[tuple[TrialRecord, list[float]]]:
    """Every ended trial that teaches something, with what it was worth or would have been.

    Completed: its score. Stopped: its best, and what completed trials gained after that step, in
    the median; otherwise either a sampler forgot the poor part of the space, or what was stopped
    early looked worse than it is. Failed by its own point: the worst of all others. Where cost is
    an objective, it comes second.
    """
    scores = _scores(question)
    worths = {**scores, **_extrapolated(question, scores)}
    worst = min(worths.values(), default=None)
    costs = _costs(question)
    dearest = max(costs.values(), default=None)
    for record in question.ended:
        failed = _failed_by_its_point(record)
        worth = worst if failed else worths.get(record.name)
        cost = costs.get(record.name, dearest)
        if worth is not None and question.objective.cost is None:
            yield record, [worth]
        elif worth is not None and cost is not None:
            yield record, [worth, cost]


def _costs(question: ProposalContext) -> dict[str, float]:
    """What each trial's latest report says it costs, by name; empty where that is no matter."""
    key = question.objective.cost
    return {
        record.name: record.reports[max(record.reports)].report[key]
        for record in question.ended
        if key is not None and record.reports
    }


def _extrapolated(question: ProposalContext, scores: Mapping[str, float]) -> dict[str, float]:
    """What each stopped trial would have reached, by name."""
    key = question.objective.value
    curves = {each.name: dict(_best_so_far(each, key)) for each in question.ended}
    reached = {}
    for record in question.ended:
        if record.state == "stopped" and curves[record.name]:
            last, best = max(curves[record.name].items())
            gains = [score - curves[name].get(last, score) for name, score in scores.items()]
            reached[record.name] = best + (statistics.median(gains) if gains else 0.0)
    return reached


def _scores(question: ProposalContext) -> dict[str, float]:
    """The values that completed trials are judged by, by name; none without a finite report."""
    completed = (record for record in question.ended if record.state == "completed")
    return {record.name: score.value for record, score in question.cache.scorer.scored(completed)}


def _failed_by_its_point(record: TrialRecord) -> bool:
    return record.state == "failed" and (record.reason or "").startswith(_BLAMES_THE_POINT)


def with_curve(record: TrialRecord, question: ProposalContext) -> FrozenTrial:
    """An ended trial with its intermediate values; converted once for each state of its record."""
    evidence = record.name, record.state, record.reason, len(record.reports)
    trials = question.cache.trials
    if evidence not in trials:
        trials[evidence] = _curve_of(record, question)
    return trials[evidence]


def _curve_of(record: TrialRecord, question: ProposalContext) -> FrozenTrial:
    curve = dict(_best_so_far(record, question.objective.value))
    score = question.cache.scorer.score(record)
    if record.state == "completed" and score is not None:
        values = [score.value]
        return as_trial(record, question, state=TrialState.COMPLETE, values=values, curve=curve)
    if record.state == "stopped":
        return as_trial(record, question, state=TrialState.PRUNED, curve=curve)
    state = TrialState.PRUNED if _failed_by_its_point(record) else TrialState.FAIL
    return as_trial(record, question, state=state)


def as_trial(
    record: TrialRecord,
    question: ProposalContext,
    *,
    state: TrialState,
    values: Sequence[float] | None = None,
    curve: Mapping[int, float] = MappingProxyType({}),
) -> FrozenTrial:
    """A trial in Optuna's form; `curve` has its intermediate values by student step."""
    trial = optuna.trial.create_trial(
        state=state,
        values=values,
        params=dict(record.point),
        distributions={
            path: distribution_of(question.space.dimensions[path]) for path in record.point
        },
        intermediate_values=dict(curve),
    )
    trial.number = record.number  # their order, for samplers that weigh the later ones more
    return trial


def _best_so_far(record: TrialRecord, objective: str) -> Iterator[tuple[int, float]]:
    best = -math.inf
    for step in sorted(record.reports):
        value = record.reports[step].report.get(objective, math.nan)
        best = max(best, value) if math.isfinite(value) else best
        if math.isfinite(best):
            yield step, best


def distribution_of(dimension: Dimension) -> optuna.distributions.BaseDistribution:
    """Optuna's distribution of a searched quantity."""
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    args = dimension.args
    if dimension.distribution == "choice":
        return CategoricalDistribution(args)
    log = dimension.distribution.startswith("log")
    if dimension.distribution in ("randint", "lograndint"):
        return IntDistribution(args[0], args[1] - 1, log=log)
    step = args[2] if dimension.distribution == "quniform" else None
    return FloatDistribution(args[0], args[1], log=log, step=step)
