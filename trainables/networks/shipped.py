"""Finds the trained teachers that come with the project, by network and scale."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

from trainables.errors import ConfigError
from trainables.networks.base import SCALES

SHIPPED = Path(__file__).parent / "weights"
"""The folder of weights: `NAME.safetensors` serves every scale, `NAME_x2.safetensors` only scale 2;
each has a model card, `NAME.md`."""


def is_shipped(weights: str) -> bool:
    """Whether `weights` is `shipped` or `shipped:NAME` rather than a file's path.

    >>> is_shipped("shipped"), is_shipped("shipped:edsr_x2"), is_shipped("shipped.pth")
    (True, True, False)
    """
    return weights.partition(":")[0] == "shipped"


def shipped_names() -> list[str]:
    """List the names of all shipped weights in alphabetical order."""
    return sorted(file.stem for file in SHIPPED.glob("*.safetensors"))


def shipped_file(
    weights: str, network: str | None = None, scales: Collection[int] | None = None
) -> Path:
    """Return the shipped file for a network and scales.

    Args:
        weights: `shipped`; or `shipped:NAME`, which must fit the network and the scales.
        network: a key of `NETWORKS`; None: any.
        scales: the scales that it must serve; None: any.

    Raises:
        ConfigError: no shipped file fits, or more than one; lists all.
    """
    _, _, name = weights.partition(":")
    shipped = shipped_names()
    known = f"there are {', '.join(shipped)}"
    if name and name not in shipped:
        raise ConfigError("weights", f"nothing of the name {name} ships; {known}")
    asked = network or "network"
    asked += f" for {' and '.join(f'x{scale}' for scale in scales)}" if scales else ""
    fitting = [each for each in shipped if _fits(each, network, scales)]
    if name and name not in fitting:
        raise ConfigError("weights", f"{name} is no {asked}; {known}")
    if not fitting:
        raise ConfigError("weights", f"no {asked} ships; {known}")
    if not name and len(fitting) > 1:
        ways = " or ".join(f"shipped:{each}" for each in fitting)
        raise ConfigError("weights", f"more than one {asked} ships: say {ways}")
    return SHIPPED / f"{name or fitting[0]}.safetensors"


def _fits(name: str, network: str | None, scales: Collection[int] | None) -> bool:
    kind, _, scale = name.partition("_x")
    served = {int(scale)} if scale else set(SCALES)
    return network in (None, kind) and set(scales or ()) <= served
