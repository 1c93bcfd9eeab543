"""Makes what a student is scored on: held-out images or, without any, its teacher's results."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, final

import torch
from torch import Tensor

from trainables.colour import luma_B1HW
from trainables.metrics.crops import Pixels
from trainables.metrics.evaluate import Heldout, HeldoutConfig, Named, View
from trainables.metrics.fidelity import psnr_db
from trainables.networks import SRNet
from trainables.networks.generator import make_generator
from trainables.threads import threads
from trainables.values import Colour, Randomness

IMAGES: Final = 64
"""Number of synthetic LR images: half uniform noise, half images of an untrained generator."""
_SIDE, _LATENT = 48, 256
"""Side of the LR images in pixels, that of a patch in every paper; length of the generator's input.
"""


@final
class Agreement(Heldout):
    """Scores students by PSNR against the teacher's results on synthetic LR images.

    The images are the same for every study, trial and seed, so that scores can be compared. As
    under `yfloat`, unrounded luma is compared, with `scale` pixels shaved from each side.

    Args:
        teacher: the network to agree with; it upscales each image once, here.
        scales: the scales to evaluate at.
        device: where the networks are.
    """

    keys = ("teacher_agreement_db",)

    def __init__(
        self, teacher: SRNet, *, scales: Sequence[int], device: torch.device | str = "cpu"
    ) -> None:
        self.colour, self.protocol = teacher.colour, "yfloat"
        self.views = {
            scale: tuple(
                _view(f"imagined {number}", lr_BCHW.to(device), teacher, scale)
                for number, lr_BCHW in enumerate(torch.split(imagined_BCHW(teacher.colour), 1))
            )
            for scale in scales
        }

    def score(self, view: View, sr_BCHW: Tensor) -> Tensor:
        """Return the PSNR in dB of a result against the teacher's: shape (1,), on the device."""
        return psnr_db(self.luma(view, sr_BCHW), view.truth_B1HW)

    def luma(self, view: View, sr_BCHW: Tensor) -> Tensor:
        """Return the luma of a result that is compared: B 1 H W, float64, borders shaved."""
        return _luma_B1HW(sr_BCHW, view.scale)

    def picture(self, view: View, sr_BCHW: Tensor) -> Pixels:
        """Convert a result to RGB bytes, H W 3; that of a luma network is grey."""
        del view  # a synthetic image has no chroma to add
        return _picture_HWC(sr_BCHW)


def make_heldout(
    config: HeldoutConfig | None,
    images: Named | None,
    teacher: SRNet | None,
    *,
    scales: Sequence[int],
    colour: Colour,
    device: torch.device | str,
) -> Heldout:
    """Prepare on `device` what a run's students are scored on.

    Args:
        config: the held-out images and their protocol; None: score by agreement with the teacher.
        images: the decoded images that `config` names.
        teacher: the network to agree with where `config` is None.
        scales: the scales to evaluate at.
        colour: the student's colour.
        device: where the networks are.

    Raises:
        ValueError: an image cannot be used; names it.
        ConfigError: the protocol does not suit the colour; its path begins with `heldout`.
    """
    if config is None:
        assert teacher is not None, "without held-out images there is a teacher"
        return Agreement(teacher, scales=scales, device=device)
    assert images is not None, "held-out images are read before"
    return Heldout.of(images, config, scales=scales, colour=colour, device=device)


def imagined_BCHW(colour: Colour) -> Tensor:
    """Make the `IMAGES` synthetic LR images, (64, 3 or 1, 48, 48), from a fixed seed.

    Half are uniform noise, half an untrained generator's images of normal noise. They are bitwise
    equal for any number of CPU threads.
    """
    channels, half = 3 if colour == "rgb" else 1, IMAGES // 2
    randomness = Randomness(0, "agreement").generator
    noise_BCHW = torch.rand(half, channels, _SIDE, _SIDE, generator=randomness)
    generator = make_generator(_LATENT, _SIDE, channels, randomness)
    with torch.no_grad(), threads(1):
        made_BCHW = generator(torch.randn(half, _LATENT, generator=randomness))
    return torch.cat((noise_BCHW, made_BCHW.contiguous()))


@torch.no_grad()
def _view(name: str, lr_BCHW: Tensor, teacher: SRNet, scale: int) -> View:
    sr_BCHW = teacher(lr_BCHW, scale=scale)
    return View(
        name=name,
        scale=scale,
        hr_HWC=_picture_HWC(sr_BCHW),
        lr_BCHW=lr_BCHW,
        truth_B1HW=_luma_B1HW(sr_BCHW, scale),
        canvas_B3HW=None,
    )


def _luma_B1HW(sr_BCHW: Tensor, border: int) -> Tensor:
    levels_BCHW = sr_BCHW.detach().double().clamp(0, 1)[..., border:-border, border:-border]
    return luma_B1HW(levels_BCHW) if levels_BCHW.shape[1] == 3 else levels_BCHW


def _picture_HWC(sr_BCHW: Tensor) -> Pixels:
    levels_BCHW = (sr_BCHW.detach().double().clamp(0, 1) * 255).round().to(torch.uint8)
    return levels_BCHW[0].expand(3, -1, -1).permute(1, 2, 0).cpu().contiguous().numpy()
