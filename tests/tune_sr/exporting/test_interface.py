"""The exported module computes what the network does, and its bicubic what MATLAB's does."""

from __future__ import annotations

import pytest
import torch
from exported import TOYS, expected

from trainables.networks import build_network
from trainables.resample import upsample_BCHW
from tune_sr.exporting.interface import PhaseBicubic, Upscaler


@pytest.mark.parametrize("scale", [2, 3, 4])
@pytest.mark.parametrize("sides", [(2, 2), (3, 3), (5, 9), (63, 128)])
def test_bicubic_by_phases_is_bicubic(scale: int, sides: tuple[int, int]) -> None:
    x = torch.rand(2, 3, *sides, generator=torch.Generator().manual_seed(0))
    found = PhaseBicubic(3, scale)(x)
    assert float((found - upsample_BCHW(x, scale)).abs().max()) < 1e-6


@pytest.mark.parametrize("name", TOYS)
def test_the_module_is_the_network(name: str) -> None:
    network = build_network(TOYS[name], seed=1)
    scale = TOYS[name].get("scale", 3)
    image = torch.rand(2, 3, 9, 13, generator=torch.Generator().manual_seed(1))
    found = Upscaler(network, scale)(image)
    assert found.shape == (2, 3, 9 * scale, 13 * scale)
    assert float((found - expected(network, image, scale)).abs().max()) < 2e-5
    assert 0 <= float(found.min()) <= float(found.max()) <= 1


def test_bare_luma_and_half() -> None:
    network = build_network(TOYS["vdsr"], seed=1)
    image = torch.rand(1, 1, 6, 7, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        whole = network(image, scale=2).clamp(0, 1)
    assert float((Upscaler(network, 2, luma=True)(image) - whole).abs().max()) < 1e-6
    half = Upscaler(network, 2, luma=True, half=True)(image)
    assert half.dtype == torch.float32
    assert 0 < float((half - whole).abs().max()) < 1 / 255
    assert network.input.weight.dtype == torch.float32  # a copy was converted
    with pytest.raises(AssertionError, match="no luma interface"):
        Upscaler(build_network(TOYS["edsr"]), 3, luma=True)
