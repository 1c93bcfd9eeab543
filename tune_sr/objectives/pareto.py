"""The Pareto front of quality against cost."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import TypeVar

_T = TypeVar("_T")


def pareto_front(scored: Iterable[tuple[_T, float, float]]) -> list[_T]:
    """The Pareto front: those that no other beats in value or cost while equal in the other.

    Args:
        scored: each with its value, to be large, and its cost. Of equal ones the first counts.

    Returns:
        Cheapest first.

    >>> pareto_front([("a", 30.0, 5.0), ("b", 29.0, 5.0), ("c", 28.0, 2.0), ("d", 28.0, 2.0)])
    ['c', 'a']
    """
    best, kept = -math.inf, []
    for each, value, _ in sorted(scored, key=lambda one: (one[2], -one[1])):
        if value > best:
            best = value
            kept.append(each)
    return kept
