"""How far training has moved the generators, measured on the images that they make.

A weight of the generator's loss, such as w_R of [DFSR], can change a student only by way of a
generator that moves: where it hardly does, the weight is not being tested.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from trainables.networks.generator import Generator, make_generator
from trainables.values import Randomness

_IMAGES = 16


def untrained_generator(
    latent: int, size: int, channels: int, *, scale: int, seed: int
) -> Generator:
    """The generator of `scale` on the CPU, as it begins in a trial with `seed`."""
    randomness = Randomness(seed, f"generator_x{scale}")
    return make_generator(latent, size, channels, randomness.generator)


class GeneratorChange:
    """Compares the images of fixed latents with those that the untrained generators make of them.

    Latents and untrained images follow from the seed, which is all of its state: a run that is
    restored makes the same ones. The latents are of a random stream of their own.
    """

    def __init__(self, generators: Mapping[int, Generator], seed: int) -> None:
        """Draw nothing yet: untrained generators are made anew for the first measurement.

        Args:
            generators: those in training, by scale.
            seed: of the trial.
        """
        self.generators = generators
        self.seed = seed
        self._untrained: dict[int, Tensor] = {}

    @torch.no_grad()
    def figures(self) -> dict[str, Tensor]:
        """`generator_change`, a scalar on the device: the mean of the generators' changes."""
        changes = []
        for scale, generator in self.generators.items():
            z_BK = self.latents(generator)
            if scale not in self._untrained:
                self._untrained[scale] = self._twin(generator, scale).to(z_BK.device)(z_BK)
            changes.append(relative_change(generator(z_BK), self._untrained[scale]))
        return {"generator_change": torch.stack(changes).mean()}

    @torch.no_grad()
    def imagined(self) -> Tensor:
        """The images of `latents` by the first generator: B C H W in [0, 1], on the device."""
        generator = next(iter(self.generators.values()))
        images_BCHW: Tensor = generator(self.latents(generator))
        return images_BCHW

    def latents(self, generator: Generator) -> Tensor:
        """The 16 latent vectors that are compared, the same for every generator and device."""
        stream = Randomness(self.seed, "generator_change")
        z_BK = torch.randn(_IMAGES, generator.latent, generator=stream.generator)
        return z_BK.to(generator.conv3.weight.device)

    def _twin(self, generator: Generator, scale: int) -> Generator:
        """The same generator as it began."""
        size, channels = 4 * generator.start, generator.conv3.out_channels
        return untrained_generator(generator.latent, size, channels, scale=scale, seed=self.seed)

    def state_dict(self) -> dict[str, Any]:
        """The seed of latents and untrained generators."""
        return {"seed": self.seed}

    def load_state_dict(self, state_dict: dict[str, Any], /) -> None:
        """Measure from where the run of `state_dict` began."""
        self.seed, self._untrained = int(state_dict["seed"]), {}


def relative_change(x_BCHW: Tensor, before_BCHW: Tensor) -> Tensor:
    """RMS(x - before) / std(before) over all pixels: 0 where nothing moved, 1 a whole contrast."""
    moved = (x_BCHW - before_BCHW).square().mean().sqrt()
    return moved / before_BCHW.std(correction=0)
