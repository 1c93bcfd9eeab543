"""Loads what `evaluate --network` names, with its costs."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from trainables.errors import ConfigError
from trainables.metrics.cost import Cost, cost_of
from trainables.metrics.tiles import USUAL_OVERLAP, Upscale, self_ensemble, tiled
from trainables.networks.checkpoint import read_caveat
from trainables.networks.loading import load_network
from trainables.networks.shipped import is_shipped, shipped_file
from trainables.paths import expanded, why_no_file
from trainables.resample import upsample_BCHW
from trainables.values import Colour

if TYPE_CHECKING:
    from trainables.networks import SRNet

BICUBIC = "bicubic"


@dataclass(frozen=True)
class EvaluatedNetwork:
    """A network to evaluate, or bicubic.

    Attributes:
        label: as the user wrote it.
        colour: colour of its input and output; None: either.
        scales: the scales that it serves; None: all.
        upscale: maps LR images (B, C, H, W) and a scale to SR images.
        costs: parameters and MACs by scale; empty for bicubic.
        caveat: the footnote from its file on what keeps it from being compared with its paper; None
            without one.
    """

    label: str
    colour: Colour | None
    scales: tuple[int, ...] | None
    upscale: Upscale
    costs: Mapping[int, Cost]
    caveat: str | None = None

    def serves(self, scale: int) -> bool:
        """Whether the network can upscale by a scale."""
        return self.scales is None or scale in self.scales


def bicubic() -> EvaluatedNetwork:
    """Return the bicubic baseline, to be evaluated in the same way as a network."""
    return EvaluatedNetwork(BICUBIC, None, None, upsample_BCHW, {})


def load_network_spec(
    spec: str, *, device: torch.device, tile_pixels: int, eightfold: bool = False
) -> EvaluatedNetwork:
    """Load the network that `spec` names onto `device`.

    Args:
        spec: a file, `shipped` (the VDSR), `shipped:NAME`, or
            `name=edsr,features=64,...,weights=FILE`.
        device: where it runs.
        tile_pixels: output pixels above which an image is computed in tiles.
        eightfold: whether to average over eight orientations (self-ensemble).

    Raises:
        ValueError: there is no such network, or its weights do not fit it.
    """
    try:
        file, config, scale = _named(spec)
        network, caveat = load_network(file, config, scale), read_caveat(file)
    except ConfigError as error:
        raise ValueError(f"--network {spec}: {error.rule}") from None
    network.eval().requires_grad_(False)
    channels = 3 if network.colour == "rgb" else 1
    costs = {scale: cost_of(network, channels=channels, scale=scale) for scale in network.scales}
    upscale = partial(_upscale, network.to(device))
    by_scale = {s: _in_tiles(upscale, network, costs[s], tile_pixels) for s in network.scales}
    whole: Upscale = partial(_at_scale, by_scale)
    if eightfold:
        whole = self_ensemble(whole)
    return EvaluatedNetwork(spec, network.colour, network.scales, whole, costs, caveat)


def _upscale(network: SRNet, lr_BCHW: Tensor, scale: int) -> Tensor:
    return network.trace(lr_BCHW, scale=scale).sr_BCHW


def _at_scale(by_scale: Mapping[int, Upscale], lr_BCHW: Tensor, scale: int) -> Tensor:
    return by_scale[scale](lr_BCHW, scale)


def _in_tiles(upscale: Upscale, network: SRNet, cost: Cost, pixels: int) -> Upscale:
    overlap = USUAL_OVERLAP if cost.reach is None else cost.reach
    return tiled(upscale, pixels=pixels, overlap=overlap, multiple_of=network.multiple_of)


def _named(spec: str) -> tuple[Path, dict[str, Any], Any]:
    """Split `spec` into a network's file, its given configuration, and its scale if given.

    What is not given is read from the file.
    """
    if is_shipped(spec):
        return shipped_file(spec, None if ":" in spec else "vdsr"), {}, None
    if "=" not in spec or why_no_file(Path(spec)) is None:
        return expanded(spec), {}, None
    config = _pairs(spec)
    weights, scale = config.pop("weights", None), config.pop("scale", None)
    if weights is None:
        raise ConfigError("weights", "has no weights=FILE: an untrained network scores nothing")
    if not is_shipped(str(weights)):
        return expanded(str(weights)), config, scale
    scales = None if scale is None else [scale]
    return shipped_file(weights, config.get("name"), scales), config, scale


def _pairs(spec: str) -> dict[str, Any]:
    """Parse `name=edsr,scale=2` to a mapping, numbers as int or float."""
    config: dict[str, Any] = {}
    for word in spec.split(","):
        key, equals, value = word.partition("=")
        if not equals or not key or not value:
            raise ConfigError(key, f"{word!r} is not KEY=VALUE; say name=edsr,scale=2,weights=FILE")
        config[key] = _plain(value)
    return config


def _plain(text: str) -> Any:
    readers: Sequence[Callable[[str], Any]] = (int, float)
    for read in readers:
        try:
            return read(text)
        except ValueError:
            continue
    return text
