"""Starts a network from the file of another one: with those of its parameters that fit.

EDSR, RCAN and the released DUKD train x3 and x4 from x2 so: all but the upsampler fits.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from torch import Tensor

from trainables.errors import ConfigError
from trainables.networks.base import SRNet
from trainables.networks.checkpoint import check_finite, read_weights
from trainables.networks.misfit import shortened
from trainables.networks.shipped import is_shipped, shipped_file
from trainables.paths import expanded

_NAMED = 20
"""Tensors that are named at most, of either kind."""


class Start(NamedTuple):
    """The part of a file that a network starts from."""

    tensors: dict[str, Tensor]
    """The parameters that fit by name and shape."""
    summary: str
    """One line: the file's name, how many tensors were taken, and which were left out."""


def part_that_fits(network: SRNet, start: str) -> Start:
    """Read from a file every tensor that a network has under the same name and in the same shape.

    Args:
        network: only its keys and shapes are used, so it may be on torch's meta device.
        start: a file, in any naming that `weights` reads; or `shipped:NAME`, of any scale.

    Raises:
        ConfigError: the file cannot be used, as `weights`; or nothing in it fits.
    """
    name = str(getattr(network.config, "name", ""))
    try:
        path = shipped_file(start, name) if is_shipped(start) else expanded(start)
        found, wanted = read_weights(path), network.state_dict()
        taken = {
            key: found[key]
            for key, value in wanted.items()
            if key in found and found[key].shape == value.shape
        }
        check_finite(path, taken)
    except ConfigError as error:
        raise ConfigError("start", error.rule) from None
    if not taken:
        rule = f"{path}: none of its tensors has the name and the shape of one of this {name}'s"
        raise ConfigError("start", rule)
    summary = f"{path.name}: {len(taken)} of {len(wanted)} tensors taken"
    summary += _listed("; left random: ", [key for key in wanted if key not in taken])
    unused = [key for key in dict.fromkeys((*wanted, *found)) if key in found and key not in taken]
    return Start(taken, summary + _listed("; not used: ", unused))


def _listed(what: str, names: Sequence[str]) -> str:
    if not names:
        return ""
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return what + ", ".join(map(shortened, names[:_NAMED])) + more
