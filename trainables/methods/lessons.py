"""Generated images and the teacher's answers to them, made for several student updates together.

Between two updates of a generator, generator and teacher do not change: what the next updates learn
from depends on no student. It is drawn update by update, in the order in which it will be used, and
then made scale by scale. The window ends with the report, so that a checkpoint finds nothing
prepared.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from trainables.replay import Replay, Work


class Lesson(NamedTuple):
    """What one update of a student learns from."""

    scale: int
    x_BCHW: Tensor
    """Generated LR images."""
    target_BCHW: Tensor
    """The teacher's answer to them."""


class Lessons:
    """Lessons of the updates to come, in order.

    As many images are made in one pass as the device has use for (`Replay.pixels_at_once`), but all
    of an update's at least; what is made does not depend on it, beyond roundings.
    """

    def __init__(self, replay: Replay, side: int) -> None:
        """Prepare nothing yet; `side` is that of the teacher's largest answers, in pixels."""
        self.replay = replay
        self.pixels = side**2
        self.prepared: deque[Lesson] = deque()

    def next(self) -> Lesson:
        """The lesson of the next update, which must have been prepared."""
        return self.prepared.popleft()

    def prepare(self, drawn: Sequence[tuple[int, Tensor]], work: Callable[[int], Work]) -> None:
        """Make the lessons of as many updates as are drawn.

        Args:
            drawn: for each update, its scale and the random numbers of its images, B first.
            work: for a scale, what makes `x_BCHW` and `target_BCHW` of the numbers of any B.
        """
        made: dict[int, Lesson] = {}
        images = len(drawn[0][1])
        together = max(1, self.replay.pixels_at_once // (images * self.pixels))
        for scale in dict.fromkeys(scale for scale, _ in drawn):
            numbers = [number for number, (each, _) in enumerate(drawn) if each == scale]
            for some in _in_groups(numbers, together):
                given_B = torch.cat([drawn[number][1] for number in some])
                found = self.replay(("lesson", scale), work(scale), given_B)
                parts = (torch.split(found[name], images) for name in ("x_BCHW", "target_BCHW"))
                for number, x_BCHW, target_BCHW in zip(some, *parts, strict=True):
                    made[number] = Lesson(scale, x_BCHW, target_BCHW)
        self.prepared.extend(made[number] for number in range(len(drawn)))


def _in_groups(numbers: Sequence[int], size: int) -> list[Sequence[int]]:
    """All in turn, `size` at a time, and the rest one by one: two shapes to record, not many.

    >>> _in_groups(range(8), 3)
    [range(0, 3), range(3, 6), range(6, 7), range(7, 8)]
    """
    whole = len(numbers) // size * size
    groups = [numbers[first : first + size] for first in range(0, whole, size)]
    return groups + [numbers[each : each + 1] for each in range(whole, len(numbers))]
