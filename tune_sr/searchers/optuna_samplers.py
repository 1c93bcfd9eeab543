"""Asks an Optuna sampler for the next point."""

from __future__ import annotations

import copy
from collections.abc import Container, Sequence
from typing import TYPE_CHECKING, Any

import optuna
from optuna.trial import FrozenTrial, TrialState

from tune_sr.searchers.context import ProposalContext
from tune_sr.searchers.optuna_trials import as_trial, distribution_of, with_curve
from tune_sr.searchers.worths import worths
from tune_sr.space.dimension import Dimension
from tune_sr.space.search_space import numeric_dimensions

if TYPE_CHECKING:
    from tune_sr.space.search_space import SearchSpace


def ask_with_intermediate_values(
    sampler: optuna.samplers.BaseSampler, context: ProposalContext
) -> dict[str, Any]:
    """Return the next point of a sampler that uses the intermediate values of stopped trials.

    A completed trial has its score. A stopped one has its best value so far at each report. One
    that failed because of its point counts as stopped without a value, which TPE ranks below all
    others; one that failed because of the machine has Optuna's state FAIL, which TPE ignores.

    Running trials are given without values, so that the sampler can avoid their points.
    """
    ended = [with_curve(record, context) for record in context.ended]
    running = [as_trial(record, context, state=TrialState.RUNNING) for record in context.running]
    storage = _WithTrials([*ended, *running])
    study = optuna.create_study(direction="maximize", sampler=sampler, storage=storage)
    return _suggest_point(study.ask(), context.space)


def ask_with_final_values(
    sampler: optuna.samplers.BaseSampler, context: ProposalContext
) -> dict[str, Any]:
    """Return the next point of a sampler that uses the scores of ended trials, see `worths`.

    Running trials are given without values, so that the sampler can avoid their points.
    """
    study = _study(sampler, context)
    for record, values in worths(context):
        study.add_trial(as_trial(record, context, state=TrialState.COMPLETE, values=values))
    for record in context.running:
        study.add_trial(as_trial(record, context, state=TrialState.RUNNING))
    return _suggest_point(study.ask(), context.space)


def ask_by_replay(sampler: optuna.samplers.BaseSampler, context: ProposalContext) -> dict[str, Any]:
    """Return the next point of a sampler with generations, after replaying all ended trials.

    The replay rebuilds the sampler's state, which is stored nowhere else.
    """
    study = _study(sampler, context)
    for record, values in worths(context):
        study.enqueue_trial(dict(record.point))
        trial = study.ask()
        _suggest_point(trial, context.space)
        _ = trial.relative_params  # read, so that the sampler counts the trial in a generation
        study.tell(trial, values)
    return _suggest_point(study.ask(), context.space)


class _WithTrials(optuna.storages.InMemoryStorage):
    """An in-memory storage that starts with given trials.

    Adding them one by one would deep-copy each, which took most of a proposal's time.
    """

    def __init__(self, given: Sequence[FrozenTrial]) -> None:
        super().__init__()
        self._given = given

    def get_all_trials(
        self,
        study_id: int,
        deepcopy: bool = True,
        states: Container[TrialState] | None = None,
    ) -> list[FrozenTrial]:
        """Return the given trials, then those created in this storage, filtered by state."""
        given = [trial for trial in self._given if states is None or trial.state in states]
        created = super().get_all_trials(study_id, deepcopy, states)
        return [*(copy.deepcopy(given) if deepcopy else given), *created]


def _study(sampler: optuna.samplers.BaseSampler, context: ProposalContext) -> optuna.Study:
    directions = ["maximize"] if context.objective.cost is None else ["maximize", "minimize"]
    return optuna.create_study(directions=directions, sampler=sampler)


class NumericCmaEsSampler(optuna.samplers.CmaEsSampler):
    """CMA-ES over the same dimensions from the first trial to the last.

    Optuna's sampler takes the dimensions that all trials so far have in common. If a conditional
    one is among them at first, that set changes later, and from then on it samples at random.
    """

    def __init__(self, space: SearchSpace, seed: int, **options: Any) -> None:
        super().__init__(seed=seed, warn_independent_sampling=False, **options)
        self._numbers = {
            path: distribution_of(dimension)
            for path, dimension in numeric_dimensions(space).items()
        }

    def infer_relative_search_space(
        self, study: optuna.Study, trial: FrozenTrial
    ) -> dict[str, optuna.distributions.BaseDistribution]:
        """Return every unconditional numeric dimension with more than one value, by path."""
        return {path: each for path, each in self._numbers.items() if not each.single()}


def _suggest_point(trial: optuna.Trial, space: SearchSpace) -> dict[str, Any]:
    """Suggest one active dimension after the other; `space.dimensions` has parents first."""
    point: dict[str, Any] = {}
    for path, dimension in space.dimensions.items():
        if dimension.active(point, space.fixed):
            point[path] = dimension.validate(_suggest(trial, dimension))
    return point


def _suggest(trial: optuna.Trial, dimension: Dimension) -> Any:
    args = dimension.args
    if dimension.distribution == "choice":
        return trial.suggest_categorical(dimension.path, args)
    log = dimension.distribution.startswith("log")
    if dimension.distribution in ("randint", "lograndint"):
        return trial.suggest_int(dimension.path, args[0], args[1] - 1, log=log)
    step = args[2] if dimension.distribution == "quniform" else None
    return trial.suggest_float(dimension.path, args[0], args[1], log=log, step=step)
