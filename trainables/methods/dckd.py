"""DCKD: KD, and a contrast: near its teacher's image, far from those of the student's own past.

[DCKD] "Dynamic Contrastive Knowledge Distillation for Efficient Image Restoration", AAAI 2025,
arXiv 2412.08939, and its released code.

Learns from: real pairs of images, the teacher's answer to their LR, and the answers of a history
student, an earlier state of the student, to the same LR and to noisy copies of it.
Deviations: this is the contrastive half of [DCKD]. Its images are compared in the encoder of a
VQGAN (f16), here in the features of [CSD], and its second half, a loss on that VQGAN's codebook
(weight 0.001), is left out; `caveat` names both. The history follows the student; the released
code's follows the running average of it, and there the interval grows from 1/250 of the updates to
2/250 and 3/250. The released code has 64 images in a batch, a rate that does not fall, and a third
term of weight 1 that the paper does not have: an error against the teacher's answers to augmented
LR.

[CSD] Wang et al., "Towards Compact Single Image Super-Resolution via Contrastive
Self-Distillation", IJCAI 2021, arXiv 2105.11683.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from typing import ClassVar, Literal, final

import torch
from pydantic import Field
from torch import Tensor

from trainables.methods.base import Distiller, Pairing, Setting
from trainables.methods.csd import contrastive_loss
from trainables.methods.features import FeaturesName, features_refusals, make_features
from trainables.methods.kd import kd_loss
from trainables.methods.terms import PixelConfig
from trainables.networks.slim import CUT
from trainables.networks.vdsr import VDSRConfig
from trainables.optimisers import Optimiser
from trainables.replay import Results, sent
from trainables.values import Counter, Pairs, Randomness, Stateful

_SIGMAS = 1 / 255, 30 / 255
"""Range of the noise's standard deviation."""


class DCKDConfig(PixelConfig):
    """DCKD's settings; published with its VQGAN: Urban100 x4 26.53 dB (SwinIR), 26.69 dB (RCAN)."""

    name: Literal["dckd"]
    lambda_kd: float = Field(default=1.0, ge=0.0)
    """Weight of the error against the teacher's result; [DCKD]: 1."""
    lambda_dcl: float = Field(default=0.1, ge=0.0)
    """Weight of the contrastive term, a number without unit; [DCKD]: 0.1, for a loss_range of 1. 0
    turns it off, and then no features are needed."""
    negatives: int = Field(default=5, ge=1, le=127)
    """N, the negatives of each image: the history's answer to its LR, and to N - 1 noisy copies of
    it; [DCKD]: 5."""
    alpha: float = Field(default=0.1, ge=0.0, lt=1.0)
    """Share of the history that stays when the student enters it; [DCKD]: 0.1."""
    interval: float = Field(default=1 / 250, gt=0.0, le=1.0)
    """Share of the budget after which the student enters the history; [DCKD]: 1/250, which is 1,000
    updates there. Of a budget of hundreds take more: against a history of a few updates ago the
    contrast outweighs all else, and drives the student away from every image."""
    features: FeaturesName = "vgg19"
    """The network of the compared feature maps, as in CSD: `vgg19`; or, without its file, `random`
    (a quarter as wide, untrained) or `teacher` (its body). [DCKD]'s VQGAN is none of them."""
    vgg19: str | None = None
    """Torchvision's `vgg19-dcbb9e9d.pth`, for `features: vgg19`; it is never downloaded."""
    loss_range: float = Field(default=1.0, gt=0.0)
    """Images are taken to span 0..loss_range in the two errors."""


def drawn_noise(shape: torch.Size, copies: int, randomness: Randomness) -> Tensor:
    """Draw sigma_j eps for `copies` copies of images of `shape` B C H W: K B C H W, on the host.

    Each copy of each image has its own sigma, uniform in 1/255..30/255. With probability 1/2 its
    noise is grey, the same in all channels.
    """
    generator, each = randomness.generator, (copies, shape[0], 1, 1, 1)
    low, high = _SIGMAS
    sigma_KB111 = low + (high - low) * torch.rand(each, generator=generator)
    grey_KB111 = torch.rand(each, generator=generator) < 0.5
    eps_KBCHW = torch.randn((copies, *shape), generator=generator)
    return sigma_KB111 * torch.where(grey_KB111, eps_KBCHW[:, :, :1], eps_KBCHW)


def perturbed(lr_BCHW: Tensor, noise_KBCHW: Tensor) -> Tensor:
    """Eq. x_j of [DCKD]: clip(x + sigma_j eps) to [0, 1], the LR whose answers are negatives."""
    return (lr_BCHW + noise_KBCHW).clamp(0.0, 1.0)


def dynamic_contrastive_loss(
    student_maps: Sequence[Tensor],
    teacher_maps: Sequence[Tensor],
    negative_maps: Sequence[Tensor],
    weights: Sequence[float],
) -> Tensor:
    """Eq. L_dcl of [DCKD]: sum over i of l_i |f_i(S) - f_i(T)| / sum_j |f_i(S) - f_i(n_j)|.

    |.| is the mean over all entries. `student_maps` and `teacher_maps` hold f_i of the two images,
    each B F H W; `negative_maps` that of the N negatives of each image, N B F H W. Only the
    student's maps have a gradient.
    """
    return contrastive_loss(teacher_maps, student_maps, negative_maps, weights)


def moved_history(
    history: Sequence[Tensor], student: Sequence[Tensor], alpha: float
) -> tuple[Tensor, ...]:
    """Eq. H of [DCKD]: alpha H + (1 - alpha) S, of each parameter."""
    return tuple(
        alpha * old + (1.0 - alpha) * new for old, new in zip(history, student, strict=True)
    )


