"""DFSR: training of a growing student on generated images, made to be difficult and LR-like.

[DFSR] Zhang et al., "Data-Free Knowledge Distillation for Image Super-Resolution", CVPR 2021, with
its supplement, and the released VDSR code.

Learns from: the teacher's results for generated images, with a body that grows in P parts; the
generator from an adversarial and a reconstruction term.
Deviations: the paper prints mean L1 losses and no batch size; the released VDSR code sums squared
errors over a batch of 128, to which its rate 0.1, clip 0.4 and w_R = 1 belong. `preset: released`
(default for VDSR) follows the code, `preset: paper` the paper. Algorithm 1 counts parts from 0 to
P; we take 0..P-1. The released loop steps all three generators for every update of one; we step
only the one that was used.
"""

from __future__ import annotations

from collections import deque
from typing import ClassVar, Literal, final

from pydantic import Field
from torch import Tensor

from trainables.methods.base import Distiller, Setting
from trainables.methods.game import Game, ProgressiveConfig, adversarial_loss, growing_pupil
from trainables.methods.lessons import Lesson
from trainables.methods.terms import LossName, distance
from trainables.resample import downsample_BCHW
from trainables.values import Blank, Stateful


class DFSRConfig(ProgressiveConfig):
    """DFSR's settings; published: 37.20 dB on Set5 x2 with VDSR."""

    name: Literal["dfsr"]
    preset: Literal["paper", "released"] = "released"
    """`released`: summed squares and VDSR's clipped SGD; `paper`: the printed mean L1, and Adam.
    For an RGB student both are Adam and the mean L1 on 0..255: no other code was released."""
    w_R: float = Field(default=1.0, ge=0.0)
    """Weight of the reconstruction term; [DFSR]: 1, best of a sweep from 0 to 3."""
    adversarial: bool = True
    """Whether the generator's loss has the term L_GEN; false: row M2 of [DFSR]'s Table 2."""


def reconstruction_loss(
    x_BCHW: Tensor, teacher_BCHW: Tensor, scale: int, loss: LossName, loss_range: float
) -> Tensor:
    """Eq. L_R of [DFSR] (Section 3.2): 1/n ||R(T(x)) - x||_1, R the antialiased bicubic 1/scale.

    R(T(x)) is clamped to [0, 1], as in the released code, so a saturated pixel gives no gradient.
    With `loss` mse_sum squared errors are summed instead, as that code does.
    """
    small_BCHW = downsample_BCHW(teacher_BCHW, scale).clamp(0.0, 1.0)
    return distance(small_BCHW, x_BCHW, loss, loss_range)


@final
class DFSR(Distiller[Blank]):
    """Trains a growing student on images of generators whose losses are L_GEN and L_R."""

    batch: ClassVar[type] = Blank

    def __init__(self, config: DFSRConfig, setting: Setting) -> None:
        self.config = config
        self.student = setting.student
        self.pupil = growing_pupil(setting, config)
        self.game = Game(setting, config, self.pupil, self._terms)

    def step(self, batch: Blank) -> dict[str, Tensor]:
        """Update the student and, when it is due, a generator; return the losses."""
        return self.game.step(batch)

    def prepared(self) -> deque[Lesson]:
        """Return the lessons prepared for later updates, in order of use."""
        return self.game.lessons.prepared

    def learners(self) -> dict[str, Stateful]:
        """Return the objects that training changes, of the student's half and the generators'."""
        return self.game.learners()

    def figures(self) -> dict[str, Tensor]:
        """Return `generator_change`: how far training has changed the generators' images."""
        return self.game.change.figures()

    def imagined(self) -> Tensor:
        """Return the images whose change `generator_change` measures, of the first scale."""
        return self.game.change.imagined()

    def lr(self) -> float:
        """Return the student's learning rate at its last update."""
        return self.pupil.optimiser.lr

    def active(self) -> int:
        """Return the number of body units of the parts that have joined training."""
        return self.pupil.active

    def _terms(
        self, x_BCHW: Tensor, teacher_BCHW: Tensor, student_BCHW: Tensor, scale: int
    ) -> dict[str, Tensor]:
        config = self.config
        rebuilt = reconstruction_loss(x_BCHW, teacher_BCHW, scale, config.loss, config.loss_range)
        terms = {"loss/reconstruction": config.w_R * rebuilt}
        if config.adversarial:
            kd = self.pupil.compare(teacher_BCHW, student_BCHW)
            terms["loss/adversarial"] = adversarial_loss(kd)
        return terms
