from __future__ import annotations

import pytest
import torch

from trainables.methods.zoom import cut_BCHW, grid_corners_N2, random_corners_N2, zoomed_out_BCHW
from trainables.resample import resize_weights
from trainables.values import Randomness


def numbered(images: int, height: int, width: int) -> torch.Tensor:
    """Three channels: each pixel's row, its column, and the number of its image."""
    rows = torch.arange(height).view(1, 1, -1, 1).expand(images, 1, height, width)
    columns = torch.arange(width).view(1, 1, 1, -1).expand(images, 1, height, width)
    numbers = torch.arange(images).view(-1, 1, 1, 1).expand(images, 1, height, width)
    return torch.cat([rows, columns, numbers], 1).float()


# --- zoom-in ------------------------------------------------------------------------------------


def test_a_random_crop_is_a_whole_square_of_its_image() -> None:
    hr = numbered(5, 12, 20)
    x = cut_BCHW(hr, random_corners_N2(hr.shape, 4, 2, Randomness(0, "zoom_in")), 4)
    assert x.shape == (10, 3, 4, 4)
    offset = torch.arange(4.0)
    assert torch.equal(x[:, 0], x[:, 0, :1, :1] + offset[:, None].expand(10, 4, 4))
    assert torch.equal(x[:, 1], x[:, 1, :1, :1] + offset.expand(10, 4, 4))
    assert x[:, 2, 0, 0].tolist() == [0, 1, 2, 3, 4] * 2
    assert torch.equal(x[:, 2], x[:, 2, :1, :1].expand(10, 4, 4))


def test_random_crops_lie_anywhere_each_for_itself() -> None:
    hr = numbered(9_000, 4, 4)
    x = cut_BCHW(hr, random_corners_N2(hr.shape, 2, 1, Randomness(0, "zoom_in")), 2)
    places = 3 * x[:, 0, 0, 0] + x[:, 1, 0, 0]
    shares = places.long().bincount() / 9_000
    assert shares.tolist() == pytest.approx([1 / 9] * 9, abs=0.015)


def test_a_crop_as_large_as_its_image_is_the_image() -> None:
    hr = numbered(2, 4, 4)
    corners = random_corners_N2(hr.shape, 4, 1, Randomness(0, "zoom_in"))
    assert torch.equal(cut_BCHW(hr, corners, 4), hr)


def test_grid_tiles_are_those_of_every_image_and_all_differ() -> None:
    hr = numbered(3, 8, 8)
    tiles = grid_corners_N2(hr.shape, 4, 4, Randomness(0, "zoom_in"))
    x = cut_BCHW(hr, tiles, 4).reshape(4, 3, 3, 4, 4)
    corners = x[:, :, :2, 0, 0]
    assert torch.equal(corners, corners[:, :1].expand_as(corners))
    expected = {(0, 0), (0, 4), (4, 0), (4, 4)}
    assert {(int(y), int(column)) for y, column in corners[:, 0]} == expected
    for tile, (y, column) in zip(x, corners[:, 0].long().tolist(), strict=True):
        assert torch.equal(tile, hr[..., y : y + 4, column : column + 4])


def test_every_tile_of_the_grid_has_its_turn() -> None:
    stream, hr = Randomness(0, "zoom_in"), numbered(1, 6, 6)
    corners = [grid_corners_N2(hr.shape, 2, 1, stream) for _ in range(200)]
    tiles = [cut_BCHW(hr, each, 2)[0, :2, 0, 0].tolist() for each in corners]
    assert {(y, x) for y, x in tiles} == {(y, x) for y in (0, 2, 4) for x in (0, 2, 4)}


# --- zoom-out -----------------------------------------------------------------------------------


def test_zoom_out_is_bicubic_and_may_leave_the_range() -> None:
    # As DFSR's reconstruction by hand: the weights of a row 1 0 0 0, halved.
    lr = torch.tensor([1.0, 0.0, 0.0, 0.0]).repeat(1, 1, 4, 1)
    small = zoomed_out_BCHW(lr, 2)
    assert small.shape == (1, 1, 2, 2)
    assert small[0, 0, 0].tolist() == pytest.approx([0.546875, -0.046875])


@pytest.mark.parametrize(("side", "scale", "small"), [(48, 2, 24), (48, 3, 16), (48, 4, 12)])
def test_zoom_out_of_the_papers_patches(side: int, scale: int, small: int) -> None:
    lr = torch.rand(1, 3, side, side, generator=torch.Generator().manual_seed(0))
    weights = resize_weights(side, 1 / scale).float()
    out = zoomed_out_BCHW(lr, scale)
    assert out.shape == (1, 3, small, small)
    assert torch.allclose(out, weights @ lr @ weights.mT, atol=1e-6)


def test_zoom_out_of_a_side_that_is_no_multiple_is_rounded_up() -> None:
    assert zoomed_out_BCHW(torch.zeros(1, 1, 16, 16), 3).shape == (1, 1, 6, 6)