@final
class DCKD(Distiller[Pairs]):
    """Trains a student by KD, and away from what an earlier state of it makes of noisy LR."""

    batch: ClassVar[type] = Pairs

    @classmethod
    def refusals(cls, config: DCKDConfig, pairing: Pairing) -> Iterator[tuple[str, str]]:
        """Yield refusals: features without their file, or of a teacher that shows none."""
        if config.lambda_dcl == 0.0:
            return
        name = getattr(pairing.teacher, "name", "")
        if config.features == "teacher" and pairing.teacher is not None and name not in CUT:
            rule = (
                f"the body of {name} shows no features to compare, only those of {', '.join(CUT)}"
            )
            yield "method.features", rule
        luma = isinstance(pairing.student, VDSRConfig)
        side = pairing.patch * (1 if luma else min(pairing.student.scales))
        yield from features_refusals(config.features, config.vgg19, side)

    @classmethod
    def caveat(cls, config: DCKDConfig) -> str:
        """Return what of [DCKD] is replaced and left out."""
        contrast = f"features: {config.features} is not DCKD's VQGAN"
        if config.lambda_dcl == 0.0:
            contrast = "DCKD's contrast is off"
        return f"{contrast}, and its codebook term is left out: not comparable"

    def __init__(self, config: DCKDConfig, setting: Setting) -> None:
        self.config = config
        self.student = setting.student
        self.teacher = setting.frozen_teacher()
        self.history = copy.deepcopy(setting.student).eval().requires_grad_(False)
        self.interval = max(1, round(config.interval * setting.steps))
        self.features = None
        if config.lambda_dcl > 0.0:
            features = make_features(config.features, config.vgg19, self.teacher)
            self.features = features.to(setting.device)
            self.features.micro_batch = self.student.micro_batch
        self.replay = setting.replay
        self.optimiser = Optimiser(self.student.parameters(), setting.optimiser, setting.steps)
        self.updates = Counter()
        self.noise = Randomness(setting.seed, "dckd_noise")

    def step(self, batch: Pairs) -> dict[str, Tensor]:
        """Do one update; returns `loss/pixel`, `loss/kd` and `loss/contrast`, weighted."""
        scale = batch.scale

        def descend(lr_BCHW: Tensor, hr_BCHW: Tensor, *noise: Tensor) -> Results:
            return self._descend(lr_BCHW, hr_BCHW, scale, *noise)

        self.optimiser.begin(self.updates.value)
        self.updates.value += 1
        drawn: tuple[Tensor, ...] = ()
        if self.features is not None:
            noise_KBCHW = drawn_noise(batch.lr_BCHW.shape, self.config.negatives - 1, self.noise)
            drawn = sent(batch.lr_BCHW.device, noise_KBCHW)
        given = batch.lr_BCHW, batch.hr_BCHW, *drawn
        losses = self.replay(("learn", scale), descend, *given)
        if self.updates.value % self.interval == 0:
            self._remember()
        return losses

    def _descend(self, lr_BCHW: Tensor, hr_BCHW: Tensor, scale: int, *noise: Tensor) -> Results:
        config = self.config
        with torch.no_grad():
            teacher_BCHW = self.teacher(lr_BCHW, scale=scale)
        sr_BCHW = self.student(lr_BCHW, scale=scale)
        pixel, kd = kd_loss(
            sr_BCHW, hr_BCHW, teacher_BCHW, config.lambda_kd, config.loss_range, config
        )
        losses = {"loss/pixel": pixel, "loss/kd": kd}
        if self.features is not None:
            (noise_KBCHW,) = noise
            contrast = self._contrast(sr_BCHW, teacher_BCHW, lr_BCHW, noise_KBCHW, scale)
            losses["loss/contrast"] = config.lambda_dcl * contrast
        self.optimiser.descend(torch.stack(tuple(losses.values())).sum())
        return {name: loss.detach() for name, loss in losses.items()}

    def _contrast(
        self,
        sr_BCHW: Tensor,
        teacher_BCHW: Tensor,
        lr_BCHW: Tensor,
        noise_KBCHW: Tensor,
        scale: int,
    ) -> Tensor:
        """Return L_dcl of the student's images: N = K + 1 negatives of each."""
        assert self.features is not None
        images = len(lr_BCHW)
        with torch.no_grad():
            noisy_BCHW = perturbed(lr_BCHW, noise_KBCHW).flatten(0, 1)
            unlike_BCHW = self.history(torch.cat([lr_BCHW, noisy_BCHW]), scale=scale)
            maps = self.features(torch.cat([teacher_BCHW, unlike_BCHW]))
        teacher_maps = [each[:images] for each in maps]
        negative_maps = [each[images:].unflatten(0, (-1, images)) for each in maps]
        student_maps = self.features(sr_BCHW)
        weights = self.features.weights
        return dynamic_contrastive_loss(student_maps, teacher_maps, negative_maps, weights)

    @torch.no_grad()
    def _remember(self) -> None:
        """Let the student enter the history, in place."""
        old: list[Tensor] = list(self.history.parameters())
        moved = moved_history(old, list(self.student.parameters()), self.config.alpha)
        torch._foreach_copy_(old, moved)

    def learners(self) -> dict[str, Stateful]:
        """Return the student, its history, its optimiser, its count of updates and the noise."""
        return {
            "student": self.student,
            "history": self.history,
            "optimiser": self.optimiser,
            "updates": self.updates,
            "noise": self.noise,
        }

    def lr(self) -> float:
        """Return the student's learning rate at its last update."""
        return self.optimiser.lr
