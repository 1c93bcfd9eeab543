"""Ranks, and how much of the ranks of a value a quantity explains."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


def average_ranks(values: Sequence[float] | Floats) -> Floats:
    """Ranks from 1, ties averaged; -inf is the lowest.

    >>> average_ranks([30.0, 10.0, 30.0, 20.0]).tolist()
    [3.5, 1.0, 3.5, 2.0]
    """
    _, inverse, counts = np.unique(np.asarray(values), return_inverse=True, return_counts=True)
    middles = counts.cumsum() - (counts - 1) / 2
    ranked: Floats = middles[inverse]
    return ranked


def spearman(one: Sequence[float] | Floats, other: Sequence[float] | Floats) -> float | None:
    """Spearman's rank correlation; None for fewer than three pairs, or where one does not vary.

    >>> spearman([1, 2, 3, 4], [10, 20, 40, 30])
    0.8
    """
    if len(one) < 3:
        return None
    x, y = average_ranks(one), average_ranks(other)
    x, y = x - x.mean(), y - y.mean()
    norm = float(np.sqrt((x @ x) * (y @ y)))
    return round(float(x @ y) / norm, 12) if norm > 0 else None


def ranks_within_blocks(values: Sequence[float] | Floats, blocks: NDArray[np.int_]) -> Floats:
    """Ranks of each value among those of its block, scaled to the open interval (0, 1)."""
    ranked = np.empty(len(blocks))
    whole = np.asarray(values, dtype=np.float64)
    for block in np.unique(blocks):
        own = blocks == block
        ranked[own] = (average_ranks(whole[own]) - 0.5) / own.sum()
    return ranked


def blocks_of(count: int, size: int) -> NDArray[np.int_]:
    """The block of each of `count` consecutive trials; a rest of less than half joins the last.

    >>> blocks_of(11, 4).tolist(), blocks_of(9, 4).tolist()
    ([0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2], [0, 0, 0, 0, 1, 1, 1, 1, 1])
    """
    whole = max(1, round(count / size))
    return np.minimum(np.arange(count) // size, whole - 1)


def design_of_numbers(values: Sequence[float] | Floats) -> Floats:
    """Columns 1, r, r^2, with r the rank of each number scaled to -1 .. 1."""
    ranked = average_ranks(values)
    r = (2 * ranked - len(ranked) - 1) / max(1, len(ranked) - 1)
    return np.stack([np.ones_like(r), r, r * r], axis=1)


def design_of_choices(values: Sequence[Any]) -> Floats:
    """A column of 0 and 1 for each different value."""
    words = [repr(value) for value in values]
    groups = sorted(set(words))
    return np.array([[float(word == group) for group in groups] for word in words])


def basis(design: Floats) -> Floats:
    """An orthonormal basis of a design's columns, N x p."""
    u, s, _ = np.linalg.svd(design, full_matrices=False)
    independent: Floats = u[:, s > 1e-9 * s[0]]
    return independent


def adjusted_r2(basis_: Floats, targets: Floats) -> Floats:
    """The adjusted R2 of each column of targets, N x S; 0 where nothing can be explained.

    Args:
        basis_: orthonormal, N x p, the constant among what it spans.
        targets: N x S.
    """
    count = len(targets)
    free = count - basis_.shape[1]
    total = ((targets - targets.mean(axis=0)) ** 2).sum(axis=0)
    if basis_.shape[1] < 2 or free < 1:
        return np.zeros(targets.shape[1])
    rest = (targets**2).sum(axis=0) - ((basis_.T @ targets) ** 2).sum(axis=0)
    with np.errstate(divide="ignore", invalid="ignore"):
        found = 1 - (rest / free) / (total / (count - 1))
    return np.where(total > 1e-12, found, 0.0)
