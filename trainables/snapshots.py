"""Pictures of a run over its updates: what its generators imagine, and a detail of its result."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from trainables.numerics import numerics
from trainables.run import Run, upscaler
from trainables.snapshot_files import DETAIL, IMAGINED, kept_steps, picture_name, pictures_in

Pixels = NDArray[np.uint8]

DETAIL_SIDE: Final = 126
"""Largest side of a detail in pixels."""

_ACROSS, _GAP, _WHITE = 4, 1, 255


class Snapshots:
    """Writes the pictures of one run at its reports, and deletes all but a few.

    Nothing that is learnt depends on it: pictures are made without gradients, of latents from a
    random stream of their own. A resumed run makes the same pictures.

    Args:
        folder: the run's folder; a picture becomes `folder/<kind>/step-<step>.png`.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._window: tuple[int, int] | None = None

    def take(self, run: Run) -> None:
        """Write the pictures of a run as it is; what cannot be written is left out."""
        made = {}
        with torch.no_grad(), run.replay.here(), numerics("fp32", run.device):
            images_BCHW = run.method.imagined()
            result_HWC = run.seen.taken(upscaler(run.outcome, run.active))
        if images_BCHW is not None:
            made[IMAGINED] = contact_sheet(images_BCHW)
        side = min(DETAIL_SIDE, *result_HWC.shape[:2])
        if self._window is None:
            self._window = hardest_window(run.seen.bicubic(), run.seen.view.hr_HWC, side)
        top, left = self._window
        made[DETAIL] = result_HWC[top : top + side, left : left + side]
        spacing = run.config.budget.steps_per_report
        with suppress(OSError):  # a full disk: the checkpoint's failure is logged
            for kind, pixels in made.items():
                _write(self._folder / kind, run.step, pixels)
                _prune(self._folder / kind, spacing)


def contact_sheet(images_BCHW: Tensor) -> Pixels:
    """Lay out images in [0, 1] in rows of 4, a white pixel apart: bytes H W, or H W 3 for RGB."""
    bytes_BCHW = (images_BCHW.detach().nan_to_num(0.5).clamp(0, 1) * 255).round().to(torch.uint8)
    images = bytes_BCHW.permute(0, 2, 3, 1).cpu().numpy()
    count, height, width, channels = images.shape
    across = min(_ACROSS, count)
    down = -(-count // across)
    sides = down * (height + _GAP) - _GAP, across * (width + _GAP) - _GAP
    sheet: Pixels = np.full((*sides, channels), _WHITE, dtype=np.uint8)
    for number, image in enumerate(images):
        top, left = (height + _GAP) * (number // across), (width + _GAP) * (number % across)
        sheet[top : top + height, left : left + width] = image
    return sheet[..., 0] if channels == 1 else sheet


def hardest_window(bicubic_HWC: Pixels, hr_HWC: Pixels, side: int) -> tuple[int, int]:
    """Return top and left of the `side` x `side` window with the largest sum of squared errors."""
    error_HW = np.square(bicubic_HWC.astype(np.float64) - hr_HWC).sum(axis=2)
    table = np.pad(error_HW.cumsum(axis=0).cumsum(axis=1), ((1, 0), (1, 0)))
    sums = table[side:, side:] - table[:-side, side:] - table[side:, :-side] + table[:-side, :-side]
    top, left = np.unravel_index(int(sums.argmax()), sums.shape)
    return int(top), int(left)


def _write(folder: Path, step: int, pixels: Pixels) -> None:
    from PIL import Image

    folder.mkdir(parents=True, exist_ok=True)
    path = folder / picture_name(step)
    fresh = path.with_suffix(".tmp")
    image: Any = Image.fromarray(np.ascontiguousarray(pixels))
    try:
        image.save(fresh, format="png")
        fresh.replace(path)
    finally:
        fresh.unlink(missing_ok=True)  # half of it, of a full disk


def _prune(folder: Path, spacing: int) -> None:
    found = pictures_in(folder)
    for step in set(found) - kept_steps(found, spacing):
        found[step].unlink(missing_ok=True)
