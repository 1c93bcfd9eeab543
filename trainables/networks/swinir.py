"""SwinIR: a transformer with self-attention inside small windows.

[SwinIR] Liang et al., "SwinIR: Image Restoration Using Swin Transformer", ICCVW 2021,
arXiv 2108.10257. Key names are those of the released files under `params`.

Deviations: the released training drops whole layers at random (`drop_path` 0.1); here none are,
which is the same network at evaluation. The buffers `attn_mask` and `relative_position_index` are
computed for the image at hand and are not part of the state dict.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, Self, final

import torch
import torch.nn.functional as F
from pydantic import Field, model_validator
from torch import Tensor, nn

from trainables.errors import ConfigError
from trainables.limits import BLOCKS, FEATURES
from trainables.networks.base import Keeper, SRNet, Tap
from trainables.networks.blocks import Colours, conv3x3, silence, start_as_torch_does, upsampler
from trainables.networks.residual import OneScaleConfig
from trainables.networks.windows import (
    SHIFT,
    WINDOW,
    from_windows,
    mirrored,
    relative_positions,
    shift_mask,
    to_windows,
)
from trainables.values import Trace

_UPSAMPLED_FEATURES = 64
_MLP_RATIO = 2


class SwinIRConfig(OneScaleConfig):
    """SwinIR of any width and depth; teacher 180/6, DUKD's student 60/4."""

    name: Literal["swinir"]
    features: int = Field(default=180, ge=1, le=FEATURES)
    """Width, a multiple of `heads`: 180 in [SwinIR], 60 in the light one and DUKD's student."""
    blocks: int = Field(default=6, ge=1, le=BLOCKS)
    """Depth: residual Swin transformer blocks, the units of progressive distillation."""
    layers: int = Field(default=6, ge=1, le=BLOCKS)
    """Swin transformer layers in each block; every second one has shifted windows."""
    heads: int = Field(default=6, ge=1, le=FEATURES)
    """Attention heads of each layer."""
    upsampler: Literal["pixelshuffle", "pixelshuffledirect"] = "pixelshuffle"
    """`pixelshuffle`: classical, by way of 64 features; `pixelshuffledirect`: [SwinIR]'s
    lightweight one, in a single convolution."""
    swinir_pad: Literal["network", "official"] = "network"
    """Padding to multiples of 8: `network`: mirrored, only as far as necessary; `official`: as in
    [SwinIR]'s test script, at least one window more, to reproduce its published digits."""

    @property
    def convolutions(self) -> int:
        """Number of 3x3 convolutions of equal parameters: one a block, and one for each layer."""
        return self.blocks * (self.layers + 1)

    @model_validator(mode="after")
    def _heads_share_the_features(self) -> Self:
        if self.features % self.heads:
            rule = f"{self.features} is not a multiple of heads {self.heads}"
            raise ConfigError("features", rule)
        return self


