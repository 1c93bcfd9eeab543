"""DUKD: training on the teacher's results for training images, crops of them and reductions.

[DUKD] Zhang et al., "Data Upcycling Knowledge Distillation for Image Super-Resolution", 2023,
arXiv 2309.14162 (v1 and v4), and its BasicSR-based release.

Learns from: real pairs, and the teacher's answers to their LR, to crops of their HR (zoom-in) and
to their LR reduced again (zoom-out). For the latter two the student is given an augmented image,
and the augmentation is undone in its result.
Deviations: v1 sums all terms, v4 names weights without values, and the release weighs 5 : 1 : 1 in
most of its files: RCAN's are 1 : 1 : 1 (x2, x4) and 2 : 1 : 1 (x3), the former without zoom-out and
augmentation. So the published table mixes settings; `search_spaces/README.md` lists them by row.
`preset: default` is the paper's method with the released weights, lambda_kd = lambda_dukd = 0.2;
`paper` has both 1; `released` does besides what only the code does: crops on a grid, the same tile
for the whole batch; augments zoom-in alone; lets zoom-out learn from the LR too, with the weight of
the pixel term; and updates twice, the second time with the first gradient still in. The release
does not undo every augmentation; here each is undone, in every preset (see `invertible.py`).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any, ClassVar, Literal, final

import torch
from pydantic import Field, field_validator
from torch import Tensor

from trainables.errors import ConfigError
from trainables.methods.base import Distiller, Pairing, Setting
from trainables.methods.invertible import OPERATIONS, Augmentation, OperationName, drawn_counts
from trainables.methods.kd import kd_loss
from trainables.methods.terms import PixelConfig, distance, pixel_error
from trainables.methods.zoom import cut_BCHW, grid_corners_N2, random_corners_N2, zoomed_out_BCHW
from trainables.networks.base import SRNet
from trainables.optimisers import Optimiser
from trainables.replay import Results, sent
from trainables.values import Counter, Pairs, Randomness, Stateful


class DUKDConfig(PixelConfig):
    """DUKD's settings; published: Urban100 x4 26.45 dB (EDSR 64/32), 26.62 dB (RCAN 10 x 6)."""

    name: Literal["dukd"]
    preset: Literal["default", "paper", "released"] = "default"
    """`default`: the paper's method, the released weights; `paper`: both weights 1; `released`: as
    the code does it."""
    lambda_kd: float = Field(default=0.2, ge=0.0)
    """Weight of the teacher's answer to the LR; [DUKD]: 0.2 as released, 1 as printed."""
    lambda_dukd: float = Field(default=0.2, ge=0.0)
    """Weight of its answers to zoom-in and zoom-out; [DUKD]: 0.2 as released, 1 as printed. Where
    both weights are 0 the teacher is not run: with zoom_in off and zoom_out_pix the student learns
    from the upcycled LR without it, a control that is not in [DUKD]."""
    zoom_in: Literal["random", "grid", "off"] = "random"
    """Crops of the HR patch, as large as the LR patch. `random`: from anywhere, each its own;
    `grid`: one of its scale x scale tiles, the same for the whole batch, as released."""
    n_gt_sub: int = Field(default=1, ge=1)
    """Crops of each HR patch; [DUKD]: 1."""
    zoom_out: bool = True
    """Whether the LR patch, made smaller once more, teaches; [DUKD]: yes, but not SwinIR."""
    zoom_out_pix: bool = False
    """Whether the student also learns the LR patch itself from it; released: yes."""
    operations: Annotated[tuple[OperationName, ...], Field(strict=False)] = (
        "inversion",
        "hflip",
        "vflip",
        "transpose",
    )
    """What an augmentation may consist of, in this order: a list, or a word such as
    `inversion+hflip`. `all`: these four, as released, and `rot90`; `none`: nothing."""
    aug_prob: float = Field(default=0.3, ge=0.0, le=1.0)
    """Probability of each operation for each image; released: 0.3."""
    augment_on: Literal["both", "zi"] = "both"
    """Which images are augmented; `zi`: zoom-in's alone, as released."""
    update: Literal["joint", "split", "released"] = "joint"
    """`joint`: one update by the sum of all terms; `split`: zoom-in and zoom-out have one of their
    own; `released`: that one also repeats the gradient of the first."""
    loss_range: float = Field(default=255.0, gt=0.0)
    """Images are taken to span 0..loss_range in the loss."""

    @field_validator("operations", mode="before")
    @classmethod
    def _a_word_is_short_for_a_list(cls, given: Any) -> Any:
        if not isinstance(given, str):
            return given
        return {"all": list(OPERATIONS), "none": []}.get(given, given.split("+"))

    @field_validator("operations")
    @classmethod
    def _each_at_most_once(cls, names: tuple[OperationName, ...]) -> tuple[OperationName, ...]:
        if len(set(names)) < len(names):
            raise ConfigError("", f"each operation at most once; got {'+'.join(names)}")
        return names


