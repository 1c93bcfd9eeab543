"""A limit on what a student may cost, in place of a second objective."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Literal, NamedTuple, cast

LIMITED = ("params", "macs")
"""Costs that can be limited: those that are known before a trial is trained."""
Sense = Literal["at_most", "at_least"]


class Limit(NamedTuple):
    """The largest or the smallest cost that a student may have."""

    key: str
    """One of `LIMITED`."""
    sense: Sense
    value: float

    @classmethod
    def parse(cls, key: Any, raw: Any) -> Limit:
        """Read `{at_most: number}` or `{at_least: number}` of a cost.

        Raises:
            ValueError: it is something else.

        >>> str(Limit.parse("params", {"at_most": 500000}))
        'params at most 500,000'
        """
        if key not in LIMITED:
            known = " and ".join(LIMITED)
            rule = f"{known} can be limited: they are known before a trial is trained"
            raise ValueError(f"{rule}; got {key!r}")
        words = list(raw) if isinstance(raw, Mapping) else []
        if len(words) != 1 or words[0] not in ("at_most", "at_least"):
            raise ValueError(f"{key}: takes {{at_most: N}} or {{at_least: N}}; got {raw!r}")
        value = raw[words[0]]
        number = isinstance(value, int | float) and not isinstance(value, bool)
        if not number or not 0 < value < math.inf:
            raise ValueError(f"{key}: {words[0]}: takes a number above 0; got {value!r}")
        return cls(str(key), cast("Sense", words[0]), value)

    def to_yaml(self) -> dict[str, float]:
        """The value that `parse` reads as this limit."""
        return {self.sense: self.value}

    def problem(self, cost: float) -> str | None:
        """Why a student of this cost may not be trained, with by how much; None where it may.

        >>> Limit("params", "at_most", 500000).problem(665000)
        'params are 665,000, 33 % beyond the limit of at most 500,000'
        """
        beyond = cost / self.value - 1 if self.sense == "at_most" else 1 - cost / self.value
        if beyond <= 0:
            return None
        word = self.sense.replace("_", " ")
        share = f"{100 * beyond:.3g} %" if beyond < 1 else f"{100 * beyond:.0f} %"
        return f"{self.key} are {cost:,.0f}, {share} beyond the limit of {word} {self.value:,.0f}"

    def __str__(self) -> str:
        return f"{self.key} {self.sense.replace('_', ' ')} {self.value:,.0f}"
