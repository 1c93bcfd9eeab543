"""Tiles leave no seams in convolutional networks; the self-ensemble is a mean over symmetries."""

from itertools import pairwise
from typing import Any

import pytest
import torch
from torch import Tensor

from trainables.metrics.cost import cost_of
from trainables.metrics.tiles import Upscale, self_ensemble, tiled
from trainables.networks import SRNet, build_network
from trainables.resample import upsample_BCHW

CONVOLUTIONAL: list[dict[str, Any]] = [
    {"name": "vdsr", "features": 6, "blocks": 5},
    {"name": "edsr", "features": 6, "blocks": 2},
]


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


def image(channels: int, height: int, width: int) -> Tensor:
    generator = torch.Generator().manual_seed(height)
    return torch.rand(1, channels, height, width, generator=generator)


def toy(config: dict[str, Any], scale: int) -> tuple[SRNet, Tensor, int]:
    network = build_network({**config, "scale": scale}, seed=1)
    channels = 1 if network.colour == "y" else 3
    reach = cost_of(network, channels=channels, scale=scale).reach
    assert reach is not None
    return network.requires_grad_(False), image(channels, 70, 93), reach


@pytest.mark.parametrize("scale", [2, 3, 4])
@pytest.mark.parametrize("config", CONVOLUTIONAL, ids=lambda config: config["name"])
@pytest.mark.parametrize("side", [45, 60])
def test_no_seam_where_the_overlap_is_the_reach(
    config: dict[str, Any], scale: int, side: int
) -> None:
    network, lr_BCHW, reach = toy(config, scale)
    whole = network(lr_BCHW, scale=scale)
    sides = []

    def upscale(part_BCHW: Tensor, times: int) -> Tensor:
        sides.append(part_BCHW.shape[-2:])
        return network(part_BCHW, scale=times)

    budget = (side * scale) ** 2
    joined = tiled(upscale, pixels=budget, overlap=reach)(lr_BCHW, scale)
    torch.testing.assert_close(joined, whole, rtol=0, atol=2e-6)
    assert len(sides) > 1
    assert all(scale**2 * height * width <= budget for height, width in sides)
    seams = tiled(upscale, pixels=budget, overlap=0)(lr_BCHW, scale)
    assert (seams - whole).abs().max() > 1e-4


def test_small_images_are_left_whole() -> None:
    lr_BCHW = image(1, 10, 12)
    seen = []

    def upscale(part_BCHW: Tensor, scale: int) -> Tensor:
        seen.append(part_BCHW)
        return upsample_BCHW(part_BCHW, scale)

    tiled(upscale, pixels=480, overlap=4)(lr_BCHW, 2)
    assert len(seen) == 1
    assert seen[0] is lr_BCHW
    tiled(upscale, pixels=479, overlap=4)(lr_BCHW, 2)
    assert len(seen) > 2


def test_a_budget_too_small_for_the_overlap_gives_way() -> None:
    lr_BCHW = image(1, 40, 40)
    work = []

    def upscale(part_BCHW: Tensor, scale: int) -> Tensor:
        work.append(part_BCHW.shape[-1] * part_BCHW.shape[-2])
        return upsample_BCHW(part_BCHW, scale)

    joined = tiled(upscale, pixels=16, overlap=6)(lr_BCHW, 2)
    torch.testing.assert_close(joined, upsample_BCHW(lr_BCHW, 2), rtol=0, atol=1e-6)
    assert 1 < len(work) <= 6 * 6
    assert sum(work) <= 9 * 40 * 40


@pytest.mark.parametrize(("height", "width"), [(61, 200), (64, 64), (17, 90)])
def test_tiles_begin_and_end_at_multiples(height: int, width: int) -> None:
    rows, columns = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    lr_BCHW = (1000 * rows + columns).float()[None, None]
    corners: list[tuple[int, int, int, int]] = []

    def upscale(part_BCHW: Tensor, scale: int) -> Tensor:
        first, last = int(part_BCHW[0, 0, 0, 0]), int(part_BCHW[0, 0, -1, -1])
        corners.append((first // 1000, first % 1000, last // 1000 + 1, last % 1000 + 1))
        return part_BCHW.repeat_interleave(scale, -1).repeat_interleave(scale, -2)

    joined = tiled(upscale, pixels=4 * 40**2, overlap=5, multiple_of=8)(lr_BCHW, 2)
    assert torch.equal(joined[..., ::2, ::2], lr_BCHW)  # every pixel from where it belongs
    for top, left, bottom, right in corners:
        assert top % 8 == left % 8 == 0
        assert bottom % 8 == 0 or bottom == height
        assert right % 8 == 0 or right == width
        assert (bottom - top) * (right - left) <= 40**2


def test_of_the_grids_that_fit_the_cheapest_is_taken() -> None:
    work = []

    def upscale(part_BCHW: Tensor, scale: int) -> Tensor:
        work.append(part_BCHW.shape[-1] * part_BCHW.shape[-2])
        return part_BCHW

    tiled(upscale, pixels=100 * 60, overlap=20)(image(1, 60, 400), 1)
    strips = [100, 100, 100, 100, 100, 100, 80]  # full height, 60 kept at a time after the first
    assert max(work) <= 6000
    assert sum(work) <= 60 * sum(strips)


def off_centre(lr_BCHW: Tensor, scale: int) -> Tensor:
    """Not equivariant at all: every pixel counts differently."""
    count = lr_BCHW.shape[-1] * lr_BCHW.shape[-2]
    weights = torch.arange(count, dtype=torch.float32).view(lr_BCHW.shape[-2:])
    return upsample_BCHW(lr_BCHW * weights, scale)


def test_self_ensemble_is_the_mean_over_eight_orientations() -> None:
    lr_BCHW = image(1, 3, 5)
    by_hand = []
    for turns in range(4):
        for mirrored in (False, True):
            turned = lr_BCHW.rot90(turns, (-2, -1))
            turned = turned.flip(-1) if mirrored else turned
            back = off_centre(turned.contiguous(), 2)
            back = back.flip(-1) if mirrored else back
            by_hand.append(back.rot90(-turns, (-2, -1)))
    assert all(not torch.allclose(a, b) for a, b in pairwise(by_hand))
    expected = torch.stack(by_hand).mean(0)
    torch.testing.assert_close(self_ensemble(off_centre)(lr_BCHW, 2), expected)


def test_self_ensemble_changes_nothing_that_has_no_preferred_direction() -> None:
    lr_BCHW = image(3, 9, 6)
    whole: Upscale = upsample_BCHW
    torch.testing.assert_close(self_ensemble(whole)(lr_BCHW, 3), whole(lr_BCHW, 3))
