"""Writes a student's weights as safetensors, under our key names or those of other programs."""

from __future__ import annotations

import json
from typing import Final

from safetensors.torch import save
from torch import Tensor

from trainables.networks.base import SRNet
from trainables.networks.official import to_basicsr, to_official, with_size_buffers
from tune_sr.exporting.subject import Subject

NAMES: Final = ("own", "basicsr", "spandrel")
"""Whose key names a file has: this project's; BasicSR's; those that spandrel recognises, the
library of chaiNNer and ComfyUI."""
_KNOWN: Final = {
    "basicsr": ("edsr", "rcan", "swinir", "compact"),
    "spandrel": ("rcan", "swinir", "compact", "span"),
}
"""Networks that the programs of a naming have."""


def weights_bytes(subject: Subject, names: str) -> bytes:
    """Serialise a network's parameters, with its facts and architecture in the metadata.

    Raises:
        ValueError: the programs of that naming have no such network.
    """
    check_names(subject, names)
    architecture = subject.network.config.model_dump(mode="json", exclude={"weights"})
    metadata = {**subject.facts(), "architecture": json.dumps(architecture)}
    tensors = {
        key: value.detach().cpu().contiguous().clone()
        for key, value in named(subject.network, names).items()
    }
    content: bytes = save(tensors, metadata=metadata)
    return content


def check_names(subject: Subject, names: str) -> None:
    """Check that the programs of a naming have the network.

    Raises:
        ValueError: they have not; lists those that they have.
    """
    known = _KNOWN.get(names, (subject.kind,))
    if subject.kind not in known:
        raise ValueError(f"--names {names}: it has no {subject.kind}, but {', '.join(known)}")
    blocks = len(subject.network.body)
    if (names, subject.kind) == ("spandrel", "span") and blocks != 6:
        raise ValueError(f"--names spandrel: it reads a span of 6 blocks, and this has {blocks}")


def named(network: SRNet, names: str) -> dict[str, Tensor]:
    """Return a network's parameters under the keys of a naming of `NAMES`."""
    tensors = dict(network.state_dict())
    if names == "own":
        return tensors
    renamed = to_basicsr(tensors) if names == "basicsr" else to_official(tensors)
    return with_size_buffers(renamed)