def consistent_BCHW(
    student: SRNet, x_BCHW: Tensor, scale: int, augmentation: Augmentation
) -> Tensor:
    """Eq. S~ of [DUKD]: D^-1(S(D(x))), the student's answer to x by way of an augmented x."""
    return augmentation.undo(student(augmentation.apply(x_BCHW), scale=scale))


def upcycled_loss(
    sr_BCHW: Tensor, teacher_BCHW: Tensor, lambda_dukd: float, loss_range: float
) -> Tensor:
    """Eq. L_zi and L_zo of [DUKD]: the mean L1 error of S~(x) against T(x), weighted.

    Images are B C H W in [0, 1], taken to span 0..`loss_range`.
    """
    return lambda_dukd * distance(sr_BCHW, teacher_BCHW, "l1_mean", loss_range)


@final
class DUKD(Distiller[Pairs]):
    """Trains a student by errors against HR and the teacher, and on zoom-in and zoom-out images."""

    batch: ClassVar[type] = Pairs

    def __init__(self, config: DUKDConfig, setting: Setting) -> None:
        self.config = config
        self.student = setting.student
        self.teacher = setting.frozen_teacher()
        self.replay = setting.replay
        self.optimiser = Optimiser(self.student.parameters(), setting.optimiser, setting.steps)
        self.updates = Counter()
        self.crops = Randomness(setting.seed, "zoom_in")
        self.choices = Randomness(setting.seed, "augmentation")

    @classmethod
    def refusals(cls, config: DUKDConfig, pairing: Pairing) -> Iterator[tuple[str, str]]:
        """Yield a refusal if `n_gt_sub` exceeds the tiles of a patch's grid."""
        for scale in pairing.student.scales:
            if config.zoom_in == "grid" and config.n_gt_sub > scale**2:
                rule = f"{config.n_gt_sub} is more than the {scale**2} tiles of a x{scale} patch"
                yield "method.n_gt_sub", rule

    def step(self, batch: Pairs) -> dict[str, Tensor]:
        """Do one update, or two where `update` is not `joint`; returns each term's loss."""
        scale = batch.scale

        def descend(lr_BCHW: Tensor, hr_BCHW: Tensor, *drawn: Tensor) -> Results:
            pairs = Pairs(lr_BCHW, hr_BCHW)
            losses = self._given(pairs)
            if self.config.update == "joint":
                losses |= self._upcycled(pairs, *drawn)
                self._descend(losses)
            else:
                self._descend(losses)
                upcycled = self._upcycled(pairs, *drawn)  # by the student after the first update
                self._descend(upcycled, fresh=self.config.update == "split")
                losses |= upcycled
            return {name: loss.detach() for name, loss in losses.items()}

        self.optimiser.begin(self.updates.value)
        self.updates.value += 1
        drawn = sent(batch.hr_BCHW.device, *self._drawn(batch))
        return self.replay(("learn", scale), descend, batch.lr_BCHW, batch.hr_BCHW, *drawn)

    def learners(self) -> dict[str, Stateful]:
        """Return the student, its optimiser, its count of updates and both random generators."""
        return {
            "student": self.student,
            "optimiser": self.optimiser,
            "updates": self.updates,
            "zoom_in": self.crops,
            "augmentation": self.choices,
        }

    def lr(self) -> float:
        """Return the student's learning rate at its last update."""
        return self.optimiser.lr

    def _given(self, batch: Pairs) -> dict[str, Tensor]:
        """Return the terms of the image pairs themselves, as in KD."""
        weight, loss_range = self.config.lambda_kd, self.config.loss_range
        # Without weight its answer is not asked for: any image gives the same zero.
        teacher_BCHW = self._teach(batch.lr_BCHW, batch.scale) if weight else batch.hr_BCHW
        sr_BCHW = self.student(batch.lr_BCHW, scale=batch.scale)
        pixel, kd = kd_loss(sr_BCHW, batch.hr_BCHW, teacher_BCHW, weight, loss_range, self.config)
        return {"loss/pixel": pixel, "loss/kd": kd}

    def _drawn(self, batch: Pairs) -> tuple[Tensor, ...]:
        """Draw all random numbers of an update: corners of crops, and counts of augmentations."""
        config, side, images = self.config, batch.lr_BCHW.shape[-1], len(batch.hr_BCHW)
        corners = grid_corners_N2 if config.zoom_in == "grid" else random_corners_N2
        crops = 0 if config.zoom_in == "off" else config.n_gt_sub
        corners_N2 = corners(batch.hr_BCHW.shape, side, crops, self.crops)
        counts_in, counts_out = (
            drawn_counts(operations, config.aug_prob, count, self.choices)
            for operations, count in ((config.operations, crops * images), (self._out, images))
        )
        return corners_N2, counts_in, counts_out

    @property
    def _out(self) -> tuple[OperationName, ...]:
        """Return the operations that augment zoom-out images."""
        config = self.config
        return config.operations if config.zoom_out and config.augment_on == "both" else ()

    def _upcycled(
        self, batch: Pairs, corners_N2: Tensor, counts_in: Tensor, counts_out: Tensor
    ) -> dict[str, Tensor]:
        """Return the terms of zoom-in and zoom-out."""
        config, scale, side = self.config, batch.scale, batch.lr_BCHW.shape[-1]
        losses = {}
        if config.zoom_in != "off":
            x_BCHW = cut_BCHW(batch.hr_BCHW, corners_N2, side)
            augmentation = Augmentation.of(config.operations, counts_in)
            losses["loss/zoom_in"], _ = self._compare(x_BCHW, scale, augmentation)
        if config.zoom_out:
            x_BCHW = zoomed_out_BCHW(batch.lr_BCHW, scale)
            augmentation = Augmentation.of(self._out, counts_out)
            losses["loss/zoom_out"], sr_BCHW = self._compare(x_BCHW, scale, augmentation)
            if config.zoom_out_pix:
                sr_BCHW = sr_BCHW[..., :side, :side]  # x was rounded up to whole pixels
                how = config.loss, config.loss_range, config.fft_weight
                losses["loss/zoom_out_pixel"] = pixel_error(sr_BCHW, batch.lr_BCHW, *how)
        return losses

    def _compare(
        self, x_BCHW: Tensor, scale: int, augmentation: Augmentation
    ) -> tuple[Tensor, Tensor]:
        """Return the upcycled loss on `x_BCHW`, and S~(x)."""
        config = self.config
        sr_BCHW = consistent_BCHW(self.student, x_BCHW, scale, augmentation)
        weighted = config.lambda_dukd > 0.0  # else the answer is not asked for, as above
        teacher_BCHW = self._teach(x_BCHW, scale) if weighted else sr_BCHW.detach()
        loss = upcycled_loss(sr_BCHW, teacher_BCHW, config.lambda_dukd, config.loss_range)
        return loss, sr_BCHW

    @torch.no_grad()
    def _teach(self, x_BCHW: Tensor, scale: int) -> Tensor:
        answer: Tensor = self.teacher(x_BCHW, scale=scale)
        return answer

    def _descend(self, losses: dict[str, Tensor], *, fresh: bool = True) -> None:
        if not losses:  # no second update without zoom-in and zoom-out
            return
        total = torch.stack(tuple(losses.values())).sum()
        if fresh:
            self.optimiser.clear_gradients()
        total.backward()  # type: ignore[no-untyped-call]  # torch leaves it unannotated
        self.optimiser.follow_gradients()
