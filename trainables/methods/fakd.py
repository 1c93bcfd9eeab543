"""FAKD: training on the affinities between the positions of the teacher's feature maps.

[FAKD] He et al., "FAKD: Feature-Affinity Based Knowledge Distillation for Efficient Image
Super-Resolution", ICIP 2020, and its released code.

Learns from: real pairs of images, the teacher's answer to their LR, and the affinities of three of
the teacher's feature maps. Widths may differ.
Deviations: the last map is taken before the skip around the body. The released code takes it there
too, but then adds the skip to that tensor in place, so that it compares `last_map: after_skip`. The
code of [DUKD]'s authors does the same, compares the map after the head as well, and sums the
layers' losses as new tensors, so that its affinities have no gradient: here the gradient reaches
the student. Its weights are 1 : 1 : 10 on [0, 1], which is `alpha: 0.5, loss_range: 2`. [FAKD] has
EDSR, RCAN and SAN, teacher and student of one kind; all other networks and pairs are ours, tapped
as EDSR is. Its other transforms of a map are left out.

[DUKD] Zhang et al., "Data Upcycling Knowledge Distillation for Image Super-Resolution", 2023,
arXiv 2309.14162.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, ClassVar, Literal, final

import torch
from pydantic import Field
from torch import Tensor

from trainables.methods.affinity import Maps, affinity_loss
from trainables.methods.base import Distiller, Pairing, Setting
from trainables.methods.terms import PLAIN, PixelConfig, distance, pixel_error
from trainables.networks.base import SRNet, SRNetConfig, Tap
from trainables.networks.rcan import RCAN
from trainables.optimisers import Optimiser
from trainables.replay import Results
from trainables.values import Counter, Pairs, Stateful

Share = Annotated[float, Field(gt=0.0, le=1.0)]
Shares = Annotated[tuple[Share, ...], Field(strict=False, min_length=1)]
LastMap = Literal["after_skip", "before_skip"]


class FAKDConfig(PixelConfig):
    """FAKD's settings; published in [DUKD]: Urban100 x4 25.86 dB (EDSR 64/32), 26.42 dB (RCAN)."""

    name: Literal["fakd"]
    alpha: float = Field(default=0.5, ge=0.0, le=1.0)
    """Weight of the error against the teacher's result; that against HR has 1 - alpha. [FAKD]: 0.5.
    """
    w_SA: float = Field(default=10.0, ge=0.0)
    """Weight of the affinity term, a number without unit; [FAKD]: 10, for a loss_range of 255."""
    taps: Literal["paper"] | Shares = "paper"
    """Depths, as shares of the body, of the compared maps; the last is 1. `paper`: 1/3, 2/3, 1, and
    for RCAN 0.3, 0.7, 1, the third and the seventh of ten groups."""
    last_map: LastMap = "before_skip"
    """The map at depth 1, after the body's closing convolution: before the skip around the body, as
    the released code is written, or after it, as that code runs. VDSR has no such skip."""
    fakd_pool: int = Field(default=1, ge=1)
    """Side of the squares of positions averaged first; 2 takes a sixteenth of the memory.
    [FAKD]: 1."""
    memory_gib: float = Field(default=1.0, gt=0.0)
    """GiB that affinities may take besides the feature maps; changes the last digits."""
    loss_range: float = Field(default=255.0, gt=0.0)
    """Images are taken to span 0..loss_range in the loss."""


def supervision_loss(
    sr_BCHW: Tensor,
    hr_BCHW: Tensor,
    teacher_BCHW: Tensor,
    alpha: float,
    loss_range: float,
    pixel: PixelConfig = PLAIN,
) -> tuple[Tensor, Tensor]:
    """Eq. L_DS + L_TS of [FAKD]: mean L1 errors against data and teacher, 1 - alpha to alpha.

    Images are B C H W in [0, 1], taken to span 0..`loss_range`; both come weighted. `pixel` may
    make another error of L_DS.
    """
    data = pixel_error(sr_BCHW, hr_BCHW, pixel.loss, loss_range, pixel.fft_weight)
    return (1.0 - alpha) * data, alpha * distance(sr_BCHW, teacher_BCHW, "l1_mean", loss_range)


