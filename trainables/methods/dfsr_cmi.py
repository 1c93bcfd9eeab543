"""DFSR+CMI: DFSR whose generator must also make images that differ from all it made before.

[DFSR+CMI] Wang et al., "Data-Free KD for SR Based on Contrastive Learning": the structure. No code
was released, and no constant is printed; they are those of
[CMI] Fang et al., "Contrastive Model Inversion for Data-Free Knowledge Distillation", IJCAI 2021,
arXiv 2105.08584, and its released code.

Learns from: as DFSR's student; the generator from an adversarial, a reconstruction and a
contrastive term: two views of an image shall be more alike, to a projection of the teacher's
features, than views of two images, be they of this batch or in a bank of what was made before.
Deviations: [CMI] takes features at the inputs of BatchNorm layers, and super-resolution teachers
have none: we take three body maps and, as these are so small and alike that h could not tell them
apart, standardise them. The printed loss leaves the positive out of its denominator; with it in,
as in [CMI]'s code, the loss is bounded below. The paper keeps images in its bank, we their
features: views of them are then drawn once. Its pseudo-code fills the bank after the whole loop;
we fill it after every stage of the generator. [CMI] begins each stage with a new generator and
200 steps; the paper keeps its generator. The paper's W_I is never defined, and left out.
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
    """As `dfsr`'s, whose losses these are; W_C follows their size."""
    w_R: float = Field(default=1.0, ge=0.0)
    """Weight of the reconstruction term, the paper's W_R; [DFSR]: 1."""
    W_C: float = Field(default=0.1, ge=0.0)
    """Weight of the contrastive term, which is about 7 at first; not printed. 0.1 goes with losses
    on 0..255, 0.001 with 0..1, 1 with summed squares."""
    generator_steps: int = Field(default=1, ge=1)
    """Updates of the generator and z in a stage, on one z; [CMI], with a new generator: 200."""


@final
class DFSRCMI(Distiller[Blank]):
    """A growing student against a generator: difficult, plausible, and never the same."""

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
        """A teacher without body maps, and a bank that one batch would overflow."""
        if pairing.teacher is not None and not isinstance(pairing.teacher, SRNetConfig):
            rule = "dfsr_cmi tells images apart by the teacher's body, which spandrel does not show"
            yield "teacher.name", rule
        if config.bank_size < pairing.images:
            rule = f"{config.bank_size} is less than one batch: batch.images is {pairing.images}"
            yield "method.bank_size", rule

    def step(self, batch: Blank) -> dict[str, Tensor]:
        """One student update, and a stage of a generator's when its turn has come."""
        losses = self.game.teach(batch)
        if self.game.generators_turn:
            losses |= self._stage(batch.images, self.game.draw_scale())
        return losses

    def prepared(self) -> deque[Lesson]:
        """The lessons that wait for their update."""
        return self.game.lessons.prepared

    def learners(self) -> dict[str, Stateful]:
        """The game's, and what tells images apart."""
        return self.game.learners() | self.contrast.learners()

    def figures(self) -> dict[str, Tensor]:
        """How far the generators have moved."""
        return self.game.change.figures()

    def lr(self) -> float:
        """The student's rate at its last update."""
        return self.pupil.optimiser.lr

    def active(self) -> int:
        """Body units of the parts that have joined."""
        return self.pupil.active

    def _stage(self, images: int, scale: int) -> dict[str, Tensor]:
        """Generator, h and z itself descend; the bank remembers what they arrived at."""
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
        """The device's half of one update of generator, h and z, whose moments come with it."""

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
