"""Weight files as their authors wrote them: every key, in order, with numbers drawn here.

The lists are written out from the released code, not from ours: EDSR-PyTorch's `edsr.py` and
`common.py`, RCAN's `rcan.py`, BasicSR's `edsr_arch.py` and `rcan_arch.py`, SwinIR's
`network_swinir.py` (KAIR's and BasicSR's are the same), pytorch-vdsr's `vdsr.py`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import Tensor

from trainables.errors import ConfigError
from trainables.networks import build_network
from trainables.networks.checkpoint import read_weights, save_network
from trainables.networks.loading import load_network
from trainables.networks.official import infer, to_official, to_ours

Shapes = dict[str, tuple[int, ...]]
MEAN = (0.4488, 0.4371, 0.4040)


def drawn(shapes: Shapes, seed: int = 0) -> dict[str, Tensor]:
    """Small numbers for every key, mean shifts as released."""
    generator = torch.Generator().manual_seed(seed)
    fixed = mean_shifts()
    return {
        key: fixed[key]
        if key in fixed
        else 0.1 * torch.randn(shape, generator=generator) / max(shape[-1], 1)
        for key, shape in shapes.items()
    }


def mean_shifts(rgb_range: float = 255.0, mean: tuple[float, ...] = MEAN) -> dict[str, Tensor]:
    shift = rgb_range * torch.tensor(mean)
    eye, again = (torch.eye(3).view(3, 3, 1, 1) for _ in range(2))
    keys = ("sub_mean.weight", "sub_mean.bias", "add_mean.weight", "add_mean.bias")
    return dict(zip(keys, (eye, -shift, again, shift), strict=True))


def layer(key: str, out: int, into: int, side: int = 3) -> Shapes:
    return {f"{key}.weight": (out, into, side, side), f"{key}.bias": (out,)}


def linear(key: str, out: int, into: int) -> Shapes:
    return {f"{key}.weight": (out, into), f"{key}.bias": (out,)}


def norm(key: str, width: int) -> Shapes:
    return {f"{key}.weight": (width,), f"{key}.bias": (width,)}


def upsampler(key: str, width: int, scale: int) -> Shapes:
    if scale == 4:
        return layer(f"{key}.0", 4 * width, width) | layer(f"{key}.2", 4 * width, width)
    return layer(f"{key}.0", scale**2 * width, width)


def edsr_pytorch(width: int, depth: int, scale: int) -> Shapes:
    keys: Shapes = {"sub_mean.weight": (3, 3, 1, 1), "sub_mean.bias": (3,)}
    keys |= {"add_mean.weight": (3, 3, 1, 1), "add_mean.bias": (3,)}
    keys |= layer("head.0", width, 3)
    for i in range(depth):
        keys |= layer(f"body.{i}.body.0", width, width) | layer(f"body.{i}.body.2", width, width)
    keys |= layer(f"body.{depth}", width, width)
    return keys | upsampler("tail.0", width, scale) | layer("tail.1", 3, width)


def edsr_basicsr(width: int, depth: int, scale: int) -> Shapes:
    keys = layer("conv_first", width, 3)
    for i in range(depth):
        keys |= layer(f"body.{i}.conv1", width, width) | layer(f"body.{i}.conv2", width, width)
    keys |= layer("conv_after_body", width, width)
    return keys | upsampler("upsample", width, scale) | layer("conv_last", 3, width)


def rcan_released(width: int, groups: int, depth: int, scale: int, reduction: int = 16) -> Shapes:
    narrow = width // reduction
    keys: Shapes = {"sub_mean.weight": (3, 3, 1, 1), "sub_mean.bias": (3,)}
    keys |= {"add_mean.weight": (3, 3, 1, 1), "add_mean.bias": (3,)}
    keys |= layer("head.0", width, 3)
    for g in range(groups):
        for b in range(depth):
            block = f"body.{g}.body.{b}.body"
            keys |= layer(f"{block}.0", width, width) | layer(f"{block}.2", width, width)
            keys |= layer(f"{block}.3.conv_du.0", narrow, width, 1)
            keys |= layer(f"{block}.3.conv_du.2", width, narrow, 1)
        keys |= layer(f"body.{g}.body.{depth}", width, width)
    keys |= layer(f"body.{groups}", width, width)
    return keys | upsampler("tail.0", width, scale) | layer("tail.1", 3, width)


def rcan_basicsr(width: int, groups: int, depth: int, scale: int, reduction: int = 16) -> Shapes:
    narrow = width // reduction
    keys = layer("conv_first", width, 3)
    for g in range(groups):
        for b in range(depth):
            block = f"body.{g}.residual_group.{b}.rcab"
            keys |= layer(f"{block}.0", width, width) | layer(f"{block}.2", width, width)
            keys |= layer(f"{block}.3.attention.1", narrow, width, 1)
            keys |= layer(f"{block}.3.attention.3", width, narrow, 1)
        keys |= layer(f"body.{g}.conv", width, width)
    keys |= layer("conv_after_body", width, width)
    return keys | upsampler("upsample", width, scale) | layer("conv_last", 3, width)


def swinir_released(
    width: int, depth: int, scale: int, img_size: int = 64, direct: bool = False
) -> Shapes:
    keys = layer("conv_first", width, 3) | norm("patch_embed.norm", width)
    for i in range(depth):
        for j in range(6):
            block = f"layers.{i}.residual_group.blocks.{j}"
            if j % 2:
                keys |= {f"{block}.attn_mask": ((img_size // 8) ** 2, 64, 64)}
            keys |= norm(f"{block}.norm1", width)
            keys |= {f"{block}.attn.relative_position_bias_table": (225, 6)}
            keys |= {f"{block}.attn.relative_position_index": (64, 64)}
            keys |= linear(f"{block}.attn.qkv", 3 * width, width)
            keys |= linear(f"{block}.attn.proj", width, width) | norm(f"{block}.norm2", width)
            keys |= linear(f"{block}.mlp.fc1", 2 * width, width)
            keys |= linear(f"{block}.mlp.fc2", width, 2 * width)
        keys |= layer(f"layers.{i}.conv", width, width)
    keys |= norm("norm", width) | layer("conv_after_body", width, width)
    if direct:
        return keys | layer("upsample.0", 3 * scale**2, width)
    keys |= layer("conv_before_upsample.0", 64, width)
    return keys | upsampler("upsample", 64, scale) | layer("conv_last", 3, 64)


def vdsr_released(width: int, depth: int) -> Shapes:
    keys: Shapes = {f"residual_layer.{i}.conv.weight": (width, width, 3, 3) for i in range(depth)}
    return keys | {"input.weight": (width, 1, 3, 3), "output.weight": (1, width, 3, 3)}


@dataclass(frozen=True)
class Family:
    """One network in one naming: its files' keys at the published depth, narrow as they are."""

    keys: Callable[[int], Shapes]
    """By scale."""
    config: dict[str, Any]
    """What must be read off the tensors."""
    entries: int
    """How many the file has at x2, by count of the network's layers."""

    def file(self, scale: int) -> dict[str, Tensor]:
        return drawn(self.keys(scale))

    def expected(self, scale: int) -> dict[str, Any]:
        return self.config if self.config["name"] == "vdsr" else {**self.config, "scale": scale}


