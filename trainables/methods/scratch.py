"""Scratch: training on real images without a teacher; also used for the shipped teachers.

[VDSR] Kim, Lee, Lee, "Accurate Image Super-Resolution Using Very Deep Convolutional Networks",
CVPR 2016; the papers' "Student" rows.

Learns from: real pairs of images, all scales in turn.
Deviations: `released` sums squared errors over the batch as pytorch-vdsr does; `paper` is the mean
L1 that the RGB networks are trained with.
"""

from __future__ import annotations

from typing import ClassVar, Literal, final

from pydantic import Field
from torch import Tensor

from trainables.methods.base import Distiller, Setting
from trainables.methods.terms import FourierConfig, PixelLossName, pixel_error
from trainables.optimisers import Optimiser
from trainables.replay import Results
from trainables.values import Counter, Pairs, Stateful


class ScratchConfig(FourierConfig):
    """Scratch's settings."""

    name: Literal["scratch"]
    preset: Literal["paper", "released"] = "released"
    """`released`: summed squares with VDSR's clipped SGD; `paper`: the mean L1.
    For an RGB network both mean Adam and the mean L1 on 0..255, as EDSR is trained."""
    loss: PixelLossName = "mse_sum"
    """`mse_sum` as in pytorch-vdsr; `l1_mean` for the RGB networks; or `charbonnier`, the mean of
    sqrt(d^2 + 0.001^2) over the differences d on [0, 1], which is smooth where they vanish."""
    loss_range: float = Field(default=1.0, gt=0.0)
    """Images are taken to span 0..loss_range in the loss."""


def pixel_loss(
    sr_BCHW: Tensor,
    hr_BCHW: Tensor,
    loss: PixelLossName,
    loss_range: float,
    fft_weight: float = 0.0,
) -> Tensor:
    """Eq. L of [VDSR] (Section 3): the error against the true image, summed squares or a mean.

    With a weight, that of the two images' Fourier transforms is added, which is not in [VDSR].
    """
    return pixel_error(sr_BCHW, hr_BCHW, loss, loss_range, fft_weight)


@final
class Scratch(Distiller[Pairs]):
    """Trains a network on real images, without a teacher."""

    batch: ClassVar[type] = Pairs
    taught: ClassVar[bool] = False

    def __init__(self, config: ScratchConfig, setting: Setting) -> None:
        self.config = config
        self.student = setting.student
        self.replay = setting.replay
        self.optimiser = Optimiser(self.student.parameters(), setting.optimiser, setting.steps)
        self.updates = Counter()

    def step(self, batch: Pairs) -> dict[str, Tensor]:
        """Do one update by the error against HR; returns `loss/pixel`."""
        config, scale = self.config, batch.scale

        def descend(lr_BCHW: Tensor, hr_BCHW: Tensor) -> Results:
            sr_BCHW = self.student(lr_BCHW, scale=scale)
            how = config.loss, config.loss_range, config.fft_weight
            loss = pixel_loss(sr_BCHW, hr_BCHW, *how)
            self.optimiser.descend(loss)
            return {"loss/pixel": loss.detach()}

        self.optimiser.begin(self.updates.value)
        self.updates.value += 1
        return self.replay(("learn", scale), descend, batch.lr_BCHW, batch.hr_BCHW)

    def learners(self) -> dict[str, Stateful]:
        """Return the student, its optimiser and its count of updates, by name."""
        return {"student": self.student, "optimiser": self.optimiser, "updates": self.updates}

    def lr(self) -> float:
        """Return the student's learning rate at its last update."""
        return self.optimiser.lr
