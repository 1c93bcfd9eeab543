"""CSD: contrastive self-distillation between a network and a slice of it, the student.

[CSD] Wang et al., "Towards Compact Single Image Super-Resolution via Contrastive
Self-Distillation", IJCAI 2021, arXiv 2105.11683, and the released PyTorch code.

Learns from: real pairs of images, in both widths; and a contrastive loss on the feature maps of a
frozen network, with the wide network's image as positive and upsampled LR images as negatives. The
student is the leading channels of the wide network, which starts as a copy of the teacher and is
trained too.
Deviations: the released code permutes its negatives, which does not change their sum: we do not.
It upsamples them by a bicubic of a = -0.75; here there is one bicubic, of a = -0.5. VDSR, which the
paper does not try, is sliced like the others. Without VGG19's file there are `features: random` and
`features: teacher`, which `caveat` names. The fair baseline that users of the released code ask
for, a slice of the teacher trained alone, is `lambda_c: 0, lambda_t: 0`.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from typing import Any, ClassVar, Literal, final

import torch
from pydantic import Field
from torch import Tensor
from torch.autograd.function import once_differentiable

from trainables.methods.base import Distiller, Pairing, Setting
from trainables.methods.features import FeaturesName, features_refusals, make_features
from trainables.methods.terms import PLAIN, PixelConfig, pixel_error
from trainables.networks.slim import live_inside, slice_refusals, through_slice
from trainables.networks.vdsr import VDSRConfig
from trainables.optimisers import Optimiser
from trainables.replay import Results
from trainables.resample import upsample_BCHW
from trainables.values import Counter, Pairs, Stateful

_EPSILON = 1e-7


class CSDConfig(PixelConfig):
    """CSD's settings; published: 32.34 dB on Set5 x4 with EDSR 64/32, a slice of 256/32."""

    name: Literal["csd"]
    lambda_c: float = Field(default=200.0, ge=0.0)
    """Weight of the contrastive term, a number without unit; [CSD]: 200, for a loss_range of 255.
    0 turns it off, and then no features are needed."""
    negatives: int = Field(default=10, ge=1, le=127)
    """K, the number of negatives: the first LR images of the batch, upsampled; [CSD]: 10, of a
    batch of 16."""
    lambda_t: float = Field(default=1.0, ge=0.0)
    """Weight of the wide network's error against HR; [CSD]: 1. At 0 only the slice of it is
    trained, and the positives change with it."""
    features: FeaturesName = "vgg19"
    """The network of the compared feature maps: `vgg19` as in [CSD]; or, without its file, `random`
    (a quarter as wide, untrained) or `teacher` (its body), which do not compare with [CSD]."""
    vgg19: str | None = None
    """Torchvision's `vgg19-dcbb9e9d.pth`, for `features: vgg19`; it is never downloaded."""
    loss_range: float = Field(default=255.0, gt=0.0)
    """Images are taken to span 0..loss_range in the two errors."""


def pixel_losses(
    student_BCHW: Tensor,
    wide_BCHW: Tensor,
    hr_BCHW: Tensor,
    loss_range: float,
    pixel: PixelConfig = PLAIN,
) -> tuple[Tensor, Tensor]:
    """Eq. L_rec of [CSD]: the mean L1 error of either width against the true image.

    Images are B C H W in [0, 1], taken to span 0..`loss_range`; the student's error comes first.
    `pixel` may make another error of both.
    """
    how = pixel.loss, loss_range, pixel.fft_weight
    return pixel_error(student_BCHW, hr_BCHW, *how), pixel_error(wide_BCHW, hr_BCHW, *how)


def enlarged_BCHW(lr_BCHW: Tensor, negatives: int, scale: int) -> Tensor:
    """Eq. n_k of [CSD]: the first K LR images of a batch, enlarged by bicubic, without detail.

    Every image of the batch is kept away from all K, its own among them where it is one of them.
    """
    return upsample_BCHW(lr_BCHW[:negatives], scale)


def sum_of_distances(x_BFHW: Tensor, others_KFHW: Tensor) -> Tensor:
    """Eq. L_con of [CSD], its denominator: sum over k of the mean of |others_k - x|.

    Each of the B maps is compared with each of the K, or with its own where they are K B F H W; the
    mean is over B, F, H and W. Only x has a gradient. For that, one byte is kept for each number in
    x, whatever K.
    """
    total: Tensor = _SumOfDistances.apply(x_BFHW, others_KFHW)  # type: ignore[no-untyped-call]  # torch leaves it unannotated
    return total


def contrastive_loss(
    wide_maps: Sequence[Tensor],
    student_maps: Sequence[Tensor],
    negative_maps: Sequence[Tensor],
    weights: Sequence[float],
) -> Tensor:
    """Eq. L_con of [CSD]: sum over j of w_j |phi_j(T) - phi_j(S)| / sum_k |phi_j(N_k) - phi_j(S)|.

    `wide_maps` and `student_maps` hold phi_j of the two widths' images, each B F H W;
    `negative_maps` that of the K negatives, K F H W, or of K of each image, K B F H W. 0 where
    student and wide one agree; scaling all maps phi_j by one number changes nothing. Only the
    student's maps have a gradient.
    """
    total = torch.zeros((), device=student_maps[0].device)
    for weight, wide, student, negative in zip(
        weights, wide_maps, student_maps, negative_maps, strict=True
    ):
        near = (wide.detach() - student).abs().mean(dtype=_wide_enough(student))
        total = total + weight * near / (sum_of_distances(student, negative) + _EPSILON)
    return total


