"""Converts keys of official weights files to ours and back, and infers architectures from tensors.

Our names are BasicSR's. Files of EDSR-PyTorch and of RCAN differ in names only, plus two 1x1
convolutions that shift by the mean colour; files of SwinIR and KAIR carry two buffers that depend
on the image size they were trained at. Files of VDSR have our names already.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor

from trainables.networks.blocks import DIV2K_MEAN
from trainables.networks.span import merged_kernels
from trainables.networks.windows import WINDOW, relative_positions, shift_mask

_OUTSIDE = (
    ("head.0.{leaf}", "conv_first.{leaf}"),
    ("body.{depth}.{leaf}", "conv_after_body.{leaf}"),
    ("tail.0.{k}.{leaf}", "upsample.{k}.{leaf}"),
    ("tail.1.{leaf}", "conv_last.{leaf}"),
)
_EDSR = (
    ("body.{i}.body.0.{leaf}", "body.{i}.conv1.{leaf}"),
    ("body.{i}.body.2.{leaf}", "body.{i}.conv2.{leaf}"),
    *_OUTSIDE,
)
_RCAB = "body.{i}.body.{j}.body", "body.{i}.residual_group.{j}.rcab"
_RCAN = (
    (f"{_RCAB[0]}.0.{{leaf}}", f"{_RCAB[1]}.0.{{leaf}}"),
    (f"{_RCAB[0]}.2.{{leaf}}", f"{_RCAB[1]}.2.{{leaf}}"),
    (f"{_RCAB[0]}.3.conv_du.0.{{leaf}}", f"{_RCAB[1]}.3.attention.1.{{leaf}}"),
    (f"{_RCAB[0]}.3.conv_du.2.{{leaf}}", f"{_RCAB[1]}.3.attention.3.{{leaf}}"),
    ("body.{i}.body.{inner}.{leaf}", "body.{i}.conv.{leaf}"),
    *_OUTSIDE,
)
"""Pairs of official key and ours; `depth` and `inner` are counted from the keys."""

_RGB_RANGE = 255.0
"""The range of pixel values inside official EDSR and RCAN, and ours."""
_SIZE_BUFFERS = (".attn_mask", ".attn.relative_position_index")
_TRAINED = 64
"""Side of the patches for which added buffers are; programs compute them for other sizes."""
_MERGED = ".eval_conv."
_COMPACT = "body.", "layers."
"""Prefixes of Compact's keys, official and ours."""
_NONE = "holds none of the networks here: VDSR, EDSR, RCAN, SwinIR, Compact or SPAN"
_FIRST_SWIN = "layers.0.residual_group.blocks.0"


