"""Enlarges pictures by a network, tile by tile: colour, grey and alpha, in whole levels."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from trainables.colour import luma_B1HW, with_luma_B3HW
from trainables.metrics.cost import cost_of
from trainables.metrics.tiles import USUAL_OVERLAP, Upscale, self_ensemble, tiled
from trainables.networks.base import SRNet
from trainables.resample import upsample_BCHW
from tune_sr.upscaling.pictures import Array, Picture

DIVIDER = 4
"""Width in pixels of the line between the halves of a comparison."""


class Enlarger:
    """A network that enlarges pictures.

    Memory holds a picture and its result in the picture's own 8 or 16 bits, and one tile in
    float32.
    """

    def __init__(
        self,
        network: SRNet,
        scale: int,
        *,
        device: torch.device,
        tile_pixels: int,
        eightfold: bool = False,
    ) -> None:
        """Prepare a network.

        Args:
            network: of any colour; it is moved to `device`.
            scale: the upscaling factor, one that it serves.
            device: where it runs.
            tile_pixels: pixels of the result that are computed at a time.
            eightfold: whether to average over eight orientations (self-ensemble).
        """
        self.network = network.eval().requires_grad_(False).to(device)
        self.scale, self.device, self.tile_pixels = scale, device, tile_pixels
        channels = 3 if network.colour == "rgb" else 1
        self.reach = cost_of(network, channels=channels, scale=scale).reach
        self._computed: Upscale = self._by_network
        if eightfold:
            self._computed = self_ensemble(self._by_network)

    def has_seams(self, picture: Picture) -> bool:
        """Whether a picture has tiles, and the network looks further than they overlap."""
        height, width = picture.pixels.shape[:2]
        return self.reach is None and height * width * self.scale**2 > self.tile_pixels

    def enlarge(self, picture: Picture) -> Picture:
        """Enlarge a picture by the network, and its alpha channel by bicubic."""
        return self._whole(filled_below_alpha(picture), self._computed)

    def bicubic(self, picture: Picture) -> Picture:
        """Enlarge a picture by bicubic interpolation."""
        return self._whole(filled_below_alpha(picture), upsample_BCHW)

    def _by_network(self, rgb_B3HW: Tensor, scale: int) -> Tensor:
        """Enlarge RGB in [0, 1]; a luma network's result has the bicubic image's Cb and Cr."""
        if self.network.colour == "rgb":
            return self.network(rgb_B3HW, scale=scale)  # type: ignore[no-any-return]  # a module's call
        luma = self.network(luma_B1HW(rgb_B3HW), scale=scale)
        return with_luma_B3HW(upsample_BCHW(rgb_B3HW, scale), luma)

    @torch.no_grad()
    def _whole(self, picture: Picture, upscale: Upscale) -> Picture:
        overlap = USUAL_OVERLAP if self.reach is None else self.reach
        in_tiles = tiled(
            _in_levels(upscale, picture, self.device),
            pixels=self.tile_pixels,
            overlap=overlap,
            multiple_of=self.network.multiple_of,
        )
        # TF32 keeps 10 bits of every number: a GPU would make other pictures than a CPU.
        with torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
            levels = in_tiles(_as_tensor(picture.pixels), self.scale)
        return replace(picture, pixels=_as_array(levels, picture.pixels))


def _in_levels(upscale: Upscale, picture: Picture, device: torch.device) -> Upscale:
    """Wrap `upscale` to take and return a picture's channels as whole levels: grey, RGB, alpha."""

    def upscale_levels(levels_BCHW: Tensor, scale: int) -> Tensor:
        x_BCHW = levels_BCHW.to(device=device, dtype=torch.float32) / picture.levels
        colour_BCHW = x_BCHW[:, :-1] if picture.has_alpha else x_BCHW
        grey = colour_BCHW.shape[1] == 1
        sr_BCHW = upscale(colour_BCHW.expand(-1, 3, -1, -1).contiguous(), scale)
        parts = [sr_BCHW.mean(dim=1, keepdim=True) if grey else sr_BCHW]
        if picture.has_alpha:
            parts.append(upsample_BCHW(x_BCHW[:, -1:], scale))
        rounded_BCHW = (torch.cat(parts, dim=1).clamp(0.0, 1.0) * picture.levels + 0.5).floor()
        return rounded_BCHW.to(device="cpu", dtype=levels_BCHW.dtype)

    return upscale_levels


def filled_below_alpha(picture: Picture) -> Picture:
    """Give invisible pixels (alpha 0) the colour of the nearest visible one.

    Their own colour, mostly black, would be mixed into the edges of what is visible.
    """
    if not picture.has_alpha:
        return picture
    hidden = picture.pixels[..., -1] == 0
    if not hidden.any() or hidden.all():
        return picture
    from scipy.ndimage import distance_transform_edt

    rows, columns = distance_transform_edt(hidden, return_distances=False, return_indices=True)
    pixels = picture.pixels.copy()
    pixels[..., :-1] = picture.pixels[rows, columns, :-1]
    return replace(picture, pixels=pixels)


def side_by_side(left: Picture, right: Picture) -> Picture:
    """Place two pictures of one size beside each other, with a white line between them."""
    height, _, channels = right.pixels.shape
    line = np.full((height, DIVIDER, channels), right.levels, right.pixels.dtype)
    joined: Array = np.concatenate([left.pixels, line, right.pixels], axis=1)
    return replace(right, pixels=joined)


def _as_tensor(pixels: Array) -> Tensor:
    """Convert H W C to 1 C H W, of uint8, or of int32 for 16 bits, which torch computes in."""
    known = pixels if pixels.dtype == np.uint8 else pixels.astype(np.int32)
    return torch.from_numpy(np.ascontiguousarray(known)).permute(2, 0, 1)[None]


def _as_array(levels_BCHW: Tensor, like: Array) -> Array:
    array: Array = levels_BCHW[0].permute(1, 2, 0).contiguous().numpy()
    return array.astype(like.dtype, copy=False)
