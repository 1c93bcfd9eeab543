"""KD: training on HR images and on the teacher's results together.

[KD] Hinton, Vinyals, Dean, "Distilling the Knowledge in a Neural Network", NIPS workshop 2014,
arXiv 1503.02531, on images as [DUKD] uses it: the baseline of its tables.

Learns from: real pairs of images, and the teacher's answer to their LR.
Deviations: [DUKD] does not print the weight of this baseline. The one KD file of its release (EDSR
x4) weighs pixel 1 to KD 1, lambda_kd = 1, and FAKD's form (1 - a, a) with a = 1/2 is the same, as
Adam does not see a common factor. So all presets are 1. lambda_kd = 0.2, the default of earlier
versions, belongs to that release's DUKD: `caveat` names it, and a study begun with it keeps it.
"""

from __future__ import annotations

from typing import ClassVar, Literal, final

import torch
from pydantic import Field
from torch import Tensor

from trainables.methods.base import Distiller, Setting
from trainables.methods.terms import PLAIN, PixelConfig, distance, pixel_error
from trainables.optimisers import Optimiser
from trainables.replay import Results
from trainables.values import Counter, Pairs, Stateful

_OF_DUKD = 0.2
"""lambda_kd of most of the released files of DUKD, and of none of KD."""


class KDConfig(PixelConfig):
    """KD's settings; published: Urban100 x4 26.21 dB (EDSR 64/32), 26.49 dB (RCAN 10 x 6)."""

    name: Literal["kd"]
    preset: Literal["default", "paper", "released"] = "default"
    """lambda_kd = 1 in all three: the weight as released is that of the plain sum."""
    lambda_kd: float = Field(default=1.0, ge=0.0)
    """Weight of the error against the teacher's result; [DUKD]'s KD as released: 1."""
    loss_range: float = Field(default=255.0, gt=0.0)
    """Images are taken to span 0..loss_range in the loss."""


def kd_loss(
    sr_BCHW: Tensor,
    hr_BCHW: Tensor,
    teacher_BCHW: Tensor,
    lambda_kd: float,
    loss_range: float,
    pixel: PixelConfig = PLAIN,
) -> tuple[Tensor, Tensor]:
    """Eq. L_rec + lambda_kd L_kd of [DUKD] (Section 3.2): two mean L1 errors, as (L_rec, L_kd).

    Images are B C H W in [0, 1], taken to span 0..`loss_range`; L_kd comes weighted. `pixel` may
    make another error of L_rec.
    """
    rec = pixel_error(sr_BCHW, hr_BCHW, pixel.loss, loss_range, pixel.fft_weight)
    return rec, lambda_kd * distance(sr_BCHW, teacher_BCHW, "l1_mean", loss_range)


@final
class KD(Distiller[Pairs]):
    """Trains a student by its errors against HR and against the teacher's results."""

    batch: ClassVar[type] = Pairs

    def __init__(self, config: KDConfig, setting: Setting) -> None:
        self.config = config
        self.student = setting.student
        self.teacher = setting.frozen_teacher()
        self.replay = setting.replay
        self.optimiser = Optimiser(self.student.parameters(), setting.optimiser, setting.steps)
        self.updates = Counter()

    @classmethod
    def caveat(cls, config: KDConfig) -> str | None:
        """Return that a weight of 0.2 is not that of the published rows of KD."""
        if config.lambda_kd == _OF_DUKD:
            return "lambda_kd: 0.2 is the weight of DUKD's release, whose KD row has 1"
        return None

    def step(self, batch: Pairs) -> dict[str, Tensor]:
        """Do one update; returns `loss/pixel` against HR and `loss/kd` against the teacher."""
        config, scale = self.config, batch.scale

        def descend(lr_BCHW: Tensor, hr_BCHW: Tensor) -> Results:
            with torch.no_grad():
                teacher_BCHW = self.teacher(lr_BCHW, scale=scale)
            sr_BCHW = self.student(lr_BCHW, scale=scale)
            weight, loss_range = config.lambda_kd, config.loss_range
            pixel, kd = kd_loss(sr_BCHW, hr_BCHW, teacher_BCHW, weight, loss_range, config)
            self.optimiser.descend(pixel + kd)
            return {"loss/pixel": pixel.detach(), "loss/kd": kd.detach()}

        self.optimiser.begin(self.updates.value)
        self.updates.value += 1
        return self.replay(("learn", scale), descend, batch.lr_BCHW, batch.hr_BCHW)

    def learners(self) -> dict[str, Stateful]:
        """Return the student, its optimiser and its count of updates, by name."""
        return {"student": self.student, "optimiser": self.optimiser, "updates": self.updates}

    def lr(self) -> float:
        """Return the student's learning rate at its last update."""
        return self.optimiser.lr
