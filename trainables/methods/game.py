"""The training loop of the data-free methods: alternate updates of the student and of generators.

It is Algorithm 1 of [DFSR] with parts counted 0..P-1, and `update_ratio` student updates for each
update of a generator. [DFAD] is the same loop with P = 1 and without reconstruction; Noise is the
student's half alone.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import torch
from pydantic import Field
from torch import Tensor

from trainables.limits import BLOCKS, COUNT
from trainables.methods.base import Setting
from trainables.methods.change import GeneratorChange, untrained_generator
from trainables.methods.lessons import Lessons
from trainables.methods.parts import Parts, SplitPoints, plan_parts
from trainables.methods.terms import LossName, distance
from trainables.networks.base import frozen
from trainables.optimisers import Optimiser, OptimiserConfig, descend
from trainables.replay import Results, Work
from trainables.values import Blank, Config, Counter, Randomness, Stateful

GeneratorTerms = Callable[..., dict[str, Tensor]]
"""A function of (x, T(x), S(x), scale, *drawn) that returns the weighted terms of the generator's
loss by name; `drawn` are the random numbers that the terms need, on the device."""


class ImitationConfig(Config):
    """Settings of L_KD, the imitation loss of all data-free methods."""

    loss: LossName = "mse_sum"
    """L_KD: `mse_sum` as released for VDSR; `l1_mean` as printed in [DFSR] and for RGB networks."""
    loss_range: float = Field(default=1.0, gt=0.0)
    """Images are taken to span 0..loss_range in the loss: 1 for VDSR, 255 for RGB networks."""


class GameConfig(ImitationConfig):
    """Settings that all methods with a generator share; the defaults are [DFSR]'s for VDSR."""

    generator_lr: float = Field(default=1e-5, gt=0.0)
    """Adam's learning rate for the generators; [DFSR]: 1e-5 for VDSR, 1e-6 for EDSR."""
    generator_schedule: Literal["student", "constant"] = "student"
    """`student`: the generators follow the student's schedule from step 0, without its restarts
    (VDSR); `constant`: their learning rate stays (EDSR, for which [DFSR] prints no schedule)."""
    update_ratio: int = Field(default=50, ge=1)
    """Student updates for each update of a generator; [DFSR]: 50."""
    latent: int = Field(default=256, ge=1, le=COUNT)
    """Length of the latent vector z; [DFSR] and [DFAD]: 256."""


class ProgressiveConfig(GameConfig):
    """Settings of a loop whose student grows: progressive distillation."""

    P: int = Field(default=2, ge=1, le=BLOCKS)
    """Number of parts of the student's body; [DFSR]: 2; 1 turns progressive distillation off."""
    split_points: SplitPoints = "even"
    """Division of the body: `even`; the share of part 0; or P - 1 ascending depths in units."""
    part_fraction: float = Field(default=0.15, gt=0.0, lt=1.0)
    """Share of the budget that all parts but the last take together; [DFSR]: 12 of 80 epochs for
    VDSR, 80 of 300 for EDSR."""
    new_block_init: Literal["random", "near_identity"] = "random"
    """Initial weights of the body units that join later; released: random."""
    reset_lr: bool = True
    """Whether a growth restarts the student's learning rate and schedule, as it always does its
    momentum; released: yes. A warm-up and a cosine then span each part; `optimiser.schedule.at`
    stays in fractions of the budget."""


