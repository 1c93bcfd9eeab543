from __future__ import annotations

import pytest
import torch

from trainables.networks.generator import Generator, make_generator
from trainables.values import Randomness


@pytest.mark.parametrize(
    ("channels", "size", "count"),
    [(1, 24, 1_406_849), (1, 16, 748_929), (1, 12, 518_657), (3, 48, 4_960_771)],
)
def test_published_parameter_counts(channels: int, size: int, count: int) -> None:
    with torch.device("meta"):
        network = Generator(256, size, channels)
    assert sum(parameter.numel() for parameter in network.parameters()) == count


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("size", [8, 12, 16, 24, 48])
def test_images_have_exactly_the_size_and_range(size: int, channels: int) -> None:
    random = Randomness(0, "generator").generator
    network = make_generator(16, size, channels, random)
    x_BCHW = network(10 * torch.randn(2, 16, generator=random))
    assert x_BCHW.shape == (2, channels, size, size)
    assert x_BCHW.min() >= 0.0
    assert x_BCHW.max() <= 1.0
    assert x_BCHW.std() > 0.01


@pytest.mark.parametrize("size", [4, 10, 18, 0, -4])
def test_other_sizes_are_refused_and_a_start_of_one_pixel_too(size: int) -> None:
    with pytest.raises(ValueError, match=f"8, 12, 16.*got {size}"):
        Generator(16, size, 1)


def test_weights_are_he_normal() -> None:
    network = make_generator(256, 24, 1, Randomness(0, "generator").generator)
    network.requires_grad_(False)
    assert float(network.expand.weight.std()) == pytest.approx((2 / 256) ** 0.5, rel=0.01)
    assert float(network.conv1.weight.std()) == pytest.approx((2 / (9 * 128)) ** 0.5, rel=0.01)
    assert float(network.conv1.bias.abs().max()) <= (9 * 128) ** -0.5
    assert torch.equal(network.norm1.weight, torch.ones(128))


def test_the_norms_are_the_papers() -> None:
    network = Generator(16, 8, 1)
    assert (network.norm0.eps, network.norm1.eps, network.norm2.eps) == (1e-5, 0.8, 0.8)


def test_every_parameter_that_can_receives_gradient() -> None:
    random = Randomness(0, "generator").generator
    network = make_generator(16, 8, 1, random)
    network(torch.randn(2, 16, generator=random)).square().sum().backward()
    assert all(parameter.grad is not None for parameter in network.parameters())
    assert all(float(p.grad.abs().max()) > 0 for p in network.parameters() if p.grad is not None)
