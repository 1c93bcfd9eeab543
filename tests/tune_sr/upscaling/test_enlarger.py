"""Pictures enlarged: colour, grey, alpha and 16 bits, in tiles as whole."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import pytest
import torch

from trainables.colour import luma_B1HW, with_luma_B3HW
from trainables.metrics.tiles import tiled
from trainables.networks import build_network
from trainables.resample import upsample_BCHW
from tune_sr.upscaling.enlarger import DIVIDER, Enlarger, filled_below_alpha, side_by_side
from tune_sr.upscaling.pictures import Picture

TOYS: dict[str, dict[str, Any]] = {
    "y": {"name": "vdsr", "features": 4, "blocks": 2, "scale": 2},
    "rgb": {"name": "edsr", "features": 4, "blocks": 2, "scale": 2},
}
EACH = pytest.mark.parametrize("colour", TOYS)


@cache
def enlarger(colour: str, tile_pixels: int = 2**20, **more: Any) -> Enlarger:
    network = build_network(TOYS[colour], seed=1)
    cpu = torch.device("cpu")
    return Enlarger(network, 2, device=cpu, tile_pixels=tile_pixels, **more)


def picture(height: int, width: int, channels: int, dtype: type = np.uint8) -> Picture:
    high = int(np.iinfo(dtype).max) + 1
    drawn = np.random.default_rng(2).integers(0, high, (height, width, channels))
    return Picture(drawn.astype(dtype), icc=b"profile", exif=b"exif")


@EACH
def test_colours_are_the_networks_own(colour: str) -> None:
    given, by = picture(5, 7, 3), enlarger(colour)
    rgb = torch.from_numpy(given.pixels).permute(2, 0, 1)[None].float() / 255
    with torch.no_grad():
        sr = (
            by.network(rgb)
            if colour == "rgb"
            else with_luma_B3HW(upsample_BCHW(rgb, 2), by.network(luma_B1HW(rgb)))
        )
    expected = (sr.clamp(0, 1) * 255 + 0.5).floor()[0].permute(1, 2, 0).numpy()
    found = by.enlarge(given)
    assert np.array_equal(found.pixels, expected)
    assert (found.icc, found.exif) == (b"profile", b"exif")


@EACH
@pytest.mark.parametrize("sides", [(3, 3), (1, 9), (33, 20)])
@pytest.mark.parametrize("channels", [1, 2, 3, 4])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_every_kind_keeps_its_channels_and_depth(
    colour: str, sides: tuple[int, int], channels: int, dtype: type
) -> None:
    found = enlarger(colour).enlarge(picture(*sides, channels, dtype))
    assert found.pixels.shape == (2 * sides[0], 2 * sides[1], channels)
    assert found.pixels.dtype == dtype


def test_grey_is_what_a_grey_rgb_picture_becomes() -> None:
    grey = picture(6, 8, 1)
    same = Picture(grey.pixels.repeat(3, axis=2))
    one, other = (enlarger("y").enlarge(each).pixels.astype(int) for each in (grey, same))
    assert np.abs(one - other).max() <= 1


@EACH
def test_tiles_equal_the_whole(colour: str) -> None:
    by = enlarger(colour)
    x = torch.rand(1, 3, 61, 47, generator=torch.Generator().manual_seed(0))
    assert by.reach is not None
    with torch.no_grad():
        whole = by._computed(x, 2)
        parts = tiled(by._computed, pixels=3000, overlap=by.reach)(x, 2)
    assert float((whole - parts).abs().max()) < 1e-5
    deep = picture(61, 47, 4, np.uint16)
    one, other = (enlarger(colour, pixels).enlarge(deep).pixels for pixels in (2**20, 3000))
    assert np.abs(one.astype(int) - other).max() <= 1  # of 65,535


def test_a_tile_is_all_that_is_computed_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    by, largest = enlarger("y", tile_pixels=4000), 0

    def spied(x: torch.Tensor, scale: int) -> torch.Tensor:
        nonlocal largest
        largest = max(largest, scale**2 * x.shape[-2] * x.shape[-1])
        return upsample_BCHW(x, scale)

    monkeypatch.setattr(by, "_computed", spied)
    by.enlarge(picture(120, 90, 3))
    assert 2000 < largest <= 4000


def test_self_ensemble_is_another_result_and_turns_with_the_picture() -> None:
    given, by = picture(9, 9, 3, np.uint16), enlarger("y", eightfold=True)
    turned = Picture(np.ascontiguousarray(np.rot90(given.pixels)))
    found = by.enlarge(given).pixels.astype(int)
    assert np.abs(np.rot90(found) - by.enlarge(turned).pixels).max() <= 1
    assert np.abs(found - enlarger("y").enlarge(given).pixels).max() > 100


def test_invisible_black_does_not_darken_edges() -> None:
    pixels = np.zeros((8, 8, 4), np.uint8)
    pixels[:, :4] = 255  # white and visible on the left
    filled = filled_below_alpha(Picture(pixels))
    assert np.all(filled.pixels[..., :3] == 255)
    assert np.array_equal(filled.pixels[..., 3], pixels[..., 3])
    found = enlarger("y").bicubic(Picture(pixels)).pixels
    assert found[found[..., 3] > 0][:, :3].min() == 255
    assert np.array_equal(
        found[..., 3], enlarger("y").bicubic(Picture(pixels[..., 3:])).pixels[..., 0]
    )
    for alpha in (0, 255):  # nothing to take colours from, nothing to fill
        plain = np.full((2, 2, 4), 9, np.uint8)
        plain[..., 3] = alpha
        assert filled_below_alpha(Picture(plain)).pixels is plain


def test_side_by_side() -> None:
    left, right = picture(4, 5, 3), Picture(np.zeros((4, 5, 3), np.uint8))
    joined = side_by_side(left, right).pixels
    assert joined.shape == (4, 10 + DIVIDER, 3)
    assert np.array_equal(joined[:, :5], left.pixels)
    assert joined[:, 5 : 5 + DIVIDER].min() == 255
    assert joined[:, 5 + DIVIDER :].max() == 0
