"""What every super-resolution network offers: a head, a body of countable units, a tail."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self, TypeVar, final

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn

from trainables.limits import BLOCKS, FEATURES, PARAMETERS
from trainables.networks.portions import in_portions
from trainables.values import Colour, Config, ConfigError, Trace

SCALES = (2, 3, 4)
"""The upscaling factors of all papers."""

Tap = int | Literal["before_skip", "after_skip"]
"""Where a trace can be tapped: behind a unit of the body, by number from 0; or behind the whole
body and the convolution that closes it, before or after the skip around both is added. Where a
network has no such convolution and no such skip, both are its last unit."""

Network = TypeVar("Network", bound=nn.Module)


class ScaledConfig(Config):
    """The rules of `scales`, which every network has and every teacher."""

    if TYPE_CHECKING:  # declared by each, so that its own keys come first where keys are listed
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
    """What all networks of ours are configured by."""

    features: int = Field(ge=1, le=FEATURES)
    """Width: feature channels of the body."""
    blocks: int = Field(ge=1, le=BLOCKS)
    """Depth: units of the body, or blocks in each of them where the network says so."""
    scales: tuple[int, ...] = Field(strict=False, min_length=1)
    """Upscaling factors, out of 2, 3, 4; `scale: s` is short for `scales: [s]`."""
    weights: str | None = None
    """A file of trained parameters to start from; `shipped`, for what ships of this kind and
    scale; `shipped:NAME`; None for a random start."""

    @property
    def units(self) -> int:
        """Length of the body, which progressive distillation counts."""
        return self.blocks

    @property
    def convolutions(self) -> int:
        """About how many convolutions of 3x3, from features to features, the body has."""
        return self.blocks

    @model_validator(mode="after")
    def _can_be_built(self) -> Self:
        if self.convolutions > 2 * BLOCKS:
            rule = f"a body of {self.convolutions:,} convolutions; at most {2 * BLOCKS:,}"
            raise ConfigError("blocks", rule)
        parameters = 9 * self.features**2 * self.convolutions
        if parameters > PARAMETERS:
            rule = f"{self.features:,} make a body of {parameters:,} parameters"
            raise ConfigError("features", f"{rule}; at most {PARAMETERS:,}")
        return self


class SRNet(nn.Module, ABC):
    """A super-resolution network: LR image in, image `scale` times larger out."""

    config_class: ClassVar[type[ScaledConfig]]
    """What it is built from."""
    colour: Colour
    multiple_of: int
    """Input sides are padded to a multiple of this and cropped back."""
    micro_batch: int | None = None
    """Images that pass at a time, None: all there are. The result is the same."""
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
        """Image to features."""

    @property
    @abstractmethod
    def body(self) -> nn.ModuleList:
        """The units that distillation counts and taps."""

    @property
    @abstractmethod
    def tail(self) -> nn.Module:
        """Features to image."""

    @abstractmethod
    def trace_at_once(
        self, lr_BCHW: Tensor, *, scale: int | None, taps: Sequence[Tap], active: int | None
    ) -> Trace:
        """`trace`, all images together."""

    @final
    def trace(
        self,
        lr_BCHW: Tensor,
        *,
        scale: int | None = None,
        taps: Sequence[Tap] = (),
        active: int | None = None,
    ) -> Trace:
        """Run the first `active` body units (all if None) and keep the outputs named in `taps`.

        `lr_BCHW` lies in [0, 1]. `scale` may be left out where the network serves one. What is
        kept is as large as the image at the body's input, however the network may pad.
        """

        def at_once(part_BCHW: Tensor) -> tuple[Tensor, ...]:
            traced = self.trace_at_once(part_BCHW, scale=scale, taps=taps, active=active)
            return traced.sr_BCHW, *traced.taps

        sr_BCHW, *kept = in_portions(at_once, lr_BCHW, self.micro_batch)
        return Trace(sr_BCHW, tuple(kept))

    @abstractmethod
    def initialise(self, generator: torch.Generator) -> None:
        """Draw every parameter afresh, in place."""

    def near_identity(self, first: int) -> None:
        """Make the units from number `first` on pass their input through, in place.

        Raises:
            ValueError: no unit of this network can; see `passes_through`.
        """
        raise ValueError(f"no unit of {type(self).__name__} passes its input through; from {first}")

    def settled(self, active: int) -> SRNet:
        """The network that the first `active` units make up, to be saved and used whole.

        Where units can pass their input through it is this one, those behind changed in place.
        """
        self.near_identity(active)
        return self

    @final  # type: ignore[misc]  # to torch, forward is an attribute that may be assigned
    def forward(self, lr_BCHW: Tensor, *, scale: int | None = None) -> Tensor:
        """The super-resolved image B C (scale H) (scale W)."""
        return self.trace(lr_BCHW, scale=scale).sr_BCHW

    @final
    def chosen_scale(self, scale: int | None) -> int:
        """`scale`, or the only one there is; refuses one that this network does not serve."""
        if scale is None and len(self.scales) == 1:
            return self.scales[0]
        if scale not in self.scales:
            which = "say which" if scale is None else f"not {scale}"
            raise ValueError(f"this network serves scales {list(self.scales)}: {which}")
        return scale

    @final
    def run_body(self, features_BFHW: Tensor, keep: Keeper, active: int | None) -> Tensor:
        """The first `active` units in turn (0 = first)."""
        units = self.body[: len(self.body) if active is None else active]
        for number, unit in enumerate(units):
            features_BFHW = keep(number, unit(features_BFHW))
        return features_BFHW


class Keeper:
    """Keeps, of all features that pass by, those that are asked for."""

    def __init__(self, taps: Sequence[Tap], image_BCHW: Tensor) -> None:
        self.taps = taps
        self.size = image_BCHW.shape[-2:]
        self._kept: dict[Tap, Tensor] = {}

    def __call__(self, tap: Tap, features_BFHW: Tensor) -> Tensor:
        """`features_BFHW` itself; of it, the part without padding is kept if `tap` is asked for."""
        if tap in self.taps:
            height, width = self.size
            self._kept[tap] = features_BFHW[..., :height, :width]
        return features_BFHW

    def kept(self) -> tuple[Tensor, ...]:
        """All that was asked for, in the order of asking."""
        return tuple(self._kept[tap] for tap in self.taps)


def channels_innermost(network: Network) -> Network:
    """`network` itself, laid out so that convolutions run fastest, on CPU and GPU alike."""
    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # stubs lack it
    return network


@contextmanager
def frozen(network: nn.Module) -> Iterator[None]:
    """Without gradients for the parameters of `network`, which pass through it all the same."""
    moving = [each for each in network.parameters() if each.requires_grad]
    for parameter in moving:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for parameter in moving:
            parameter.requires_grad_(True)
