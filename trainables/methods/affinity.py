"""Computes affinities of feature maps, and their distance within a given amount of memory.

[FAKD] He et al., "FAKD: Feature-Affinity Based Knowledge Distillation for Efficient Image
Super-Resolution", ICIP 2020, and its released code.

An affinity has N x N entries an image: 20 MiB at 48 x 48 positions. Two are compared in bands of
rows, and no band is stored, not even for the gradient, which needs only the sign of each difference
and is accumulated in the same pass. Everything is float32, because bfloat16 resolves a cosine only
to 1/256.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self

import torch
import torch.nn.functional as F
from torch import Tensor

_TINY = 1e-7
"""Added by [FAKD]'s code to a length before the division by it."""
_FLOAT32 = 4
_GIB = 2**30
_CACHED = 8 * 2**20
"""Bytes of two bands that fit a processor's cache: 16 images of 48 x 48 positions are compared five
times faster than with whole affinities."""


@dataclass(frozen=True)
class Maps:
    """The sizes of feature maps, which determine the memory of their affinities."""

    images: int
    positions: int
    """N, the number of positions H W of a map after pooling."""
    student_features: int
    teacher_features: int
    layers: int

    @classmethod
    def of(cls, ours: Sequence[Tensor], theirs: Sequence[Tensor], pool: int) -> Self:
        """Return the sizes of a student's and a teacher's maps, each B F H W."""
        images, features, height, width = ours[0].shape
        positions = (height // pool) * (width // pool)
        return cls(images, positions, features, theirs[0].shape[1], len(ours))

    def bytes(self, rows: int) -> int:
        """Return the peak bytes of comparing affinities in bands of `rows` rows.

        They hold two bands; for each layer the student's unit vectors and their gradient; for the
        current layer two copies of the teacher's vectors and four of the student's. The networks'
        feature maps are not counted.
        """
        student = (2 * self.layers + 4) * self.student_features
        vectors = student + 2 * self.teacher_features
        return _FLOAT32 * self.images * self.positions * (2 * rows + vectors)

    def rows_within(self, memory_gib: float) -> int:
        """Return the most rows of a band, at most N, for which `memory_gib` is enough; 0 if none.

        >>> paper = Maps(16, 48 * 48, 64, 256, 3)
        >>> paper.rows_within(1.0), paper.rows_within(0.4), paper.rows_within(0.1)
        (2304, 880, 0)
        """
        return self.rows_in(int(memory_gib * _GIB) - self.bytes(0))

    def rows_in(self, room: int) -> int:
        """Return the most rows, at most N, of two bands that take `room` bytes; 0 if none."""
        row = self.bytes(1) - self.bytes(0)
        return max(min(room // row, self.positions), 0)


def unit_positions_BNF(features_BFHW: Tensor, pool: int = 1) -> Tensor:
    """Eq. F~ of [FAKD]: at each position, the vector of all features divided by its length.

    Args:
        features_BFHW: a feature map F_l, of any range.
        pool: side of the squares of positions that are averaged before; 1 averages none. The
            memory of an affinity falls with its fourth power.

    Returns:
        B N F, N = (H / pool) (W / pool), row by row: of length 1, or 0 where all features are 0.
    """
    features_BFHW = features_BFHW.to(torch.promote_types(features_BFHW.dtype, torch.float32))
    if pool > 1:
        features_BFHW = F.avg_pool2d(features_BFHW, pool)
    features_BNF = features_BFHW.flatten(2).mT
    # Unlike the root of a sum of squares, it has a gradient where all features are 0.
    length_BN1: Tensor = torch.linalg.vector_norm(features_BNF, dim=2, keepdim=True)
    return features_BNF / (length_BN1 + _TINY)


def affinity_BNN(some_BNF: Tensor, all_BNF: Tensor) -> Tensor:
    """Eq. A of [FAKD]: A = F~^T F~, the cosine between the features of every two positions.

    `some_BNF` are some or all of the positions in `all_BNF`, as unit vectors: rows of A. Entries
    lie in [-1, 1]; how many features there are, how large and in which order, shows nowhere.
    """
    return some_BNF @ all_BNF.mT


def affinity_loss(
    ours: Sequence[Tensor], theirs: Sequence[Tensor], memory_gib: float, pool: int = 1
) -> Tensor:
    """Eq. L_SA of [FAKD]: the sum over all layers of the mean |A_S - A_T|, each in [0, 2].

    Args:
        ours: the student's maps, B F H W each; the gradient reaches them.
        theirs: the teacher's maps, of the same B, H and W; their F may differ.
        memory_gib: what `Maps.bytes` may come to; changes the last digits.
        pool: as in `unit_positions_BNF`.
    """
    maps = Maps.of(ours, theirs, pool)
    rows = maps.rows_within(memory_gib)
    if ours[0].device.type == "cpu":
        rows = min(rows, max(maps.rows_in(_CACHED), 1))
    with torch.autocast(ours[0].device.type, enabled=False):
        layers = [layer_loss(s, t, rows, pool) for s, t in zip(ours, theirs, strict=True)]
    return torch.stack(layers).sum()


def layer_loss(student_BFHW: Tensor, teacher_BFHW: Tensor, rows: int, pool: int = 1) -> Tensor:
    """Compute the mean |A_S - A_T| of one layer in bands of `rows` rows."""
    student_BNF = unit_positions_BNF(student_BFHW, pool)
    teacher_BNF = unit_positions_BNF(teacher_BFHW.detach(), pool)
    loss: Tensor = _MeanDistance.apply(student_BNF, teacher_BNF, rows)  # type: ignore[no-untyped-call]  # torch leaves it unannotated
    return loss


class _MeanDistance(torch.autograd.Function):
    """Mean |A_S - A_T| and its gradient for the student's unit vectors, one band at a time.

    As both affinities are symmetric, the gradient of sum |S S^T - A_T| at S is
    2 sign(S S^T - A_T) S, so a band of A determines its rows of the gradient.
    """

    @staticmethod
    def forward(ctx: Any, student_BNF: Tensor, teacher_BNF: Tensor, rows: int) -> Tensor:
        images, positions, _ = student_BNF.shape
        total = student_BNF.new_zeros(())
        slope_BNF = torch.empty_like(student_BNF)
        for first in range(0, positions, rows):
            band = slice(first, first + rows)
            apart_BNN = affinity_BNN(student_BNF[:, band], student_BNF)
            apart_BNN -= affinity_BNN(teacher_BNF[:, band], teacher_BNF)
            total += torch.linalg.vector_norm(apart_BNN, ord=1, dim=2).sum()
            slope_BNF[:, band] = apart_BNN.sign_() @ student_BNF
        entries = images * positions**2
        ctx.save_for_backward(slope_BNF.mul_(2 / entries))
        return total / entries

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        (slope_BNF,) = ctx.saved_tensors
        return gradient * slope_BNF, None, None