@final
class CSD(Distiller[Pairs]):
    """Trains a network and a slice of it, the student, by errors against HR and a contrast."""

    batch: ClassVar[type] = Pairs

    @classmethod
    def refusals(cls, config: CSDConfig, pairing: Pairing) -> Iterator[tuple[str, str]]:
        """Yield refusals: a student that is no slice, too few negatives, features without file."""
        if pairing.teacher is not None:
            yield from slice_refusals(pairing.student, pairing.teacher)
        if config.lambda_c == 0.0:
            return
        if pairing.images < config.negatives:
            rule = f"{pairing.images} images are fewer than method.negatives: {config.negatives}"
            yield "batch.images", rule
        luma = isinstance(pairing.student, VDSRConfig)
        side = pairing.patch * (1 if luma else min(pairing.student.scales))
        yield from features_refusals(config.features, config.vgg19, side)

    @classmethod
    def caveat(cls, config: CSDConfig) -> str:
        """Return that [CSD]'s figures are probably self-ensembled, and which features differ."""
        caveat = "CSD's published digits are probably of a self-ensemble over eight turned images"
        if config.lambda_c > 0.0 and config.features != "vgg19":
            return f"features: {config.features} is not CSD's VGG19: not comparable; and {caveat}"
        return caveat

    def __init__(self, config: CSDConfig, setting: Setting) -> None:
        self.config = config
        teacher = setting.frozen_teacher()
        self.wide = copy.deepcopy(teacher).train().requires_grad_(True)
        self.student = setting.student
        live_inside(self.student, self.wide)
        self.features = None
        if config.lambda_c > 0.0:
            features = make_features(config.features, config.vgg19, teacher)
            self.features = features.to(setting.device)
            self.features.micro_batch = self.student.micro_batch
        self.replay = setting.replay
        self.optimiser = Optimiser(self.wide.parameters(), setting.optimiser, setting.steps)
        self.updates = Counter()

    def step(self, batch: Pairs) -> dict[str, Tensor]:
        """Update both widths once; `loss/teacher_pixel` is the wide network's unweighted error."""
        scale = batch.scale

        def descend(lr_BCHW: Tensor, hr_BCHW: Tensor) -> Results:
            return self._descend(lr_BCHW, hr_BCHW, scale)

        self.optimiser.begin(self.updates.value)
        self.updates.value += 1
        return self.replay(("learn", scale), descend, batch.lr_BCHW, batch.hr_BCHW)

    def _descend(self, lr_BCHW: Tensor, hr_BCHW: Tensor, scale: int) -> Results:
        config = self.config
        student_BCHW = through_slice(self.student, self.wide, lr_BCHW, scale)
        with torch.set_grad_enabled(config.lambda_t > 0.0):
            wide_BCHW = self.wide(lr_BCHW, scale=scale)
        pixel, wide = pixel_losses(student_BCHW, wide_BCHW, hr_BCHW, config.loss_range, config)
        loss = pixel + config.lambda_t * wide
        losses = {"loss/pixel": pixel, "loss/teacher_pixel": wide}
        if self.features is not None:
            contrast = config.lambda_c * self._contrast(student_BCHW, wide_BCHW, lr_BCHW, scale)
            losses["loss/contrast"] = contrast
            loss = loss + contrast
        self.optimiser.descend(loss)
        return {name: value.detach() for name, value in losses.items()}

    def learners(self) -> dict[str, Stateful]:
        """Return the wide network, the student, their optimiser and the count of updates."""
        networks = {"student": self.student, "wide": self.wide}
        return {**networks, "optimiser": self.optimiser, "updates": self.updates}

    def lr(self) -> float:
        """Return the learning rate of both widths at their last update."""
        return self.optimiser.lr

    def _contrast(
        self, student_BCHW: Tensor, wide_BCHW: Tensor, lr_BCHW: Tensor, scale: int
    ) -> Tensor:
        assert self.features is not None
        unlike_BCHW = enlarged_BCHW(lr_BCHW, self.config.negatives, scale)
        counts = [len(wide_BCHW), len(unlike_BCHW)]
        with torch.no_grad():
            maps = self.features(torch.cat([wide_BCHW, unlike_BCHW]))
        wide_maps, negative_maps = zip(*(each.split(counts) for each in maps), strict=True)
        weights = self.features.weights
        return contrastive_loss(wide_maps, self.features(student_BCHW), negative_maps, weights)


class _SumOfDistances(torch.autograd.Function):
    """Computes `sum_of_distances` without the K float differences that autograd would store."""

    @staticmethod
    def forward(ctx: Any, x_BFHW: Tensor, others_KFHW: Tensor) -> Tensor:
        signs_BFHW = torch.zeros_like(x_BFHW, dtype=torch.int8)
        total = x_BFHW.new_zeros((), dtype=_wide_enough(x_BFHW))
        for other_FHW in others_KFHW:
            gap_BFHW = x_BFHW - other_FHW
            total += gap_BFHW.abs().mean(dtype=total.dtype)
            signs_BFHW += gap_BFHW.sign().to(torch.int8)
        ctx.save_for_backward(signs_BFHW)
        ctx.dtype = x_BFHW.dtype
        return total

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, slope: Tensor) -> tuple[Tensor, None]:
        (signs_BFHW,) = ctx.saved_tensors
        return (slope / signs_BFHW.numel() * signs_BFHW).to(ctx.dtype), None


def _wide_enough(x: Tensor) -> torch.dtype:
    """Return the dtype for means over a map: float32 where the map is bfloat16, else its own."""
    return torch.promote_types(x.dtype, torch.float32)
