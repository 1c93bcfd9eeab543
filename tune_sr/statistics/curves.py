"""Whether an early value of a learning curve tells its end."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from tune_sr.statistics.ranks import spearman

_BOOTSTRAPS = 200


class RungCorrelation(NamedTuple):
    """Whether the values at a rung tell the end, among the trials that went on to it."""

    step: int
    trials: int
    rho: float | None
    """Spearman's correlation; None with fewer than three trials, or without spread."""
    low: float | None
    """2.5 % quantile over bootstraps of the trials; None below five."""
    high: float | None
    """97.5 % quantile."""


def rung_correlation(
    step: int, early: Sequence[float], late: Sequence[float], seed: int = 0
) -> RungCorrelation:
    """Spearman's correlation of the values at a rung with those at the end, and its interval.

    Args:
        step: of the rung.
        early: the best up to the rung of each trial that reached the end.
        late: the best of the same trials up to the end.
        seed: of the bootstraps.
    """
    rho = spearman(early, late)
    if rho is None or len(early) < 5:
        return RungCorrelation(step, len(early), rho, None, None)
    rng = np.random.default_rng(seed)
    one, other = np.asarray(early), np.asarray(late)
    drawn = []
    for _ in range(_BOOTSTRAPS):
        rows = rng.integers(0, len(one), len(one))
        again = spearman(one[rows], other[rows])
        if again is not None:
            drawn.append(again)
    low, high = (float(each) for each in np.quantile(drawn, (0.025, 0.975)))
    return RungCorrelation(step, len(early), rho, low, high)
