"""The small teachers that this project trained and ships, picked by network and scale."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

from trainables.networks.base import SCALES
from trainables.values import ConfigError

SHIPPED = Path(__file__).parent / "weights"
"""`NAME.safetensors` serves every scale, `NAME_x2.safetensors` scale 2 alone; each with its card,
`NAME.md`."""


def is_shipped(weights: str) -> bool:
    """Whether `weights` means something that ships, `shipped` or `shipped:NAME`, and not a file.

    >>> is_shipped("shipped"), is_shipped("shipped:edsr_x2"), is_shipped("shipped.pth")
    (True, True, False)
    """
    return weights.partition(":")[0] == "shipped"


def shipped_names() -> list[str]:
    """All that ships, in the order of the alphabet."""
    return sorted(file.stem for file in SHIPPED.glob("*.safetensors"))


def shipped_file(
    weights: str, network: str | None = None, scales: Collection[int] | None = None
) -> Path:
    """The file that `weights` means for a network of this kind at these scales.

    Args:
        weights: `shipped`, or `shipped:NAME`, where the name must fit the kind and the scales.
        network: a key of `NETWORKS`; None: any.
        scales: which it has to serve; None: whichever the file serves.

    Raises:
        ConfigError: nothing of that kind ships, or more than one; lists what does.
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
