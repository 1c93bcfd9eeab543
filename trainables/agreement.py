"""What a student is judged by: held-out images, or where there are none, doing as its teacher."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, final

import torch
from torch import Tensor

from trainables.colour import luma_B1HW
from trainables.metrics.evaluate import Heldout, HeldoutConfig, Named, Pixels, View
from trainables.metrics.fidelity import psnr_db
from trainables.networks import SRNet
from trainables.networks.generator import make_generator
from trainables.threads import threads
from trainables.values import Colour, Randomness

IMAGES: Final = 64
"""Half of them uniform noise, half what an untrained generator makes of normal noise."""
_SIDE, _LATENT = 48, 256
"""Side of the LR images, that of a patch in every paper; length of the generator's input."""


@final
class Agreement(Heldout):
    """Imagined images, and what a teacher makes of each: no pixel of it was ever photographed.

    The images are the same for every study, trial and seed, so that figures compare. As under
    `yfloat` luma is compared, nothing rounded, as many pixels shaved as the scale.

    Args:
        teacher: what to agree with; it is asked once.
        scales: at which to evaluate.
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
        """PSNR in dB of a network's result against the teacher's: one value, on the device."""
        return psnr_db(self.luma(view, sr_BCHW), view.truth_B1HW)

    def luma(self, view: View, sr_BCHW: Tensor) -> Tensor:
        """What is compared of a result."""
        return _luma_B1HW(sr_BCHW, view.scale)

    def picture(self, view: View, sr_BCHW: Tensor) -> Pixels:
        """A network's result as RGB bytes, H W 3; grey of a luma network."""
        del view  # lends no chroma: it has none
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
    """What a run's students are judged by, ready on `device`.

    Args:
        config: of the held-out images; None: there are none, and the teacher judges.
        images: decoded, as `config` names them.
        teacher: who judges in their place.
        scales: at which to evaluate.
        colour: of the student.
        device: where the networks are.

    Raises:
        ValueError: an image cannot be used, by its name; or a protocol, by the path `heldout`.
    """
    if config is None:
        assert teacher is not None, "there is somebody to agree with"
        return Agreement(teacher, scales=scales, device=device)
    assert images is not None, "they were read"
    return Heldout.of(images, config, scales=scales, colour=colour, device=device)


def imagined_BCHW(colour: Colour) -> Tensor:
    """The `IMAGES` LR images, from a seed of their own; equal bits for any number of threads."""
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
