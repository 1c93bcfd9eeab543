"""Plans progressive distillation: how many body units are trained, and from which update on.

[DFSR] Section 3.3 and Algorithm 1: the student's body is divided into P parts, which join training
one after the other. No part is frozen once it has joined.
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
    """The updates at which the student grows, and its depths."""

    starts: tuple[int, ...]
    """The student update (from 0) with which each part begins; the first is 0."""
    depths: tuple[int, ...]
    """Number of body units trained in each part; the last is the whole body."""

    def at(self, step: int) -> int:
        """Return the part (from 0) to which student update number `step` belongs."""
        return bisect_right(self.starts, step) - 1


def plan_parts(
    blocks: int, steps: int, P: int, split_points: SplitPoints, part_fraction: float
) -> Parts:
    """Plan the parts for a body of `blocks` units and a budget of `steps` student updates.

    Args:
        blocks: units of the student's body.
        steps: student updates.
        P: number of parts.
        split_points: where the body is divided; see `part_depths`.
        part_fraction: share of `steps` that all parts but the last take together.

    Raises:
        ValueError: P or `split_points` leave a part without a unit or without an update.

    >>> plan_parts(18, 480_000, 2, "even", 12 / 80)
    Parts(starts=(0, 72000), depths=(9, 18))
    """
    depths = part_depths(blocks, P, split_points)
    return Parts(growth_starts(steps, P, part_fraction), depths)


def growth_starts(steps: int, P: int, part_fraction: float) -> tuple[int, ...]:
    """Return the student updates with which the P parts begin.

    All parts but the last divide the share `part_fraction` of `steps` evenly.

    Raises:
        ValueError: a part would have no update.
    """
    starts = tuple(_half_up(part_fraction * steps * k / max(P - 1, 1)) for k in range(P))
    if any(later <= earlier for earlier, later in zip(starts, (*starts[1:], steps), strict=True)):
        raise ValueError(
            f"P: {P} parts in {part_fraction:g} of {steps} updates leave a part without an update"
        )
    return starts


def part_depths(blocks: int, P: int, split_points: SplitPoints) -> tuple[int, ...]:
    """Eq. N_k of [DFSR] (Section 3.3): body units active in each of the P parts.

    `even` divides evenly, rounded half up. A number f in (0, 1) gives the first part that share of
    the body and divides the rest evenly. An ascending list has the first P - 1 depths.

    Raises:
        ValueError: a part would have no unit, or the list does not fit.

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
