"""Trained parameters in and out of files, one way; nothing here ever runs what a file says."""

from __future__ import annotations

import difflib
import json
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from trainables.networks.base import SRNet
from trainables.networks.official import infer, to_ours
from trainables.networks.shipped import is_shipped, shipped_file
from trainables.networks.unpickle import read_pickled_network
from trainables.values import ConfigError

_WRAPPERS = ("params_ema", "params", "state_dict", "model_state_dict", "model")


def save_network(path: Path, network: SRNet, notes: Mapping[str, str] | None = None) -> None:
    """Write parameters and architecture as safetensors; `notes` go into the metadata beside it."""
    architecture = network.config.model_dump(mode="json", exclude={"weights"})
    metadata = {**(notes or {}), "architecture": json.dumps(architecture)}
    tensors = {
        key: value.detach().cpu().contiguous() for key, value in network.state_dict().items()
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    # Not save_file, whose files nobody but their owner may read.
    path.write_bytes(save(tensors, metadata=metadata))


def read_architecture(path: Path) -> dict[str, Any]:
    """The network configuration that a file of ours carries in its metadata.

    Raises:
        ConfigError: the file is not safetensors or carries no architecture.
    """
    architecture = _said_architecture(path)
    if architecture is None:
        raise ConfigError("weights", f"{path}: carries no architecture; name it in the network")
    return architecture


def read_caveat(path: Path) -> str | None:
    """What a student's file says must be known to hold it against its paper; None if nothing."""
    return _metadata(path).get("caveat") if _is_safetensors(path) else None


def read_weights(path: Path) -> dict[str, Tensor]:
    """The tensors of a file under our names, wrappers and `module.` taken off.

    The file is safetensors, or torch's with plain tensors in it, or the released VDSR's pickled
    module; keys are those of BasicSR, EDSR-PyTorch, RCAN, SwinIR, KAIR or pytorch-vdsr.

    Raises:
        ConfigError: the file is missing, unreadable, or holds anything but tensors.
    """
    try:
        return to_ours(read_tensors(path))
    except ConfigError:
        raise
    except ValueError as error:
        raise ConfigError("weights", f"{path}: {error}") from None


def read_tensors(path: Path) -> dict[str, Tensor]:
    """The tensors of a file of anyone's under the names it has, wrappers and `module.` taken off.

    Raises:
        ConfigError: as `read_weights`.
    """
    if not path.is_file():
        raise ConfigError("weights", f"{path}: no such file")
    return _read_safetensors(path) if _is_safetensors(path) else _read_torch(path)


def load_into(network: SRNet, weights: str) -> None:
    """Fill `network` from `shipped`, `shipped:NAME` or a file, all parameters or none.

    Raises:
        ConfigError: nothing of that kind ships; or names what is missing, what is unexpected, the
            nearest match, and which network the file holds where its tensors say so.
    """
    name = getattr(network.config, "name", "")
    scales = network.config.scales
    path = shipped_file(weights, name, scales) if is_shipped(weights) else Path(weights)
    found = read_weights(path)
    wanted = network.state_dict()
    missing = [key for key in wanted if key not in found]
    unexpected = [key for key in found if key not in wanted]
    if missing or unexpected:
        rule = f"{path} does not fit this {name}: {_listed('missing', missing)}"
        rule += f", {_listed('unexpected', unexpected)}{_nearest(missing, unexpected)}"
        raise ConfigError("weights", f"{rule}; check name, blocks and scale{_holds(found)}")
    for key, value in wanted.items():
        if found[key].shape != value.shape:
            shapes = f"{tuple(found[key].shape)} where {tuple(value.shape)} is needed"
            rule = f"{path} does not fit this {name}: {key} is {shapes}; check features"
            raise ConfigError("weights", f"{rule}{_holds(found)}")
    network.load_state_dict(found)


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
    from trainables.networks import NETWORKS, build_network  # the registry stands above this module

    wanted = {**(config or {}), **({} if scale is None else {"scale": scale})}
    if wanted.get("name") == "spandrel":
        return build_network({**wanted, "weights": str(path)})
    said = _said_architecture(path) if _is_safetensors(path) else None
    found = _inferred(path) if said is None else said
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


def _holds(found: Mapping[str, Tensor]) -> str:
    try:
        return "; the file holds " + ", ".join(f"{k}: {v}" for k, v in infer(found).items())
    except ValueError:  # it holds something else
        return ""


def _is_safetensors(path: Path) -> bool:
    return path.suffix == ".safetensors"


def _metadata(path: Path) -> dict[str, str]:
    try:
        with safe_open(path, framework="pt") as file:
            return dict(file.metadata() or {})
    except (OSError, SafetensorError) as error:
        raise ConfigError("weights", f"{path}: cannot be read ({_first_line(error)})") from None


def _said_architecture(path: Path) -> dict[str, Any] | None:
    metadata = _metadata(path)
    if "architecture" not in metadata:
        return None
    try:
        return dict(json.loads(metadata["architecture"]))
    except (ValueError, TypeError):
        raise ConfigError("weights", f"{path}: its architecture cannot be read") from None


def _read_safetensors(path: Path) -> dict[str, Tensor]:
    try:
        with safe_open(path, framework="pt") as file:
            content = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118  no dict
    except SafetensorError as error:
        raise ConfigError("weights", f"{path}: cannot be read ({_first_line(error)})") from None
    return _unwrapped(path, content)


def _read_torch(path: Path) -> dict[str, Tensor]:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch's guesses about a file that is refused anyway
            content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception:  # torch raises a different type for each way to be malformed
        content = _read_pickled(path)
    return _unwrapped(path, content)


def _read_pickled(path: Path) -> Any:
    try:
        return read_pickled_network(path)
    except Exception as error:  # so does a malformed pickle
        rule = f"{path}: not a file of plain tensors, and nothing else is loaded"
        raise ConfigError("weights", f"{rule} ({_first_line(error)})") from None


def _unwrapped(path: Path, content: Any) -> dict[str, Tensor]:
    for wrapper in _WRAPPERS:
        if isinstance(content, dict) and isinstance(content.get(wrapper), dict):
            content = content[wrapper]
    if not isinstance(content, dict) or not content:
        raise ConfigError("weights", f"{path}: holds no dictionary of tensors")
    if not all(isinstance(value, Tensor) for value in content.values()):
        raise ConfigError("weights", f"{path}: holds more than tensors")
    return {str(key).removeprefix("module."): value for key, value in content.items()}


def _listed(word: str, keys: list[str], shown: int = 3) -> str:
    more = f" and {len(keys) - shown} more" if len(keys) > shown else ""
    return f"{word} {', '.join(keys[:shown]) + more if keys else 'nothing'}"


def _nearest(missing: list[str], unexpected: list[str]) -> str:
    if not missing or not unexpected:
        return ""
    match = difflib.get_close_matches(missing[0], unexpected, n=1, cutoff=0.3)
    return f" (nearest to {missing[0]}: {match[0]})" if match else ""


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:120]
