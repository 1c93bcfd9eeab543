"""The result for the first held-out image, kept as it is evaluated so that it can be shown."""

from __future__ import annotations

from typing import final

import torch
from torch import Tensor

from trainables.metrics.crops import Pixels
from trainables.metrics.evaluate import Heldout, View
from trainables.metrics.tiles import Upscale
from trainables.resample import upsample_BCHW


@final
class FirstResult:
    """Keeps what a network made of the first held-out image, until it is taken as a picture.

    Args:
        heldout: the images.
    """

    def __init__(self, heldout: Heldout) -> None:
        self._heldout = heldout
        self.view: View = next(iter(heldout.views.values()))[0]
        self._sr_BCHW: Tensor | None = None

    def by(self, upscale: Upscale) -> Upscale:
        """Return `upscale` so that its result for the first image is kept."""

        def kept(lr_BCHW: Tensor, scale: int) -> Tensor:
            sr_BCHW = upscale(lr_BCHW, scale)
            if scale == self.view.scale and self._begins(lr_BCHW):
                self._sr_BCHW = sr_BCHW[:1]
            return sr_BCHW

        return kept

    def _begins(self, lr_BCHW: Tensor) -> bool:
        """Whether a batch of LR images begins with the first image's."""
        mine = self.view.lr_BCHW
        return lr_BCHW.shape[1:] == mine.shape[1:] and torch.equal(lr_BCHW[:1], mine)

    @torch.no_grad()
    def taken(self, upscale: Upscale) -> Pixels:
        """Return the kept result as RGB bytes H W 3 and keep it no more; none: make it."""
        sr_BCHW, self._sr_BCHW = self._sr_BCHW, None
        if sr_BCHW is None:
            sr_BCHW = upscale(self.view.lr_BCHW, self.view.scale)
        return self._heldout.picture(self.view, sr_BCHW)

    def bicubic(self) -> Pixels:
        """Return the bicubic result as RGB bytes H W 3."""
        enlarged_BCHW = upsample_BCHW(self.view.lr_BCHW, self.view.scale)
        return self._heldout.picture(self.view, enlarged_BCHW)
