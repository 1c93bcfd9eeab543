"""Dotted paths into nested mappings: `method.w_R` is `{"method": {"w_R": ...}}`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any


def put(nested: dict[str, Any], path: str, value: Any) -> None:
    """Set the value at a dotted path, making the mappings on the way.

    Raises:
        ValueError: a value stands where a mapping is needed.
    """
    *above, last = path.split(".")
    here = nested
    for depth, key in enumerate(above, start=1):
        here = here.setdefault(key, {})
        if not isinstance(here, dict):
            raise ValueError(f"{'.'.join(above[:depth])} is a value, not a mapping")
    here[last] = value


def leaves(nested: Mapping[str, Any], above: str = "") -> Iterator[tuple[str, Any]]:
    """Every dotted path of nested mappings, and its value.

    >>> dict(leaves({"method": {"name": "dfsr", "w_R": 1.0}, "seed": 0}))
    {'method.name': 'dfsr', 'method.w_R': 1.0, 'seed': 0}
    """
    for key, value in nested.items():
        path = f"{above}.{key}" if above else key
        if isinstance(value, Mapping):
            yield from leaves(value, path)
        else:
            yield path, value