class Pupil:
    """The student's half of the loop: its optimiser, its parts, and its updates by L_KD."""

    def __init__(
        self, setting: Setting, loss: ImitationConfig, parts: Parts, *, reset_lr: bool = True
    ) -> None:
        self.student = setting.student
        self.teacher = setting.frozen_teacher()
        self.loss = loss
        self.parts = parts
        self.reset_lr = reset_lr
        self.replay = setting.replay
        self.optimiser = Optimiser(self.student.parameters(), setting.optimiser, setting.steps)
        self.updates = Counter()

    @property
    def active(self) -> int:
        """Number of body units that ran in the last update; before any, that of the first."""
        return self.parts.depths[self.parts.at(max(self.updates.value - 1, 0))]

    @torch.no_grad()
    def answer(self, x_BCHW: Tensor, scale: int) -> Tensor:
        """Return T(x), the teacher's result, without gradient."""
        target_BCHW: Tensor = self.teacher(x_BCHW, scale=scale)
        return target_BCHW

    def imitate(self, x_BCHW: Tensor, target_BCHW: Tensor, scale: int) -> Tensor:
        """Alg. 1 of [DFSR], the student's update: descend L_KD on x and T(x); return L_KD."""

        def descend(x_BCHW: Tensor, target_BCHW: Tensor) -> Results:
            loss = self.compare(target_BCHW, self.predict(x_BCHW, scale))
            self.optimiser.descend(loss)
            return {"loss": loss.detach()}

        self._begin_update()
        key = "imitate", scale, self.active
        return self.replay(key, descend, x_BCHW, target_BCHW)["loss"]

    def _begin_update(self) -> None:
        """Set the part and the learning rate of the next update on the host, and count it."""
        step = self.updates.value
        part = self.parts.at(step)
        start, end = (*self.parts.starts, self.optimiser.steps)[part : part + 2]
        if step == start and part > 0:
            self.optimiser.restart()
        self.optimiser.begin(*((step - start, end - start) if self.reset_lr else (step,)))
        self.updates.value += 1  # before the pass, so that `active` is for it

    def predict(self, x_BCHW: Tensor, scale: int) -> Tensor:
        """Return S(x), the student's result with its active body units."""
        return self.student.trace(x_BCHW, scale=scale, active=self.active).sr_BCHW

    def compare(self, teacher_BCHW: Tensor, student_BCHW: Tensor) -> Tensor:
        """Return L_KD of the teacher's and the student's images, a scalar."""
        return imitation_loss(teacher_BCHW, student_BCHW, self.loss.loss, self.loss.loss_range)

    def learners(self) -> dict[str, Stateful]:
        """Return the student, its optimiser and its count of updates, by name."""
        return {"student": self.student, "optimiser": self.optimiser, "updates": self.updates}


class Game:
    """The whole loop: `update_ratio` updates of the student, then one of a generator, repeated."""

    def __init__(
        self,
        setting: Setting,
        config: GameConfig,
        pupil: Pupil,
        terms: GeneratorTerms,
        betas: tuple[float, float] = (0.9, 0.999),
    ) -> None:
        self.config = config
        self.pupil = pupil
        self.terms = terms
        self.replay = setting.replay
        self.device = setting.device
        self.scales = setting.student.scales
        self.lessons = Lessons(setting.replay, largest_side(setting))
        self.choices = Randomness(setting.seed, "scale")
        self.latents = Randomness(setting.seed, "latent", setting.device)
        self.rate = OptimiserConfig(
            name="adam",
            lr=config.generator_lr,
            betas=betas,
            weight_decay=0.0,
            clip=None,
            schedule=setting.optimiser.schedule if config.generator_schedule == "student" else None,
        )
        colours = 1 if setting.student.colour == "y" else 3
        self.generators = {
            scale: untrained_generator(
                config.latent, lr_side(setting, scale), colours, scale=scale, seed=setting.seed
            ).to(setting.device)
            for scale in self.scales
        }
        self.change = GeneratorChange(self.generators, setting.seed)
        self.optimisers = {
            scale: Optimiser(generator.parameters(), self.rate, setting.steps)
            for scale, generator in self.generators.items()
        }

    def step(self, batch: Blank) -> dict[str, Tensor]:
        """Update the student and, every `update_ratio` times, a generator; return the losses."""
        losses = self.teach(batch)
        if self.generators_turn:
            losses |= self.provoke(self.draw_latents(batch.images), self.draw_scale())
        return losses

    def teach(self, batch: Blank) -> dict[str, Tensor]:
        """Update the student once, on newly generated images; return `loss/kd`."""
        if not self.lessons.prepared:
            ratio = self.config.update_ratio
            until_provoked = ratio - self.pupil.updates.value % ratio
            ahead = range(min(batch.ahead, until_provoked, self.replay.most_ahead))
            drawn = [(self.draw_scale(), self.draw_latents(batch.images)) for _ in ahead]
            self.lessons.prepare(drawn, self._lesson)
        scale, x_BCHW, target_BCHW = self.lessons.next()
        return {"loss/kd": self.pupil.imitate(x_BCHW, target_BCHW, scale)}

    def _lesson(self, scale: int) -> Work:
        @torch.no_grad()
        def generate(z_BK: Tensor) -> Results:
            x_BCHW = self.generators[scale](z_BK)
            return {"x_BCHW": x_BCHW, "target_BCHW": self.pupil.answer(x_BCHW, scale)}

        return generate

    @property
    def generators_turn(self) -> bool:
        """Whether the student's last update is to be followed by one of a generator."""
        return self.pupil.updates.value % self.config.update_ratio == 0

    def draw_scale(self) -> int:
        """Draw the scale of one update."""
        return draw_scale(self.scales, self.choices)

    def draw_latents(self, images: int) -> Tensor:
        """Draw the latent vectors z ~ N(0, I) of a batch of `images`: B K, on the device."""
        return torch.randn(
            images, self.config.latent, generator=self.latents.generator, device=self.device
        )

    def imagine(self, z_BK: Tensor, scale: int) -> Tensor:
        """Generate LR images of `scale` from latents, without gradient: B C r r in [0, 1]."""

        @torch.no_grad()
        def imagine(z_BK: Tensor) -> Results:
            return {"x_BCHW": self.generators[scale](z_BK)}

        return self.replay(("imagine", scale), imagine, z_BK)["x_BCHW"]

    def provoke(self, z_BK: Tensor, scale: int) -> dict[str, Tensor]:
        """Alg. 1 of [DFSR], the generator's update: through frozen student and teacher."""

        def descend(z_BK: Tensor) -> Results:
            return self.descend(z_BK, scale)

        self.optimisers[scale].begin(self.pupil.updates.value - 1)
        return self.replay(("provoke", scale, self.pupil.active), descend, z_BK)

    def descend(
        self, z_BK: Tensor, scale: int, *others: Optimiser, drawn: tuple[Tensor, ...] = ()
    ) -> Results:
        """Run the device's part of a generator's update, at the rates that `begin` has set.

        `others` optimise further parameters by the same loss; `drawn` is passed to the terms.
        """
        self.pupil.optimiser.clear_gradients()  # frees their memory
        with frozen(self.pupil.student):
            x_BCHW = self.generators[scale](z_BK)
            teacher_BCHW = self.pupil.teacher(x_BCHW, scale=scale)
            student_BCHW = self.pupil.predict(x_BCHW, scale)
            terms = self.terms(x_BCHW, teacher_BCHW, student_BCHW, scale, *drawn)
            total = torch.stack(tuple(terms.values())).sum()
            descend(total, self.optimisers[scale], *others)
        return {name: term.detach() for name, term in terms.items()}

    def learners(self) -> dict[str, Stateful]:
        """Return the objects that training changes, of the student's half and the generators'."""
        learners = self.pupil.learners() | {"scale": self.choices, "latent": self.latents}
        for scale in self.scales:
            learners[f"generator_x{scale}"] = self.generators[scale]
            learners[f"generator_optimiser_x{scale}"] = self.optimisers[scale]
        return learners | {"generator_change": self.change}


