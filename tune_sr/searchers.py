"""What proposes the next configuration: a pure function of the seed and what the ledger says."""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable
from dataclasses import replace
from itertools import islice
from typing import TYPE_CHECKING, Any

from trainables.values import ConfigError, derive_seed
from tune_sr.dimensions import combinations
from tune_sr.ledger import History, TrialRecord
from tune_sr.objectives import ALONE, Objective

if TYPE_CHECKING:
    import optuna

    from tune_sr.asking import Question, Told
    from tune_sr.space import SearchSpace

STARTUP_TRIALS = 5
"""Trials that have to end before `tpe`, `gp` and `cmaes` learn from them; until then they draw at
random."""

POPULATION = 10
"""Trials of one generation of `nsga2`; the first is drawn at random."""

LARGEST_GRID = 4096
"""Points that `grid` may have."""

_REDRAWS = 20
"""Random points that are tried in place of one that was tried before."""


def propose(
    searcher: str,
    space: SearchSpace,
    seed: int,
    history: History,
    number: int,
    objective: Objective = ALONE,
    told: Told | None = None,
) -> dict[str, Any]:
    """The point of trial `number`: dotted path to value, active quantities only.

    Pure, so a driver that resumes a study proposes what the one that died would have: there is no
    state beside the ledger. A space's `first` points come first. What a running trial has reported
    teaches nothing. A point that an earlier trial has is replaced by a random one: trials share
    one seed, so it could only repeat what is known. A space that is used up repeats.

    Args:
        searcher: a key of `SEARCHERS`.
        space: what can be chosen.
        seed: the study's.
        history: what has happened; of it, the trials with a lower number count.
        number: from 0, over the whole study.
        objective: the keys of reports that are to be large and small.
        told: what earlier calls for the same study have worked out, to which this one adds; it
            changes how long a call takes, and nothing else.
    """
    if number < len(space.first):
        return dict(space.first[number])
    from tune_sr.asking import Question

    earlier = sorted(
        (_as_proposed(each) for each in history.trials.values() if each.number < number),
        key=lambda record: record.number,
    )
    question = Question(
        space=space,
        number=number,
        study_seed=seed,
        seed=derive_seed(seed, "searcher", number) % 2**32,
        ended=[record for record in earlier if record.state is not None],
        running=[record for record in earlier if record.state is None],
        objective=objective,
        told={} if told is None else told,
    )
    point = SEARCHERS[searcher](question)
    tried = [record.point for record in earlier]
    for attempt in range(_REDRAWS):
        if point not in tried:
            break
        other = derive_seed(seed, "searcher", number, attempt) % 2**32
        point = random(replace(question, seed=other))
    return point


def _as_proposed(record: TrialRecord) -> TrialRecord:
    """What a proposed point came to: of a trial that became a copy of another, what was before."""
    if not record.clones:
        return record
    first = record.clones[0]
    reports = {step: each for step, each in record.reports.items() if step <= first.step}
    return replace(record, point=first.point, reports=reports, state="stopped", clones=[])


def tpe(question: Question) -> dict[str, Any]:
    """Tree-structured Parzen estimators over all quantities jointly.

    Bergstra et al., "Algorithms for Hyper-Parameter Optimization", NeurIPS 2011; the joint form of
    Falkner et al., "BOHB", ICML 2018. Trials with the same quantities are grouped, so a conditional
    space is modelled jointly too. Prefer it: it knows stopped trials from finished ones and copes
    with choices and conditions from some ten trials on. With two objectives curves have no order,
    and a stopped trial counts as what it would have reached.
    """
    import optuna

    from tune_sr.asking import ask_by_curves, ask_by_values

    # The user has not chosen Optuna's experimental argument and can do nothing about it.
    warnings.filterwarnings("ignore", "Argument ``group``", optuna.exceptions.ExperimentalWarning)
    sampler = optuna.samplers.TPESampler(
        seed=question.seed,
        n_startup_trials=STARTUP_TRIALS,
        multivariate=True,  # of one objective the default where there are groups
        group=True,
        constant_liar=False,
    )
    two = question.objective.cost is not None
    return ask_by_values(sampler, question) if two else ask_by_curves(sampler, question)


def random(question: Question) -> dict[str, Any]:
    """Independent draws.

    Bergstra and Bengio, "Random Search for Hyper-Parameter Optimization", JMLR 2012. Prefer it for
    a baseline, or where many more trials run at once than `tpe` could learn from.
    """
    import optuna

    from tune_sr.asking import ask_by_values

    sampler = optuna.samplers.RandomSampler(seed=question.seed)
    return ask_by_values(sampler, replace(question, ended=(), running=()))


