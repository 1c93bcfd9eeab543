"""ECO: training on pairs that move from the teacher's image to the true one.

[ECO] Lee et al., "Noise-free Optimization in Early Training Steps for Image Super-Resolution", AAAI
2024, arXiv 2312.17526; its released code, and those of traiNNer-redux and neosr.

Learns from: pairs mixed of the real one and of the teacher's, whose LR is the teacher's image made
smaller. The teacher's image has no detail that the LR does not determine, and early updates lose
nothing by it; the last ones are on the true images.
Deviations: [ECO]'s teacher is the student's own architecture, trained plainly; a larger one is our
extension, and so is `lambda_kd`. `mode: hr_only` mixes the HR images only. [ECO] trains with Lamb
on batches of 128; there is Adam here. Its published gain has a confound: the rows with ECO have
twice the rate (3.2e-3) of those without (1.6e-3), so search the rate of both.
"""

from __future__ import annotations

from typing import ClassVar, Literal, final

import torch
from pydantic import Field
from torch import Tensor

from trainables.methods.base import Distiller, Setting
from trainables.methods.terms import PLAIN, PixelConfig, distance, pixel_error
from trainables.optimisers import Optimiser
from trainables.replay import Results, sent
from trainables.resample import downsample_BCHW
from trainables.values import Counter, Pairs, Stateful

Mode = Literal["both", "hr_only"]


class ECOConfig(PixelConfig):
    """ECO's settings; published: Urban100 x4 26.77 dB with EDSR 256/32, 26.55 dB without it."""

    name: Literal["eco"]
    end_ratio: float = Field(default=1.0, gt=0.0, le=1.0)
    """Share of the budget after which all pairs are real; [ECO]: 1, traiNNer-redux: 0.75."""
    mode: Mode = "both"
    """What is mixed: `both` images of a pair as in [ECO]; `hr_only`: the HR, for the real LR."""
    lambda_kd: float = Field(default=0.0, ge=0.0)
    """Weight of the error against the teacher's answer to the mixed LR; [ECO]: none."""
    loss_range: float = Field(default=255.0, gt=0.0)
    """Images are taken to span 0..loss_range in the loss."""


def share_of_truth(update: int, steps: int, end_ratio: float) -> Tensor:
    """Eq. alpha_t of [ECO]: min(1, t / (end_ratio T)), the weight of the real pair: a scalar.

    0 at the first update (t = 0) of a budget of T = `steps`; 1 from t = end_ratio T on.
    """
    return torch.tensor(min(1.0, update / (end_ratio * steps)))


def mixed_pair(
    alpha: Tensor, lr_BCHW: Tensor, hr_BCHW: Tensor, teacher_BCHW: Tensor, mode: Mode
) -> tuple[Tensor, Tensor]:
    """Eq. (l_t, h_t) of [ECO]: (1 - a) (down(T(x)), T(x)) + a (x, y), the pair to learn from.

    `down` is the bicubic by which the LR x is made of the HR y; T(x) is `teacher_BCHW`, as large as
    y. With `hr_only` l_t is x.
    """
    h_BCHW = (1.0 - alpha) * teacher_BCHW + alpha * hr_BCHW
    if mode == "hr_only":
        return lr_BCHW, h_BCHW
    scale = hr_BCHW.shape[-1] // lr_BCHW.shape[-1]
    smaller_BCHW = downsample_BCHW(teacher_BCHW, scale)
    return (1.0 - alpha) * smaller_BCHW + alpha * lr_BCHW, h_BCHW


def mixed_loss(
    sr_BCHW: Tensor, h_BCHW: Tensor, loss_range: float, pixel: PixelConfig = PLAIN
) -> Tensor:
    """Eq. L of [ECO]: the mean L1 error of S(l_t) against h_t, on 0..`loss_range`.

    `pixel` may make another error of it.
    """
    return pixel_error(sr_BCHW, h_BCHW, pixel.loss, loss_range, pixel.fft_weight)


@final
class ECO(Distiller[Pairs]):
    """Trains a student on pairs that move from the teacher's image to the true one."""

    batch: ClassVar[type] = Pairs

    def __init__(self, config: ECOConfig, setting: Setting) -> None:
        self.config = config
        self.student = setting.student
        self.teacher = setting.frozen_teacher()
        self.replay = setting.replay
        self.steps = setting.steps
        self.optimiser = Optimiser(self.student.parameters(), setting.optimiser, setting.steps)
        self.updates = Counter()

    def step(self, batch: Pairs) -> dict[str, Tensor]:
        """Do one update; returns `loss/pixel` against the mixed image, `loss/kd` if weighted."""
        config, scale = self.config, batch.scale

        def descend(lr_BCHW: Tensor, hr_BCHW: Tensor, alpha: Tensor) -> Results:
            with torch.no_grad():
                teacher_BCHW = self.teacher(lr_BCHW, scale=scale)
                l_BCHW, h_BCHW = mixed_pair(alpha, lr_BCHW, hr_BCHW, teacher_BCHW, config.mode)
            sr_BCHW = self.student(l_BCHW, scale=scale)
            loss = mixed_loss(sr_BCHW, h_BCHW, config.loss_range, config)
            losses = {"loss/pixel": loss}
            if config.lambda_kd > 0.0:
                with torch.no_grad():
                    answer_BCHW = self.teacher(l_BCHW, scale=scale)
                kd = distance(sr_BCHW, answer_BCHW, "l1_mean", config.loss_range)
                losses["loss/kd"] = config.lambda_kd * kd
                loss = loss + losses["loss/kd"]
            self.optimiser.descend(loss)
            return {name: value.detach() for name, value in losses.items()}

        self.optimiser.begin(self.updates.value)
        alpha = share_of_truth(self.updates.value, self.steps, config.end_ratio)
        self.updates.value += 1
        given = batch.lr_BCHW, batch.hr_BCHW, *sent(batch.hr_BCHW.device, alpha)
        return self.replay(("learn", scale), descend, *given)

    def learners(self) -> dict[str, Stateful]:
        """Return the student, its optimiser and its count of updates, by name."""
        return {"student": self.student, "optimiser": self.optimiser, "updates": self.updates}

    def lr(self) -> float:
        """Return the student's learning rate at its last update."""
        return self.optimiser.lr