def growing_pupil(setting: Setting, config: ProgressiveConfig) -> Pupil:
    """Make the student's half of a loop whose student grows by the parts of `config`."""
    parts = plan_parts(
        len(setting.student.body),
        setting.steps,
        config.P,
        config.split_points,
        config.part_fraction,
    )
    if config.new_block_init == "near_identity":
        setting.student.near_identity(parts.depths[0])
    return Pupil(setting, config, parts, reset_lr=config.reset_lr)


def imitation_loss(
    teacher_BCHW: Tensor, student_BCHW: Tensor, loss: LossName, loss_range: float
) -> Tensor:
    """Eq. L_KD of [DFSR] (Section 3.2): 1/n ||T(x) - S(x)||_1, or summed squares as released."""
    return distance(teacher_BCHW, student_BCHW, loss, loss_range)


def adversarial_loss(kd: Tensor, *, log: bool = True) -> Tensor:
    """Eq. L_GEN of [DFSR] (Section 3.2): -log(1 + L_KD); without `log`, [DFAD]'s -L_KD."""
    return -torch.log1p(kd) if log else -kd


def draw_scale(scales: tuple[int, ...], randomness: Randomness) -> int:
    """Draw one of `scales` uniformly, on the host so that no device is synchronised with."""
    return scales[int(torch.randint(len(scales), (), generator=randomness.generator))]


def lr_side(setting: Setting, scale: int) -> int:
    """Return the side in pixels of LR images: the patch, or patch // scale for a luma network."""
    return setting.patch // scale if setting.student.colour == "y" else setting.patch


def largest_side(setting: Setting) -> int:
    """Return the side in pixels of the teacher's largest results, over all scales."""
    return max(lr_side(setting, scale) * scale for scale in setting.student.scales)
