"""The searchers: each proposes a point from what a study knows."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from trainables.values import ConfigError
from tune_sr.searchers.grid import grid, grid_points
from tune_sr.space.search_space import numeric_dimensions

if TYPE_CHECKING:
    import optuna

    from tune_sr.searchers.context import ProposalContext
    from tune_sr.space.search_space import SearchSpace

STARTUP_TRIALS = 5
"""Trials that have to end before `tpe`, `gp` and `cmaes` learn from them; until then they draw at
random."""

NSGA2_POPULATION = 10
"""Trials of one generation of `nsga2`; the first is drawn at random."""


def tpe(question: ProposalContext) -> dict[str, Any]:
    """Tree-structured Parzen estimators over all quantities jointly.

    Bergstra et al., "Algorithms for Hyper-Parameter Optimization", NeurIPS 2011; the joint form of
    Falkner et al., "BOHB", ICML 2018. Trials with the same quantities are grouped, so a conditional
    space is modelled jointly too. Prefer it: it knows stopped trials from finished ones and copes
    with choices and conditions from some ten trials on. With two objectives curves have no order,
    and a stopped trial counts as what it would have reached.
    """
    import optuna

    from tune_sr.searchers.optuna_samplers import (
        ask_with_final_values,
        ask_with_intermediate_values,
    )

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
    return (
        ask_with_final_values(sampler, question)
        if two
        else ask_with_intermediate_values(sampler, question)
    )


def random(question: ProposalContext) -> dict[str, Any]:
    """Independent draws.

    Bergstra and Bengio, "Random Search for Hyper-Parameter Optimization", JMLR 2012. Prefer it for
    a baseline, or where many more trials run at once than `tpe` could learn from.
    """
    import optuna

    from tune_sr.searchers.optuna_samplers import ask_with_final_values

    sampler = optuna.samplers.RandomSampler(seed=question.seed)
    return ask_with_final_values(sampler, replace(question, ended=(), running=()))


def gp(question: ProposalContext) -> dict[str, Any]:
    """A Gaussian process, and the point of largest expected improvement.

    Jones et al., "Efficient Global Optimization", J. Global Optimization 1998; log-improvement of
    Ament et al., NeurIPS 2023, over the points still running as well. It models the quantities that
    every trial has; a conditional one is drawn by independent Parzen estimators. A stopped trial
    counts as what it would have reached. Prefer it for few, costly trials of a few numbers; a
    proposal takes a tenth of a second at 20 trials and a second at 400.
    """
    import optuna

    from tune_sr.searchers.optuna_samplers import ask_with_final_values

    sampler = optuna.samplers.GPSampler(
        seed=question.seed,
        n_startup_trials=STARTUP_TRIALS,
        independent_sampler=_independent(question),
        warn_independent_sampling=False,
    )
    return ask_with_final_values(sampler, question)


def cmaes(question: ProposalContext) -> dict[str, Any]:
    """Evolution of a normal distribution by its covariance.

    Hansen and Ostermeier, "Completely Derandomized Self-Adaptation in Evolution Strategies",
    Evolutionary Computation 2001. It moves the numbers that every trial has, whole ones rounded;
    choices and conditional quantities are drawn by independent Parzen estimators, and a space
    without such a number is refused. A stopped trial counts as what it would have reached. Prefer
    it for hundreds of trials of numbers alone.
    """
    from tune_sr.searchers.optuna_samplers import NumericCmaEsSampler, ask_by_replay

    sampler = NumericCmaEsSampler(
        question.space,
        question.seed,
        n_startup_trials=STARTUP_TRIALS,
        independent_sampler=_independent(question),
    )
    return ask_by_replay(sampler, question)


def nsga2(question: ProposalContext) -> dict[str, Any]:
    """Evolution by crossover and mutation, in generations of `NSGA2_POPULATION`.

    Deb et al., "A Fast and Elitist Multiobjective Genetic Algorithm: NSGA-II", IEEE TEVC 2002. It
    crosses the quantities that every trial has; a conditional one is drawn at random. A stopped
    trial counts as what it would have reached. Prefer it for hundreds of trials, many at a time,
    where choices outnumber numbers.
    """
    import optuna

    from tune_sr.searchers.optuna_samplers import ask_by_replay

    sampler = optuna.samplers.NSGAIISampler(seed=question.seed, population_size=NSGA2_POPULATION)
    return ask_by_replay(sampler, question)


SEARCHERS: dict[str, Callable[[ProposalContext], dict[str, Any]]] = {
    "tpe": tpe,
    "gp": gp,
    "cmaes": cmaes,
    "nsga2": nsga2,
    "random": random,
    "grid": grid,
}


def max_trials(searcher: str, space: SearchSpace) -> int | None:
    """How many trials a searcher has for a space; None where there is no end of them.

    Raises:
        ConfigError: it cannot search this space.
    """
    if searcher == "cmaes":
        _check_numbers(space)
    return len(grid_points(space, seed=0)) if searcher == "grid" else None


def _check_numbers(space: SearchSpace) -> None:

    if not numeric_dimensions(space):
        rule = "cmaes moves numbers, and every quantity of this space is a choice or conditional"
        raise ConfigError("study.searcher", f"{rule}: take another searcher, such as tpe")


def _independent(question: ProposalContext) -> optuna.samplers.BaseSampler:
    """What draws the quantities that a sampler's model leaves out."""
    import optuna

    return optuna.samplers.TPESampler(
        seed=question.seed, n_startup_trials=STARTUP_TRIALS, constant_liar=False
    )
