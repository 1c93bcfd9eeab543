"""The points of a search space as places in a unit cube, for searchers that model distances."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from tune_sr.space.dimension import Dimension, Point
    from tune_sr.space.search_space import SearchSpace

Array = npt.NDArray[np.float64]

_ABSENT = 0.5
"""Coordinate beside a conditional quantity where it does not exist; 0 where it does."""


class UnitCube:
    """Maps points of a space to rows of places, and those to vectors with meaningful distances.

    A row has one place from 0 to 1 for each quantity, NaN where it does not exist. A number is at
    its place in its range, on a log axis where the space has one; a choice of at least three
    numbers at its rank; any other choice in the middle of one of equal shares.
    """

    def __init__(self, space: SearchSpace) -> None:
        self._space = space
        self.dimensions = list(space.dimensions.values())
        self.ordered = [_is_ordered(each) for each in self.dimensions]
        """For each quantity, whether a distance between its places means something."""
        self._column = {each.path: index for index, each in enumerate(self.dimensions)}
        widths = [1 if ordered else len(each.args) for each, ordered in self._with_order()]
        widths = [w + self._is_conditional(d) for w, d in zip(widths, self.dimensions, strict=True)]
        self.quantities: npt.NDArray[np.intp] = np.repeat(np.arange(len(widths)), widths)
        """For each coordinate of a vector the number of its quantity, from 0."""

    def rows(self, points: Sequence[Point]) -> Array:
        """Return the rows of `points`, of shape (points, quantities)."""
        found = np.full((len(points), len(self.dimensions)), math.nan)
        for column, dimension in enumerate(self.dimensions):
            for row, point in enumerate(points):
                if dimension.path in point:
                    found[row, column] = _place(dimension, point[dimension.path])
        return found

    def point(self, row: Array) -> dict[str, Any]:
        """Return the point at a row that `settle` returned."""
        return {
            dimension.path: dimension.validate(_value_at(dimension, float(place)))
            for dimension, place in zip(self.dimensions, row, strict=True)
            if not math.isnan(place)
        }

    def settle(self, rows: Array) -> Array:
        """Move each place to that of the nearest value; NaN where the quantity does not exist.

        Quantities of the space come after those that their conditions name, so one pass is enough.
        """
        settled = np.empty_like(rows)
        for column, dimension in enumerate(self.dimensions):
            exists = self._exists(dimension, settled)
            settled[:, column] = np.where(exists, _nearest(dimension, rows[:, column]), math.nan)
        return settled

    def vectors(self, rows: Array) -> Array:
        """Return the vectors of rows, of shape (rows, coordinates).

        An ordered quantity is its place; another choice is a corner of a simplex with edges of
        length 1. A conditional quantity has one coordinate more, by which points where it exists
        are 0.5 from those where it does not; there it is in the middle of its values.
        """
        parts = []
        for column, (dimension, ordered) in enumerate(self._with_order()):
            places, absent = rows[:, column], np.isnan(rows[:, column])
            if ordered:
                parts.append(np.where(absent, 0.5, places)[:, None])
            else:
                shares = np.where(absent, 0.0, places)[:, None] * len(dimension.args)
                chosen = np.floor(shares) == np.arange(len(dimension.args))
                middle = np.full(len(dimension.args), 1 / len(dimension.args))
                parts.append(math.sqrt(0.5) * np.where(absent[:, None], middle, chosen))
            if self._is_conditional(dimension):
                parts.append(np.where(absent, _ABSENT, 0.0)[:, None])
        return np.concatenate(parts, axis=1) if parts else np.zeros((len(rows), 0))

    def _with_order(self) -> list[tuple[Dimension, bool]]:
        return list(zip(self.dimensions, self.ordered, strict=True))

    def _is_conditional(self, dimension: Dimension) -> bool:
        return bool(set(dimension.when) & set(self._space.dimensions))

    def _exists(self, dimension: Dimension, settled: Array) -> npt.NDArray[np.bool_]:
        """Whether a quantity exists in each row, of which the columns before are settled."""
        searched = {path: values for path, values in dimension.when.items() if path in self._column}
        fixed = {path: values for path, values in dimension.when.items() if path not in searched}
        always = replace(dimension, when=fixed).active({}, self._space.fixed)
        exists = np.full(len(settled), always)
        for path, values in searched.items():
            parent, column = self._space.dimensions[path], settled[:, self._column[path]]
            places = [_place(parent, value) for value in values if _has(parent, value)]
            exists &= np.isclose(column[:, None], places, rtol=0, atol=1e-9).any(axis=1)
        return exists


def _has(dimension: Dimension, value: Any) -> bool:
    try:
        dimension.validate(value)
    except ValueError:
        return False
    return True


def _is_ordered(dimension: Dimension) -> bool:
    """Whether the values of a dimension are numbers, of which a choice has at least three."""
    if dimension.distribution != "choice":
        return True
    numbers = [
        isinstance(each, int | float) and not isinstance(each, bool) for each in dimension.args
    ]
    return len(numbers) > 2 and all(numbers)


def _place(dimension: Dimension, value: Any) -> float:
    """Return the place of a value of a dimension, from 0 to 1."""
    if dimension.distribution == "choice":
        if _is_ordered(dimension):
            return sorted(dimension.args).index(value) / (len(dimension.args) - 1)
        return (dimension.args.index(dimension.validate(value)) + 0.5) / len(dimension.args)
    low, high = _ends(dimension)
    return (float(_axis(dimension, value)) - low) / (high - low) if high > low else 0.5


def _value_at(dimension: Dimension, place: float) -> Any:
    """Return the value of a dimension that is nearest to a place from 0 to 1."""
    if dimension.distribution == "choice":
        if _is_ordered(dimension):
            return sorted(dimension.args)[round(place * (len(dimension.args) - 1))]
        return dimension.args[int(place * len(dimension.args))]
    number = float(_number_at(dimension, np.asarray(place)))
    return round(number) if _is_whole(dimension) else number


def _nearest(dimension: Dimension, places: Array) -> Array:
    """Return the places of the values nearest to `places`, which are moved into 0 to 1 first."""
    places = np.clip(places, 0.0, 1.0)
    if dimension.distribution == "choice":
        count = len(dimension.args)
        if _is_ordered(dimension):
            return np.round(places * (count - 1)) / (count - 1)
        return (np.minimum(np.floor(places * count), count - 1) + 0.5) / count
    low, high = _ends(dimension)
    if high == low:
        return np.full_like(places, 0.5)
    return np.asarray((_axis(dimension, _number_at(dimension, places)) - low) / (high - low))


def _number_at(dimension: Dimension, places: Array) -> Array:
    """Return the numbers of a range that are nearest to places from 0 to 1."""
    low, high = _ends(dimension)
    numbers = low + places * (high - low)
    numbers = np.exp(numbers) if dimension.distribution.startswith("log") else numbers
    first, last = dimension.args[0], dimension.args[1]
    if _is_whole(dimension):
        return np.clip(np.round(numbers), first, last - 1)
    if dimension.distribution == "quniform":
        numbers = np.round(numbers / dimension.args[2]) * dimension.args[2]
    return np.clip(numbers, first, last)


def _ends(dimension: Dimension) -> tuple[float, float]:
    last = dimension.args[1] - 1 if _is_whole(dimension) else dimension.args[1]
    return float(_axis(dimension, dimension.args[0])), float(_axis(dimension, last))


def _axis(dimension: Dimension, numbers: Any) -> Any:
    return np.log(numbers) if dimension.distribution.startswith("log") else np.asarray(numbers)


def _is_whole(dimension: Dimension) -> bool:
    return dimension.distribution in ("randint", "lograndint")
