"""Checks that values read from JSON are of the types that a kind of event declares."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import UnionType
from typing import Any, Literal, Union, get_args, get_origin


def check_of(hint: Any) -> Callable[[Any], bool]:
    """The check that a JSON value is of a type; an `int` is a count, from 0."""
    inner = get_args(hint)
    if hint is Any:
        return lambda value: True
    if get_origin(hint) is Literal:
        return lambda value: isinstance(value, str) and value in inner
    if get_origin(hint) in (Union, UnionType):
        checks = [check_of(each) for each in inner]
        return lambda value: any(check(value) for check in checks)
    if get_origin(hint) is Mapping:
        check = check_of(inner[1])
        return lambda value: isinstance(value, Mapping) and all(map(check, value.values()))
    if get_origin(hint) is list:
        fits = check_of(inner[0])
        return lambda value: isinstance(value, list) and all(map(fits, value))
    if hint is float:
        return is_number
    if hint is int:
        return lambda value: is_number(value) and isinstance(value, int) and value >= 0
    return lambda value: isinstance(value, hint)


def is_number(value: Any) -> bool:
    """Whether a JSON value is a number; `true` is none."""
    return isinstance(value, int | float) and not isinstance(value, bool)
