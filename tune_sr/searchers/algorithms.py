"""The searchers: each proposes the next point of a study from its trials so far."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from trainables.errors import ConfigError
from tune_sr.searchers.grid import grid, grid_points
from tune_sr.space.search_space import numeric_dimensions

if TYPE_CHECKING:
    import optuna

    from tune_sr.searchers.context import ProposalContext
    from tune_sr.space.search_space import SearchSpace

STARTUP_TRIALS = 5
"""Ended trials from which on `tpe`, `gp` and `cmaes` use their model; before, points are random."""

NSGA2_POPULATION = 10
"""Trials in one generation of `nsga2`; the first generation is random."""


def tpe(context: ProposalContext) -> dict[str, Any]:
    """Propose by tree-structured Parzen estimators over all dimensions jointly.

    Bergstra et al., "Algorithms for Hyper-Parameter Optimization", NeurIPS 2011; the joint form of
    Falkner et al., "BOHB", ICML 2018. Trials with the same active dimensions are grouped, so a
    conditional space is modelled jointly too. Prefer it: it distinguishes stopped from completed
    trials and handles choices and conditions from about ten trials on. With two objectives
    intermediate values have no order, so a stopped trial counts with its extrapolated score.
    """
    import optuna

    from tune_sr.searchers.optuna_samplers import (
        ask_with_final_values,
        ask_with_intermediate_values,
    )

    # `group` is chosen here, so the warning that it is experimental is of no use to the user.
    warnings.filterwarnings("ignore", "Argument ``group``", optuna.exceptions.ExperimentalWarning)
    sampler = optuna.samplers.TPESampler(
        seed=context.seed,
        n_startup_trials=STARTUP_TRIALS,
        multivariate=True,  # with two objectives Optuna warns where only `group` is given
        group=True,
        constant_liar=True,  # running trials count as poor, so that no two look at one place
    )
    two = context.objective.cost is not None
    return (
        ask_with_final_values(sampler, context)
        if two
        else ask_with_intermediate_values(sampler, context)
    )


def auto(context: ProposalContext) -> dict[str, Any]:
    """Propose by a Gaussian process that begins with the belief that `first` is near the best.

    It learns from the second ended trial on, takes running trials into account, models choices and
    conditional quantities, and gives its belief (`study.prior`) up where `first` turns out to be
    worse than half of the trials. A stopped trial counts with its extrapolated score. Prefer it for
    8 to 64 trials.
    """
    from tune_sr.searchers.auto import propose_by_model

    return propose_by_model(context)


def random(context: ProposalContext) -> dict[str, Any]:
    """Propose a random point, independent of all trials.

    Bergstra and Bengio, "Random Search for Hyper-Parameter Optimization", JMLR 2012. Prefer it for
    a baseline, or where many more trials run at once than `tpe` could learn from.
    """
    import optuna

    from tune_sr.searchers.optuna_samplers import ask_with_final_values

    sampler = optuna.samplers.RandomSampler(seed=context.seed)
    return ask_with_final_values(sampler, replace(context, ended=(), running=()))


def gp(context: ProposalContext) -> dict[str, Any]:
    """Propose the point of largest expected improvement under a Gaussian process.

    Jones et al., "Efficient Global Optimization", J. Global Optimization 1998; the logarithm of
    expected improvement by Ament et al., NeurIPS 2023, which takes running trials into account. It
    models the dimensions that every trial has; conditional ones are drawn by independent Parzen
    estimators. A stopped trial counts with its extrapolated score. Prefer it for few, costly trials
    of a few numeric dimensions; a proposal takes 0.1 s at 20 trials and 1 s at 400.
    """
    import optuna

    from tune_sr.searchers.optuna_samplers import ask_with_final_values

    sampler = optuna.samplers.GPSampler(
        seed=context.seed,
        n_startup_trials=STARTUP_TRIALS,
        independent_sampler=_independent(context),
        warn_independent_sampling=False,
    )
    return ask_with_final_values(sampler, context)


def cmaes(context: ProposalContext) -> dict[str, Any]:
    """Propose by CMA-ES: evolution of a multivariate normal distribution.

    Hansen and Ostermeier, "Completely Derandomized Self-Adaptation in Evolution Strategies",
    Evolutionary Computation 2001. It searches the numeric dimensions that every trial has, whole
    numbers rounded; choices and conditional dimensions are drawn by independent Parzen estimators.
    A space without such a numeric dimension is refused. A stopped trial counts with its
    extrapolated score. Prefer it for hundreds of trials of numeric dimensions alone.
    """
    from tune_sr.searchers.optuna_samplers import NumericCmaEsSampler, ask_by_replay

    sampler = NumericCmaEsSampler(
        context.space,
        context.seed,
        n_startup_trials=STARTUP_TRIALS,
        independent_sampler=_independent(context),
    )
    return ask_by_replay(sampler, context)


def nsga2(context: ProposalContext) -> dict[str, Any]:
    """Propose by NSGA-II: crossover and mutation, in generations of `NSGA2_POPULATION` trials.

    Deb et al., "A Fast and Elitist Multiobjective Genetic Algorithm: NSGA-II", IEEE TEVC 2002. It
    crosses the dimensions that every trial has; conditional ones are drawn at random. A stopped
    trial counts with its extrapolated score. Prefer it for hundreds of trials, many at a time,
    where choices outnumber numeric dimensions.
    """
    import optuna

    from tune_sr.searchers.optuna_samplers import ask_by_replay

    sampler = optuna.samplers.NSGAIISampler(seed=context.seed, population_size=NSGA2_POPULATION)
    return ask_by_replay(sampler, context)


SEARCHERS: dict[str, Callable[[ProposalContext], dict[str, Any]]] = {
    "tpe": tpe,
    "gp": gp,
    "cmaes": cmaes,
    "nsga2": nsga2,
    "random": random,
    "grid": grid,
    "auto": auto,
}


def max_trials(searcher: str, space: SearchSpace) -> int | None:
    """Return how many trials a searcher can propose for a space: a grid's points, else None.

    Raises:
        ConfigError: the searcher cannot search this space.
    """
    if searcher == "cmaes":
        _check_numbers(space)
    return len(grid_points(space, seed=0)) if searcher == "grid" else None


def _check_numbers(space: SearchSpace) -> None:
    if not numeric_dimensions(space):
        rule = "cmaes moves numbers, and every quantity of this space is a choice or conditional"
        raise ConfigError("study.searcher", f"{rule}: take another searcher, such as tpe")


def _independent(context: ProposalContext) -> optuna.samplers.BaseSampler:
    """Make the sampler of the dimensions that another sampler's model leaves out."""
    import optuna

    return optuna.samplers.TPESampler(
        seed=context.seed, n_startup_trials=STARTUP_TRIALS, constant_liar=False
    )
