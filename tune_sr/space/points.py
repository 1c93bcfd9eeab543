"""A mapping read as a point of a space."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tune_sr.space.search_space import SearchSpace


def whole_point(space: SearchSpace, said: Mapping[str, Any], file: Path) -> dict[str, Any]:
    """What a file says, as a point of `space`: every quantity that exists there, nothing else."""
    point: dict[str, Any] = {}
    for path, dimension in space.dimensions.items():
        if dimension.active(point, space.fixed):
            if path not in said:
                raise ValueError(f"{file}: {path}: missing; a point has every searched quantity")
            try:
                point[path] = dimension.validate(said[path])
            except ValueError as error:
                raise ValueError(f"{file}: {path}: {error}") from None
    for path in said:
        if path not in point:
            known = ", ".join(point) or "nothing"
            raise ValueError(f"{file}: {path}: is not searched at this point; searched: {known}")
    return point
