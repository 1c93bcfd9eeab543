"""A network from its file: its architecture as the file or the caller has it, or inferred."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from trainables.networks import NETWORKS, build_network
from trainables.networks.base import SRNet
from trainables.networks.checkpoint import _is_safetensors, _metadata, read_weights
from trainables.networks.official import infer
from trainables.problems import first_problem
from trainables.values import ConfigError


def read_architecture(path: Path) -> dict[str, Any]:
    """The network configuration that a file of ours carries in its metadata.

    Raises:
        ConfigError: the file is not safetensors or carries no architecture.
    """
    architecture = _said_architecture(path)
    if architecture is None:
        raise ConfigError("weights", f"{path}: carries no architecture; name it in the network")
    return architecture


def load_network(
    path: Path, config: Mapping[str, Any] | None = None, scale: int | None = None
) -> SRNet:
    """The network in a file, ready for use, without its study.

    A file of ours says what it holds; of any other the architecture is inferred from its tensors.
    `config` overrides single fields of that, such as `res_scale`, which no tensor tells: an EDSR
    takes the usual one for its size (0.1 for 256 features, 1 for the baseline). `scale` is the
    one to serve, where the file serves several, and must be the file's own elsewhere. With
    `name: spandrel` nothing is inferred here.

    Raises:
        ConfigError: the file holds no network of ours, or not one of that scale.
    """
    wanted = {**(config or {}), **({} if scale is None else {"scale": scale})}
    if wanted.get("name") == "spandrel":
        return build_network({**wanted, "weights": str(path)})
    said = _said_architecture(path) if _is_safetensors(path) else None
    found = _checked(path, _inferred(path)) if said is None else said
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


def _said_architecture(path: Path) -> dict[str, Any] | None:
    metadata = _metadata(path)
    if "architecture" not in metadata:
        return None
    try:
        said = dict(json.loads(metadata["architecture"]))
    except (ValueError, TypeError, RecursionError):
        raise ConfigError("weights", f"{path}: its architecture cannot be read") from None
    said.pop("weights", None)
    return _checked(path, said)


def _checked(path: Path, said: dict[str, Any]) -> dict[str, Any]:
    """An architecture that a file says or implies, which must be one of ours."""
    name = said.get("name")
    if not isinstance(name, str) or name not in NETWORKS:
        rule = f"its architecture is an unknown network {name!r:.60}; known: {', '.join(NETWORKS)}"
        raise ConfigError("weights", f"{path}: {rule}")
    kind = NETWORKS[name].config_class
    # What a file's tensors do not say is the user's to say.
    known = said if {"scale", "scales"} & set(said) or name == "vdsr" else {**said, "scale": 2}
    try:
        kind.model_validate(known)
    except ValidationError as error:
        problem = first_problem(kind, error, known)
        raise ConfigError("weights", f"{path}: its architecture: {problem}") from None
    return said
