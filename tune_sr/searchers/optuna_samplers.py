"""Asks an Optuna sampler for the next point."""

from __future__ import annotations

import copy
from collections.abc import Container, Sequence
from typing import TYPE_CHECKING, Any

import optuna
from optuna.trial import FrozenTrial, TrialState

from tune_sr.searchers.context import ProposalContext
from tune_sr.searchers.optuna_trials import as_trial, distribution_of, with_curve, worths
from tune_sr.space.dimension import Dimension
from tune_sr.space.search_space import numeric_dimensions

if TYPE_CHECKING:
    from tune_sr.space.search_space import SearchSpace


def ask_with_intermediate_values(
    sampler: optuna.samplers.BaseSampler, question: ProposalContext
) -> dict[str, Any]:
    """The next point of a sampler that knows a stopped trial from a finished one.

    Completed: its score. Stopped: its curve, best so far, so that it is neither a full result nor
    forgotten. Failed by its own point: stopped without a curve, which TPE ranks below all others;
    TPE would not look at Optuna's FAIL, which is what a failure of the machine is.
    """
    ended = [with_curve(record, question) for record in question.ended]
    study = optuna.create_study(direction="maximize", sampler=sampler, storage=_WithEnded(ended))
    return _suggest_point(study.ask(), question.space)


def ask_with_final_values(
    sampler: optuna.samplers.BaseSampler, question: ProposalContext
) -> dict[str, Any]:
    """The next point of a sampler that looks at finished trials, and keeps off running ones."""
    study = _study(sampler, question)
    for record, values in worths(question):
        study.add_trial(as_trial(record, question, state=TrialState.COMPLETE, values=values))
    for record in question.running:
        study.add_trial(as_trial(record, question, state=TrialState.RUNNING))
    return _suggest_point(study.ask(), question.space)


def ask_by_replay(
    sampler: optuna.samplers.BaseSampler, question: ProposalContext
) -> dict[str, Any]:
    """The next point of a sampler that works in generations: its state is made again, in order."""
    study = _study(sampler, question)
    for record, values in worths(question):
        study.enqueue_trial(dict(record.point))
        trial = study.ask()
        _suggest_point(trial, question.space)
        _ = trial.relative_params  # read, so that the sampler counts it among a generation
        study.tell(trial, values)
    return _suggest_point(study.ask(), question.space)


class _WithEnded(optuna.storages.InMemoryStorage):
    """A study whose ended trials are known from the start.

    Optuna's own storage copies each of them in depth, which was most of what a proposal took.
    """

    def __init__(self, ended: Sequence[FrozenTrial]) -> None:
        super().__init__()
        self._ended = ended

    def get_all_trials(
        self,
        study_id: int,
        deepcopy: bool = True,
        states: Container[TrialState] | None = None,
    ) -> list[FrozenTrial]:
        """Those that ended, then those that were asked for."""
        told = [trial for trial in self._ended if states is None or trial.state in states]
        asked = super().get_all_trials(study_id, deepcopy, states)
        return [*(copy.deepcopy(told) if deepcopy else told), *asked]


def _study(sampler: optuna.samplers.BaseSampler, question: ProposalContext) -> optuna.Study:
    directions = ["maximize"] if question.objective.cost is None else ["maximize", "minimize"]
    return optuna.create_study(directions=directions, sampler=sampler)


class NumericCmaEsSampler(optuna.samplers.CmaEsSampler):
    """CMA-ES on the same quantities from the first trial to the last.

    Optuna's own takes those that all trials so far had in common; where a conditional one was
    among them at first, it would draw at random for ever after.
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
        """Every number that is not fixed by its own range."""
        return {path: each for path, each in self._numbers.items() if not each.single()}


def _suggest_point(trial: optuna.Trial, space: SearchSpace) -> dict[str, Any]:
    """Ask for one active quantity after the other; `space.dimensions` has parents first."""
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
