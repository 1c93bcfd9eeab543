"""Converts trial records to Optuna's `FrozenTrial`s and distributions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType

import optuna
from optuna.trial import FrozenTrial, TrialState

from tune_sr.ledger.history import TrialRecord
from tune_sr.searchers.context import ProposalContext
from tune_sr.searchers.worths import best_so_far, failed_by_its_point
from tune_sr.space.dimension import Dimension

optuna.logging.set_verbosity(optuna.logging.ERROR)  # else it logs every study created


def with_curve(record: TrialRecord, context: ProposalContext) -> FrozenTrial:
    """An ended trial with its intermediate values; converted once for each state of its record."""
    evidence = record.name, record.state, record.reason, len(record.reports)
    trials = context.cache.trials
    if evidence not in trials:
        trials[evidence] = _curve_of(record, context)
    return trials[evidence]


def _curve_of(record: TrialRecord, context: ProposalContext) -> FrozenTrial:
    curve = dict(best_so_far(record, context.objective.value))
    score = context.cache.scorer.score(record)
    if record.state == "completed" and score is not None:
        values = [score.value]
        return as_trial(record, context, state=TrialState.COMPLETE, values=values, curve=curve)
    if record.state == "stopped":
        return as_trial(record, context, state=TrialState.PRUNED, curve=curve)
    state = TrialState.PRUNED if failed_by_its_point(record) else TrialState.FAIL
    return as_trial(record, context, state=state)


def as_trial(
    record: TrialRecord,
    context: ProposalContext,
    *,
    state: TrialState,
    values: Sequence[float] | None = None,
    curve: Mapping[int, float] = MappingProxyType({}),
) -> FrozenTrial:
    """Convert a trial to Optuna's form; `curve` has its intermediate values by student update."""
    trial = optuna.trial.create_trial(
        state=state,
        values=values,
        params=dict(record.point),
        distributions={
            path: distribution_of(context.space.dimensions[path]) for path in record.point
        },
        intermediate_values=dict(curve),
    )
    trial.number = record.number  # their order, for samplers that weight later trials more
    return trial


def distribution_of(dimension: Dimension) -> optuna.distributions.BaseDistribution:
    """Return Optuna's distribution of a dimension."""
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    args = dimension.args
    if dimension.distribution == "choice":
        return CategoricalDistribution(args)
    log = dimension.distribution.startswith("log")
    if dimension.distribution in ("randint", "lograndint"):
        return IntDistribution(args[0], args[1] - 1, log=log)
    step = args[2] if dimension.distribution == "quniform" else None
    return FloatDistribution(args[0], args[1], log=log, step=step)
