from __future__ import annotations

from collections.abc import Mapping

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from trainables.errors import ConfigError
from trainables.networks import build_network
from trainables.networks.blocks import DIV2K_MEAN
from trainables.networks.swinir import SwinIR, SwinIRConfig

TOY = {"name": "swinir", "features": 12, "blocks": 2, "layers": 2, "heads": 3, "scale": 2}


def toy(**change: object) -> SwinIR:
    """A small SwinIR whose every parameter matters: those that start at 0 or 1 are drawn too."""
    network = build_network({**TOY, **change})
    assert isinstance(network, SwinIR)
    generator = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for parameter in network.parameters():
            noise = torch.randn(parameter.shape, generator=generator)
            parameter.add_(0.2 * noise)
    return network


def count(**config: object) -> int:
    with torch.device("meta"):
        network = SwinIR(SwinIRConfig.model_validate({"name": "swinir", **config}))
    return sum(parameter.numel() for parameter in network.parameters())


@pytest.mark.parametrize(
    ("config", "counts"),
    [
        ({}, (11_752_487, 11_937_127, 11_900_199)),
        ({"features": 60, "blocks": 4}, (1_087_727, 1_272_367, 1_235_439)),
        (
            {"features": 60, "blocks": 4, "upsampler": "pixelshuffledirect"},
            (910_152, 918_267, 929_628),
        ),
    ],
)
def test_published_parameter_counts(config: dict[str, object], counts: tuple[int, ...]) -> None:
    assert tuple(count(scale=scale, **config) for scale in (2, 3, 4)) == counts


def test_a_part_of_the_student_learns_what_a_shallower_network_holds() -> None:
    small = {"features": 12, "layers": 2, "heads": 3, "scale": 3}
    network = build_network({"name": "swinir", "blocks": 4, **small})
    network.trace(torch.rand(1, 3, 8, 8), active=2).sr_BCHW.sum().backward()
    learning = sum(p.numel() for p in network.parameters() if p.grad is not None)
    assert learning == count(blocks=2, **small)


@pytest.mark.parametrize(("scale", "upsample"), [(2, [0]), (3, [0]), (4, [0, 2])])
def test_keys_are_those_of_the_released_files_less_what_depends_on_the_size(
    scale: int, upsample: list[int]
) -> None:
    both = ("weight", "bias")
    wanted = [f"{layer}.{kind}" for layer in ("conv_first", "patch_embed.norm") for kind in both]
    for block in (0, 1):
        for layer in (0, 1):
            inside = f"layers.{block}.residual_group.blocks.{layer}"
            wanted.append(f"{inside}.attn.relative_position_bias_table")
            parts = ("norm1", "attn.qkv", "attn.proj", "norm2", "mlp.fc1", "mlp.fc2")
            wanted += [f"{inside}.{part}.{kind}" for part in parts for kind in both]
        wanted += [f"layers.{block}.conv.{kind}" for kind in both]
    last = ["norm", "conv_after_body", "conv_before_upsample.0"]
    last += [*(f"upsample.{n}" for n in upsample), "conv_last"]
    wanted += [f"{layer}.{kind}" for layer in last for kind in both]
    assert sorted(build_network({**TOY, "scale": scale}).state_dict()) == sorted(wanted)


