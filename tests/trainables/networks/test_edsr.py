from __future__ import annotations

from itertools import pairwise

import pytest
import torch
import torch.nn.functional as F

from trainables.errors import ConfigError
from trainables.networks import NETWORKS, build_network
from trainables.networks.blocks import DIV2K_MEAN
from trainables.networks.edsr import EDSR, EDSRConfig


def count(**config: object) -> int:
    with torch.device("meta"):
        network = EDSR(EDSRConfig.model_validate({"name": "edsr", **config}))
    return sum(parameter.numel() for parameter in network.parameters())


@pytest.mark.parametrize(
    ("features", "blocks", "counts"),
    [
        (256, 32, (40_729_603, 43_680_003, 43_089_923)),
        (128, 32, (10_190_339, 10_928_259, 10_780_675)),
        (64, 32, (2_551_555, 2_736_195, 2_699_267)),
        (16, 32, (160_963, 172_563, 170_243)),
        (64, 16, (1_369_859, 1_554_499, 1_517_571)),
    ],
)
def test_published_parameter_counts(
    features: int, blocks: int, counts: tuple[int, int, int]
) -> None:
    found = tuple(count(features=features, blocks=blocks, scale=scale) for scale in (2, 3, 4))
    assert found == counts


@pytest.mark.parametrize("scale", [2, 3, 4])
def test_a_part_of_the_student_learns_what_a_shallower_network_holds(scale: int) -> None:
    network = build_network({"name": "edsr", "features": 16, "blocks": 32, "scale": scale})
    network.trace(torch.rand(1, 3, 4, 4), active=16).sr_BCHW.sum().backward()
    learning = sum(p.numel() for p in network.parameters() if p.grad is not None)
    assert learning == count(features=16, blocks=16, scale=scale)


@pytest.mark.parametrize(("scale", "upsample"), [(2, [0]), (3, [0]), (4, [0, 2])])
def test_keys_are_basicsrs_and_no_mean_is_among_them(scale: int, upsample: list[int]) -> None:
    network = build_network({"name": "edsr", "features": 4, "blocks": 2, "scale": scale})
    layers = ["conv_first", *(f"body.{unit}.conv{n}" for unit in (0, 1) for n in (1, 2))]
    layers += ["conv_after_body", *(f"upsample.{n}" for n in upsample), "conv_last"]
    wanted = [f"{layer}.{kind}" for layer in layers for kind in ("weight", "bias")]
    assert list(network.state_dict()) == wanted


def test_a_shallower_networks_keys_are_a_subset() -> None:
    one, three = (
        build_network({"name": "edsr", "features": 4, "blocks": blocks, "scale": 2}).state_dict()
        for blocks in (1, 3)
    )
    assert set(one) < set(three)


def straightforward(network: EDSR, lr_BCHW: torch.Tensor) -> torch.Tensor:
    """EDSR as its paper draws it, on 0..255, from the state dict alone."""
    state, config = network.state_dict(), network.config

    def conv(name: str, x: torch.Tensor) -> torch.Tensor:
        return F.conv2d(x, state[f"{name}.weight"], state[f"{name}.bias"], padding=1)

    mean = 255.0 * torch.tensor(DIV2K_MEAN).view(1, 3, 1, 1)
    first = x = conv("conv_first", 255.0 * lr_BCHW - mean)
    for unit in range(config.blocks):
        inner = torch.relu(conv(f"body.{unit}.conv1", x))
        x = x + config.res_scale * conv(f"body.{unit}.conv2", inner)
    x = first + conv("conv_after_body", x)
    if config.scale == 4:
        x = F.pixel_shuffle(conv("upsample.0", x), 2)
        x = F.pixel_shuffle(conv("upsample.2", x), 2)
    else:
        x = F.pixel_shuffle(conv("upsample.0", x), config.scale)
    return (conv("conv_last", x) + mean) / 255.0


