from __future__ import annotations

from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

from trainables.metrics.cost import cost_of
from trainables.networks import build_network
from trainables.networks.compact import Compact, CompactConfig
from trainables.networks.loading import load_network
from trainables.networks.official import to_official, to_ours


def count(**config: object) -> int:
    with torch.device("meta"):
        network = Compact(CompactConfig.model_validate({"name": "compact", **config}))
    return sum(parameter.numel() for parameter in network.parameters())


@pytest.mark.parametrize(
    ("features", "blocks", "scale", "params"),
    [
        # 9 * 3 * 64 + 64 + 64, then n * (9 * 64^2 + 64 + 64), then 9 * 64 * 3 s^2 + 3 s^2
        (64, 16, 4, 621_424),  # realesr-animevideov3
        (64, 32, 4, 1_213_296),  # realesr-general-x4v3
        (64, 16, 2, 600_652),
        (24, 8, 2, 45_156),
    ],
)
def test_parameter_counts(features: int, blocks: int, scale: int, params: int) -> None:
    assert count(features=features, blocks=blocks, scale=scale) == params
    by_hand = 9 * 3 * features + 2 * features + blocks * (9 * features**2 + 2 * features)
    assert by_hand + (9 * features + 1) * 3 * scale**2 == params


def test_keys_are_those_of_the_released_files() -> None:
    network = build_network({"name": "compact", "features": 4, "blocks": 2, "scale": 2})
    convolutions = [f"body.{n}.{kind}" for n in (0, 2, 4, 6) for kind in ("weight", "bias")]
    slopes = [f"body.{n}.weight" for n in (1, 3, 5)]
    official = to_official(network.state_dict())
    assert sorted(official) == sorted(convolutions + slopes)
    assert list(to_ours(official)) == list(network.state_dict())


@pytest.mark.parametrize("scale", [2, 3, 4])
def test_it_computes_what_its_authors_draw(scale: int) -> None:
    config = {"name": "compact", "features": 8, "blocks": 3, "scale": scale}
    network = build_network(config).double()
    state = to_official(network.state_dict())
    generator = torch.Generator().manual_seed(0)
    for key, value in state.items():  # no slope stays at its start
        if value.ndim == 1 and f"{key[:-7]}.bias" not in state:
            value.uniform_(0.1, 0.9, generator=generator)
    lr_BCHW = torch.rand(2, 3, 6, 7, dtype=torch.float64, generator=generator)
    x = lr_BCHW
    for n in range(0, 10, 2):
        x = F.conv2d(x, state[f"body.{n}.weight"], state[f"body.{n}.bias"], padding=1)
        if n < 8:
            x = torch.where(x > 0, x, x * state[f"body.{n + 1}.weight"].view(1, -1, 1, 1))
    nearest = lr_BCHW.repeat_interleave(scale, 2).repeat_interleave(scale, 3)
    expected = F.pixel_shuffle(x, scale) + nearest
    torch.testing.assert_close(network(lr_BCHW), expected, rtol=1e-12, atol=1e-12)


def test_its_cost_by_hand() -> None:
    network = build_network({"name": "compact", "features": 24, "blocks": 8, "scale": 2})
    cost = cost_of(network, channels=3, scale=2)
    assert cost.params == 45_156
    assert cost.macs == 256**2 * 9 * (3 * 24 + 8 * 24**2 + 24 * 12)


@pytest.mark.parametrize("wrapper", [None, "params", "params_ema"])
def test_a_file_of_anyones_tells_its_architecture(tmp_path: Path, wrapper: str | None) -> None:
    network = build_network({"name": "compact", "features": 8, "blocks": 3, "scale": 3}, seed=4)
    state = to_official(network.state_dict())
    path = tmp_path / "anyones.pth"
    torch.save(state if wrapper is None else {wrapper: state}, path)
    loaded = load_network(path)
    assert isinstance(loaded, Compact)
    assert (loaded.config.features, loaded.config.blocks, loaded.config.scale) == (8, 3, 3)
    lr_BCHW = torch.rand(1, 3, 5, 6)
    assert torch.equal(loaded(lr_BCHW), network(lr_BCHW))
