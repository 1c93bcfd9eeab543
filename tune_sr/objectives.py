"""What a study is after: quality on held-out images, alone or against what a student costs."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any, NamedTuple, TypeVar

QUALITY, AGREEMENT = "psnr_y_db", "teacher_agreement"
"""What is to be large: a key of reports, and a word for one where there is no real image at all."""
_AGREEMENT_KEY = "teacher_agreement_db"

COSTS = ("params", "macs", "latency_ms")
"""Keys of reports that can be to be small."""

_T = TypeVar("_T")


class Objective(NamedTuple):
    """One or two keys of reports."""

    value: str
    """Is to be large."""
    cost: str | None = None
    """Is to be small; None: whatever it costs."""

    @property
    def keys(self) -> tuple[str, ...]:
        """All that is looked at in a report."""
        return tuple(key for key in self if key is not None)

    @classmethod
    def of(cls, says: Any) -> Objective:
        """What `study.objective` says: `psnr_y_db`, a list of it and a cost, `teacher_agreement`.

        Raises:
            ValueError: it says something else.

        >>> Objective.of(["psnr_y_db", "params"])
        Objective(value='psnr_y_db', cost='params')
        """
        if says == AGREEMENT:
            return cls(_AGREEMENT_KEY)
        keys = list(says) if isinstance(says, list | tuple) else [says]
        if keys[:1] != [QUALITY] or len(keys) > 2 or not all(key in COSTS for key in keys[1:]):
            rule = (
                f"takes {QUALITY!r}, a list of it and one of {', '.join(COSTS)}, or {AGREEMENT!r}"
            )
            raise ValueError(f"{rule}; got {says!r}")
        return cls(*keys)

    def said(self) -> str | list[str]:
        """What `of` takes, as short as can be."""
        if self.value == _AGREEMENT_KEY:
            return AGREEMENT
        return self.value if self.cost is None else [self.value, self.cost]


ALONE = Objective(QUALITY)
"""Quality, whatever it costs."""


def front(scored: Iterable[tuple[_T, float, float]]) -> list[_T]:
    """Those that no other one beats: in value or in cost, and is as good in the other.

    Args:
        scored: each with its value and its cost. Of equal ones the first counts.

    Returns:
        Cheapest first.

    >>> front([("a", 30.0, 5.0), ("b", 29.0, 5.0), ("c", 28.0, 2.0), ("d", 28.0, 2.0)])
    ['c', 'a']
    """
    best, kept = -math.inf, []
    for each, value, _ in sorted(scored, key=lambda one: (one[2], -one[1])):
        if value > best:
            best = value
            kept.append(each)
    return kept


def cost_shown(key: str, value: float) -> str:
    """What a student costs, for a person.

    >>> cost_shown("params", 1369859.0), cost_shown("latency_ms", 12.3456)
    ('1.37 M', '12.3 ms')
    """
    return f"{value:.3g} ms" if key == "latency_ms" else count_shown(round(value))


def count_shown(number: int) -> str:
    """A count as papers write it.

    >>> count_shown(664704), count_shown(1517571), count_shown(612), count_shown(174218280960)
    ('664.7 K', '1.52 M', '612', '174.22 G')
    """
    for unit, size, digits in (("G", 10**9, 2), ("M", 10**6, 2), ("K", 10**3, 1)):
        if number >= size:
            return f"{number / size:.{digits}f} {unit}"
    return str(number)
