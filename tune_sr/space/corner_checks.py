"""Checks at the corners of a search space that every point of it can be trained."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from itertools import islice
from typing import Any

from trainables.config import TrialConfig
from trainables.errors import ConfigError
from tune_sr.space.dimension import Dimension, Point, combinations
from tune_sr.space.search_space import SearchSpace

LIMIT = 4096
"""Combinations up to which all are tried; of a larger space, those of each two quantities."""


class UntrainablePointError(ConfigError):
    """A point of the space that cannot be trained."""

    def __init__(self, point: Point, error: ConfigError) -> None:
        super().__init__(error.path, error.rule)
        self.point = dict(point)


def check_corners(space: SearchSpace) -> list[TrialConfig]:
    """Parse the configurations of the first points and of all corners, and return them.

    Raises:
        UntrainablePointError: a point cannot be trained; the rule names the choices to blame.
    """
    configs = [_parse(space, point) for point in space.first_points]
    base = space.first_points[0] if space.first_points else lowest_corner(space)
    for point in corner_points(space, base):
        try:
            configs.append(_parse(space, point))
        except UntrainablePointError as problem:
            guilty = _minimal_cause(space, base, problem)
            others = (f"{path} = {value}" for path, value in guilty.items() if path != problem.path)
            names = ", ".join(others)
            rule = f"{problem.rule} (where {names})" if names else problem.rule
            raise UntrainablePointError(guilty, ConfigError(problem.path, rule)) from None
    return configs


def lowest_corner(space: SearchSpace) -> dict[str, Any]:
    """The point of every first choice and lowest end."""
    dimensions = tuple(space.dimensions.values())
    return next(
        combinations(dimensions, space.fixed, lambda dimension: dimension.corner_values()[:1])
    )


def corner_points(space: SearchSpace, base: Point) -> Iterator[Point]:
    """Every combination of discrete values and continuous ends, without inactive quantities.

    Of more than `LIMIT`, only the combinations of each two quantities and of those that make them
    exist; all others are then as in `base`.
    """
    dimensions = tuple(space.dimensions.values())
    every = list(islice(combinations(dimensions, space.fixed, Dimension.corner_values), LIMIT + 1))
    if len(every) <= LIMIT:
        yield from every
        return
    seen = set()
    for pair in itertools.combinations(space.dimensions, 2):
        free = _with_parents(space, pair)

        def values(dimension: Dimension, free: set[str] = free) -> tuple[Any, ...]:
            if dimension.path in free:
                return dimension.corner_values()
            return (base.get(dimension.path, dimension.corner_values()[0]),)

        for point in combinations(dimensions, space.fixed, values):
            key = tuple(point.items())
            if key not in seen:
                seen.add(key)
                yield point


def _with_parents(space: SearchSpace, paths: tuple[str, ...]) -> set[str]:
    free: set[str] = set()
    waiting = [path for path in paths if path in space.dimensions]
    while waiting:
        path = waiting.pop()
        free.add(path)
        parents = space.dimensions[path].when
        waiting += [parent for parent in parents if parent in space.dimensions]
    return free


def _parse(space: SearchSpace, point: Point) -> TrialConfig:
    try:
        return space.trial_config(point)
    except ConfigError as error:
        raise UntrainablePointError(point, error) from None


def _minimal_cause(
    space: SearchSpace, base: Point, problem: UntrainablePointError
) -> Mapping[str, Any]:
    """The choices of an untrainable point that break its rule with all others as in `base`."""
    guilty = dict(problem.point)
    for path in problem.point:
        fewer = {key: value for key, value in guilty.items() if key != path}
        try:
            _parse(space, _completed(space, fewer, base))
        except UntrainablePointError as other:
            if other.path == problem.path:
                guilty = fewer
    return guilty


def _completed(space: SearchSpace, choices: Point, base: Point) -> Point:
    """The point of these choices where they exist, and of the values of `base` elsewhere."""
    point: dict[str, Any] = {}
    for path, dimension in space.dimensions.items():
        if dimension.active(point, space.fixed):
            point[path] = choices.get(path, base.get(path, dimension.corner_values()[0]))
    return point
