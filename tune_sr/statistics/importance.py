"""Which searched quantities matter, as far as so many trials can tell.

Trials are compared at equal budget. A quantity's importance is the adjusted R2 with which its ranks
explain those of the trials' values: of a number by rank and squared rank, of a choice by its
groups, over the trials in which it exists. Values are ranked within blocks of consecutive trials,
because the later trials of a searcher that learns are better *and* lie elsewhere: over the whole
study every quantity that it narrowed down would seem to matter.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from tune_sr.statistics.ranks import (
    Floats,
    adjusted_r2,
    basis,
    blocks_of,
    design_of_choices,
    design_of_numbers,
    ranks_within_blocks,
)

FEWEST_TRIALS: Final = 16
"""Fewer trials cannot rank quantities: even one that decides all is found in 15 % of studies of 8
trials, in 64 % of 16, in 89 % of 32."""
BLOCK: Final = 8
"""Consecutive trials among which values are ranked and shuffled."""
_DRAWS: Final = 200
_FEWEST_WITH_IT: Final = 8
"""A quantity that exists in fewer trials gets no bar."""


@dataclass(frozen=True)
class Quantity:
    """A searched quantity and its values, one for each trial in the order of their addition."""

    path: str
    values: Sequence[Any]
    """None where the quantity does not exist in a trial."""
    is_choice: bool


@dataclass(frozen=True)
class Importance:
    """How much of the trials' order a quantity explains."""

    path: str
    r2: float
    """Adjusted R2; near 0, or slightly below, where it explains nothing."""
    low: float
    """10 % quantile over bootstraps of the trials."""
    high: float
    """90 % quantile over them."""
    trials: int
    """In how many trials it exists."""
    direction: str
    """In words: `higher is better`, `best near 0.1`, `best: random`."""


@dataclass(frozen=True)
class Importances:
    """The importances of a study's quantities, and what chance gives."""

    bars: tuple[Importance, ...]
    """The largest first."""
    chance: float
    """The 95 % quantile of the largest R2 of any quantity, with the values shuffled within blocks
    of consecutive trials: a bar below is not told apart from chance."""

    def found(self) -> list[Importance]:
        """The bars that leave the band of chance."""
        return [bar for bar in self.bars if bar.r2 > self.chance]


def importances(
    values: Sequence[float], quantities: Sequence[Quantity], seed: int = 0
) -> Importances | None:
    """The importances of `quantities` for `values`; None below 16 trials.

    Args:
        values: of each trial at one budget, in the order of addition; -inf for one that failed.
        quantities: with a value for each of these trials.
        seed: of bootstraps and shuffles, so that a report repeated is the same.
    """
    count = len(values)
    if count < FEWEST_TRIALS:
        return None
    rng = np.random.default_rng(seed)
    blocks = blocks_of(count, BLOCK)
    ranked = ranks_within_blocks(values, blocks)
    shuffled = np.stack([_shuffled(ranked, blocks, rng) for _ in range(_DRAWS)], axis=1)
    bars, largest = [], np.full(_DRAWS, -np.inf)
    for quantity in quantities:
        exists = np.array([value is not None for value in quantity.values])
        own = [value for value in quantity.values if value is not None]
        if exists.sum() < _FEWEST_WITH_IT or len({repr(value) for value in own}) < 2:
            continue
        design = design_of_choices(own) if quantity.is_choice else design_of_numbers(own)
        spanned, target = basis(design), ranked[exists]
        largest = np.maximum(largest, adjusted_r2(spanned, shuffled[exists]))
        drawn = _bootstraps(design, target, rng)
        r2 = float(adjusted_r2(spanned, target[:, None])[0])
        low, high = (float(each) for each in np.quantile(drawn, (0.1, 0.9)))
        direction = _direction(quantity, own, design, target)
        bars.append(Importance(quantity.path, r2, low, high, int(exists.sum()), direction))
    if not bars:
        return None
    ordered = sorted(bars, key=lambda bar: -bar.r2)
    return Importances(tuple(ordered), float(np.quantile(largest, 0.95)))


def _shuffled(values: Floats, blocks: Any, rng: np.random.Generator) -> Floats:
    """The values in an order that is random within each block."""
    shuffled: Floats = values[np.lexsort((rng.random(len(values)), blocks))]
    return shuffled


def _bootstraps(design: Floats, target: Floats, rng: np.random.Generator) -> Floats:
    """The R2 of trials drawn with replacement; degrees of freedom count each trial once."""
    rows = len(target)
    weights = rng.multinomial(rows, np.full(rows, 1 / rows), size=_DRAWS).astype(np.float64)
    gram = np.einsum("bn,np,nq->bpq", weights, design, design, optimize=True)
    products = (weights * target) @ design
    explained = np.einsum("bp,bpq,bq->b", products, np.linalg.pinv(gram, 1e-9, True), products)
    total = weights @ target**2 - (weights @ target) ** 2 / rows
    rest = weights @ target**2 - explained
    distinct = (weights > 0).sum(axis=1)
    free = distinct - np.linalg.matrix_rank(gram, hermitian=True)
    usable = (free > 0) & (total > 1e-12)
    r2 = np.zeros(_DRAWS)
    r2[usable] = 1 - (rest[usable] / free[usable]) / (total[usable] / (distinct[usable] - 1))
    return r2


def _direction(quantity: Quantity, own: list[Any], design: Floats, target: Floats) -> str:
    """Where the good values lie, by the fitted parabola or the means of the groups."""
    if quantity.is_choice:
        words = [repr(value) for value in own]
        means = {
            word: float(np.mean([t for w, t in zip(words, target, strict=True) if w == word]))
            for word in set(words)
        }
        best = max(sorted(means), key=lambda word: means[word])
        return f"best: {own[words.index(best)]}"
    _, slope, bend = (float(each) for each in np.linalg.lstsq(design, target, rcond=None)[0])
    top = -slope / (2 * bend) if abs(bend) > 1e-12 else np.inf
    if abs(top) < 2 / 3:
        at = float(np.quantile(np.asarray(own, dtype=np.float64), (top + 1) / 2))
        return f"{'best' if bend < 0 else 'worst'} near {at:.2g}"
    return "higher is better" if slope > 0 else "higher is worse"


def value_at(steps: Sequence[int], values: Sequence[float], budget: int) -> float:
    """The best finite value of a trial up to `budget` updates; -inf where it has none.

    >>> value_at([30, 60, 90], [31.0, 31.5, 31.9], budget=60)
    31.5
    """
    reached = [v for s, v in zip(steps, values, strict=True) if s <= budget and np.isfinite(v)]
    return max(reached, default=-np.inf)