def tapped(network: SRNet, taps: Literal["paper"] | Shares, last_map: LastMap) -> tuple[Tap, ...]:
    """Return the taps of a network, as in [FAKD]: after int(share * units) units of its body.

    >>> from trainables.networks import build_network
    >>> tapped(build_network({"name": "edsr", "blocks": 32, "scale": 2}), "paper", "after_skip")
    (9, 20, 'after_skip')
    """
    if taps == "paper":
        taps = (0.3, 0.7, 1.0) if isinstance(network, RCAN) else (1 / 3, 2 / 3, 1.0)
    units = len(network.body)
    # A third of 30 units is 10, rounding or not; and a body of two has a first third as well.
    ends = [max(int(share * units + 1e-9), 1) for share in taps]
    return tuple(last_map if s == 1.0 else end - 1 for s, end in zip(taps, ends, strict=True))


@final
class FAKD(Distiller[Pairs]):
    """Trains a student by errors against HR and teacher, and by feature affinities."""

    batch: ClassVar[type] = Pairs

    def __init__(self, config: FAKDConfig, setting: Setting) -> None:
        self.config = config
        self.student = setting.student
        self.teacher = setting.frozen_teacher()
        self.student_taps = tapped(self.student, config.taps, config.last_map)
        self.teacher_taps = tapped(self.teacher, config.taps, config.last_map)
        self.replay = setting.replay
        self.optimiser = Optimiser(self.student.parameters(), setting.optimiser, setting.steps)
        self.updates = Counter()

    @classmethod
    def refusals(cls, config: FAKDConfig, pairing: Pairing) -> Iterator[tuple[str, str]]:
        """Yield refusals: a teacher without taps, maps that cannot be pooled, too little memory."""
        if not isinstance(pairing.teacher, SRNetConfig):
            rule = "fakd compares feature maps, and this network shows none: take one of our own"
            yield "teacher.name", rule
            return
        pooled, rest = divmod(pairing.patch, config.fakd_pool)
        if rest:
            yield "method.fakd_pool", f"batch.patch {pairing.patch} is not a multiple of it"
        widths = pairing.student.features, pairing.teacher.features
        layers = 3 if config.taps == "paper" else len(config.taps)
        maps = Maps(pairing.images, pooled**2, *widths, layers)
        if not maps.rows_within(config.memory_gib):
            least = maps.bytes(1) / 2**30
            rule = f"the affinities take {least:.2g} GiB at least: allow more, or raise fakd_pool"
            yield "method.memory_gib", rule

    def step(self, batch: Pairs) -> dict[str, Tensor]:
        """Do one update by the errors against HR, the teacher's result and its affinities."""
        config, scale = self.config, batch.scale

        def descend(lr_BCHW: Tensor, hr_BCHW: Tensor) -> Results:
            with torch.no_grad():
                theirs = self.teacher.trace(lr_BCHW, scale=scale, taps=self.teacher_taps)
            ours = self.student.trace(lr_BCHW, scale=scale, taps=self.student_taps)
            pixel, kd = supervision_loss(
                ours.sr_BCHW, hr_BCHW, theirs.sr_BCHW, config.alpha, config.loss_range, config
            )
            apart = affinity_loss(ours.taps, theirs.taps, config.memory_gib, config.fakd_pool)
            affinity = config.w_SA * apart
            self.optimiser.descend(pixel + kd + affinity)
            losses = {"loss/pixel": pixel, "loss/kd": kd, "loss/affinity": affinity}
            return {name: loss.detach() for name, loss in losses.items()}

        self.optimiser.begin(self.updates.value)
        self.updates.value += 1
        return self.replay(("learn", scale), descend, batch.lr_BCHW, batch.hr_BCHW)

    def learners(self) -> dict[str, Stateful]:
        """Return the student, its optimiser and its count of updates, by name."""
        return {"student": self.student, "optimiser": self.optimiser, "updates": self.updates}

    def lr(self) -> float:
        """Return the student's learning rate at its last update."""
        return self.optimiser.lr
