from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from trainables.errors import ConfigError
from trainables.networks import VDSR, build_network
from trainables.networks.vdsr import VDSRConfig
from trainables.resample import upsample_BCHW


def count(**config: object) -> int:
    with torch.device("meta"):
        network = VDSR(VDSRConfig(name="vdsr", **config))
    return sum(parameter.numel() for parameter in network.parameters())


@pytest.mark.parametrize("scales", [(2,), (3,), (4,), (2, 3, 4)])
def test_published_parameter_counts_at_every_scale(scales: tuple[int, ...]) -> None:
    assert count(scales=scales) == 664_704
    assert count(scales=scales, features=32) == 166_464


def test_the_first_of_two_parts_of_the_half_student_holds_83520() -> None:
    network = build_network({"name": "vdsr", "features": 32, "scale": 2})
    network.trace(torch.rand(1, 1, 4, 4), active=9).sr_BCHW.sum().backward()
    learning = [p.numel() for p in network.parameters() if p.grad is not None]
    assert sum(learning) == 83_520
    assert count(features=32, blocks=9) == 83_520


def test_keys_are_those_of_the_released_code() -> None:
    network = build_network({"name": "vdsr", "features": 4})
    keys = [f"residual_layer.{number}.conv.weight" for number in range(18)]
    assert list(network.state_dict()) == ["input.weight", *keys, "output.weight"]


def test_initial_weights_depend_on_the_output_channels() -> None:
    network = build_network({"name": "vdsr", "features": 64, "blocks": 2})
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            expected = math.sqrt(2 / (9 * module.out_channels))
            assert float(module.weight.detach().std()) == pytest.approx(expected, rel=0.1)


def test_the_seed_alone_decides_the_initial_weights() -> None:
    one, same, other = (build_network({"name": "vdsr", "features": 4}, seed=s) for s in (0, 0, 1))
    assert torch.equal(one.tail.weight, same.tail.weight)
    assert not torch.equal(one.tail.weight, other.tail.weight)


def test_near_identity_units_change_nothing() -> None:
    network = build_network({"name": "vdsr", "features": 4, "blocks": 5, "scale": 2})
    x_BCHW = torch.rand(1, 1, 6, 6)
    network.near_identity(2)
    shallow = network.trace(x_BCHW, active=2).sr_BCHW
    torch.testing.assert_close(network(x_BCHW), shallow, rtol=1e-6, atol=1e-6)
    assert not torch.equal(network.trace(x_BCHW, active=1).sr_BCHW, shallow)


def silent() -> VDSR:
    """A VDSR that predicts that bicubic missed nothing."""
    network = build_network({"name": "vdsr", "features": 4, "blocks": 1, "scale": 2})
    assert isinstance(network, VDSR)
    nn.init.zeros_(network.output.weight)
    return network


def test_it_adds_to_the_clamped_bicubic_image() -> None:
    step = torch.zeros(1, 1, 6, 6)
    step[..., 3:] = 1.0
    bicubic = upsample_BCHW(step, 2)
    assert bicubic.max() > 1.0
    assert torch.equal(silent()(step), bicubic.clamp(0.0, 1.0))


def test_its_output_is_never_clamped() -> None:
    network = silent()
    nn.init.ones_(network.input.weight)
    nn.init.ones_(network.residual_layer[0].conv.weight)
    nn.init.ones_(network.output.weight)
    assert network(torch.ones(1, 1, 4, 4)).max() > 2.0


def test_scale_one_means_already_upsampled() -> None:
    x_BCHW = torch.rand(1, 1, 8, 8)
    assert torch.equal(silent()(x_BCHW, scale=1), x_BCHW)


def test_depth_said_in_layers_is_refused_with_the_way_out() -> None:
    with pytest.raises(ConfigError, match=r"^layers: unknown key; say blocks \(.*18\)") as refusal:
        build_network({"name": "vdsr", "layers": 20})
    assert refusal.value.path == "layers"
