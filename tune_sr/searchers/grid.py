"""The points of a discrete space in a seeded order."""

from __future__ import annotations

import json
from itertools import islice
from typing import TYPE_CHECKING, Any

from trainables.errors import ConfigError
from trainables.values import derive_seed
from tune_sr.space.dimension import combinations

if TYPE_CHECKING:
    from tune_sr.searchers.context import ProposalContext
    from tune_sr.space.search_space import SearchSpace

LARGEST_GRID = 4096
"""Largest number of points of a space that `grid` accepts."""


def grid(context: ProposalContext) -> dict[str, Any]:
    """Propose each point of a discrete space once, in a seeded random order.

    The points combine every choice, every whole number and every step of a `quniform`; a space with
    a continuous dimension is refused. As the order is random, a study that ends early is an
    unbiased sample. Prefer it to compare a handful of settings completely.
    """
    return grid_points(context.space, context.study_seed)[context.number]


def grid_points(space: SearchSpace, seed: int) -> list[dict[str, Any]]:
    """Return the points of a grid in the order of proposal, the space's `first` points first.

    Raises:
        ConfigError: a dimension is continuous, or there are more than `LARGEST_GRID` points.
    """
    endless = [path for path, each in space.dimensions.items() if each.all_values() is None]
    if endless:
        rule = f"grid takes every value, and there is no end of them in {', '.join(endless)}"
        remedy = "say quniform, randint or choice there, or take another searcher"
        raise ConfigError("study.searcher", f"{rule}: {remedy}")
    dimensions = tuple(space.dimensions.values())
    every = combinations(dimensions, space.fixed, lambda each: each.all_values() or ())
    points = list(islice(every, LARGEST_GRID + 1))
    if len(points) > LARGEST_GRID:
        rule = f"grid would have more than {LARGEST_GRID:,} points"
        raise ConfigError("study.searcher", f"{rule}: leave out values, or take another searcher")
    others = [point for point in points if point not in space.first_points]
    others.sort(key=lambda point: derive_seed(seed, "grid", json.dumps(point)))
    return [*map(dict, space.first_points), *others]
