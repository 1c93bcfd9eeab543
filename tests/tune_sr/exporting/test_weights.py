"""Key names of other programs: the authors' own lists, and spandrel where it can be imported."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from safetensors import safe_open

from trainables.networks import build_network
from trainables.networks.checkpoint import save_network
from trainables.networks.loading import load_network
from tune_sr.exporting.subject import load_subject
from tune_sr.exporting.weights import NAMES, check_names, named, weights_bytes
from tune_sr.results.chosen_student import chosen_student

TOYS: dict[str, dict[str, Any]] = {
    "edsr": {"name": "edsr", "features": 6, "blocks": 2, "scale": 2},
    "rcan": {"name": "rcan", "features": 16, "groups": 2, "blocks": 2, "scale": 2},
    "swinir": {"name": "swinir", "features": 12, "blocks": 1, "heads": 6, "scale": 2},
    "compact": {"name": "compact", "features": 6, "blocks": 2, "scale": 2},
    "span": {"name": "span", "features": 6, "blocks": 6, "scale": 2},
    "vdsr": {"name": "vdsr", "features": 6, "blocks": 2},
}


def shapes(tensors: dict[str, torch.Tensor]) -> dict[str, tuple[int, ...]]:
    return {key: tuple(value.shape) for key, value in tensors.items()}


def layer(key: str, out: int, into: int, side: int = 3) -> dict[str, tuple[int, ...]]:
    return {f"{key}.weight": (out, into, side, side), f"{key}.bias": (out,)}


def linear(key: str, out: int, into: int) -> dict[str, tuple[int, ...]]:
    return {f"{key}.weight": (out, into), f"{key}.bias": (out,)}


def norm(key: str, width: int) -> dict[str, tuple[int, ...]]:
    return {f"{key}.weight": (width,), f"{key}.bias": (width,)}


def basicsr_edsr() -> dict[str, tuple[int, ...]]:
    keys = layer("conv_first", 6, 3)
    for i in range(2):
        keys |= layer(f"body.{i}.conv1", 6, 6) | layer(f"body.{i}.conv2", 6, 6)
    return (
        keys
        | layer("conv_after_body", 6, 6)
        | layer("upsample.0", 24, 6)
        | layer("conv_last", 3, 6)
    )


def basicsr_rcan() -> dict[str, tuple[int, ...]]:
    keys = layer("conv_first", 16, 3)
    for g in range(2):
        for b in range(2):
            block = f"body.{g}.residual_group.{b}.rcab"
            keys |= layer(f"{block}.0", 16, 16) | layer(f"{block}.2", 16, 16)
            keys |= layer(f"{block}.3.attention.1", 1, 16, 1)
            keys |= layer(f"{block}.3.attention.3", 16, 1, 1)
        keys |= layer(f"body.{g}.conv", 16, 16)
    tail = layer("conv_after_body", 16, 16) | layer("upsample.0", 64, 16)
    return keys | tail | layer("conv_last", 3, 16)


def spandrel_rcan() -> dict[str, tuple[int, ...]]:
    keys: dict[str, tuple[int, ...]] = {"sub_mean.weight": (3, 3, 1, 1), "sub_mean.bias": (3,)}
    keys |= {"add_mean.weight": (3, 3, 1, 1), "add_mean.bias": (3,)} | layer("head.0", 16, 3)
    for g in range(2):
        for b in range(2):
            block = f"body.{g}.body.{b}.body"
            keys |= layer(f"{block}.0", 16, 16) | layer(f"{block}.2", 16, 16)
            keys |= layer(f"{block}.3.conv_du.0", 1, 16, 1)
            keys |= layer(f"{block}.3.conv_du.2", 16, 1, 1)
        keys |= layer(f"body.{g}.body.2", 16, 16)
    return keys | layer("body.2", 16, 16) | layer("tail.0.0", 64, 16) | layer("tail.1", 3, 16)


def released_swinir() -> dict[str, tuple[int, ...]]:
    keys = layer("conv_first", 12, 3) | norm("patch_embed.norm", 12)
    for j in range(6):
        block = f"layers.0.residual_group.blocks.{j}"
        keys |= {f"{block}.attn_mask": (64, 64, 64)} if j % 2 else {}
        keys |= norm(f"{block}.norm1", 12) | norm(f"{block}.norm2", 12)
        keys |= {f"{block}.attn.relative_position_bias_table": (225, 6)}
        keys |= {f"{block}.attn.relative_position_index": (64, 64)}
        keys |= linear(f"{block}.attn.qkv", 36, 12) | linear(f"{block}.attn.proj", 12, 12)
        keys |= linear(f"{block}.mlp.fc1", 24, 12) | linear(f"{block}.mlp.fc2", 12, 24)
    keys |= layer("layers.0.conv", 12, 12) | norm("norm", 12) | layer("conv_after_body", 12, 12)
    keys |= layer("conv_before_upsample.0", 64, 12) | layer("upsample.0", 256, 64)
    return keys | layer("conv_last", 3, 64)


def released_compact() -> dict[str, tuple[int, ...]]:
    keys: dict[str, tuple[int, ...]] = layer("body.0", 6, 3) | {"body.1.weight": (6,)}
    for number in (2, 4):
        keys |= layer(f"body.{number}", 6, 6) | {f"body.{number + 1}.weight": (6,)}
    return keys | layer("body.6", 12, 6)


@pytest.mark.parametrize(
    ("kind", "names", "keys"),
    [
        ("edsr", "basicsr", basicsr_edsr()),
        ("rcan", "basicsr", basicsr_rcan()),
        ("rcan", "spandrel", spandrel_rcan()),
        ("swinir", "basicsr", released_swinir()),
        ("swinir", "spandrel", released_swinir()),
        ("compact", "basicsr", released_compact()),
        ("compact", "spandrel", released_compact()),
    ],
)
def test_keys_are_the_programs_own(kind: str, names: str, keys: dict[str, tuple[int, ...]]) -> None:
    assert shapes(named(build_network(TOYS[kind]), names)) == keys


@pytest.mark.parametrize("names", NAMES)
@pytest.mark.parametrize("kind", TOYS)
def test_every_naming_is_read_back(kind: str, names: str, tmp_path: Path) -> None:
    network = build_network(TOYS[kind], seed=1)
    save_network(tmp_path / "x.safetensors", network, {"study": "dfsr", "trial": "0003"})
    subject = load_subject(chosen_student(str(tmp_path / "x.safetensors")), None)
    known = (
        kind
        if names == "own"
        else {"basicsr": "edsr rcan swinir compact"}.get(names, "rcan swinir compact span")
    )
    if kind not in known.split():
        with pytest.raises(ValueError, match=f"--names {names}: it has no {kind}, but"):
            weights_bytes(subject, names)
        return
    path = tmp_path / "y.safetensors"
    path.write_bytes(weights_bytes(subject, names))
    again = load_network(path)
    assert again.config == network.config.model_copy(update={"weights": str(path)})
    before, after = network.state_dict(), again.state_dict()
    assert all(torch.equal(before[key], after[key]) for key in before)
    with safe_open(path, framework="pt") as file:
        metadata = file.metadata()
    assert metadata["trial"] == "0003" and json.loads(metadata["architecture"])["name"] == kind


def test_the_masks_are_those_of_the_released_files() -> None:
    found = named(build_network(TOYS["swinir"]), "spandrel")
    mask = found["layers.0.residual_group.blocks.1.attn_mask"]
    assert sorted(mask.unique().tolist()) == [-100, 0]
    assert mask[0].abs().max() == 0 and mask[-1].abs().max() == 100
    index = found["layers.0.residual_group.blocks.0.attn.relative_position_index"]
    assert index[0, 0] == 112 and index[0, 63] == 0 and index[63, 0] == 224


def test_a_span_of_other_depth_is_not_spandrels() -> None:
    network = build_network({**TOYS["span"], "blocks": 4})
    subject = SimpleNamespace(network=network, kind="span")
    with pytest.raises(ValueError, match="reads a span of 6 blocks, and this has 4"):
        check_names(subject, "spandrel")  # type: ignore[arg-type]  # all that it looks at


@pytest.mark.parametrize("kind", ["rcan", "swinir", "compact", "span"])
def test_spandrel_reads_the_file(kind: str, tmp_path: Path) -> None:
    try:
        import spandrel
    except Exception as error:
        pytest.skip(f"spandrel, or a torchvision that fits torch, is not installed: {error}")
    network = build_network(TOYS[kind], seed=1)
    save_network(tmp_path / "x.safetensors", network)
    subject = load_subject(chosen_student(str(tmp_path / "x.safetensors")), None)
    (tmp_path / "y.safetensors").write_bytes(weights_bytes(subject, "spandrel"))
    theirs = spandrel.ModelLoader(device="cpu").load_from_file(tmp_path / "y.safetensors")
    image = torch.rand(1, 3, 24, 16, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        torch.testing.assert_close(network(image).clamp(0, 1), theirs(image), rtol=1e-4, atol=1e-5)
