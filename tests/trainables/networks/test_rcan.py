from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from trainables.networks import build_network
from trainables.networks.blocks import DIV2K_MEAN
from trainables.networks.rcan import RCAN, RCANConfig


def count(**config: object) -> int:
    with torch.device("meta"):
        network = RCAN(RCANConfig.model_validate({"name": "rcan", **config}))
    return sum(parameter.numel() for parameter in network.parameters())


@pytest.mark.parametrize(
    ("blocks", "counts"),
    [
        (20, (15_444_643, 15_629_283, 15_592_355)),
        (6, (5_023_603, 5_208_243, 5_171_315)),
    ],
)
def test_published_parameter_counts(blocks: int, counts: tuple[int, int, int]) -> None:
    found = tuple(count(blocks=blocks, scale=scale) for scale in (2, 3, 4))
    assert found == counts


def test_a_part_of_the_student_learns_what_a_shallower_network_holds() -> None:
    small = {"features": 16, "blocks": 2, "scale": 4}
    network = build_network({"name": "rcan", "groups": 10, **small})
    network.trace(torch.rand(1, 3, 4, 4), active=5).sr_BCHW.sum().backward()
    learning = sum(p.numel() for p in network.parameters() if p.grad is not None)
    assert learning == count(groups=5, **small)


@pytest.mark.parametrize(("scale", "upsample"), [(2, [0]), (3, [0]), (4, [0, 2])])
def test_keys_are_basicsrs_and_no_mean_is_among_them(scale: int, upsample: list[int]) -> None:
    small = {"features": 4, "groups": 2, "blocks": 2}
    network = build_network({"name": "rcan", "scale": scale, **small})
    layers = ["conv_first"]
    for group in (0, 1):
        for block in (0, 1):
            inside = f"body.{group}.residual_group.{block}.rcab"
            layers += [f"{inside}.{part}" for part in ("0", "2", "3.attention.1", "3.attention.3")]
        layers.append(f"body.{group}.conv")
    layers += ["conv_after_body", *(f"upsample.{n}" for n in upsample), "conv_last"]
    wanted = [f"{layer}.{kind}" for layer in layers for kind in ("weight", "bias")]
    assert list(network.state_dict()) == wanted


def straightforward(network: RCAN, lr_BCHW: Tensor) -> Tensor:
    """RCAN as its paper draws it, on 0..255, from the state dict alone."""
    state, config = network.state_dict(), network.config

    def conv(name: str, x: Tensor) -> Tensor:
        weight = state[f"{name}.weight"]
        return F.conv2d(x, weight, state[f"{name}.bias"], padding=weight.shape[-1] // 2)

    mean = 255.0 * torch.tensor(DIV2K_MEAN).view(1, 3, 1, 1)
    first = x = conv("conv_first", 255.0 * lr_BCHW - mean)
    for group in range(config.groups):
        before = x
        for block in range(config.blocks):
            name = f"body.{group}.residual_group.{block}.rcab"
            inner = conv(f"{name}.2", torch.relu(conv(f"{name}.0", x)))
            squeezed = torch.relu(conv(f"{name}.3.attention.1", inner.mean((2, 3), keepdim=True)))
            x = x + inner * torch.sigmoid(conv(f"{name}.3.attention.3", squeezed))
        x = before + conv(f"body.{group}.conv", x)
    x = first + conv("conv_after_body", x)
    x = F.pixel_shuffle(conv("upsample.0", x), config.scale)
    return (conv("conv_last", x) + mean) / 255.0


@pytest.mark.parametrize("scale", [2, 3])
def test_it_computes_what_the_paper_draws(scale: int) -> None:
    small = {"features": 8, "groups": 2, "blocks": 3, "reduction": 4}
    network = build_network({"name": "rcan", "scale": scale, **small})
    assert isinstance(network, RCAN)
    lr_BCHW = torch.rand(2, 3, 6, 7, dtype=torch.float64)
    expected = straightforward(network.double(), lr_BCHW)
    torch.testing.assert_close(network(lr_BCHW), expected, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize(("features", "squeezed"), [(64, 4), (16, 1), (8, 1)])
def test_the_bottleneck_has_one_channel_at_least(features: int, squeezed: int) -> None:
    small = {"groups": 1, "blocks": 1, "scale": 2}
    state = build_network({"name": "rcan", "features": features, **small}).state_dict()
    weight = state["body.0.residual_group.0.rcab.3.attention.1.weight"]
    assert weight.shape == (squeezed, features, 1, 1)
