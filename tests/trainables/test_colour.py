"""Luma against scikit-image's rgb2ycbcr."""

import numpy as np
import torch
from skimage.color import rgb2ycbcr, ycbcr2rgb

from trainables.colour import luma_B1HW, round_to_bytes, with_luma_B3HW


def picture(seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).random((9, 7, 3))


def batch(image: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(image).permute(2, 0, 1)[None]


def test_luma_is_rgb2ycbcrs() -> None:
    ours = luma_B1HW(batch(picture()))
    assert ours.shape == (1, 1, 9, 7)
    np.testing.assert_allclose(ours[0, 0], rgb2ycbcr(picture())[..., 0] / 255, atol=1e-12)


def test_a_luma_is_exchanged_as_by_way_of_ycbcr() -> None:
    ycbcr = rgb2ycbcr(picture(0))
    ycbcr[..., 0] = rgb2ycbcr(picture(1))[..., 0]
    ours = with_luma_B3HW(batch(picture(0)), luma_B1HW(batch(picture(1))))
    np.testing.assert_allclose(ours[0].permute(1, 2, 0), ycbcr2rgb(ycbcr), atol=1e-12)
    np.testing.assert_allclose(luma_B1HW(ours), luma_B1HW(batch(picture(1))), atol=1e-12)


def test_halves_are_rounded_up_and_excess_clipped() -> None:
    levels = torch.tensor([-3.0, 0.25, 0.5, 1.5, 254.5, 254.75, 300.0], dtype=torch.float64)
    rounded = round_to_bytes(levels / 255) * 255
    assert rounded.round().tolist() == [0, 0, 1, 2, 255, 255, 255]