VDSR = {"name": "vdsr", "features": 6, "blocks": 18}
EDSR = {"name": "edsr", "features": 6, "blocks": 32}
RCAN = {"name": "rcan", "features": 16, "groups": 10, "blocks": 20}
SWINIR = {"name": "swinir", "features": 12, "blocks": 6, "layers": 6, "heads": 6}
LIGHT = {**SWINIR, "upsampler": "pixelshuffledirect"}
FAMILIES = {
    "vdsr": Family(lambda scale: vdsr_released(6, 18), VDSR, 20),
    "edsr official": Family(lambda scale: edsr_pytorch(6, 32, scale), EDSR, 4 + 2 * 68),
    "edsr basicsr": Family(lambda scale: edsr_basicsr(6, 32, scale), EDSR, 2 * 68),
    "rcan official": Family(lambda scale: rcan_released(16, 10, 20, scale), RCAN, 4 + 2 * 814),
    "rcan basicsr": Family(lambda scale: rcan_basicsr(16, 10, 20, scale), RCAN, 2 * 814),
    "swinir": Family(lambda scale: swinir_released(12, 6, scale), SWINIR, 548),
    "swinir light": Family(lambda s: swinir_released(12, 6, s, direct=True), LIGHT, 544),
}
EDSR_3 = {**EDSR, "blocks": 3}
RCAN_3 = {**RCAN, "groups": 3, "blocks": 2}
SHALLOW = {
    "vdsr": Family(lambda scale: vdsr_released(6, 3), {**VDSR, "blocks": 3}, 5),
    "edsr official": Family(lambda scale: edsr_pytorch(6, 3, scale), EDSR_3, 4 + 2 * 10),
    "edsr basicsr": Family(lambda scale: edsr_basicsr(6, 3, scale), EDSR_3, 2 * 10),
    "rcan official": Family(lambda scale: rcan_released(16, 3, 2, scale), RCAN_3, 4 + 2 * 31),
    "rcan basicsr": Family(lambda scale: rcan_basicsr(16, 3, 2, scale), RCAN_3, 2 * 31),
    "swinir": Family(lambda scale: swinir_released(12, 1, scale), {**SWINIR, "blocks": 1}, 103),
    "swinir light": Family(
        lambda scale: swinir_released(12, 1, scale, direct=True), {**LIGHT, "blocks": 1}, 99
    ),
}
EACH = pytest.mark.parametrize("family", FAMILIES.values(), ids=FAMILIES)
EACH_SHALLOW = pytest.mark.parametrize("family", SHALLOW.values(), ids=SHALLOW)
EACH_SCALE = pytest.mark.parametrize("scale", [2, 3, 4])
WRAPPERS = (None, "params_ema", "params", "state_dict", "model_state_dict", "model")


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


