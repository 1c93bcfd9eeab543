"""Reads and writes trained parameters; no code in a file is ever run."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save
from torch import Tensor

from trainables.errors import ConfigError
from trainables.limits import ELEMENTS, HEADER_BYTES
from trainables.networks.base import SRNet
from trainables.networks.misfit import misfit, shortened
from trainables.networks.official import to_ours
from trainables.networks.shipped import is_shipped, shipped_file
from trainables.networks.unpickle import read_pickled_network
from trainables.paths import expanded, why_no_file

_WRAPPERS = ("params_ema", "params", "state_dict", "model_state_dict", "model")


def save_network(path: Path, network: SRNet, notes: Mapping[str, str] | None = None) -> None:
    """Write a network's parameters as safetensors, with its architecture in the metadata.

    Args:
        path: the file; its folder is created.
        network: the network to write.
        notes: further entries of the metadata.
    """
    architecture = network.config.model_dump(mode="json", exclude={"weights", "start"})
    metadata = {**(notes or {}), "architecture": json.dumps(architecture)}
    tensors = {
        key: value.detach().cpu().contiguous() for key, value in network.state_dict().items()
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    # Not save_file, which makes files readable by their owner alone.
    path.write_bytes(save(tensors, metadata=metadata))


def read_caveat(path: Path) -> str | None:
    """Read the caveat in a file's metadata: what keeps the student from comparing with its paper.

    One line of at most 500 characters, as the file may be anyone's; None without one.
    """
    caveat = _metadata(path).get("caveat") if _is_safetensors(path) else None
    return " ".join(caveat.split())[:500] or None if caveat else None


def read_notes(path: Path) -> dict[str, str]:
    """Read the metadata of a file of this project without its architecture; else empty.

    Keys and values may be anyone's: each is one line of at most 500 characters.
    """
    found = _metadata(path) if _is_safetensors(path) else {}
    notes = {key: value for key, value in found.items() if key != "architecture"}
    return {" ".join(key.split())[:60]: " ".join(v.split())[:500] for key, v in notes.items()}


def read_weights(path: Path) -> dict[str, Tensor]:
    """Read a weights file's tensors under our keys, without wrappers and the prefix `module.`.

    The file is safetensors, a torch file of plain tensors, or the released VDSR's pickled module;
    its keys are those of BasicSR, EDSR-PyTorch, RCAN, SwinIR, KAIR or pytorch-vdsr.

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
    """Read any weights file's tensors under its own keys, without wrappers and `module.`.

    Raises:
        ConfigError: the file is missing, unreadable, or holds anything but tensors.
    """
    _check_file(path)
    content = _read_safetensors(path) if _is_safetensors(path) else _read_pickled(path)
    return _unwrapped(path, content)


def load_into(network: SRNet, weights: str) -> None:
    """Load all parameters of `network` from `shipped`, `shipped:NAME` or a file; on error none.

    Raises:
        ConfigError: no shipped file fits; or the file does not: names missing and unexpected keys,
            the nearest match, and the network in the file if its tensors identify one.
    """
    network.load_state_dict(fitting(network, weights))


def fitting(network: SRNet, weights: str) -> dict[str, Tensor]:
    """Read the parameters of a network from `shipped`, `shipped:NAME` or a file, and check them.

    Args:
        network: only its keys and shapes are used, so it may be on torch's meta device.
        weights: the file.

    Raises:
        ConfigError: no shipped file fits; or the file does not, or has numbers that are not finite.
    """
    name = getattr(network.config, "name", "")
    scales = network.config.scales
    path = shipped_file(weights, name, scales) if is_shipped(weights) else expanded(weights)
    found = read_weights(path)
    difference = misfit(network.state_dict(), found)
    if difference is not None:
        raise ConfigError("weights", f"{path} does not fit this {name}: {difference}")
    check_finite(path, found)
    return found


def check_finite(path: Path, tensors: Mapping[str, Tensor]) -> None:
    """Check that all tensors of a file are finite.

    Raises:
        ConfigError: names the file and the first tensor that is not.
    """
    for key, value in tensors.items():
        if value.is_floating_point() and not bool(torch.isfinite(value).all()):
            rule = f"{shortened(key)} holds numbers that are infinite or not numbers"
            raise ConfigError("weights", f"{path}: {rule}: it was damaged, or diverged")


def _is_safetensors(path: Path) -> bool:
    return path.suffix == ".safetensors"


def _check_file(path: Path) -> None:
    reason = why_no_file(path)
    if reason is not None:
        raise ConfigError("weights", f"{path}: {reason}")


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    """Open a safetensors file, after checking the length of its header.

    Raises:
        ConfigError: it cannot be read, now or within the context.
    """
    _check_file(path)
    try:
        with path.open("rb") as raw:
            length = int.from_bytes(raw.read(8), "little")
        if length > HEADER_BYTES:
            raise ValueError(f"its header has more than {HEADER_BYTES:,} bytes")
        with safe_open(path, framework="pt") as file:
            yield file
    except ConfigError:
        raise
    except Exception as error:  # OSError, SafetensorError, or the error of a dtype torch lacks
        raise ConfigError("weights", f"{path}: cannot be read ({_first_line(error)})") from None


def _metadata(path: Path) -> dict[str, str]:
    with _opened(path) as file:
        return dict(file.metadata() or {})


def _read_safetensors(path: Path) -> dict[str, Tensor]:
    with _opened(path) as file:
        return {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118  no dict


def _read_pickled(path: Path) -> Any:
    try:
        return read_pickled_network(path)
    except Exception as error:  # a malformed pickle raises anything
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
    if sum(value.numel() for value in content.values()) > ELEMENTS:
        raise ConfigError("weights", f"{path}: holds more than {ELEMENTS:,} numbers")
    named: dict[str, Tensor] = {}
    for key, value in content.items():
        name = str(key).removeprefix("module.")
        if name in named:
            raise ConfigError("weights", f"{path}: holds {shortened(name)} twice, once as module.")
        if value.is_complex():
            raise ConfigError("weights", f"{path}: {shortened(name)} holds complex numbers")
        named[name] = value
    return named


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:120]
