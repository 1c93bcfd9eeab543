"""The interface of all super-resolution networks: a head, a body of numbered units, a tail."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self, TypeVar, final

import torch
from pydantic import Field, SerializerFunctionWrapHandler, model_serializer, model_validator
from torch import Tensor, nn

from trainables.errors import ConfigError
from trainables.limits import BLOCKS, FEATURES, PARAMETERS
from trainables.networks.portions import in_portions
from trainables.values import Colour, Config, Trace

SCALES = (2, 3, 4)
"""The upscaling factors of all papers."""

Tap = int | Literal["before_skip", "after_skip"]
"""A feature map that a trace can return: the output of a unit of the body, by number from 0; or
that of the body's closing convolution, before or after the skip around body and convolution is
added. In a network without these, both are the output of the last unit."""

Network = TypeVar("Network", bound=nn.Module)


class ScaledConfig(Config):
    """Validates `scales`, the field that every network's configuration has."""

    if TYPE_CHECKING:  # declared by subclasses, so that their own keys are listed first
        scales: tuple[int, ...]

    @model_validator(mode="before")
    @classmethod
    def _scale_is_short_for_scales(cls, raw: Any) -> Any:
        if not isinstance(raw, dict) or "scale" not in raw:
            return raw
        if "scales" in raw:
            raise ConfigError("scale", "give scale or scales, not both")
        if type(raw["scale"]) is not int or raw["scale"] not in SCALES:
            raise ConfigError("scale", f"must be 2, 3 or 4; got {raw['scale']!r}")
        rest = {key: value for key, value in raw.items() if key != "scale"}
        return {**rest, "scales": [raw["scale"]]}

    @model_validator(mode="after")
    def _scales_are_known_and_differ(self) -> Self:
        if not set(self.scales) <= set(SCALES) or len(set(self.scales)) < len(self.scales):
            rule = f"must be different ones of 2, 3, 4; got {list(self.scales)}"
            raise ConfigError("scales", rule)
        return self


