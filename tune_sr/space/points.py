"""Reads a mapping as a point of a search space."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trainables.errors import ConfigError
from tune_sr.space.dimension import Dimension

if TYPE_CHECKING:
    from tune_sr.space.search_space import SearchSpace


class MissingQuantityError(ConfigError):
    """A point lacks the value of an active dimension."""


def read_point(
    dimensions: Mapping[str, Dimension],
    fixed: Mapping[str, Any],
    values: Mapping[str, Any],
    rule: str,
) -> dict[str, Any]:
    """Read the values of the active ones of `dimensions`, and pass over other paths of `values`.

    Raises:
        MissingQuantityError: an active dimension has no value, which breaks `rule`.
        ConfigError: a value lies outside its dimension.
    """
    point: dict[str, Any] = {}
    for path, dimension in dimensions.items():
        if not dimension.active(point, fixed):
            continue
        if path not in values:
            raise MissingQuantityError(path, rule)
        try:
            point[path] = dimension.validate(values[path])
        except ValueError as error:
            raise ConfigError(path, str(error)) from None
    return point


def whole_point(space: SearchSpace, values: Mapping[str, Any], file: Path) -> dict[str, Any]:
    """Read the content of `file` as a point of `space`: all active dimensions, and no other path.

    Raises:
        ValueError: one line with file, dotted path and rule.
    """
    rule = "missing; a point has every searched quantity"
    try:
        point = read_point(space.dimensions, space.fixed, values, rule)
    except ConfigError as error:
        raise ValueError(f"{file}: {error}") from None
    for path in values:
        if path not in point:
            known = ", ".join(point) or "nothing"
            raise ValueError(f"{file}: {path}: is not searched at this point; searched: {known}")
    return point
