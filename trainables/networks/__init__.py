"""Super-resolution networks for students and teachers, and how to build them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

import torch
from pydantic import Field, ValidationError

from trainables.errors import ConfigError
from trainables.networks.base import SRNet, channels_innermost
from trainables.networks.checkpoint import fitting
from trainables.networks.compact import Compact, CompactConfig
from trainables.networks.edsr import EDSR, EDSRConfig
from trainables.networks.foreign import SpandrelConfig, SpandrelTeacher
from trainables.networks.rcan import RCAN, RCANConfig
from trainables.networks.span import SPAN, SPANConfig
from trainables.networks.start import part_that_fits
from trainables.networks.swinir import SwinIR, SwinIRConfig
from trainables.networks.vdsr import VDSR, VDSRConfig
from trainables.problems import first_problem
from trainables.values import Randomness

__all__ = [
    "NETWORKS",
    "TEACHERS",
    "NetworkConfig",
    "SRNet",
    "TeacherConfig",
    "build_network",
    "make_network",
    "start_of",
]

NETWORKS: dict[str, type[SRNet]] = {
    "vdsr": VDSR,
    "edsr": EDSR,
    "rcan": RCAN,
    "swinir": SwinIR,
    "compact": Compact,
    "span": SPAN,
}

NetworkConfig = Annotated[
    VDSRConfig | EDSRConfig | RCANConfig | SwinIRConfig | CompactConfig | SPANConfig,
    Field(discriminator="name"),
]
"""The configuration of a network of this project, discriminated by `name`."""

TEACHERS: dict[str, type[SRNet]] = {**NETWORKS, "spandrel": SpandrelTeacher}

TeacherConfig = Annotated[
    VDSRConfig
    | EDSRConfig
    | RCANConfig
    | SwinIRConfig
    | CompactConfig
    | SPANConfig
    | SpandrelConfig,
    Field(discriminator="name"),
]
"""The configuration of a teacher: one of this project's networks, or one of spandrel's."""


def make_network(config: TeacherConfig, generator: torch.Generator) -> SRNet:
    """Build the network of a configuration on the CPU, with its weights or random parameters.

    Args:
        config: the network's configuration.
        generator: the source of random parameters, of which none stay where `config` names
            weights, and those that its `start` does not have where it names one.

    Raises:
        ConfigError: the weights cannot be used or do not fit.
    """
    if isinstance(config, SpandrelConfig):
        return channels_innermost(SpandrelTeacher(config))
    weights = None if config.weights is None else fitting(outline(config), config.weights)
    start = None if config.start is None else part_that_fits(outline(config), config.start)
    with torch.random.fork_rng(devices=[]):  # modules draw unused numbers from the global stream
        network = NETWORKS[config.name](config)
    network.initialise(generator)
    if weights is not None:
        network.load_state_dict(weights)
    if start is not None:
        network.load_state_dict(start.tensors, strict=False)
        network.started = start.summary
    return channels_innermost(network)


def outline(config: NetworkConfig) -> SRNet:
    """Build the network of a configuration on torch's meta device, without parameter values."""
    with torch.device("meta"), torch.random.fork_rng(devices=[]):
        return NETWORKS[config.name](config)


def start_of(config: NetworkConfig) -> str:
    """Summarise in one line what a network takes of its `start`, and what is left out.

    Raises:
        ConfigError: the file cannot be used, or nothing in it fits.
    """
    assert config.start is not None
    return part_that_fits(outline(config), config.start).summary


def build_network(config: Mapping[str, Any], seed: int = 0) -> SRNet:
    """Build a network from a mapping such as `{name: vdsr, features: 32, blocks: 18, scale: 2}`.

    Args:
        config: the fields of a network's configuration.
        seed: the seed of random parameters.

    Raises:
        ConfigError: the mapping is not a network, or its `weights` do not fit it.

    >>> sum(p.numel() for p in build_network({"name": "vdsr", "features": 32}).parameters())
    166464
    """
    name = config.get("name")
    if name not in TEACHERS:
        raise ConfigError("name", f"unknown network {name!r}; known: {', '.join(TEACHERS)}")
    kind = TEACHERS[name].config_class
    try:
        parsed: Any = kind.model_validate(dict(config))
    except ValidationError as error:
        raise first_problem(kind, error, config) from None
    return make_network(parsed, Randomness(seed, "network").generator)
