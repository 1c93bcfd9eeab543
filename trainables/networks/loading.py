"""Loads a network from its file, with the architecture given, stored in the file, or inferred."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from trainables.errors import ConfigError
from trainables.networks import NETWORKS, build_network
from trainables.networks.base import SRNet
from trainables.networks.checkpoint import _is_safetensors, _metadata, read_weights
from trainables.networks.official import infer
from trainables.problems import first_problem


def read_architecture(path: Path) -> dict[str, Any]:
    """Read the network configuration in the metadata of a file of this project.

    Raises:
        ConfigError: the file is not safetensors or has no architecture.
    """
    architecture = _stored_architecture(path)
    if architecture is None:
        raise ConfigError("weights", f"{path}: carries no architecture; name it in the network")
    return architecture


def load_network(
    path: Path, config: Mapping[str, Any] | None = None, scale: int | None = None
) -> SRNet:
    """Load the network of a weights file.

    A file of this project stores its architecture; for others it is inferred from the tensors.

    Args:
        path: the file.
        config: fields that override the architecture's, such as `res_scale`, which no tensor
            determines: an EDSR has the usual one for its size (0.1 for 256 features, 1 for the
            baseline). With `name: spandrel` nothing is inferred here.
        scale: the scale to serve; for a file of one scale it must be that one.

    Raises:
        ConfigError: the file holds no network of this project, or none of that scale.
    """
    wanted = {**(config or {}), **({} if scale is None else {"scale": scale})}
    if wanted.get("name") == "spandrel":
        return build_network({**wanted, "weights": str(path)})
    stored = _stored_architecture(path) if _is_safetensors(path) else None
    found = _checked(path, _inferred(path)) if stored is None else stored
    if wanted.get("name") in set(NETWORKS) - {found.get("name")}:
        raise ConfigError("name", f"{path} holds {found.get('name')}, not {wanted['name']}")
    if "scale" in wanted or "scales" in wanted:
        held = found.pop("scales", None) or [found.pop("scale", scale)]
        if scale not in (None, *held):
            raise ConfigError("scale", f"{path} serves scale {held[0]}, not {scale}")
    return build_network({**found, **wanted, "weights": str(path)})


def _inferred(path: Path) -> dict[str, Any]:
    try:
        return infer(read_weights(path))
    except ConfigError:
        raise
    except ValueError as error:
        raise ConfigError("weights", f"{path}: {error}") from None


def _stored_architecture(path: Path) -> dict[str, Any] | None:
    metadata = _metadata(path)
    if "architecture" not in metadata:
        return None
    try:
        stored = dict(json.loads(metadata["architecture"]))
    except (ValueError, TypeError, RecursionError):
        raise ConfigError("weights", f"{path}: its architecture cannot be read") from None
    stored.pop("weights", None)
    return _checked(path, stored)


def _checked(path: Path, architecture: dict[str, Any]) -> dict[str, Any]:
    """Return the architecture stored in or inferred from a file, if it is one of this project's.

    Raises:
        ConfigError: it is unknown or invalid.
    """
    name = architecture.get("name")
    if not isinstance(name, str) or name not in NETWORKS:
        rule = f"its architecture is an unknown network {name!r:.60}; known: {', '.join(NETWORKS)}"
        raise ConfigError("weights", f"{path}: {rule}")
    kind = NETWORKS[name].config_class
    # A scale that the tensors do not determine is given by the user: any will do for the check.
    has_scale = {"scale", "scales"} & set(architecture) or name == "vdsr"
    known = architecture if has_scale else {**architecture, "scale": 2}
    try:
        kind.model_validate(known)
    except ValidationError as error:
        problem = first_problem(kind, error, known)
        raise ConfigError("weights", f"{path}: its architecture: {problem}") from None
    return architecture
