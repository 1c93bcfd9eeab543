"""Makes the images, and the teacher's results for them, of several student updates together.

Between two updates of a generator neither it nor the teacher changes, so the training data of the
student updates between them do not depend on the student. Random numbers are drawn update by
update, in the order of use; the images are then made scale by scale. What is made together ends
with a report at the latest, so that nothing is prepared when a checkpoint is saved.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from trainables.replay import Replay, Work


class Lesson(NamedTuple):
    """The training data of one student update."""

    scale: int
    """The scale to run student and teacher at."""
    x_BCHW: Tensor
    """Input images in [0, 1], generated or of noise."""
    target_BCHW: Tensor
    """The teacher's results for them."""


class Lessons:
    """A queue of the lessons of later updates, in order of use.

    One pass makes the images of as many updates as fit into `Replay.pixels_at_once`, and of one at
    least. How many it makes changes the images by rounding errors only.
    """

    def __init__(self, replay: Replay, side: int) -> None:
        """Start empty; `side` is that of the teacher's largest results, in pixels."""
        self.replay = replay
        self.pixels = side**2
        self.prepared: deque[Lesson] = deque()

    def next(self) -> Lesson:
        """Remove and return the lesson of the next update.

        Raises:
            IndexError: none is prepared.
        """
        return self.prepared.popleft()

    def prepare(self, drawn: Sequence[tuple[int, Tensor]], work: Callable[[int], Work]) -> None:
        """Make one lesson for each entry of `drawn` and append them in its order.

        Args:
            drawn: for each update, its scale and the random numbers of its images; their first
                dimension is B, the same for all updates.
            work: makes, for a scale, the work that computes `x_BCHW` and `target_BCHW` from the
                random numbers of any number of images.
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
    """Split `numbers` into groups of `size`, in order, and the rest into groups of one.

    So the work of a scale is recorded for at most two sizes.

    >>> _in_groups(range(8), 3)
    [range(0, 3), range(3, 6), range(6, 7), range(7, 8)]
    """
    whole = len(numbers) // size * size
    groups = [numbers[first : first + size] for first in range(0, whole, size)]
    return groups + [numbers[each : each + 1] for each in range(whole, len(numbers))]
