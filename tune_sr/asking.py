"""A ledger in Optuna's words: its samplers are told what ended, and asked for one point."""

from __future__ import annotations

import copy
import math
import statistics
from collections.abc import Container, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import optuna
from optuna.trial import FrozenTrial, TrialState

from tune_sr.dimensions import Dimension
from tune_sr.ledger import TrialRecord
from tune_sr.objectives import ALONE, Objective

if TYPE_CHECKING:
    from tune_sr.space import SearchSpace

Told = dict[tuple[str, str | None, str | None, int], FrozenTrial]
"""Trials that have ended, in Optuna's words, by name, state, reason and number of reports."""

_BLAMES_THE_POINT = ("diverged", "out of memory", "invalid")
"""How the reason begins of a failure that would come again at the same point."""

optuna.logging.set_verbosity(optuna.logging.ERROR)  # it reports every study it makes


@dataclass(frozen=True)
class Question:
    """What a searcher knows when it is asked for a point."""

    space: SearchSpace
    number: int
    """Of the trial, from 0."""
    study_seed: int
    seed: int
    """For this point alone, below 2**32."""
    ended: Sequence[TrialRecord] = ()
    """By number, all before the point's own."""
    running: Sequence[TrialRecord] = ()
    objective: Objective = ALONE
    told: Told = field(default_factory=dict)
    """What questions of the same study share; each adds what it has to work out."""


def ask_by_curves(sampler: optuna.samplers.BaseSampler, question: Question) -> dict[str, Any]:
    """The next point of a sampler that knows a stopped trial from a finished one.

    Completed: its score. Stopped: its curve, best so far, so that it is neither a full result nor
    forgotten. Failed by its own point: stopped without a curve, which TPE ranks below all others;
    TPE would not look at Optuna's FAIL, which is what a failure of the machine is.
    """
    ended = [_with_curve(record, question) for record in question.ended]
    study = optuna.create_study(direction="maximize", sampler=sampler, storage=_WithEnded(ended))
    return _define_by_run(study.ask(), question.space)


def ask_by_values(sampler: optuna.samplers.BaseSampler, question: Question) -> dict[str, Any]:
    """The next point of a sampler that looks at finished trials, and keeps off running ones."""
    study = _study(sampler, question)
    for record, values in _valued(question):
        study.add_trial(_as_trial(record, question, state=TrialState.COMPLETE, values=values))
    for record in question.running:
        study.add_trial(_as_trial(record, question, state=TrialState.RUNNING))
    return _define_by_run(study.ask(), question.space)


def ask_replayed(sampler: optuna.samplers.BaseSampler, question: Question) -> dict[str, Any]:
    """The next point of a sampler that works in generations: its state is made again, in order."""
    study = _study(sampler, question)
    for record, values in _valued(question):
        study.enqueue_trial(dict(record.point))
        trial = study.ask()
        _define_by_run(trial, question.space)
        _ = trial.relative_params  # read, so that the sampler counts it among a generation
        study.tell(trial, values)
    return _define_by_run(study.ask(), question.space)


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


def _study(sampler: optuna.samplers.BaseSampler, question: Question) -> optuna.Study:
    directions = ["maximize"] if question.objective.cost is None else ["maximize", "minimize"]
    return optuna.create_study(directions=directions, sampler=sampler)


def numbers_of(space: SearchSpace) -> dict[str, Dimension]:
    """The quantities that are numbers, and exist in every trial."""
    return {
        path: dimension
        for path, dimension in space.dimensions.items()
        if dimension.word != "choice"
        and not set(dimension.when) & set(space.dimensions)
        and dimension.active({}, space.fixed)
    }


class Numbers(optuna.samplers.CmaEsSampler):
    """CMA-ES on the same quantities from the first trial to the last.

    Optuna's own takes those that all trials so far had in common; where a conditional one was
    among them at first, it would draw at random for ever after.
    """

    def __init__(self, space: SearchSpace, seed: int, **options: Any) -> None:
        super().__init__(seed=seed, warn_independent_sampling=False, **options)
        self._numbers = {
            path: _distribution(dimension) for path, dimension in numbers_of(space).items()
        }

    def infer_relative_search_space(
        self, study: optuna.Study, trial: FrozenTrial
    ) -> dict[str, optuna.distributions.BaseDistribution]:
        """Every number that is not fixed by its own range."""
        return {path: each for path, each in self._numbers.items() if not each.single()}