def attended(state: Mapping[str, Tensor], name: str, x_HWF: Tensor, shift: int) -> Tensor:
    """Attention as the paper words it: pixel by pixel, to those of its window and its region."""
    heads = state[f"{name}.relative_position_bias_table"].shape[1]
    height, width, features = x_HWF.shape
    qkv = F.linear(x_HWF, state[f"{name}.qkv.weight"], state[f"{name}.qkv.bias"])
    query, key, value = qkv.view(height, width, 3, heads, features // heads).unbind(2)
    table = state[f"{name}.relative_position_bias_table"].view(15, 15, heads)
    # Windows of the image moved up and left by `shift` without being wrapped around.
    window_of = [
        [(r + 8 - shift) // 8 for r in range(height)],
        [(c + 8 - shift) // 8 for c in range(width)],
    ]
    mixed = torch.empty_like(x_HWF)
    for r in range(height):
        for c in range(width):
            rows = [i for i in range(height) if window_of[0][i] == window_of[0][r]]
            columns = [j for j in range(width) if window_of[1][j] == window_of[1][c]]
            others = [(i, j) for i in rows for j in columns]
            keys = torch.stack([key[i, j] for i, j in others])  # K heads d
            values = torch.stack([value[i, j] for i, j in others])
            bias = torch.stack([table[r - i + 7, c - j + 7] for i, j in others])
            logits = (keys * query[r, c]).sum(-1) / (features // heads) ** 0.5 + bias
            weights = logits.softmax(0)
            mixed[r, c] = (weights[..., None] * values).sum(0).flatten()
    return F.linear(mixed, state[f"{name}.proj.weight"], state[f"{name}.proj.bias"])


def straightforward(network: SwinIR, lr_3HW: Tensor) -> Tensor:
    """SwinIR as its paper draws it, one image whose sides are multiples of 8."""
    state, config = network.state_dict(), network.config

    def conv(name: str, x_CHW: Tensor) -> Tensor:
        return F.conv2d(x_CHW, state[f"{name}.weight"], state[f"{name}.bias"], padding=1)

    def norm(name: str, x_HWF: Tensor) -> Tensor:
        weight, bias = state[f"{name}.weight"], state[f"{name}.bias"]
        return F.layer_norm(x_HWF, x_HWF.shape[-1:], weight, bias)

    def linear(name: str, x: Tensor) -> Tensor:
        return F.linear(x, state[f"{name}.weight"], state[f"{name}.bias"])

    mean = torch.tensor(DIV2K_MEAN).view(3, 1, 1)
    first = conv("conv_first", lr_3HW - mean)
    x = norm("patch_embed.norm", first.permute(1, 2, 0))
    for block in range(config.blocks):
        before = x
        for layer in range(config.layers):
            inside = f"layers.{block}.residual_group.blocks.{layer}"
            normed = norm(f"{inside}.norm1", x)
            x = x + attended(state, f"{inside}.attn", normed, 4 * (layer % 2))
            hidden = F.gelu(linear(f"{inside}.mlp.fc1", norm(f"{inside}.norm2", x)))
            x = x + linear(f"{inside}.mlp.fc2", hidden)
        x = before + conv(f"layers.{block}.conv", x.permute(2, 0, 1)).permute(1, 2, 0)
    deep = first + conv("conv_after_body", norm("norm", x).permute(2, 0, 1))
    if config.upsampler == "pixelshuffledirect":
        return F.pixel_shuffle(conv("upsample.0", deep), config.scale) + mean
    deep = F.leaky_relu(conv("conv_before_upsample.0", deep), 0.01)
    return conv("conv_last", F.pixel_shuffle(conv("upsample.0", deep), config.scale)) + mean


@pytest.mark.parametrize(("height", "width"), [(8, 8), (16, 24)])
@pytest.mark.parametrize("upsampler", ["pixelshuffle", "pixelshuffledirect"])
def test_it_computes_what_the_paper_draws(height: int, width: int, upsampler: str) -> None:
    network = toy(blocks=1 if width > 8 else 2, upsampler=upsampler).double()
    lr_BCHW = torch.rand(2, 3, height, width, dtype=torch.float64)
    with torch.no_grad():
        expected = torch.stack([straightforward(network, one) for one in lr_BCHW])
        torch.testing.assert_close(network(lr_BCHW), expected, rtol=1e-6, atol=1e-6)


def test_a_side_that_is_no_multiple_of_8_is_mirrored_and_cropped_back() -> None:
    network = toy()
    lr_BCHW = torch.rand(1, 3, 9, 13)
    whole = F.pad(lr_BCHW, (0, 3, 0, 7), "reflect")
    assert torch.equal(network(lr_BCHW), network(whole)[..., :18, :26])
    cut, uncut = (network.trace(each, taps=[1, "after_skip"]).taps for each in (lr_BCHW, whole))
    assert [each.shape for each in cut] == [(1, 12, 9, 13)] * 2
    assert all(torch.equal(a, b[..., :9, :13]) for a, b in zip(cut, uncut, strict=True))


def test_official_padding_adds_a_window_even_where_none_is_needed() -> None:
    lr_BCHW = torch.rand(1, 3, 8, 16)
    network, official = toy(), toy(swinir_pad="official")
    more = torch.cat([lr_BCHW, lr_BCHW.flip(2)], 2)
    more = torch.cat([more, more.flip(3)], 3)[..., :24]
    assert torch.equal(official(lr_BCHW), network(more)[..., :16, :32])
    assert not torch.equal(official(lr_BCHW), network(lr_BCHW))


def test_it_starts_as_released() -> None:
    network = build_network({**TOY, "features": 60, "heads": 6})
    state = network.state_dict()
    inside = "layers.0.residual_group.blocks.0"
    for name in ("attn.qkv.weight", "mlp.fc1.weight", "attn.relative_position_bias_table"):
        assert float(state[f"{inside}.{name}"].std()) == pytest.approx(0.02, rel=0.05)
    assert float(state[f"{inside}.attn.qkv.bias"].abs().max()) == 0.0
    assert torch.equal(state["norm.weight"], torch.ones(60))
    bound = 1.0 / (60 * 9) ** 0.5
    assert float(state["layers.0.conv.weight"].abs().max()) == pytest.approx(bound, rel=0.01)


@pytest.mark.parametrize("images", [1, 3])
@pytest.mark.parametrize(("height", "width"), [(16, 24), (8, 8), (13, 17)])
def test_without_gradients_attention_is_fused_and_the_same(
    images: int, height: int, width: int
) -> None:
    network = toy().double()  # in float32 the toy's large numbers would hide a mistake
    x = torch.rand(images, 3, height, width, generator=torch.Generator().manual_seed(0)).double()
    with torch.no_grad():
        fused, unlike = network(x), network(x.flip(-1))
    assert torch.allclose(fused, network(x), rtol=1e-9, atol=1e-9)
    assert not torch.allclose(fused, unlike, rtol=1e-2)


def test_sizes_in_turn_do_not_confuse_the_masks() -> None:
    network = toy()
    small, large = torch.rand(1, 3, 8, 16), torch.rand(1, 3, 16, 8)
    alone = network(small)
    network(large)
    assert torch.equal(network(small), alone)


def test_bfloat16_moves_a_result_by_little() -> None:
    network = build_network(TOY)
    lr_BCHW = torch.rand(1, 3, 16, 16)
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        rounded = network(lr_BCHW)
    assert rounded.dtype == torch.float32
    assert (rounded - network(lr_BCHW)).abs().max() < 2 / 255


def test_heads_share_the_features() -> None:
    with pytest.raises(ConfigError, match=r"^features: 64 is not a multiple of heads 6$"):
        build_network({"name": "swinir", "features": 64, "scale": 2})
