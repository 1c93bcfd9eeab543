"""Invertible augmentations, drawn for each sample and applied to a batch at once.

[DUKD] Zhang et al., "Data Upcycling Knowledge Distillation for Image Super-Resolution", 2023,
arXiv 2309.14162: paired invertible augmentations, for its label consistency.

Deviations: the paper asks of an augmentation D that D(D(x)) = x, and lists rotations, which do not
have it; here D has a true inverse, so every rotation may be used. The release undoes its
operations in the order in which it applied them, which is wrong for a transposition and one flip:
12.6 % of its samples. Here the inverses come in reverse order.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, Self

import torch
from torch import Tensor

from trainables.values import Randomness

OperationName = Literal["inversion", "hflip", "vflip", "transpose", "rot90"]


@dataclass(frozen=True)
class Operation:
    """A map of images B C H W whose `order`-fold application is the identity."""

    once: Callable[[Tensor], Tensor]
    order: int


OPERATIONS: dict[OperationName, Operation] = {
    # Not clamped, so that it is exact for results outside of [0, 1] too.
    "inversion": Operation(lambda x_BCHW: 1.0 - x_BCHW, 2),
    "hflip": Operation(lambda x_BCHW: x_BCHW.flip(-1), 2),
    "vflip": Operation(lambda x_BCHW: x_BCHW.flip(-2), 2),
    "transpose": Operation(lambda x_BCHW: x_BCHW.mT, 2),
    "rot90": Operation(lambda x_BCHW: x_BCHW.rot90(1, (-2, -1)), 4),
}
"""Operations by name: inverted colours; mirrored horizontally, vertically, across the diagonal; a
quarter turn to the left. The last two need square images."""


@dataclass(frozen=True)
class Augmentation:
    """D: how often each operation is applied to each sample of a batch, in order."""

    steps: tuple[tuple[Operation, Tensor], ...] = ()
    """Each operation with its B counts from 0 to order - 1, on the images' device; () is the
    identity."""

    @classmethod
    def draw(
        cls,
        operations: Sequence[OperationName],
        probability: float,
        images: int,
        randomness: Randomness,
        device: torch.device,
    ) -> Self:
        """Draw an augmentation: each operation is applied to each sample with `probability`.

        All draws are independent. A quarter turn is applied once, twice or three times, equally
        likely.
        """
        counts_KB = drawn_counts(operations, probability, images, randomness)
        return cls.of(operations, counts_KB.to(device, non_blocking=True))

    @classmethod
    def of(cls, operations: Sequence[OperationName], counts_KB: Tensor) -> Self:
        """Make the augmentation of drawn counts: row k has operation k's count for each sample."""
        chosen = [OPERATIONS[name] for name in operations]
        return cls(tuple(zip(chosen, counts_KB, strict=True)))

    def apply(self, x_BCHW: Tensor) -> Tensor:
        """Eq. D of [DUKD]: every operation in turn, on those samples to which it happens."""
        for operation, times_B in self.steps:
            x_BCHW = _repeated(operation, times_B, x_BCHW)
        return x_BCHW

    def undo(self, y_BCHW: Tensor) -> Tensor:
        """Eq. D^-1 of [DUKD]: the last operation is undone first; `undo(apply(x))` is x.

        An operation is undone by what is missing to its order. `y_BCHW` may be larger than what
        D was applied to, as a network's image is.
        """
        for operation, times_B in reversed(self.steps):
            y_BCHW = _repeated(operation, (operation.order - times_B) % operation.order, y_BCHW)
        return y_BCHW


def drawn_counts(
    operations: Sequence[OperationName], probability: float, images: int, randomness: Randomness
) -> Tensor:
    """Draw how often each of K operations is applied to each of B images: int64, K B.

    See `Augmentation.draw` for the distribution. Drawn on the host, so that it needs no
    synchronisation and is the same for every device.
    """
    orders = [OPERATIONS[name].order for name in operations]
    counts = [_counts(order, probability, images, randomness) for order in orders]
    return torch.stack(counts) if counts else torch.zeros(0, images, dtype=torch.long)


def _counts(order: int, probability: float, images: int, randomness: Randomness) -> Tensor:
    generator = randomness.generator
    happens = torch.rand(images, generator=generator) < probability
    return happens * torch.randint(1, order, (images,), generator=generator)


def _repeated(operation: Operation, times_B: Tensor, x_BCHW: Tensor) -> Tensor:
    for done in range(operation.order - 1):
        more = (times_B > done).view(-1, 1, 1, 1)
        x_BCHW = torch.where(more, operation.once(x_BCHW), x_BCHW)
    return x_BCHW
