"""DFSR+CMI: DFSR with a contrastive term, by which generated images differ from earlier ones.

[DFSR+CMI] Wang et al., "Data-Free KD for SR Based on Contrastive Learning": the structure of the
method. No code was released, and no constants are printed; they are taken from
[CMI] Fang et al., "Contrastive Model Inversion for Data-Free Knowledge Distillation", IJCAI 2021,
arXiv 2105.08584, and its released code.

Learns from: the teacher's results for generated images, with a body that grows in P parts; the
generator from an adversarial, a reconstruction and a contrastive term. The last makes two views of
an image more alike, in a projection h of the teacher's features, than views of two images of the
batch or of a bank of earlier ones.
Deviations: [CMI] takes features at the inputs of BatchNorm layers, and super-resolution teachers
have none: we take three body maps, and standardise their statistics, which are so nearly equal that
h could not separate them. The printed loss leaves the positive out of its denominator; with it in,
as in [CMI]'s code, the loss is bounded below. The paper keeps images in its bank, we their
features, so their views are drawn only once. Its pseudo-code fills the bank after the whole loop;
we fill it after every stage of a generator. [CMI] begins each stage of 200 steps with a new
generator; the paper keeps its generator. The paper's W_I is never defined, and is left out.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from typing import ClassVar, Literal, final

from pydantic import Field
from torch import Tensor, nn

from trainables.methods.base import Distiller, Pairing, Setting
from trainables.methods.contrast import Contrast, ContrastConfig
from trainables.methods.dfsr import reconstruction_loss
from trainables.methods.game import (
    Game,
    ProgressiveConfig,
    adversarial_loss,
    growing_pupil,
    lr_side,
)
from trainables.methods.lessons import Lesson
from trainables.networks.base import SRNetConfig
from trainables.optimisers import OptimiserConfig, moments_of
from trainables.replay import Results, Work
from trainables.values import Blank, Stateful


class DFSRCMIConfig(ProgressiveConfig, ContrastConfig):
    """DFSR+CMI's settings; published: 37.22 dB on Set5 x2 with VDSR, 0.09 dB above DFSR."""

    name: Literal["dfsr_cmi"]
    preset: Literal["paper", "released"] = "released"
    """`released`: summed squares and VDSR's clipped SGD, W_C 1; `paper`: the mean L1 and Adam, W_C
    0.001. For an RGB student both are Adam and the mean L1 on 0..255, W_C 0.1."""
    w_R: float = Field(default=1.0, ge=0.0)
    """Weight of the reconstruction term, the paper's W_R; [DFSR]: 1."""
    W_C: float = Field(default=0.1, ge=0.0)
    """Weight of the contrastive term; not printed. 0.1 goes with losses on 0..255, 0.001 with 0..1,
    1 with summed squares. Before any training the term is about ln(batch.images) while the bank is
    empty, and about 2 ln K with K rows of batch and bank together."""
    generator_steps: int = Field(default=1, ge=1)
    """Updates of generator, h and z in a stage, from one z; [CMI], with a new generator: 200."""


@final
class DFSRCMI(Distiller[Blank]):
    """Trains a growing student on images of generators whose losses are L_GEN, L_R and L_cr."""

    batch: ClassVar[type] = Blank

    def __init__(self, config: DFSRCMIConfig, setting: Setting) -> None:
        self.config = config
        self.student = setting.student
        self.setting = setting
        self.pupil = growing_pupil(setting, config)
        self.game = Game(setting, config, self.pupil, self._terms, betas=(0.5, 0.999))
        default_betas = self.game.rate.model_copy(update={"betas": OptimiserConfig().betas})
        self.contrast = Contrast(config, setting, default_betas)

    @classmethod
    def refusals(cls, config: DFSRCMIConfig, pairing: Pairing) -> Iterator[tuple[str, str]]:
        """Yield a refusal of a teacher without body maps, and of a bank smaller than a batch."""
        if pairing.teacher is not None and not isinstance(pairing.teacher, SRNetConfig):
            rule = "dfsr_cmi tells images apart by the teacher's body, which spandrel does not show"
            yield "teacher.name", rule
        if config.bank_size < pairing.images:
            rule = f"{config.bank_size} is less than one batch: batch.images is {pairing.images}"
            yield "method.bank_size", rule

    def step(self, batch: Blank) -> dict[str, Tensor]:
        """Update the student and, when it is due, do a generator's stage; return the losses."""
        losses = self.game.teach(batch)
        if self.game.generators_turn:
            losses |= self._stage(batch.images, self.game.draw_scale())
        return losses

    def prepared(self) -> deque[Lesson]:
        """Return the lessons prepared for later updates, in order of use."""
        return self.game.lessons.prepared

    def learners(self) -> dict[str, Stateful]:
        """Return the objects that training changes: student, generators, h, banks and the rest."""
        return self.game.learners() | self.contrast.learners()

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

    def _stage(self, images: int, scale: int) -> dict[str, Tensor]:
        """Update generator, h and z `generator_steps` times, then add the images to the bank."""
        game, contrast, last = self.game, self.contrast, self.pupil.updates.value - 1
        side, colours = lr_side(self.setting, scale), 1 if self.student.colour == "y" else 3
        z_BK = game.draw_latents(images)
        latent = {"z_BK": z_BK, **moments_of(z_BK, game.rate)}
        for _ in range(self.config.generator_steps):
            for optimiser in (game.optimisers[scale], contrast.optimiser):
                optimiser.begin(last)
            drawn = contrast.draw((images, colours, side, side), scale)
            key = "provoke", scale, self.pupil.active
            terms = game.replay(key, self._descent(scale), *latent.values(), *drawn)
            latent = {name: terms.pop(name) for name in latent}
        contrast.remember(game.imagine(latent["z_BK"], scale), scale)
        return terms

    def _descent(self, scale: int) -> Work:
        """Return the device's part of one update of generator, h and z; it is given z's moments."""

        def descend(
            z_BK: Tensor, count: Tensor, first: Tensor, second: Tensor, *drawn: Tensor
        ) -> Results:
            moments = {"step": count, "exp_avg": first, "exp_avg_sq": second}
            latent = {name: each.clone() for name, each in {"z_BK": z_BK, **moments}.items()}
            z = nn.Parameter(latent.pop("z_BK"))
            own = self.game.optimisers[scale].beside([z], [latent])
            terms = self.game.descend(z, scale, own, self.contrast.optimiser, drawn=drawn)
            return {**terms, "z_BK": z.detach(), **latent}

        return descend

    def _terms(
        self,
        x_BCHW: Tensor,
        teacher_BCHW: Tensor,
        student_BCHW: Tensor,
        scale: int,
        *drawn: Tensor,
    ) -> dict[str, Tensor]:
        """Eq. L_G of [DFSR+CMI]: L_GEN + W_R L_R + W_C L_cr."""
        config = self.config
        rebuilt = reconstruction_loss(x_BCHW, teacher_BCHW, scale, config.loss, config.loss_range)
        return {
            "loss/reconstruction": config.w_R * rebuilt,
            "loss/adversarial": adversarial_loss(self.pupil.compare(teacher_BCHW, student_BCHW)),
            "loss/contrast": config.W_C * self.contrast.loss(x_BCHW, scale, *drawn),
        }