def same(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return set(one) == set(other) and all(torch.equal(one[key], other[key]) for key in one)


def picture(channels: int = 3) -> Tensor:
    return torch.rand(1, channels, 6, 7, generator=torch.Generator().manual_seed(5))


@pytest.mark.parametrize(
    ("family", "scale"),
    [  # at the published depth once, since a scale is its upsampler's alone
        *(pytest.param(family, 4, id=f"4-{name}") for name, family in FAMILIES.items()),
        *(
            pytest.param(f, scale, id=f"{scale}-{n}")
            for n, f in SHALLOW.items()
            for scale in (2, 3)
        ),
    ],
)
def test_a_file_needs_no_further_word(family: Family, scale: int, tmp_path: Path) -> None:
    file = family.file(scale)
    twice = scale == 4 and family.config not in (VDSR, LIGHT)
    assert len(file) == family.entries + 2 * twice
    assert infer(to_ours(file)) == family.expected(scale)
    torch.save(file, tmp_path / "teacher.pth")
    network = load_network(tmp_path / "teacher.pth")
    assert network.config.model_dump(exclude_unset=True, exclude={"weights"}) == {
        key: value for key, value in family.expected(scale).items() if key != "scale"
    } | ({} if "scale" not in family.expected(scale) else {"scales": (scale,)})
    assert same(network.state_dict(), to_ours(file))
    channels = 1 if network.colour == "y" else 3
    assert network(picture(channels), scale=scale).shape == (1, channels, 6 * scale, 7 * scale)


@EACH
@EACH_SCALE
def test_there_and_back(family: Family, scale: int) -> None:
    file = family.file(scale)
    ours = to_ours(file)
    assert same(to_ours(to_official(ours)), ours)
    file = {key: value for key, value in file.items() if "attn_mask" not in key}
    file = {key: value for key, value in file.items() if "position_index" not in key}
    if "sub_mean.weight" in file:  # the naming that to_official speaks
        assert list(to_official(ours)) == list(file)
        assert same(to_official(ours), file)
    else:
        assert same(ours, file)
        assert family.config["name"] in ("edsr", "rcan") or same(to_official(ours), file)


@EACH_SHALLOW
@pytest.mark.parametrize("prefix", ["", "module."])
@pytest.mark.parametrize("wrapper", WRAPPERS)
def test_every_wrapper_comes_off(
    family: Family, wrapper: str | None, prefix: str, tmp_path: Path
) -> None:
    file = family.file(2)
    named = {prefix + key: value for key, value in file.items()}
    torch.save({wrapper: named, "epoch": 9} if wrapper else named, tmp_path / "teacher.pth")
    assert same(read_weights(tmp_path / "teacher.pth"), to_ours(file))


@EACH_SHALLOW
@pytest.mark.parametrize("prefix", ["", "module."])
def test_safetensors_under_official_names(family: Family, prefix: str, tmp_path: Path) -> None:
    file = family.file(2)
    save_file({prefix + key: value for key, value in file.items()}, tmp_path / "x.safetensors")
    assert same(load_network(tmp_path / "x.safetensors").state_dict(), to_ours(file))


@EACH_SHALLOW
def test_conversion_changes_no_output(family: Family, tmp_path: Path) -> None:
    file = family.file(3)
    torch.save(file, tmp_path / "official.pth")
    torch.save(to_official(to_ours(file)), tmp_path / "again.pth")
    network = load_network(tmp_path / "official.pth")
    lr_BCHW = picture(1 if network.colour == "y" else 3)
    sr_BCHW = network(lr_BCHW, scale=3)
    save_network(tmp_path / "ours.safetensors", network)
    for name in ("again.pth", "ours.safetensors"):
        assert torch.equal(load_network(tmp_path / name)(lr_BCHW, scale=3), sr_BCHW)


def convolved(file: dict[str, Tensor], key: str, x_BFHW: Tensor) -> Tensor:
    weight = file[f"{key}.weight"]
    return F.conv2d(x_BFHW, weight, file[f"{key}.bias"], padding=weight.shape[-1] // 2)


def as_released(
    file: dict[str, Tensor], body: Callable[[Tensor], Tensor], x_BCHW: Tensor
) -> Tensor:
    """EDSR-PyTorch and RCAN around their bodies: rgb_range 255, mean shifts as convolutions."""
    first = convolved(file, "head.0", convolved(file, "sub_mean", 255.0 * x_BCHW))
    features = first + body(first)
    for number in (0, 2):
        if f"tail.0.{number}.weight" in file:
            enlarged = convolved(file, f"tail.0.{number}", features)
            features = F.pixel_shuffle(
                enlarged, round((enlarged.shape[1] // first.shape[1]) ** 0.5)
            )
    return convolved(file, "add_mean", convolved(file, "tail.1", features)) / 255.0


@EACH_SCALE
@pytest.mark.parametrize("res_scale", [0.1, 1.0])
def test_edsr_computes_what_the_released_code_does(
    scale: int, res_scale: float, tmp_path: Path
) -> None:
    file = drawn(edsr_pytorch(8, 3, scale))
    torch.save(file, tmp_path / "edsr.pt")

    def body(x: Tensor) -> Tensor:
        for i in range(3):
            inner = torch.relu(convolved(file, f"body.{i}.body.0", x))
            x = x + res_scale * convolved(file, f"body.{i}.body.2", inner)
        return convolved(file, "body.3", x)

    network = load_network(tmp_path / "edsr.pt", {"res_scale": res_scale})
    expected = as_released(file, body, picture())
    torch.testing.assert_close(network(picture()), expected, rtol=1e-5, atol=1e-5)


@EACH_SCALE
def test_rcan_computes_what_the_released_code_does(scale: int, tmp_path: Path) -> None:
    file = drawn(rcan_released(32, 2, 3, scale))
    torch.save(file, tmp_path / "rcan.pt")

    def block(key: str, x: Tensor) -> Tensor:
        inner = convolved(file, f"{key}.2", torch.relu(convolved(file, f"{key}.0", x)))
        pooled = inner.mean((2, 3), keepdim=True)
        squeezed = torch.relu(convolved(file, f"{key}.3.conv_du.0", pooled))
        return x + inner * torch.sigmoid(convolved(file, f"{key}.3.conv_du.2", squeezed))

    def body(x: Tensor) -> Tensor:
        for g in range(2):
            inner = x
            for b in range(3):
                inner = block(f"body.{g}.body.{b}.body", inner)
            x = x + convolved(file, f"body.{g}.body.3", inner)
        return convolved(file, "body.2", x)

    expected = as_released(file, body, picture())
    sr_BCHW = load_network(tmp_path / "rcan.pt")(picture())
    torch.testing.assert_close(sr_BCHW, expected, rtol=1e-5, atol=1e-5)


def test_what_no_tensor_says_is_the_usual_and_can_be_said(tmp_path: Path) -> None:
    for width, depth, usual in ((256, 1, 0.1), (128, 1, 0.1), (8, 16, 1.0)):
        torch.save(drawn(edsr_pytorch(width, depth, 2)), tmp_path / "edsr.pt")
        assert load_network(tmp_path / "edsr.pt").config.model_dump()["res_scale"] == usual
    said = load_network(tmp_path / "edsr.pt", {"res_scale": 0.1}).config.model_dump()
    assert said["res_scale"] == 0.1


@pytest.mark.parametrize("img_size", [48, 64, 128])
def test_swinirs_buffers_for_another_size_do_no_harm(img_size: int, tmp_path: Path) -> None:
    file = drawn(swinir_released(12, 1, 2, img_size))
    masks = [value for key, value in file.items() if key.endswith("attn_mask")]
    assert [len(mask) for mask in masks] == [(img_size // 8) ** 2] * 3
    torch.save({"params": file}, tmp_path / "swinir.pth")
    without = {k: v for k, v in file.items() if not k.endswith(("_mask", "_index"))}
    torch.save({"params": without}, tmp_path / "without.pth")
    one, other = (load_network(tmp_path / name) for name in ("swinir.pth", "without.pth"))
    assert not [key for key in one.state_dict() if key.endswith(("_mask", "_index"))]
    for sides in ((48, 48), (64, 64), (19, 70), (3, 8)):
        lr_BCHW = torch.rand(1, 3, *sides, generator=torch.Generator().manual_seed(0))
        sr_BCHW = one(lr_BCHW)
        assert sr_BCHW.shape[-2:] == (2 * sides[0], 2 * sides[1])
        assert torch.equal(sr_BCHW, other(lr_BCHW))


@pytest.mark.parametrize("key", ["conv_before_upsample.0", "upsample.0", "mlp.fc1", "bias_table"])
def test_half_a_swinir_is_refused(key: str, tmp_path: Path) -> None:
    file = drawn(swinir_released(12, 1, 2))
    torch.save({k: v for k, v in file.items() if key not in k}, tmp_path / "swinir.pth")
    with pytest.raises(ConfigError, match=r"^weights: .*swinir\.pth: holds"):
        load_network(tmp_path / "swinir.pth")


def test_another_reduction_is_inferred(tmp_path: Path) -> None:
    torch.save(drawn(rcan_released(16, 1, 1, 2, reduction=4)), tmp_path / "rcan.pt")
    assert load_network(tmp_path / "rcan.pt").config.model_dump()["reduction"] == 4


@pytest.mark.parametrize("name", ["sub_mean", "add_mean"])
@pytest.mark.parametrize(
    "shifts",
    [mean_shifts(rgb_range=1.0), mean_shifts(mean=(0.4690, 0.4490, 0.4036))],
    ids=["rgb_range 1", "Flickr2K"],
)
def test_another_mean_or_range_is_refused(
    name: str, shifts: dict[str, Tensor], tmp_path: Path
) -> None:
    file = drawn(edsr_pytorch(4, 1, 2)) | {f"{name}.bias": shifts[f"{name}.bias"]}
    torch.save(file, tmp_path / "edsr.pt")
    with pytest.raises(
        ConfigError, match=rf"^weights: .*edsr\.pt: {name}\.bias is \[.*: \[-?114\.444"
    ):
        load_network(tmp_path / "edsr.pt")


def test_a_shift_that_scales_colours_is_refused(tmp_path: Path) -> None:
    file = drawn(edsr_pytorch(4, 1, 2)) | {"sub_mean.weight": 2 * torch.eye(3).view(3, 3, 1, 1)}
    torch.save(file, tmp_path / "edsr.pt")
    with pytest.raises(ConfigError, match=r"sub_mean\.weight is \[2\.0"):
        load_network(tmp_path / "edsr.pt")


@pytest.mark.parametrize(
    ("file", "words"),
    [
        ({"fc.weight": torch.zeros(3)}, "holds none of the networks here"),
        ({"conv_first.weight": torch.zeros(3, 3, 3, 3)}, "holds none of the networks here"),
        (drawn(edsr_pytorch(4, 1, 4) | layer("tail.0.4", 16, 4)), "another scale than 2, 3 or 4"),
        (
            drawn(edsr_pytorch(4, 1, 2) | layer("conv_first", 4, 3)),
            r"holds conv_first\.weight twice, once as ",
        ),
    ],
    ids=["no network", "half of one", "x8", "both namings"],
)
def test_what_is_no_network_of_ours_is_said_in_one_line(
    file: dict[str, Tensor], words: str, tmp_path: Path
) -> None:
    torch.save(file, tmp_path / "x.pth")
    with pytest.raises(ConfigError, match=words) as refused:
        load_network(tmp_path / "x.pth")
    assert str(refused.value).startswith(f"weights: {tmp_path / 'x.pth'}: ")
    assert "\n" not in str(refused.value)


def test_a_teacher_that_is_another_one_is_named(tmp_path: Path) -> None:
    torch.save(drawn(edsr_pytorch(8, 3, 4)), tmp_path / "edsr.pt")
    asked = {"name": "edsr", "weights": str(tmp_path / "edsr.pt")}
    holds = "the file holds name: edsr, features: 8, blocks: 3, scale: 4"
    for other in (
        {"features": 8, "blocks": 2, "scale": 4},
        {"features": 16, "blocks": 3, "scale": 4},
        {"features": 8, "blocks": 3, "scale": 2},
        {"name": "rcan", "groups": 3, "blocks": 1, "features": 8, "scale": 4},
    ):
        with pytest.raises(ConfigError, match=holds) as refused:
            build_network({**asked, **other})
        assert "\n" not in str(refused.value)


def test_the_scale_asked_for_must_be_served(tmp_path: Path) -> None:
    edsr, vdsr, ours = (tmp_path / name for name in ("e.pt", "v.pth", "o.safetensors"))
    torch.save(drawn(edsr_pytorch(4, 1, 3)), edsr)
    torch.save(drawn(vdsr_released(4, 2)), vdsr)
    save_network(
        ours, build_network({"name": "vdsr", "features": 4, "blocks": 2, "scales": [2, 4]})
    )
    assert load_network(edsr, scale=3).scales == (3,)
    assert load_network(vdsr).scales == (2, 3, 4)
    assert load_network(vdsr, scale=4).scales == (4,)
    assert load_network(vdsr, {"scales": [2, 3]}).scales == (2, 3)
    assert load_network(ours, scale=4).scales == (4,)
    for path, held in ((edsr, 3), (ours, 2)):
        other = 2 if path == edsr else 3
        with pytest.raises(ConfigError, match=f"serves scale {held}, not {other}"):
            load_network(path, scale=other)


def test_a_name_given_beside_the_file_must_be_the_files(tmp_path: Path) -> None:
    torch.save(drawn(edsr_pytorch(4, 1, 3)), tmp_path / "e.pt")
    assert load_network(tmp_path / "e.pt", {"name": "edsr", "scale": 3}).scales == (3,)
    for name, words in (("rcan", r"e\.pt holds edsr, not rcan"), ("vgg", "unknown network 'vgg'")):
        with pytest.raises(ConfigError, match=f"^name: .*{words}"):
            load_network(tmp_path / "e.pt", {"name": name})