def gp(question: Question) -> dict[str, Any]:
    """A Gaussian process, and the point of largest expected improvement.

    Jones et al., "Efficient Global Optimization", J. Global Optimization 1998; log-improvement of
    Ament et al., NeurIPS 2023, over the points still running as well. It models the quantities that
    every trial has; a conditional one is drawn by independent Parzen estimators. A stopped trial
    counts as what it would have reached. Prefer it for few, costly trials of a few numbers; a
    proposal takes a tenth of a second at 20 trials and a second at 400.
    """
    import optuna

    from tune_sr.asking import ask_by_values

    sampler = optuna.samplers.GPSampler(
        seed=question.seed,
        n_startup_trials=STARTUP_TRIALS,
        independent_sampler=_independent(question),
        warn_independent_sampling=False,
    )
    return ask_by_values(sampler, question)


def cmaes(question: Question) -> dict[str, Any]:
    """Evolution of a normal distribution by its covariance.

    Hansen and Ostermeier, "Completely Derandomized Self-Adaptation in Evolution Strategies",
    Evolutionary Computation 2001. It moves the numbers that every trial has, whole ones rounded;
    choices and conditional quantities are drawn by independent Parzen estimators, and a space
    without such a number is refused. A stopped trial counts as what it would have reached. Prefer
    it for hundreds of trials of numbers alone.
    """
    from tune_sr.asking import Numbers, ask_replayed

    sampler = Numbers(
        question.space,
        question.seed,
        n_startup_trials=STARTUP_TRIALS,
        independent_sampler=_independent(question),
    )
    return ask_replayed(sampler, question)


def nsga2(question: Question) -> dict[str, Any]:
    """Evolution by crossover and mutation, in generations of `POPULATION`.

    Deb et al., "A Fast and Elitist Multiobjective Genetic Algorithm: NSGA-II", IEEE TEVC 2002. It
    crosses the quantities that every trial has; a conditional one is drawn at random. A stopped
    trial counts as what it would have reached. Prefer it for hundreds of trials, many at a time,
    where choices outnumber numbers.
    """
    import optuna

    from tune_sr.asking import ask_replayed

    sampler = optuna.samplers.NSGAIISampler(seed=question.seed, population_size=POPULATION)
    return ask_replayed(sampler, question)


def grid(question: Question) -> dict[str, Any]:
    """Every point of a discrete space once, in a seeded order.

    Each choice, each whole number, each step of a `quniform`. As the order is random, a study that
    ends early is a fair sample. Prefer it to compare a handful of settings completely; other
    spaces are refused.
    """
    return _grid(question.space, question.study_seed)[question.number]


SEARCHERS: dict[str, Callable[[Question], dict[str, Any]]] = {
    "tpe": tpe,
    "gp": gp,
    "cmaes": cmaes,
    "nsga2": nsga2,
    "random": random,
    "grid": grid,
}


def most_trials(searcher: str, space: SearchSpace) -> int | None:
    """How many trials a searcher has for a space; None where there is no end of them.

    Raises:
        ConfigError: it cannot search this space.
    """
    if searcher == "cmaes":
        _check_numbers(space)
    return len(_grid(space, seed=0)) if searcher == "grid" else None


def _grid(space: SearchSpace, seed: int) -> list[dict[str, Any]]:
    """The points of a grid in their order, those that come first included.

    Raises:
        ConfigError: a quantity has no steps, or there are more than `LARGEST_GRID` points.
    """
    endless = [path for path, each in space.dimensions.items() if each.every() is None]
    if endless:
        rule = f"grid takes every value, and there is no end of them in {', '.join(endless)}"
        remedy = "say quniform, randint or choice there, or take another searcher"
        raise ConfigError("study.searcher", f"{rule}: {remedy}")
    dimensions = tuple(space.dimensions.values())
    every = combinations(dimensions, space.fixed, lambda each: each.every() or ())
    points = list(islice(every, LARGEST_GRID + 1))
    if len(points) > LARGEST_GRID:
        rule = f"grid would have more than {LARGEST_GRID:,} points"
        raise ConfigError("study.searcher", f"{rule}: leave out values, or take another searcher")
    others = [point for point in points if point not in space.first]
    others.sort(key=lambda point: derive_seed(seed, "grid", json.dumps(point)))
    return [*map(dict, space.first), *others]


def _check_numbers(space: SearchSpace) -> None:
    from tune_sr.asking import numbers_of

    if not numbers_of(space):
        rule = "cmaes moves numbers, and every quantity of this space is a choice or conditional"
        raise ConfigError("study.searcher", f"{rule}: take another searcher, such as tpe")


def _independent(question: Question) -> optuna.samplers.BaseSampler:
    """What draws the quantities that a sampler's model leaves out."""
    import optuna

    return optuna.samplers.TPESampler(
        seed=question.seed, n_startup_trials=STARTUP_TRIALS, constant_liar=False
    )