class WindowAttention(nn.Module):
    """Multi-head self-attention of the 64 pixels of each window, with relative position bias."""

    def __init__(self, features: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        table = torch.empty((2 * WINDOW - 1) ** 2, heads)
        self.relative_position_bias_table = nn.Parameter(table)
        self.qkv = nn.Linear(features, 3 * features)
        self.proj = nn.Linear(features, features)

    def forward(self, x_NKF: Tensor, mask_NKK: Tensor | None) -> Tensor:
        """(B windows) 64 F to the same; `mask_NKK`: windows of one image, 64, 64, or None."""
        # The fused kernel is faster, but its gradient of the bias is slow, and `torch.export` would
        # bind its regrouping of windows to the number of them.
        plain = torch.is_grad_enabled() or torch.compiler.is_exporting()
        mixed = self._mixed if plain else self._mixed_at_once
        result: Tensor = self.proj(mixed(x_NKF, mask_NKK))
        return result

    def _mixed(self, x_NKF: Tensor, mask_NKK: Tensor | None) -> Tensor:
        windows, pixels, features = x_NKF.shape
        split = self.qkv(x_NKF).view(windows, pixels, 3, self.heads, -1).permute(2, 3, 0, 1, 4)
        query, key, value = split.unbind(0)  # each: heads windows 64 F/heads
        bias = self.bias()[:, None]
        if mask_NKK is not None:
            bias = bias + mask_NKK
        logits = query * (features // self.heads) ** -0.5 @ key.transpose(-2, -1)
        shape = self.heads, -1, bias.shape[1], pixels, pixels  # images and their windows apart
        weights = (logits.view(shape) + bias[:, None]).softmax(-1).view_as(logits)
        mixed: Tensor = (weights @ value).permute(1, 2, 0, 3)
        return mixed.reshape(windows, pixels, features)

    def _mixed_at_once(self, x_NKF: Tensor, mask_NKK: Tensor | None) -> Tensor:
        windows, pixels, features = x_NKF.shape
        bias, group = self.bias(), 1
        if mask_NKK is not None:  # all windows of an image are treated as its heads
            bias, group = (bias + mask_NKK[:, None]).flatten(0, 1), len(mask_NKK)
        images = windows // group
        split = self.qkv(x_NKF).view(windows, pixels, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        query, key, value = split.reshape(3, images, group * self.heads, pixels, -1).unbind(0)
        mixed = F.scaled_dot_product_attention(
            query, key, value, attn_mask=bias[None].expand(images, -1, -1, -1)
        )
        apart_NKHF: Tensor = mixed.view(windows, self.heads, pixels, -1).transpose(1, 2)
        return apart_NKHF.reshape(windows, pixels, features)

    def bias(self) -> Tensor:
        """Return the bias that each head adds to the logits of pairs of pixels: heads 64 64."""
        table = self.relative_position_bias_table
        rows = table[relative_positions(table.device)]
        return rows.view(WINDOW**2, WINDOW**2, self.heads).permute(2, 0, 1)


class MLP(nn.Module):
    """Two linear layers applied to each pixel, with a GELU between them."""

    def __init__(self, features: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(features, _MLP_RATIO * features)
        self.fc2 = nn.Linear(_MLP_RATIO * features, features)

    def forward(self, x_BHWF: Tensor) -> Tensor:
        """B H W F to the same."""
        result: Tensor = self.fc2(F.gelu(self.fc1(x_BHWF)))
        return result


class SwinLayer(nn.Module):
    """Window attention, then an MLP, each on normalised input and with a skip."""

    def __init__(self, features: int, heads: int, *, shifted: bool) -> None:
        super().__init__()
        self.shift = SHIFT if shifted else 0
        self.norm1 = nn.LayerNorm(features)
        self.attn = WindowAttention(features, heads)
        self.norm2 = nn.LayerNorm(features)
        self.mlp = MLP(features)

    def forward(self, x_BHWF: Tensor) -> Tensor:
        """B H W F to the same; H and W are multiples of 8."""
        height, width = x_BHWF.shape[1:3]
        y_BHWF = self.norm1(x_BHWF)
        mask = None
        if self.shift:
            mask = shift_mask(height, width, x_BHWF.device)
            y_BHWF = y_BHWF.roll((-self.shift, -self.shift), (1, 2))
        y_BHWF = from_windows(self.attn(to_windows(y_BHWF), mask), height, width)
        if self.shift:
            y_BHWF = y_BHWF.roll((self.shift, self.shift), (1, 2))
        x_BHWF = x_BHWF + y_BHWF
        result: Tensor = x_BHWF + self.mlp(self.norm2(x_BHWF))
        return result


class SwinBlock(nn.Module):
    """RSTB, one unit of SwinIR's body: Swin layers and a convolution, inside a skip."""

    def __init__(self, config: SwinIRConfig) -> None:
        super().__init__()
        layers = [
            SwinLayer(config.features, config.heads, shifted=number % 2 == 1)
            for number in range(config.layers)
        ]
        self.residual_group = nn.ModuleDict({"blocks": nn.Sequential(*layers)})
        self.conv = conv3x3(config.features, config.features)

    def forward(self, x_BFHW: Tensor) -> Tensor:
        """B F H W to the same; H and W are multiples of 8."""
        y_BHWF = self.residual_group["blocks"](x_BFHW.permute(0, 2, 3, 1))
        residual_BFHW: Tensor = self.conv(y_BHWF.permute(0, 3, 1, 2))
        return x_BFHW + residual_BFHW


@final
class SwinIR(SRNet):
    """Blocks of windowed attention inside a skip, enlarged by pixel shuffle."""

    colour = "rgb"
    multiple_of = WINDOW
    config: SwinIRConfig
    config_class = SwinIRConfig

    def __init__(self, config: SwinIRConfig) -> None:
        super().__init__(config)
        features, scale = config.features, config.scale
        self.colours = Colours(img_range=1.0)
        self.conv_first = conv3x3(3, features)
        self.patch_embed = nn.ModuleDict({"norm": nn.LayerNorm(features)})
        self.layers = nn.ModuleList(SwinBlock(config) for _ in range(config.blocks))
        self.norm = nn.LayerNorm(features)
        self.conv_after_body = conv3x3(features, features)
        if config.upsampler == "pixelshuffledirect":
            self.upsample = nn.Sequential(conv3x3(features, 3 * scale**2), nn.PixelShuffle(scale))
            return
        narrowed = conv3x3(features, _UPSAMPLED_FEATURES)
        self.conv_before_upsample = nn.Sequential(narrowed, nn.LeakyReLU(0.01, inplace=True))
        self.upsample = upsampler(_UPSAMPLED_FEATURES, scale)
        self.conv_last = conv3x3(_UPSAMPLED_FEATURES, 3)

    @property
    def head(self) -> nn.Module:
        """The convolution that maps colours to features."""
        return self.conv_first

    @property
    def body(self) -> nn.ModuleList:
        """The residual Swin transformer blocks."""
        return self.layers

    @property
    def tail(self) -> nn.Module:
        """The last layer, which maps features to colours."""
        return self.upsample if self.config.upsampler == "pixelshuffledirect" else self.conv_last

    def trace_at_once(
        self, lr_BCHW: Tensor, *, scale: int | None, taps: Sequence[Tap], active: int | None
    ) -> Trace:
        """Compute `SRNet.trace` for all images together, padded to multiples of 8."""
        times = self.chosen_scale(scale)
        height, width = lr_BCHW.shape[-2:]
        padded_BCHW = mirrored(lr_BCHW, official=self.config.swinir_pad == "official")
        shifted_BCHW = self.colours(padded_BCHW)
        # Under autocast skips are added in float32, which keeps small residuals.
        first_BFHW = self.conv_first(shifted_BCHW).to(shifted_BCHW.dtype)
        features_BFHW = _normalised(self.patch_embed["norm"], first_BFHW)
        keep = Keeper(taps, lr_BCHW)
        features_BFHW = _normalised(self.norm, self.run_body(features_BFHW, keep, active))
        closed_BFHW = keep("before_skip", self.conv_after_body(features_BFHW))
        features_BFHW = keep("after_skip", closed_BFHW + first_BFHW)
        if self.config.upsampler == "pixelshuffle":
            features_BFHW = self.conv_before_upsample(features_BFHW)
            sr_BCHW = self.conv_last(self.upsample(features_BFHW))
        else:
            sr_BCHW = self.upsample(features_BFHW)
        sr_BCHW = sr_BCHW[..., : times * height, : times * width]
        return Trace(self.colours.back(sr_BCHW), keep.kept())

    def initialise(self, generator: torch.Generator) -> None:
        """Initialise as released: linear layers and bias tables N(0, 0.02), else as torch does."""
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                start_as_torch_does(module, generator)
            elif isinstance(module, nn.Linear):
                nn.init.trunc_normal_(module.weight, std=0.02, generator=generator)
                nn.init.zeros_(module.bias)
            elif isinstance(module, nn.LayerNorm):
                nn.init.ones_(module.weight)
                nn.init.zeros_(module.bias)
            elif isinstance(module, WindowAttention):
                table = module.relative_position_bias_table
                nn.init.trunc_normal_(table, std=0.02, generator=generator)

    def near_identity(self, first: int) -> None:
        """Zero the last convolution of each block from `first` on: only its skip remains."""
        for unit in self.layers[first:]:
            assert isinstance(unit, SwinBlock)
            silence(unit.conv)


def _normalised(norm: nn.Module, x_BFHW: Tensor) -> Tensor:
    """Apply a LayerNorm over the features of each pixel."""
    normalised: Tensor = norm(x_BFHW.permute(0, 2, 3, 1))
    return normalised.permute(0, 3, 1, 2)