def to_ours(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Rename the tensors of an official file to our keys; unknown keys are unchanged.

    Mean shifts are checked and dropped. Dropped are also SwinIR's `attn_mask` and
    `relative_position_index`, which our network computes for each image size, and SPAN's merged
    kernels `eval_conv`, which follow from the others.

    Raises:
        ValueError: the mean shifts are not those of DIV2K on a range of 255, or two keys of the
            file mean one parameter.
    """
    found = _without_mean_shifts(tensors)
    if f"{_FIRST_SWIN}.attn.qkv.weight" in found:
        return {k: v for k, v in found.items() if not k.endswith(_SIZE_BUFFERS)}
    if "conv_1.sk.weight" in found:
        return {k: v for k, v in found.items() if _MERGED not in k}
    if "body.0.weight" in found and "body.1.weight" in found:
        return _with_prefix(found, *_COMPACT)
    if inner := _count(found, "body.0.body.{n}.body.0.weight"):
        depth = _count(found, "body.{n}.body.0.body.0.weight")
        return _renamed(found, _RCAN, depth, inner)
    if depth := _count(found, "body.{n}.body.0.weight"):
        return _renamed(found, _EDSR, depth)
    return found


def to_official(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Rename our tensors to the keys of official files.

    EDSR and RCAN get the keys of EDSR-PyTorch and RCAN and their mean shifts, Compact those of the
    released files, SPAN its merged kernels in addition. Other networks are unchanged: their
    official keys are ours.
    """
    if "conv_1.sk.weight" in tensors:
        return {**tensors, **dict(merged_kernels(tensors))}
    if _COMPACT[1] + "0.weight" in tensors:
        return _with_prefix(tensors, *reversed(_COMPACT))
    if depth := _count(tensors, "body.{n}.conv1.weight"):
        named = _renamed(tensors, _swapped(_EDSR), depth)
    elif inner := _count(tensors, "body.0.residual_group.{n}.rcab.0.weight"):
        named = _renamed(tensors, _swapped(_RCAN), _count(tensors, "body.{n}.conv.weight"), inner)
    else:
        return dict(tensors)
    return {**_mean_shifts(), **named}


def to_basicsr(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Rename our tensors to BasicSR's keys: ours are BasicSR's already, but for Compact's."""
    if _COMPACT[1] + "0.weight" in tensors:
        return _with_prefix(tensors, *reversed(_COMPACT))
    return dict(tensors)


def with_size_buffers(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Add the buffers by which other programs recognise a SwinIR; other networks are unchanged.

    In each layer `relative_position_index`, and in each second `attn_mask`, as for a network that
    was trained on patches of 64 x 64.
    """
    table, added = ".attn.relative_position_bias_table", {}
    here = torch.device("cpu")
    for layer in (key.removesuffix(table) for key in tensors if key.endswith(table)):
        index = relative_positions(here).view(WINDOW**2, WINDOW**2)
        added[f"{layer}{_SIZE_BUFFERS[1]}"] = index
        if int(layer.rpartition(".")[2]) % 2:
            added[f"{layer}{_SIZE_BUFFERS[0]}"] = shift_mask(_TRAINED, _TRAINED, here)
    return {**tensors, **added}


def infer(tensors: Mapping[str, Tensor]) -> dict[str, Any]:
    """Infer a network's configuration, without weights, from tensors under our keys.

    Fields that no tensor determines are left out: EDSR's `res_scale`, and VDSR's scales.

    Raises:
        ValueError: the tensors are no network of this project; gives the reason.
    """
    if "residual_layer.0.conv.weight" in tensors and "input.weight" in tensors:
        blocks = _count(tensors, "residual_layer.{n}.conv.weight")
        return {"name": "vdsr", "features": _width(tensors, "input"), "blocks": blocks}
    if "conv_1.sk.weight" in tensors:
        return _inferred_span(tensors)
    if _COMPACT[1] + "0.weight" in tensors:
        return _inferred_compact(tensors)
    if "conv_first.weight" not in tensors:
        raise ValueError(_NONE)
    features = _width(tensors, "conv_first")
    if blocks := _count(tensors, "body.{n}.conv1.weight"):
        return {"name": "edsr", "features": features, "blocks": blocks, **_scale(tensors, features)}
    if blocks := _count(tensors, "body.0.residual_group.{n}.rcab.0.weight"):
        return _inferred_rcan(tensors, features, blocks)
    if f"{_FIRST_SWIN}.attn.qkv.weight" in tensors:
        return _inferred_swinir(tensors, features)
    raise ValueError(_NONE)


def _inferred_compact(tensors: Mapping[str, Tensor]) -> dict[str, Any]:
    layers = _count(tensors, f"{_COMPACT[1]}{{n}}.weight")
    if layers < 5 or layers % 2 == 0 or tensors[f"{_COMPACT[1]}1.weight"].ndim != 1:
        raise ValueError(_NONE)
    size = {"features": _width(tensors, f"{_COMPACT[1]}0"), "blocks": (layers - 3) // 2}
    return {"name": "compact", **size, **_direct_scale(tensors, f"{_COMPACT[1]}{layers - 1}")}


def _inferred_span(tensors: Mapping[str, Tensor]) -> dict[str, Any]:
    size = {"features": _width(tensors, "conv_1.sk")}
    size["blocks"] = _count(tensors, "block_{n}.c1_r.sk.weight", first=1)
    scale = _direct_scale(tensors, "upsampler.0")
    return {"name": "span", **size, **({"norm": False} if "no_norm" in tensors else {}), **scale}


def _inferred_rcan(tensors: Mapping[str, Tensor], features: int, blocks: int) -> dict[str, Any]:
    squeezed = _width(tensors, "body.0.residual_group.0.rcab.3.attention.1")
    usual = max(features // 16, 1) == squeezed
    return {
        "name": "rcan",
        "features": features,
        "groups": _count(tensors, "body.{n}.conv.weight"),
        "blocks": blocks,
        **({} if usual else {"reduction": features // squeezed}),
        **_scale(tensors, features),
    }


def _inferred_swinir(tensors: Mapping[str, Tensor], features: int) -> dict[str, Any]:
    table = tensors.get(f"{_FIRST_SWIN}.attn.relative_position_bias_table")
    positions, heads = (0, 0) if table is None or table.ndim != 2 else table.shape
    hidden = _width(tensors, f"{_FIRST_SWIN}.mlp.fc1")
    if positions != (2 * WINDOW - 1) ** 2 or hidden != 2 * features:
        window = (round(positions**0.5) + 1) // 2
        shape = f"windows of {window} and MLPs {hidden / features:g} times as wide"
        raise ValueError(f"holds a SwinIR with {shape}; networks here have {WINDOW} and 2")
    size = {
        "features": features,
        "blocks": _count(tensors, "layers.{n}.residual_group.blocks.0.attn.qkv.weight"),
        "layers": _count(tensors, "layers.0.residual_group.blocks.{n}.attn.qkv.weight"),
        "heads": heads,
    }
    if "conv_before_upsample.0.weight" in tensors and "upsample.0.weight" in tensors:
        upsampled = _width(tensors, "conv_before_upsample.0")
        return {"name": "swinir", **size, **_scale(tensors, upsampled)}
    if "upsample.0.weight" not in tensors:
        raise ValueError("holds a SwinIR of another upsampler than pixelshuffle[direct]")
    direct = {"upsampler": "pixelshuffledirect", **_direct_scale(tensors, "upsample.0")}
    return {"name": "swinir", **size, **direct}


def _scale(tensors: Mapping[str, Tensor], features: int) -> dict[str, int]:
    steps = _count(tensors, "upsample.{n}.weight", step=2)
    return _one_scale(_width(tensors, "upsample.0") // features if steps else 0, steps)


def _direct_scale(tensors: Mapping[str, Tensor], layer: str) -> dict[str, int]:
    """Infer the scale from the outputs of the only convolution before a pixel shuffle to RGB."""
    return _one_scale(_width(tensors, layer) // 3, 1)


def _one_scale(times: int, steps: int) -> dict[str, int]:
    """Infer the scale from the outputs per input, `times`, of a convolution before a shuffle."""
    scales = {(4, 1): 2, (9, 1): 3, (16, 1): 4, (4, 2): 4}
    if (times, steps) not in scales:
        raise ValueError("holds a network of another scale than 2, 3 or 4")
    return {"scale": scales[times, steps]}


def _width(tensors: Mapping[str, Tensor], layer: str) -> int:
    weight = tensors.get(f"{layer}.weight")
    if weight is None or not weight.numel() or not weight.ndim:
        raise ValueError(f"holds a part of a network, without {layer}.weight")
    return len(weight)


def _count(tensors: Iterable[str], key: str, step: int = 1, first: int = 0) -> int:
    """Count the keys with n = first, first + step, ... up to the first that is missing."""
    number = 0
    while key.replace("{n}", str(first + number * step)) in tensors:
        number += 1
    return number


def _swapped(table: Iterable[tuple[str, str]]) -> tuple[tuple[str, str], ...]:
    return tuple((ours, official) for official, ours in table)


def _with_prefix(tensors: Mapping[str, Tensor], old: str, new: str) -> dict[str, Tensor]:
    return {new + k.removeprefix(old) if k.startswith(old) else k: v for k, v in tensors.items()}


def _renamed(
    tensors: Mapping[str, Tensor], table: Iterable[tuple[str, str]], depth: int, inner: int = 0
) -> dict[str, Tensor]:
    rules = [(_pattern(old, depth, inner), _numbered(new, depth, inner)) for old, new in table]
    renamed: dict[str, Tensor] = {}
    for key, value in tensors.items():
        matches = ((pattern.fullmatch(key), new) for pattern, new in rules)
        name = next((new.format(**match.groupdict()) for match, new in matches if match), key)
        if name in renamed:
            raise ValueError(f"holds {name} twice, once as {key}")
        renamed[name] = value
    return renamed


def _numbered(template: str, depth: int, inner: int) -> str:
    return template.replace("{depth}", str(depth)).replace("{inner}", str(inner))


def _pattern(template: str, depth: int, inner: int) -> re.Pattern[str]:
    escaped = re.escape(_numbered(template, depth, inner))
    named = re.sub(r"\\{([ijk])\\}", r"(?P<\1>[0-9]+)", escaped)
    return re.compile(named.replace(r"\{leaf\}", "(?P<leaf>weight|bias)"))


def _mean_shifts() -> dict[str, Tensor]:
    mean = _RGB_RANGE * torch.tensor(DIV2K_MEAN)
    eye = torch.eye(3).view(3, 3, 1, 1)
    return {
        "sub_mean.weight": eye,
        "sub_mean.bias": -mean,
        "add_mean.weight": eye.clone(),
        "add_mean.bias": mean,
    }


def _without_mean_shifts(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    for key, expected in _mean_shifts().items():
        found = tensors.get(key)
        if found is None:
            continue
        if found.shape != expected.shape or not torch.allclose(found.float(), expected, rtol=1e-3):
            shift = [round(value, 4) for value in found.flatten().tolist()[:9]]
            needed = [round(value, 4) for value in expected.flatten().tolist()]
            raise ValueError(f"{key} is {shift}; networks here shift by DIV2K's mean: {needed}")
    return {key: value for key, value in tensors.items() if key not in _mean_shifts()}