@pytest.mark.parametrize("scale", [2, 3, 4])
@pytest.mark.parametrize("res_scale", [0.1, 1.0])
def test_it_computes_what_the_paper_draws(scale: int, res_scale: float) -> None:
    config = {"name": "edsr", "features": 8, "blocks": 3, "scale": scale, "res_scale": res_scale}
    network = build_network(config)
    assert isinstance(network, EDSR)
    lr_BCHW = torch.rand(2, 3, 6, 7, dtype=torch.float64)
    expected = straightforward(network.double(), lr_BCHW)
    torch.testing.assert_close(network(lr_BCHW), expected, rtol=1e-6, atol=1e-6)


def test_the_mean_survives_building_on_no_device_and_stays_in_float32() -> None:
    network = build_network({"name": "edsr", "features": 4, "blocks": 1, "scale": 2})
    assert isinstance(network, EDSR)
    grey = torch.tensor(DIV2K_MEAN).view(1, 3, 1, 1).expand(1, 3, 4, 4)
    assert network.colours(grey).abs().max() == 0.0
    torch.testing.assert_close(
        network.colours.back(network.colours(torch.ones(1, 3, 2, 2))), torch.ones(1, 3, 2, 2)
    )


@pytest.mark.parametrize(
    ("features", "blocks", "res_scale"),
    [(256, 32, 0.1), (128, 32, 0.1), (128, 16, 0.1), (64, 32, 0.1), (64, 16, 1.0), (32, 8, 1.0)],
)
def test_the_usual_res_scale_goes_with_the_size(
    features: int, blocks: int, res_scale: float
) -> None:
    said = {"name": "edsr", "features": features, "blocks": blocks, "scale": 2}
    assert EDSRConfig.model_validate(said).res_scale == res_scale
    assert EDSRConfig.model_validate({**said, "res_scale": 0.5}).res_scale == 0.5


def test_the_start_is_torchs_own_from_the_seed_alone() -> None:
    config = {"name": "edsr", "features": 32, "blocks": 1, "scale": 2}
    one, same, other = (build_network(config, seed=seed).state_dict() for seed in (0, 0, 1))
    bound = 1.0 / (32 * 9) ** 0.5
    weight = one["body.0.conv1.weight"]
    assert 0.98 * bound < float(weight.abs().max()) <= bound
    assert float(weight.std()) == pytest.approx(bound / 3**0.5, rel=0.03)
    assert float(one["body.0.conv1.bias"].abs().max()) <= bound
    assert all(torch.equal(one[key], same[key]) for key in one)
    assert not any(torch.equal(one[key], other[key]) for key in one)


def test_bfloat16_moves_a_result_by_less_than_a_level() -> None:
    network = build_network({"name": "edsr", "features": 16, "blocks": 4, "scale": 2})
    lr_BCHW = torch.rand(1, 3, 16, 16)
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        rounded = network.trace(lr_BCHW, taps=[3])
    assert rounded.sr_BCHW.dtype == torch.float32
    assert rounded.taps[0].dtype == torch.float32
    assert (rounded.sr_BCHW - network(lr_BCHW)).abs().max() < 1 / 255


def test_zeroed_units_pass_everything_whatever_the_depth() -> None:
    network = build_network({"name": "edsr", "features": 8, "blocks": 4, "scale": 2})
    network.near_identity(1)
    lr_BCHW = torch.rand(1, 3, 5, 5)
    depths = [network.trace(lr_BCHW, active=active).sr_BCHW for active in (1, 2, 3, 4)]
    assert all(torch.equal(a, b) for a, b in pairwise(depths))


@pytest.mark.parametrize("name", [name for name in NETWORKS if NETWORKS[name].colour == "rgb"])
@pytest.mark.parametrize("scales", [[2, 3], [2, 3, 4]])
def test_a_network_made_for_one_scale_refuses_several(name: str, scales: list[int]) -> None:
    with pytest.raises(ConfigError, match=r"^scales: this network is made for one scale; got \[2,"):
        build_network({"name": name, "scales": scales})


@pytest.mark.parametrize("name", [name for name in NETWORKS if NETWORKS[name].colour == "rgb"])
def test_its_scale_must_be_said(name: str) -> None:
    with pytest.raises(ConfigError, match=r"^scales: missing"):
        build_network({"name": name})
