from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from trainables.networks.windows import (
    from_windows,
    mirrored,
    relative_positions,
    shift_mask,
    to_windows,
)

CPU = torch.device("cpu")


def test_windows_are_cut_row_by_row_and_put_back() -> None:
    x_BHWF = torch.arange(2 * 16 * 24 * 3).view(2, 16, 24, 3)
    windows = to_windows(x_BHWF)
    assert windows.shape == (2 * 2 * 3, 64, 3)
    assert torch.equal(windows[1].view(8, 8, 3), x_BHWF[0, :8, 8:16])
    assert torch.equal(windows[3].view(8, 8, 3), x_BHWF[0, 8:, :8])
    assert torch.equal(windows[6].view(8, 8, 3), x_BHWF[1, :8, :8])
    assert torch.equal(from_windows(windows, 16, 24), x_BHWF)


def test_relative_positions_by_hand() -> None:
    index = relative_positions(CPU).view(64, 64)
    assert index[0, 0] == 7 * 15 + 7  # a pixel and itself: the middle of a 15 x 15 table
    assert index[0, 1] == 7 * 15 + 6  # its right neighbour
    assert index[8, 0] == 8 * 15 + 7  # the pixel above
    assert index[0, 63] == 0
    assert index[63, 0] == 15 * 15 - 1
    assert sorted(set(index.flatten().tolist())) == list(range(225))


def released_mask(height: int, width: int) -> Tensor:
    """`calculate_mask` of the released code."""
    regions = torch.zeros(1, height, width, 1)
    slices = (slice(0, -8), slice(-8, -4), slice(-4, None))
    for number, (rows, columns) in enumerate((r, c) for r in slices for c in slices):
        regions[:, rows, columns, :] = number
    windows = to_windows(regions).squeeze(-1)
    difference = windows.unsqueeze(1) - windows.unsqueeze(2)
    return difference.masked_fill(difference != 0, -100.0).masked_fill(difference == 0, 0.0)


@pytest.mark.parametrize(("height", "width"), [(8, 8), (16, 24), (24, 8), (32, 32)])
def test_the_mask_is_the_released_buffer(height: int, width: int) -> None:
    mask = shift_mask(height, width, CPU)
    assert mask.shape == (height * width // 64, 64, 64)
    assert torch.equal(mask, released_mask(height, width))


def test_a_mask_made_under_inference_can_still_be_trained_with() -> None:
    with torch.inference_mode():
        mask, index = shift_mask(40, 8, CPU), relative_positions(CPU)
    assert not mask.is_inference()
    assert not index.is_inference()


@pytest.mark.parametrize(("height", "width"), [(8, 16), (9, 13), (23, 12), (15, 8)])
def test_networks_padding_is_reflection_and_only_where_needed(height: int, width: int) -> None:
    x_BCHW = torch.rand(2, 3, height, width)
    expected = F.pad(x_BCHW, (0, -width % 8, 0, -height % 8), "reflect")
    assert torch.equal(mirrored(x_BCHW, official=False), expected)


@pytest.mark.parametrize(("height", "width"), [(8, 16), (9, 13), (23, 12)])
def test_official_padding_is_that_of_the_test_script(height: int, width: int) -> None:
    x_BCHW = torch.rand(1, 3, height, width)
    down, right = ((side // 8 + 1) * 8 for side in (height, width))
    expected = torch.cat([x_BCHW, torch.flip(x_BCHW, [2])], 2)[:, :, :down]
    expected = torch.cat([expected, torch.flip(expected, [3])], 3)[:, :, :, :right]
    assert torch.equal(mirrored(x_BCHW, official=True), expected)


@pytest.mark.parametrize(
    ("official", "row"),
    [(False, [0, 1, 2, 1, 0, 1, 2, 1]), (True, [0, 1, 2, 2, 1, 0, 0, 1])],
)
def test_a_tiny_image_is_mirrored_as_often_as_it_takes(official: bool, row: list[int]) -> None:
    x_BCHW = torch.tensor([[[[0.0, 1.0, 2.0]]]])
    padded = mirrored(x_BCHW, official=official)
    assert padded.shape == (1, 1, 8, 8)
    assert padded[0, 0].tolist() == [row] * 8
