"""Reads and writes nested mappings by dotted path: `method.w_R` is `{"method": {"w_R": ...}}`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any


def put(nested: dict[str, Any], path: str, value: Any) -> None:
    """Set the value at a dotted path, creating the mappings on the way.

    Raises:
        ValueError: the path leads through a value that is no mapping.
    """
    *above, last = path.split(".")
    here = nested
    for depth, key in enumerate(above, start=1):
        here = here.setdefault(key, {})
        if not isinstance(here, dict):
            raise ValueError(f"{'.'.join(above[:depth])} is a value, not a mapping")
    here[last] = value


def leaves(nested: Mapping[str, Any], above: str = "") -> Iterator[tuple[str, Any]]:
    """Yield the dotted path and value of every leaf of nested mappings.

    >>> dict(leaves({"method": {"name": "dfsr", "w_R": 1.0}, "seed": 0}))
    {'method.name': 'dfsr', 'method.w_R': 1.0, 'seed': 0}
    """
    for key, value in nested.items():
        path = f"{above}.{key}" if above else key
        if isinstance(value, Mapping):
            yield from leaves(value, path)
        else:
            yield path, value


def look_up(nested: Mapping[str, Any], path: str) -> Any:
    """Return the value at a dotted path.

    Raises:
        KeyError: there is none.
    """
    here: Any = nested
    for key in path.split("."):
        if not isinstance(here, Mapping):
            raise KeyError(path)
        here = here[key]
    return here


def get(nested: Mapping[str, Any], path: str, default: Any) -> Any:
    """Return the value at a dotted path; `default` where there is none."""
    try:
        return look_up(nested, path)
    except KeyError:
        return default


def remove(nested: dict[str, Any], path: str) -> None:
    """Delete the value at a dotted path, if there is one."""
    above, _, last = path.rpartition(".")
    owner = get(nested, above, {}) if above else nested
    if isinstance(owner, dict):
        owner.pop(last, None)
