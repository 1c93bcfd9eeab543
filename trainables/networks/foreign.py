"""Frozen teachers of any RGB architecture that the optional library spandrel supports.

`pip install 'tune-sr[spandrel]'` installs it and torchvision, which it needs. It recognises the
architecture by the tensors. The file is read here, not by spandrel, which would run TorchScript.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal, NoReturn, final

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from trainables.errors import ConfigError
from trainables.networks.base import ScaledConfig, SRNet, Tap
from trainables.networks.checkpoint import check_finite, read_tensors
from trainables.paths import expanded, why_no_file
from trainables.values import Trace

_EXTRA = "pip install 'tune-sr[spandrel]'"


class SpandrelConfig(ScaledConfig):
    """The configuration of a teacher of spandrel's: its weights file, and its scale."""

    name: Literal["spandrel"]
    scales: tuple[int, ...] = Field(strict=False, min_length=1, max_length=1)
    """The file's upscaling factor, as a list of one; default: the student's."""
    weights: str
    """The file of trained parameters."""


@final
class SpandrelTeacher(SRNet):
    """An RGB network of spandrel's; it has no body whose units can be counted or tapped."""

    colour = "rgb"
    multiple_of = 1
    config: SpandrelConfig
    config_class = SpandrelConfig

    def __init__(self, config: SpandrelConfig) -> None:
        """Read the weights file and build the network that spandrel recognises in it.

        Raises:
            ConfigError: spandrel or torchvision is missing or broken, the file is not plain
                tensors, or holds no RGB super-resolution network of that scale.
        """
        super().__init__(config)
        described = _described(expanded(config.weights))
        self.model: nn.Module = described.model
        check_finite(expanded(config.weights), dict(self.model.named_parameters()))
        self._call: Callable[[nn.Module, Tensor], Tensor] = described._call_fn
        self._padding: Callable[[int, int], tuple[int, int]]
        self._padding = described.size_requirements.get_padding
        channels = described.input_channels, described.output_channels
        kind, scale = described.architecture.name, described.scale
        if described.purpose != "SR" or channels != (3, 3) or (scale,) != config.scales:
            rule = f"{config.weights}: spandrel finds a {kind} for {described.purpose}"
            rule += f" of scale {scale}, {channels[0]} channels in and {channels[1]} out"
            raise ConfigError("weights", f"{rule}; needed: SR of scale {config.scales[0]}, 3 and 3")

    @property
    def head(self) -> nn.Module:
        """The whole network."""
        return self.model

    @property
    def body(self) -> nn.ModuleList:
        """An empty list: the network's parts are not known."""
        return nn.ModuleList()

    @property
    def tail(self) -> nn.Module:
        """An identity: the head is the whole network."""
        return nn.Identity()

    def trace_at_once(
        self, lr_BCHW: Tensor, *, scale: int | None, taps: Sequence[Tap], active: int | None
    ) -> Trace:
        """Compute `SRNet.trace` by the whole network, padded as it needs, and cropped.

        Raises:
            ValueError: feature maps or a part of the body are requested.
        """
        if taps or active is not None:
            raise ValueError("a teacher of spandrel's has no body to tap: use one of our networks")
        times = self.chosen_scale(scale)
        height, width = lr_BCHW.shape[-2:]
        # A copy, because some architectures (RCAN's) change their input in place.
        padded_BCHW = _padded(lr_BCHW.clone(), *self._padding(width, height))
        # Calling spandrel's own description of the model would clamp, and stop the gradient.
        sr_BCHW = self._call(self.model, padded_BCHW)
        return Trace(sr_BCHW[..., : times * height, : times * width], ())

    def initialise(self, generator: torch.Generator) -> NoReturn:
        """Raise AssertionError: a frozen teacher is never initialised at random."""
        raise AssertionError(f"a frozen teacher, drawn from {generator}")

    def near_identity(self, first: int) -> NoReturn:
        """Raise AssertionError: a frozen teacher never grows."""
        raise AssertionError(f"a frozen teacher, growing from {first}")


def _described(path: Path) -> Any:
    spandrel = _spandrel()
    reason = why_no_file(path)
    if reason is not None:
        rule = f"{path}: {reason}; name a file of yours, such as one of openmodeldb.info"
        raise ConfigError("weights", rule)
    tensors = read_tensors(path)
    try:
        with torch.random.fork_rng(devices=[]):  # building a model draws from the global stream
            described = spandrel.MAIN_REGISTRY.load(spandrel.canonicalize_state_dict(tensors))
    except spandrel.UnsupportedModelError:
        rule = f"{path}: spandrel knows no architecture with these tensors"
        raise ConfigError("weights", rule) from None
    except Exception as error:  # architectures raise errors of many types
        reason = (str(error).splitlines() or [type(error).__name__])[0][:120]
        raise ConfigError("weights", f"{path}: spandrel cannot load it ({reason})") from None
    if not isinstance(described, spandrel.ImageModelDescriptor):
        raise ConfigError("weights", f"{path}: takes a mask beside the image")
    return described


def _spandrel() -> Any:
    try:
        import spandrel
    except ModuleNotFoundError as error:
        raise ConfigError("name", f"{error.name} is not installed: {_EXTRA}") from None
    except Exception as error:  # as of torchvision built for another torch
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        rule = f"spandrel cannot be imported ({reason}); torchvision must fit torch"
        raise ConfigError("name", f"{rule} {torch.__version__}: {_EXTRA}") from None
    return spandrel


def _padded(x_BCHW: Tensor, right: int, below: int) -> Tensor:
    """Pad on the right and below by mirroring, and by repeating where the image is too small."""
    height, width = x_BCHW.shape[-2:]
    mirrored = min(right, width - 1), min(below, height - 1)
    if any(mirrored):
        x_BCHW = F.pad(x_BCHW, (0, mirrored[0], 0, mirrored[1]), "reflect")
    if (right, below) != mirrored:
        rest = (0, right - mirrored[0], 0, below - mirrored[1])
        x_BCHW = F.pad(x_BCHW, rest, "replicate")
    return x_BCHW
