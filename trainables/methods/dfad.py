"""DFAD: training on generated images, made to be those on which student and teacher disagree.

[DFAD] Fang et al., "Data-Free Adversarial Distillation", 2019, arXiv 1912.11006.
[DFSR] Zhang et al., "Data-Free Knowledge Distillation for Image Super-Resolution", CVPR 2021,
compares with it in Table 2: 36.23 dB on Set5 x2 with VDSR.

Learns from: the teacher's results for generated images; the generator from the adversarial term
alone.
Deviations: [DFAD]'s classification code uses -L1, 5 student steps and other rates; in the
super-resolution comparison everything but the loss is DFSR's, and so it is here.
`dfad_log: false` gives the classification form.
"""

from __future__ import annotations

from collections import deque
from typing import ClassVar, Literal, final

from torch import Tensor

from trainables.methods.base import Distiller, Setting
from trainables.methods.game import Game, GameConfig, Pupil, adversarial_loss
from trainables.methods.lessons import Lesson
from trainables.methods.parts import plan_parts
from trainables.values import Blank, Stateful


class DFADConfig(GameConfig):
    """DFAD's settings, those of DFSR with w_R = 0 and P = 1."""

    name: Literal["dfad"]
    preset: Literal["paper", "released"] = "released"
    """`released`: summed squares and VDSR's clipped SGD; `paper`: the printed mean L1, and Adam.
    For an RGB student both are Adam and the mean L1 on 0..255: no other code was released."""
    dfad_log: bool = True
    """True: L_GEN is -log(1 + L_KD), as for dense prediction and in [DFSR]; false: -L_KD."""


@final
class DFAD(Distiller[Blank]):
    """Trains a student on images of generators whose only loss is L_GEN."""

    batch: ClassVar[type] = Blank

    def __init__(self, config: DFADConfig, setting: Setting) -> None:
        self.config = config
        self.student = setting.student
        whole = plan_parts(len(self.student.body), setting.steps, 1, "even", 0.0)
        self.pupil = Pupil(setting, config, whole)
        self.game = Game(setting, config, self.pupil, self._terms)

    def step(self, batch: Blank) -> dict[str, Tensor]:
        """Update the student and, when it is due, a generator; return the losses."""
        return self.game.step(batch)

    def prepared(self) -> deque[Lesson]:
        """Return the lessons prepared for later updates, in order of use."""
        return self.game.lessons.prepared

    def learners(self) -> dict[str, Stateful]:
        """Return the objects that training changes, of the student's half and the generators'."""
        return self.game.learners()

    def figures(self) -> dict[str, Tensor]:
        """Return `generator_change`: how far training has changed the generators' images."""
        return self.game.change.figures()

    def imagined(self) -> Tensor:
        """Return the images whose change `generator_change` measures, of the first scale."""
        return self.game.change.imagined()

    def lr(self) -> float:
        """Return the student's learning rate at its last update."""
        return self.pupil.optimiser.lr

    def _terms(
        self, _x_BCHW: Tensor, teacher_BCHW: Tensor, student_BCHW: Tensor, _scale: int
    ) -> dict[str, Tensor]:
        kd = self.pupil.compare(teacher_BCHW, student_BCHW)
        return {"loss/adversarial": adversarial_loss(kd, log=self.config.dfad_log)}
