from __future__ import annotations

from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from trainables.config import TrialConfig
from trainables.errors import ConfigError
from trainables.metrics.cost import as_deployed, cost_of
from trainables.networks import build_network
from trainables.networks.blocks import DIV2K_MEAN
from trainables.networks.loading import load_network
from trainables.networks.official import to_official, to_ours
from trainables.networks.span import SPAN, MergedConv
from trainables.values import Randomness


def network(scale: int = 2, blocks: int = 3, features: int = 6, **more: object) -> SPAN:
    size = {"features": features, "blocks": blocks, "scale": scale}
    built = build_network({"name": "span", **size, **more}, seed=3)
    assert isinstance(built, SPAN)
    return built


@pytest.mark.parametrize(
    ("features", "scale", "params"),
    [
        (52, 2, 481_324),  # [SPAN] Table 2: 481K and 498K
        (52, 4, 498_208),
        (48, 2, 410_700),
        (48, 4, 426_288),
    ],
)
def test_published_parameter_counts_are_those_of_the_merged_network(
    features: int, scale: int, params: int
) -> None:
    assert cost_of(network(scale, 6, features), channels=3, scale=scale).params == params
    inner = 9 * features**2 + features
    by_hand = 9 * 3 * features + features + 18 * inner + inner + (4 * features + 1) * features
    assert by_hand + (9 * features + 1) * 3 * scale**2 == params


def test_its_multiplications_by_hand_are_those_of_the_merged_network() -> None:
    cost = cost_of(network(2, 2, 8), channels=3, scale=2)
    assert cost.macs == 256**2 * (9 * (3 * 8 + 7 * 8**2 + 8 * 12) + 32 * 8)


def test_keys_are_those_of_the_released_files_once_the_merged_kernels_are_there() -> None:
    parts = [f"{layer}.{kind}" for layer in ("sk", "conv.0", "conv.1", "conv.2", "eval_conv")
             for kind in ("weight", "bias")]  # fmt: skip
    blocks = [f"block_{n}.{c}_r" for n in range(1, 7) for c in ("c1", "c2", "c3")]
    wanted = {f"{layer}.{part}" for layer in ("conv_1", "conv_2", *blocks) for part in parts}
    wanted |= {f"{layer}.{kind}" for layer in ("conv_cat", "upsampler.0")
               for kind in ("weight", "bias")}  # fmt: skip
    ours = network(blocks=6).state_dict()
    assert set(to_official(ours)) == wanted
    assert set(to_ours(to_official(ours))) == set(ours)


def wide(conv: MergedConv, x: Tensor) -> Tensor:
    """The convolutions that it is while it learns, one after the other."""
    state = conv.state_dict()

    def layer(name: str, x: Tensor) -> Tensor:
        return F.conv2d(x, state[f"{name}.weight"], state[f"{name}.bias"])

    inner = layer("conv.0", F.pad(x, (1, 1, 1, 1)))
    return layer("conv.2", layer("conv.1", inner)) + layer("sk", x)


def test_one_kernel_gives_what_four_convolutions_give_and_their_gradients() -> None:
    conv = network().double().block_1.c2_r
    assert isinstance(conv, MergedConv)
    x = torch.rand(2, 6, 5, 7, dtype=torch.float64)
    torch.testing.assert_close(conv(x), wide(conv, x), rtol=1e-12, atol=1e-12)
    slopes = []
    for made in (conv(x), F.conv2d(x, *conv.merged(), padding=1)):
        conv.zero_grad()
        made.square().sum().backward()
        slopes.append([p.grad.clone() for p in conv.parameters() if p.grad is not None])
    straight = conv.conv(F.pad(x, (1, 1, 1, 1))) + conv.sk(x)
    conv.zero_grad()
    straight.square().sum().backward()
    expected = [p.grad for p in conv.parameters()]
    assert len(slopes[0]) == 8
    for merged in slopes:
        torch.testing.assert_close(merged, expected, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("norm", [True, False])
@pytest.mark.parametrize("scale", [2, 3, 4])
def test_it_computes_what_its_authors_draw(scale: int, norm: bool) -> None:
    span = network(scale, norm=norm).double()
    lr_BCHW = torch.rand(2, 3, 6, 7, dtype=torch.float64)
    mean = torch.tensor(DIV2K_MEAN).double().view(1, 3, 1, 1)
    first = x = wide(span.conv_1, (lr_BCHW - mean) * 255.0 if norm else lr_BCHW)
    outputs, firsts = [], []
    for unit in (span.block_1, span.block_2, span.block_3):
        c1, c2, c3 = unit.c1_r, unit.c2_r, unit.c3_r
        assert all(isinstance(each, MergedConv) for each in (c1, c2, c3))
        out1 = wide(c1, x)
        out1 = out1 * out1.sigmoid()
        out2 = wide(c2, out1)
        out3 = wide(c3, out2 * out2.sigmoid())
        x = (out3 + x) * (out3.sigmoid() - 0.5)
        outputs.append(x)
        firsts.append(out1)
    both = torch.cat([first, wide(span.conv_2, x), outputs[0], firsts[-1]], 1)
    expected = span.upsampler(span.conv_cat(both))
    torch.testing.assert_close(span(lr_BCHW), expected, rtol=1e-6, atol=1e-6)


def test_as_deployed_it_has_plain_convolutions_and_the_same_output() -> None:
    span = network()
    plain = as_deployed(span)
    assert not any(isinstance(module, MergedConv) for module in plain.modules())
    assert any(isinstance(module, MergedConv) for module in span.modules())
    lr_BCHW = torch.rand(1, 3, 6, 7)
    torch.testing.assert_close(plain(lr_BCHW), span(lr_BCHW), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("norm", [True, False])
def test_a_file_of_anyones_tells_its_architecture(tmp_path: Path, norm: bool) -> None:
    span = network(3, norm=norm)
    path = tmp_path / "anyones.pth"
    torch.save({"params": to_official(span.state_dict())}, path)
    loaded = load_network(path)
    assert isinstance(loaded, SPAN)
    said = loaded.config.model_dump(exclude={"weights"})
    assert said == {"name": "span", "features": 6, "blocks": 3, "scales": (3,), "norm": norm}
    lr_BCHW = torch.rand(1, 3, 5, 6)
    assert torch.equal(loaded(lr_BCHW), span(lr_BCHW))


def test_blocks_that_join_later_cannot_start_as_identity() -> None:
    config = {
        "method": {"name": "dfsr", "P": 2, "new_block_init": "near_identity"},
        "student": {"name": "span", "features": 6, "blocks": 4, "scale": 2},
        "teacher": {"name": "edsr", "scale": 2, "weights": "shipped:edsr_x2"},
        "budget": {"steps": 20, "steps_per_report": 10},
    }
    with pytest.raises(ConfigError, match=r"^method\.new_block_init: no block of span passes"):
        TrialConfig.parse(config)
    TrialConfig.parse({**config, "method": {"name": "dfsr", "P": 2}})


def test_its_start_is_drawn_from_the_stream_given() -> None:
    first, again, other = (network().state_dict() for _ in range(2)), network(), network()
    other.initialise(Randomness(9, "network").generator)
    key = "block_1.c1_r.conv.1.weight"
    assert all(torch.equal(state[key], again.state_dict()[key]) for state in first)
    assert not torch.equal(other.state_dict()[key], again.state_dict()[key])