class SRNetConfig(ScaledConfig):
    """The fields that the configurations of all this project's networks share."""

    features: int = Field(ge=1, le=FEATURES)
    """Width: feature channels of the body."""
    blocks: int = Field(ge=1, le=BLOCKS)
    """Depth: units of the body; in RCAN, blocks in each of its groups."""
    scales: tuple[int, ...] = Field(strict=False, min_length=1)
    """Upscaling factors, out of 2, 3, 4; `scale: s` is short for `scales: [s]`."""
    weights: str | None = None
    """A file of trained parameters to start from; `shipped`: the file of this network and scale
    that comes with the project; `shipped:NAME`; None: random parameters."""
    start: str | None = None
    """A student's: a file, such as one of another scale, of which every tensor that fits by name
    and shape is taken at the start; the others stay random, and are named in the log, the ledger
    and the student's file. `shipped:NAME`: of any scale. None: `weights` decides."""

    @property
    def units(self) -> int:
        """Number of units in the body, in which progressive distillation is measured."""
        return self.blocks

    @property
    def convolutions(self) -> int:
        """Approximate number of 3x3 convolutions, from features to features, in the body."""
        return self.blocks

    @model_serializer(mode="wrap")
    def _written(self, write: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Serialise the fields, without `start` where there is none.

        So a configuration is written as before the field existed, and files can be read by versions
        that do not know it.
        """
        written: dict[str, Any] = write(self)
        return {key: value for key, value in written.items() if key != "start" or value is not None}

    @model_validator(mode="after")
    def _can_be_built(self) -> Self:
        if self.weights is not None and self.start is not None:
            raise ConfigError("start", "weights are the whole network already: give one of the two")
        if self.convolutions > 2 * BLOCKS:
            rule = f"a body of {self.convolutions:,} convolutions; at most {2 * BLOCKS:,}"
            raise ConfigError("blocks", rule)
        parameters = 9 * self.features**2 * self.convolutions
        if parameters > PARAMETERS:
            rule = f"{self.features:,} make a body of {parameters:,} parameters"
            raise ConfigError("features", f"{rule}; at most {PARAMETERS:,}")
        return self


class SRNet(nn.Module, ABC):
    """A super-resolution network: maps LR images to images `scale` times as large."""

    config_class: ClassVar[type[ScaledConfig]]
    """The class of its configuration."""
    colour: Colour
    """Colour of input and output: `rgb` or `y`."""
    multiple_of: int
    """Input sides are padded to a multiple of this, and the output is cropped."""
    micro_batch: int | None = None
    """Images that are processed at a time; None: the whole batch. The result is the same."""
    started: str | None = None
    """What of its `start` was taken and what left out, in one line; None without one."""
    passes_through: ClassVar[bool] = True
    """Whether a unit of the body can be set to return its input: see `near_identity`."""

    def __init__(self, config: ScaledConfig) -> None:
        super().__init__()
        self.config = config

    @property
    def scales(self) -> tuple[int, ...]:
        """The upscaling factors this network serves."""
        return self.config.scales

    @property
    @abstractmethod
    def head(self) -> nn.Module:
        """The layer that maps the image to features."""

    @property
    @abstractmethod
    def body(self) -> nn.ModuleList:
        """The units, which progressive distillation adds and feature distillation taps."""

    @property
    @abstractmethod
    def tail(self) -> nn.Module:
        """The layer that maps features to the image."""

    @abstractmethod
    def trace_at_once(
        self, lr_BCHW: Tensor, *, scale: int | None, taps: Sequence[Tap], active: int | None
    ) -> Trace:
        """Compute `trace` for all images together."""

    @final
    def trace(
        self,
        lr_BCHW: Tensor,
        *,
        scale: int | None = None,
        taps: Sequence[Tap] = (),
        active: int | None = None,
    ) -> Trace:
        """Upscale images by the first `active` body units, and return feature maps too.

        Args:
            lr_BCHW: images in [0, 1], in the network's colour.
            scale: the upscaling factor; None: the only one that the network serves.
            taps: the feature maps to return, of the image's size at the body's input, without
                padding.
            active: number of body units to run; None: all.

        Raises:
            ValueError: the network does not serve `scale`.
        """

        def at_once(part_BCHW: Tensor) -> tuple[Tensor, ...]:
            traced = self.trace_at_once(part_BCHW, scale=scale, taps=taps, active=active)
            return traced.sr_BCHW, *traced.taps

        sr_BCHW, *kept = in_portions(at_once, lr_BCHW, self.micro_batch)
        return Trace(sr_BCHW, tuple(kept))

    @abstractmethod
    def initialise(self, generator: torch.Generator) -> None:
        """Draw all parameters from `generator`, in place."""

    def near_identity(self, first: int) -> None:
        """Set the units from number `first` on to return their input, in place.

        Raises:
            ValueError: no weights make a unit of this network do so; see `passes_through`.
        """
        raise ValueError(f"no unit of {type(self).__name__} passes its input through; from {first}")

    def settled(self, active: int) -> SRNet:
        """Return a network equal to this one's first `active` units, to be saved and used whole.

        It is this network, with the other units set to return their input, in place, or where units
        cannot do so a shallower copy.
        """
        self.near_identity(active)
        return self

    @final  # type: ignore[misc]  # to torch, forward is an attribute that may be assigned
    def forward(self, lr_BCHW: Tensor, *, scale: int | None = None) -> Tensor:
        """Upscale images: B C H W to B C (scale H) (scale W)."""
        return self.trace(lr_BCHW, scale=scale).sr_BCHW

    @final
    def chosen_scale(self, scale: int | None) -> int:
        """Return `scale`; for None, the only scale of this network.

        Raises:
            ValueError: the network does not serve it, or serves several and it is None.
        """
        if scale is None and len(self.scales) == 1:
            return self.scales[0]
        if scale not in self.scales:
            which = "say which" if scale is None else f"not {scale}"
            raise ValueError(f"this network serves scales {list(self.scales)}: {which}")
        return scale

    @final
    def run_body(self, features_BFHW: Tensor, keep: Keeper, active: int | None) -> Tensor:
        """Run the first `active` units of the body (None: all), passing each output to `keep`."""
        units = self.body[: len(self.body) if active is None else active]
        for number, unit in enumerate(units):
            features_BFHW = keep(number, unit(features_BFHW))
        return features_BFHW


class Keeper:
    """Stores the requested feature maps of one pass, without padding."""

    def __init__(self, taps: Sequence[Tap], image_BCHW: Tensor) -> None:
        self.taps = taps
        self.size = image_BCHW.shape[-2:]
        self._kept: dict[Tap, Tensor] = {}

    def __call__(self, tap: Tap, features_BFHW: Tensor) -> Tensor:
        """Store `features_BFHW`, cropped to the image's size, if `tap` is requested; return it."""
        if tap in self.taps:
            height, width = self.size
            self._kept[tap] = features_BFHW[..., :height, :width]
        return features_BFHW

    def kept(self) -> tuple[Tensor, ...]:
        """Return the requested feature maps in the order of the request."""
        return tuple(self._kept[tap] for tap in self.taps)


def channels_innermost(network: Network) -> Network:
    """Convert a network to the memory format channels_last, in place, and return it.

    Convolutions run fastest in it, on CPUs and GPUs alike.
    """
    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # stubs lack it
    return network


@contextmanager
def frozen(network: nn.Module) -> Iterator[None]:
    """A context in which parameters of `network` get no gradients; its inputs still do."""
    trained = [each for each in network.parameters() if each.requires_grad]
    for parameter in trained:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for parameter in trained:
            parameter.requires_grad_(True)
