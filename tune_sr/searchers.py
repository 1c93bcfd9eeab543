"""What proposes the next configuration: a pure function of the seed and what the ledger says."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from trainables.values import derive_seed
from tune_sr.dimensions import Dimension
from tune_sr.ledger import History, TrialRecord

if TYPE_CHECKING:
    import optuna

    from tune_sr.space import SearchSpace

STARTUP_TRIALS = 5
"""Trials that have to end before `tpe` learns from them; until then it draws at random."""

_BLAMES_THE_POINT = ("diverged", "out of memory", "invalid")
"""How the reason begins of a failure that would come again at the same point."""


def propose(
    searcher: str,
    space: SearchSpace,
    seed: int,
    history: History,
    number: int,
    objective: str = "psnr_y_db",
) -> dict[str, Any]:
    """The point of trial `number`: dotted path to value, active quantities only.

    Pure, so a driver that resumes a study proposes what the one that died would have: there is no
    state beside the ledger. A space's `first` points come first. Trials that are still running
    teach nothing.

    Args:
        searcher: a key of `SEARCHERS`.
        space: what can be chosen.
        seed: the study's.
        history: what has happened; of it, the trials with a lower number count.
        number: from 0, over the whole study.
        objective: the key of reports that is to be large.
    """
    if number < len(space.first):
        return dict(space.first[number])
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)  # it reports every study it makes
    sampler = SEARCHERS[searcher](derive_seed(seed, "searcher", number) % 2**32)
    study = optuna.create_study(direction="maximize", sampler=sampler)
    earlier = sorted(history.trials.values(), key=lambda record: record.number)
    for record in earlier:
        if record.number < number and record.state is not None:
            study.add_trial(_as_told(record, space, objective))
    return _define_by_run(study.ask(), space)


def tpe(seed: int) -> optuna.samplers.BaseSampler:
    """Tree-structured Parzen estimators over all quantities jointly.

    Bergstra et al., "Algorithms for Hyper-Parameter Optimization", NeurIPS 2011; the joint form of
    Falkner et al., "BOHB", ICML 2018. Trials with the same quantities are grouped, so a conditional
    space is modelled jointly too. Prefer it: it knows stopped trials from finished ones and copes
    with choices and conditions from some ten trials on.
    """
    import optuna

    # The user has not chosen Optuna's experimental argument and can do nothing about it.
    warnings.filterwarnings("ignore", "Argument ``group``", optuna.exceptions.ExperimentalWarning)
    return optuna.samplers.TPESampler(
        seed=seed, n_startup_trials=STARTUP_TRIALS, group=True, constant_liar=False
    )


def random(seed: int) -> optuna.samplers.BaseSampler:
    """Independent draws.

    Bergstra and Bengio, "Random Search for Hyper-Parameter Optimization", JMLR 2012. Prefer it for
    a baseline, or where many more trials run at once than `tpe` could learn from.
    """
    import optuna

    return optuna.samplers.RandomSampler(seed=seed)


SEARCHERS: dict[str, Callable[[int], optuna.samplers.BaseSampler]] = {"tpe": tpe, "random": random}


def _define_by_run(trial: optuna.Trial, space: SearchSpace) -> dict[str, Any]:
    """Ask for one active quantity after the other; `space.dimensions` has parents first."""
    point: dict[str, Any] = {}
    for path, dimension in space.dimensions.items():
        if dimension.active(point, space.fixed):
            point[path] = dimension.accept(_suggest(trial, dimension))
    return point


def _as_told(record: TrialRecord, space: SearchSpace, objective: str) -> optuna.trial.FrozenTrial:
    """An ended trial in Optuna's words.

    Completed: its score. Stopped: its curve, best so far, so that it is neither a full result nor
    forgotten. Failed by its own point: stopped without a curve, which TPE ranks below all others;
    TPE would not look at Optuna's FAIL, which is what a failure of the machine is.
    """
    import optuna

    state = {
        "completed": optuna.trial.TrialState.COMPLETE,
        "stopped": optuna.trial.TrialState.PRUNED,
        "failed": optuna.trial.TrialState.FAIL,
    }[record.state or "failed"]
    curve = dict(_best_so_far(record, objective))
    value = None
    if state == optuna.trial.TrialState.COMPLETE:
        config = space.at(record.point)
        step = record.score_step(objective, max(config.growth_steps(), default=0))
        if step is None:  # not one finite report
            state, curve = optuna.trial.TrialState.FAIL, {}
        else:
            value = record.reports[step].report[objective]
    elif state == optuna.trial.TrialState.FAIL:
        curve = {}
        if (record.reason or "").startswith(_BLAMES_THE_POINT):
            state = optuna.trial.TrialState.PRUNED
    return optuna.trial.create_trial(
        state=state,
        value=value,
        params=dict(record.point),
        distributions={path: _distribution(space.dimensions[path]) for path in record.point},
        intermediate_values=curve,
    )


def _best_so_far(record: TrialRecord, objective: str) -> Iterator[tuple[int, float]]:
    best = -math.inf
    for step in sorted(record.reports):
        value = record.reports[step].report.get(objective, math.nan)
        best = max(best, value) if math.isfinite(value) else best
        if math.isfinite(best):
            yield step, best


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