def _valued(question: Question) -> Iterator[tuple[TrialRecord, list[float]]]:
    """Every ended trial that teaches something, with what it was worth or would have been.

    Completed: its score. Stopped: its best, and what completed trials gained after that step, in
    the median; otherwise either a sampler forgot the poor part of the space, or what was stopped
    early looked worse than it is. Failed by its own point: the worst of all others. Where cost is
    an objective, it comes second.
    """
    scores = _scores(question)
    worths = {**scores, **_foreseen(question, scores)}
    worst = min(worths.values(), default=None)
    costs = _costs(question)
    dearest = max(costs.values(), default=None)
    for record in question.ended:
        failed = _is_to_blame(record)
        worth = worst if failed else worths.get(record.name)
        cost = costs.get(record.name, dearest)
        if worth is not None and question.objective.cost is None:
            yield record, [worth]
        elif worth is not None and cost is not None:
            yield record, [worth, cost]


def _costs(question: Question) -> dict[str, float]:
    """What each trial's latest report says it costs, by name; empty where that is no matter."""
    key = question.objective.cost
    return {
        record.name: record.reports[max(record.reports)].report[key]
        for record in question.ended
        if key is not None and record.reports
    }


def _foreseen(question: Question, scores: Mapping[str, float]) -> dict[str, float]:
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


def _scores(question: Question) -> dict[str, float]:
    """The values that completed trials are judged by, by name; none without a finite report."""
    scores = ((record.name, _score(record, question)) for record in question.ended)
    return {name: score for name, score in scores if score is not None}


def _score(record: TrialRecord, question: Question) -> float | None:
    if record.state != "completed":
        return None
    growth_steps = question.space.at(record.point).growth_steps()
    key = question.objective.value
    step = record.score_step(key, max(growth_steps, default=0))
    return None if step is None else record.reports[step].report[key]


def _is_to_blame(record: TrialRecord) -> bool:
    return record.state == "failed" and (record.reason or "").startswith(_BLAMES_THE_POINT)


def _with_curve(record: TrialRecord, question: Question) -> FrozenTrial:
    evidence = record.name, record.state, record.reason, len(record.reports)
    if evidence not in question.told:
        question.told[evidence] = _curve_of(record, question)
    return question.told[evidence]


def _curve_of(record: TrialRecord, question: Question) -> FrozenTrial:
    score = _score(record, question)
    if score is not None:
        curve = dict(_best_so_far(record, question.objective.value))
        return _as_trial(record, question, state=TrialState.COMPLETE, values=[score], curve=curve)
    if record.state == "stopped":
        curve = dict(_best_so_far(record, question.objective.value))
        return _as_trial(record, question, state=TrialState.PRUNED, curve=curve)
    state = TrialState.PRUNED if _is_to_blame(record) else TrialState.FAIL
    return _as_trial(record, question, state=state)


def _as_trial(
    record: TrialRecord,
    question: Question,
    *,
    state: TrialState,
    values: Sequence[float] | None = None,
    curve: Mapping[int, float] = MappingProxyType({}),
) -> FrozenTrial:
    trial = optuna.trial.create_trial(
        state=state,
        values=values,
        params=dict(record.point),
        distributions={
            path: _distribution(question.space.dimensions[path]) for path in record.point
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


def _define_by_run(trial: optuna.Trial, space: SearchSpace) -> dict[str, Any]:
    """Ask for one active quantity after the other; `space.dimensions` has parents first."""
    point: dict[str, Any] = {}
    for path, dimension in space.dimensions.items():
        if dimension.active(point, space.fixed):
            point[path] = dimension.accept(_suggest(trial, dimension))
    return point


def _distribution(dimension: Dimension) -> optuna.distributions.BaseDistribution:
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    args = dimension.args
    if dimension.word == "choice":
        return CategoricalDistribution(args)
    log = dimension.word.startswith("log")
    if dimension.word in ("randint", "lograndint"):
        return IntDistribution(args[0], args[1] - 1, log=log)
    step = args[2] if dimension.word == "quniform" else None
    return FloatDistribution(args[0], args[1], log=log, step=step)


def _suggest(trial: optuna.Trial, dimension: Dimension) -> Any:
    args = dimension.args
    if dimension.word == "choice":
        return trial.suggest_categorical(dimension.path, args)
    log = dimension.word.startswith("log")
    if dimension.word in ("randint", "lograndint"):
        return trial.suggest_int(dimension.path, args[0], args[1] - 1, log=log)
    step = args[2] if dimension.word == "quniform" else None
    return trial.suggest_float(dimension.path, args[0], args[1], log=log, step=step)
