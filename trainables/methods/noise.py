"""Noise: training on the teacher's results for images of uniform noise.

[DFSR] Zhang et al., "Data-Free Knowledge Distillation for Image Super-Resolution", CVPR 2021,
compares with it in Tables 1 and 2.

Learns from: the teacher's results for noise; there is no generator, and the student does not grow.
Deviations: the paper does not give the size of the noise; the default is that of a generator's
images (`noise_at: lr`). The student is trained as in DFSR otherwise.
"""

from __future__ import annotations

from collections import deque
from typing import ClassVar, Literal, final

import torch
from torch import Tensor

from trainables.methods.base import Distiller, Setting
from trainables.methods.game import ImitationConfig, Pupil, draw_scale, largest_side, lr_side
from trainables.methods.lessons import Lesson, Lessons
from trainables.methods.parts import plan_parts
from trainables.replay import Results, Work
from trainables.values import Blank, Randomness, Stateful

_SHOWN = 16
"""Images of noise that `imagined` returns."""


class NoiseConfig(ImitationConfig):
    """Noise's settings; published: 34.38 dB on Set5 x2 with VDSR."""

    name: Literal["noise"]
    preset: Literal["paper", "released"] = "released"
    """`released`: summed squares and VDSR's clipped SGD; `paper`: the printed mean L1, and Adam.
    For an RGB student both are Adam and the mean L1 on 0..255: no other code was released."""
    noise_at: Literal["lr", "input"] = "lr"
    """Size of the noise: `lr`: that of LR images; `input`: that of the body's input, beyond VDSR's
    upsampling."""


def uniform_noise_BCHW(
    shape: tuple[int, ...], randomness: Randomness, device: torch.device
) -> Tensor:
    """Not in [DFSR]: x ~ U(0, 1), independent for every pixel (the paper has only "noise")."""
    return torch.rand(shape, generator=randomness.generator, device=device)


@final
class Noise(Distiller[Blank]):
    """Trains a student by L_KD on uniform noise alone."""

    batch: ClassVar[type] = Blank

    def __init__(self, config: NoiseConfig, setting: Setting) -> None:
        self.config = config
        self.setting = setting
        self.student = setting.student
        whole = plan_parts(len(self.student.body), setting.steps, 1, "even", 0.0)
        self.pupil = Pupil(setting, config, whole)
        self.lessons = Lessons(setting.replay, largest_side(setting))
        self.choices = Randomness(setting.seed, "scale")
        self.pixels = Randomness(setting.seed, "noise", setting.device)

    def step(self, batch: Blank) -> dict[str, Tensor]:
        """Update the student once on new noise; return `loss/kd`."""
        if not self.lessons.prepared:
            ahead = range(min(batch.ahead, self.setting.replay.most_ahead))
            drawn = [self._draw(batch.images) for _ in ahead]
            self.lessons.prepare(drawn, self._lesson)
        scale, x_BCHW, target_BCHW = self.lessons.next()
        return {"loss/kd": self.pupil.imitate(x_BCHW, target_BCHW, scale)}

    def _draw(self, images: int) -> tuple[int, Tensor]:
        """Draw an update's scale and noise; return both, scale 1 for noise not to be upsampled."""
        scale = draw_scale(self.student.scales, self.choices)
        enlarged = self.config.noise_at == "input" and self.student.colour == "y"
        shape = (images, *self._shape(scale))
        noise_BCHW = uniform_noise_BCHW(shape, self.pixels, self.setting.device)
        return 1 if enlarged else scale, noise_BCHW

    def _shape(self, scale: int) -> tuple[int, int, int]:
        """Return the channels, height and width of an image of noise."""
        at_input = self.config.noise_at == "input"
        side = self.setting.patch if at_input else lr_side(self.setting, scale)
        return 1 if self.student.colour == "y" else 3, side, side

    def _lesson(self, scale: int) -> Work:
        def answer(x_BCHW: Tensor) -> Results:
            return {"x_BCHW": x_BCHW, "target_BCHW": self.pupil.answer(x_BCHW, scale)}

        return answer

    def imagined(self) -> Tensor:
        """Return images of the kind that the student learns from, of a stream of their own."""
        scale = self.student.scales[0]
        shape = (_SHOWN, *self._shape(scale))
        stream = Randomness(self.setting.seed, "imagined", self.setting.device)
        return uniform_noise_BCHW(shape, stream, self.setting.device)

    def prepared(self) -> deque[Lesson]:
        """Return the lessons prepared for later updates, in order of use."""
        return self.lessons.prepared

    def learners(self) -> dict[str, Stateful]:
        """Return the objects of the student's half and both random streams, by name."""
        return self.pupil.learners() | {"scale": self.choices, "noise": self.pixels}

    def lr(self) -> float:
        """Return the student's learning rate at its last update."""
        return self.pupil.optimiser.lr
