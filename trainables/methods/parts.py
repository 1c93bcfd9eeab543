"""The parts of progressive distillation: how many body units learn, and from when.

[DFSR] Section 3.3 and Algorithm 1: the student's body is cut into P parts; part by part another
one joins those that already learn. Nothing that has joined is ever frozen.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Annotated, Literal

from pydantic import Field

SplitPoints = Literal["even"] | float | Annotated[tuple[int, ...], Field(strict=False)]


@dataclass(frozen=True)
class Parts:
    """When the student grows, and to what depth."""

    starts: tuple[int, ...]
    """The student update (from 0) with which each part begins; the first is 0."""
    depths: tuple[int, ...]
    """Body units that learn in each part; the last is the whole body."""

    def at(self, step: int) -> int:
        """The part (from 0) to which student update number `step` belongs."""
        return bisect_right(self.starts, step) - 1


def plan_parts(
    blocks: int, steps: int, P: int, split_points: SplitPoints, part_fraction: float
) -> Parts:
    """Parts for a body of `blocks` units and a budget of `steps` student updates.

    Raises:
        ValueError: P or `split_points` leave a part without a unit or without an update.

    >>> plan_parts(18, 480_000, 2, "even", 12 / 80)
    Parts(starts=(0, 72000), depths=(9, 18))
    """
    depths = part_depths(blocks, P, split_points)
    return Parts(growth_starts(steps, P, part_fraction), depths)


def growth_starts(steps: int, P: int, part_fraction: float) -> tuple[int, ...]:
    """Student updates with which the P parts begin: all but the last share `part_fraction`."""
    starts = tuple(_half_up(part_fraction * steps * k / max(P - 1, 1)) for k in range(P))
    if any(later <= earlier for earlier, later in zip(starts, (*starts[1:], steps), strict=True)):
        raise ValueError(
            f"P: {P} parts in {part_fraction:g} of {steps} updates leave a part without an update"
        )
    return starts


def part_depths(blocks: int, P: int, split_points: SplitPoints) -> tuple[int, ...]:
    """Eq. N_k of [DFSR] (Section 3.3): body units active in each of the P parts.

    `even` cuts evenly, rounded half up. One number f in (0, 1) gives the first part that share of
    the body and divides the rest evenly. A rising list of P - 1 counts says it outright.

    >>> part_depths(18, 2, "even"), part_depths(18, 3, 0.5), part_depths(18, 3, (4, 10))
    ((9, 18), (9, 14, 18), (4, 10, 18))
    """
    if blocks < P:
        raise ValueError(f"P: {P} parts need a body of at least {P} blocks; it has {blocks}")
    if P == 1:
        return (blocks,)
    if split_points == "even":
        depths = [_half_up(blocks * (k + 1) / P) for k in range(P)]
    elif isinstance(split_points, Sequence) and not isinstance(split_points, str):
        depths = [*split_points, blocks]
    else:
        assert isinstance(split_points, float)
        if not 0.0 < split_points < 1.0:
            raise ValueError(f"split_points: {split_points:g} is no share between 0 and 1")
        first = _half_up(split_points * blocks)
        depths = [first + _half_up((blocks - first) * k / (P - 1)) for k in range(P)]
    if len(depths) != P or depths[0] < 1 or not _strictly_rising(depths):
        raise ValueError(
            f"split_points: {split_points} cuts {blocks} blocks into {depths}; "
            f"{P} parts need {P - 1} strictly rising cuts between 1 and {blocks - 1}"
        )
    return tuple(depths)


def _strictly_rising(depths: Sequence[int]) -> bool:
    return all(a < b for a, b in pairwise(depths))


def _half_up(value: float) -> int:
    return math.floor(value + 0.5)
