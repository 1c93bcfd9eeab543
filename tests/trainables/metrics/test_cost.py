"""What networks cost, against formulas worked by hand and the papers' tables."""

from typing import Any

import pytest
import torch

from trainables.metrics.cost import cost_of
from trainables.networks import build_network

SIDE = 256


@pytest.mark.parametrize("scale", [2, 3, 4])
def test_vdsr_by_hand(scale: int) -> None:
    network = build_network({"name": "vdsr", "features": 8, "blocks": 3})
    cost = cost_of(network, channels=1, scale=scale)
    kernels = 9 * (8 + 3 * 8 * 8 + 8)
    assert cost.params == kernels
    assert cost.macs == kernels * (SIDE * scale) ** 2  # at HR; the enlargement is not counted


@pytest.mark.parametrize(
    ("config", "millions", "giga"),
    [
        ({"name": "edsr", "features": 256, "blocks": 32, "scale": 4}, 43.09, 3293.35),
        ({"name": "edsr", "features": 64, "blocks": 32, "scale": 4}, 2.70, 207.28),
    ],
    ids=str,
)
def test_edsr_by_hand(config: dict[str, Any], millions: float, giga: float) -> None:
    width = config["features"]
    cost = cost_of(build_network(config), channels=3, scale=4)
    inner = 9 * width * width
    at_lr = 9 * 3 * width + (2 * 32 + 1) * inner + 4 * inner
    assert cost.macs == SIDE**2 * (at_lr + 4 * 4 * inner + 16 * 9 * 3 * width)
    assert round(cost.macs / 1e9, 2) == giga
    assert round(cost.params / 1e6, 2) == millions


def test_swinirs_attention_is_counted() -> None:
    width, layers = 12, 6
    network = build_network({"name": "swinir", "features": width, "blocks": 1, "scale": 2})
    linear = (3 + 1 + 2 * 2) * width**2
    attention = 2 * 64 * width  # every pixel meets the 64 of its window, twice
    convolutions = 9 * (3 * width + width**2 + width**2 + width * 64 + 4 * 64**2 + 4 * 64 * 3)
    macs = SIDE**2 * (layers * (linear + attention) + convolutions)
    assert cost_of(network, channels=3, scale=2).macs == macs


@pytest.mark.parametrize("name", ["rcan", "swinir"])
def test_what_sees_the_whole_image_has_no_reach(name: str) -> None:
    config = {"name": name, "features": 12, "blocks": 1, "scale": 2}
    network = build_network(config | ({"groups": 1} if name == "rcan" else {}))
    assert cost_of(network, channels=3, scale=2).reach is None


@pytest.mark.parametrize("scale", [2, 3, 4])
@pytest.mark.parametrize("name", ["vdsr", "edsr"])
def test_nothing_beyond_the_reach_matters(name: str, scale: int) -> None:
    network = build_network({"name": name, "features": 6, "blocks": 3, "scale": scale}, seed=2)
    channels = 1 if name == "vdsr" else 3
    reach = cost_of(network, channels=channels, scale=scale).reach
    assert reach is not None
    side = 2 * reach + 9
    generator = torch.Generator().manual_seed(0)
    lr_BCHW = torch.rand(1, channels, side, side, generator=generator)
    spoiled = lr_BCHW.clone()
    middle = side // 2
    spoiled[..., middle, middle] = 1 - spoiled[..., middle, middle]
    change = (network(spoiled) - network(lr_BCHW)).abs().sum(1)[0]
    rows, columns = change.nonzero().T
    for places in (rows, columns):
        distance = (places.div(scale, rounding_mode="floor") - middle).abs().max()
        assert reach - 4 <= distance <= reach  # a bound, and not far from the truth


def test_the_network_is_left_as_it_is() -> None:
    network = build_network({"name": "vdsr", "features": 4, "blocks": 2})
    before = {key: value.clone() for key, value in network.state_dict().items()}
    cost_of(network, channels=1, scale=2)
    assert all(torch.equal(value, before[key]) for key, value in network.state_dict().items())
    assert network(torch.rand(1, 1, 4, 4), scale=2).device.type == "cpu"
