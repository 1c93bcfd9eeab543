"""SPAN: the network with parameter-free attention that won NTIRE 2024's efficiency challenge.

[SPAN] Wan et al., "Swift Parameter-free Attention Network for Efficient Super-Resolution", CVPRW
2024, arXiv 2311.12770. Key names are those of the released files. Their `eval_conv`, the merged
kernel of each convolution, is not read here, but computed and written for other programs.
Deviations: any number of blocks, where the paper has six; trained and run through merged kernels.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Literal, final

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from trainables.limits import BLOCKS, FEATURES
from trainables.networks.base import Keeper, SRNet, Tap, channels_innermost
from trainables.networks.blocks import Colours, conv3x3, start_as_torch_does
from trainables.networks.residual import OneScaleConfig
from trainables.values import Trace

_GAIN = 2
"""Ratio of the inner to the outer channels of a convolution in training."""


class SPANConfig(OneScaleConfig):
    """SPAN of any width and depth; [SPAN] has 48 features (SPAN-S) or 52, and 6 blocks."""

    name: Literal["span"]
    features: int = Field(default=48, ge=1, le=FEATURES)
    """Width: feature channels of the body."""
    blocks: int = Field(default=6, ge=1, le=BLOCKS)
    """Depth: attention blocks (SPAB); other programs read only files of 6."""
    norm: bool = True
    """Whether input images are shifted by DIV2K's mean and scaled to a range of 255; files of
    networks without it have an entry `no_norm`."""


class MergedConv(nn.Module):
    """A 3x3 convolution parametrised in training as a sum of linear layers (`Conv3XC`).

    A chain of 1x1, 3x3 and 1x1 convolutions of twice the width, plus a 1x1 convolution: all linear,
    so one 3x3 kernel has the same output ([SPAN] Section 3.3). Gradients flow through the merging,
    a few small products; computing the wide convolutions would take four times as long a step.
    """

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.sk = nn.Conv2d(inputs, outputs, 1)
        self.conv = nn.Sequential(
            nn.Conv2d(inputs, _GAIN * inputs, 1),
            nn.Conv2d(_GAIN * inputs, _GAIN * outputs, 3),
            nn.Conv2d(_GAIN * outputs, outputs, 1),
        )

    def merged(self) -> tuple[Tensor, Tensor]:
        """Return the kernel (outputs, inputs, 3, 3) and bias (outputs,) with the same output."""
        return merge(dict(self.named_parameters()))

    def forward(self, x_BFHW: Tensor) -> Tensor:
        """B inputs H W to B outputs H W."""
        with torch.autocast(x_BFHW.device.type, enabled=False):  # parameters, not features
            kernel, bias = self.merged()
        return F.conv2d(x_BFHW, kernel, bias, padding=1)

    @torch.no_grad()
    def deployed(self) -> nn.Conv2d:
        """Return the single 3x3 convolution of the same output, for use after training."""
        kernel, bias = self.merged()
        convolution = nn.Conv2d(
            kernel.shape[1], kernel.shape[0], 3, padding=1, device=kernel.device, dtype=kernel.dtype
        )
        assert convolution.bias is not None
        convolution.weight.copy_(kernel)
        convolution.bias.copy_(bias)
        return convolution


def merge(tensors: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
    """Compute kernel and bias of the 3x3 convolution that equals a `MergedConv`.

    Args:
        tensors: `sk.weight`, `sk.bias`, and `conv.N.weight`, `conv.N.bias` for N in 0, 1, 2.
    """
    # A teacher's weights may be bfloat16; they are merged in the precision of the biases.
    tensors = {key: value.to(tensors["sk.bias"].dtype) for key, value in tensors.items()}
    first, middle, last = (tensors[f"conv.{n}.weight"] for n in range(3))
    first_b, middle_b, last_b = (tensors[f"conv.{n}.bias"] for n in range(3))
    wide, narrow = middle.flatten(2), first.flatten(1)  # (2o, 2i, 9), (2i, i)
    outer = last.flatten(1)  # (o, 2o)
    kernel = torch.einsum("on,nmk,mi->oik", outer, wide, narrow)
    kernel = kernel.view(*kernel.shape[:2], 3, 3)
    bias = outer @ (wide.sum(2) @ first_b + middle_b) + last_b
    return kernel + F.pad(tensors["sk.weight"], (1, 1, 1, 1)), bias + tensors["sk.bias"]


class AttentionBlock(nn.Module):
    """SPAB: three convolutions, whose output weights itself plus the input ([SPAN] Eq. 3-5)."""

    def __init__(self, features: int) -> None:
        super().__init__()
        self.c1_r = MergedConv(features, features)
        self.c2_r = MergedConv(features, features)
        self.c3_r = MergedConv(features, features)

    def with_first(self, x_BFHW: Tensor) -> tuple[Tensor, Tensor]:
        """Return the output, and the first convolution's output after the activation: B F H W.

        After it, because the released code applies the activation in place.
        """
        first_BFHW = F.silu(self.c1_r(x_BFHW))
        inner_BFHW = self.c2_r(first_BFHW)
        # Under autocast skips are added in float32, which keeps small residuals.
        last_BFHW = self.c3_r(F.silu(inner_BFHW)).to(x_BFHW.dtype)
        return (last_BFHW + x_BFHW) * (torch.sigmoid(last_BFHW) - 0.5), first_BFHW

    def forward(self, x_BFHW: Tensor) -> Tensor:
        """B F H W to B F H W."""
        return self.with_first(x_BFHW)[0]


@final
class SPAN(SRNet):
    """SPAN for RGB: attention blocks at LR size, early and late features combined, pixel shuffle.

    The output of the last active block's first convolution is among the concatenated features
    ([SPAN] Fig. 2), so the first `active` blocks are exactly a shallower SPAN.
    """

    colour = "rgb"
    multiple_of = 1
    config: SPANConfig
    config_class = SPANConfig
    passes_through = False

    def __init__(self, config: SPANConfig) -> None:
        super().__init__(config)
        features = config.features
        self.colours = Colours(img_range=255.0)
        self.conv_1 = MergedConv(3, features)
        units = [AttentionBlock(features) for _ in range(config.blocks)]
        for number, unit in enumerate(units, start=1):
            self.add_module(f"block_{number}", unit)
        self.conv_cat = nn.Conv2d(4 * features, features, 1)
        self.conv_2 = MergedConv(features, features)
        self.upsampler = nn.Sequential(
            conv3x3(features, 3 * config.scale**2), nn.PixelShuffle(config.scale)
        )
        if not config.norm:
            self.register_buffer("no_norm", torch.zeros(1))
        # Outside of torch's registry: each block is registered by its own key already.
        self.__dict__["_units"] = nn.ModuleList(units)

    @property
    def head(self) -> nn.Module:
        """The convolution that maps colours to features."""
        return self.conv_1

    @property
    def body(self) -> nn.ModuleList:
        """The attention blocks."""
        body: nn.ModuleList = self.__dict__["_units"]
        return body

    @property
    def tail(self) -> nn.Module:
        """The layers that map features to the image."""
        return self.upsampler

    def trace_at_once(
        self, lr_BCHW: Tensor, *, scale: int | None, taps: Sequence[Tap], active: int | None
    ) -> Trace:
        """Compute `SRNet.trace` for all images together."""
        self.chosen_scale(scale)
        image_BCHW = self.colours(lr_BCHW) if self.config.norm else lr_BCHW
        first_BFHW = self.conv_1(image_BCHW).to(image_BCHW.dtype)
        keep = Keeper(taps, lr_BCHW)
        features_BFHW, early_BFHW, late_BFHW = first_BFHW, first_BFHW, first_BFHW
        for number, unit in enumerate(self.body[: len(self.body) if active is None else active]):
            assert isinstance(unit, AttentionBlock)
            features_BFHW, late_BFHW = unit.with_first(features_BFHW)
            keep(number, features_BFHW)
            early_BFHW = features_BFHW if number == 0 else early_BFHW
        keep("after_skip", keep("before_skip", features_BFHW))
        closed_BFHW = self.conv_2(features_BFHW)
        together_BFHW = torch.cat([first_BFHW, closed_BFHW, early_BFHW, late_BFHW], dim=1)
        return Trace(self.upsampler(self.conv_cat(together_BFHW)), keep.kept())

    @torch.no_grad()
    def settled(self, active: int) -> SRNet:
        """Return a SPAN of the first `active` blocks with copies of their weights, or this one.

        A block's output is (o + x) (sigmoid(o) - 0.5), which no weights make equal to x, so the
        other blocks are left out.
        """
        if active == len(self.body):
            return self
        changes = {"blocks": active, "weights": None, "start": None}
        shallower = SPAN(self.config.model_copy(update=changes))
        shallower.started = self.started
        wanted = shallower.state_dict()
        state = {key: value for key, value in self.state_dict().items() if key in wanted}
        shallower.load_state_dict(state)
        some = self.conv_cat.weight
        return channels_innermost(shallower.to(some.device, some.dtype))

    def initialise(self, generator: torch.Generator) -> None:
        """Initialise every convolution by torch's default, as in the released code."""
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                start_as_torch_does(module, generator)


def merged_kernels(tensors: Mapping[str, Tensor]) -> Iterator[tuple[str, Tensor]]:
    """Yield key and tensor of the `eval_conv` entries that other programs read of a SPAN's file."""
    ends = ".sk.weight"
    for layer in (key.removesuffix(ends) for key in tensors if key.endswith(ends)):
        parts = {
            key.removeprefix(f"{layer}."): value
            for key, value in tensors.items()
            if key.startswith(f"{layer}.")
        }
        kernel, bias = merge(parts)
        yield f"{layer}.eval_conv.weight", kernel
        yield f"{layer}.eval_conv.bias", bias
