"""Counts a network's parameters, multiply-accumulates and reach, and measures its latency."""

from __future__ import annotations

import copy
import math
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode

from trainables.resample import KERNEL_SUPPORT

PAPERS_SIDE = 256
"""Side in pixels of the LR image for which papers give multiply-accumulates (DUKD: `FLOPs`)."""

_TIMED_SIDE, _TIMED_PASSES = 96, 5
"""Side in pixels of the LR image, and number of passes, of a latency measurement."""

_WIDE = ("mean", "_adaptive_avg_pool2d", "_softmax", "_scaled_dot_product", "roll", "_fft")
"""Prefixes of operations without a bounded receptive field: pooling, attention, windows."""


@runtime_checkable
class Deployable(Protocol):
    """A module that becomes a cheaper one after training, such as a merged convolution."""

    def deployed(self) -> nn.Module:
        """Return the module of equal output that runs after training."""


def as_deployed(network: nn.Module) -> nn.Module:
    """Copy `network` in its form after training, whose cost papers count and which is timed."""
    copied = copy.deepcopy(network)
    for module in list(copied.modules()):
        for name, child in list(module.named_children()):
            if isinstance(child, Deployable):
                setattr(module, name, child.deployed())
    return copied


@dataclass(frozen=True)
class Cost:
    """The cost of a network at one scale.

    Attributes:
        params: number of trainable parameters of the deployed network.
        macs: multiply-accumulates of convolutions, linear layers and attention for an LR image of
            256x256, as papers count them: no biases, no norms, no resampling of the input.
        reach: radius of the receptive field in LR pixels; an upper bound. None where it is not
            bounded: networks with global pooling or attention windows (RCAN, SwinIR).
    """

    params: int
    macs: int
    reach: int | None


def cost_of(network: nn.Module, *, channels: int, scale: int, side: int = PAPERS_SIDE) -> Cost:
    """Count a network's cost for one LR image, on torch's meta device, without computing.

    Args:
        network: called as `network(lr_BCHW, scale=scale)`; not changed.
        channels: channels of its input, 1 or 3.
        scale: output side / input side.
        side: side in pixels of the square LR image.

    Example:
        >>> from trainables.networks import build_network
        >>> vdsr = build_network({"name": "vdsr"})  # a 9-pixel kernel: 1 + 18 * 64 + 1 times 64
        >>> cost_of(vdsr, channels=1, scale=2).macs == 9 * 64 * (1 + 18 * 64 + 1) * 512**2
        True
    """
    deployed = as_deployed(network)
    params = sum(parameter.numel() for parameter in deployed.parameters())
    ghost = deployed.to("meta")
    lr_BCHW = torch.empty(1, channels, side, side, device="meta")
    with torch.no_grad(), FlopCounterMode(display=False) as counter, _Reach(side) as reach:
        ghost(lr_BCHW, scale=scale)
    by_module = counter.get_flop_counts()
    root = type(network).__name__
    # Products outside of submodules are the resampling of the network's input.
    inside = [ops for name, ops in by_module.items() if _outermost(name, root, by_module)]
    matrix = sum(flops for ops in inside for op, flops in ops.items() if not _convolves(op))
    convolutions = sum(n for op, n in by_module["Global"].items() if _convolves(op))
    return Cost(
        params=params,
        macs=(matrix + convolutions) // 2,
        reach=reach.bound(),
    )


def latency_ms(network: nn.Module, *, channels: int, scale: int) -> float:
    """Measure the latency in ms for one LR image of 96x96 on the network's device: the median of 5.

    Args:
        network: measured in its form after training.
        channels: channels of its input, 1 or 3.
        scale: output side / input side.
    """
    network = as_deployed(network)
    device = next(network.parameters()).device
    lr_BCHW = torch.zeros(1, channels, _TIMED_SIDE, _TIMED_SIDE, device=device)
    taken = []
    with torch.no_grad():
        for _ in range(1 + _TIMED_PASSES):
            begin = time.perf_counter()
            network(lr_BCHW, scale=scale)
            if device.type == "cuda":
                torch.cuda.synchronize(device)
            taken.append(1000 * (time.perf_counter() - begin))
    return statistics.median(taken[1:])  # the first pass warms up


COSTS: dict[str, Callable[[nn.Module, int, int], float]] = {
    "params": lambda network, _, __: float(
        sum(parameter.numel() for parameter in as_deployed(network).parameters())
    ),
    "macs": lambda network, channels, scale: float(
        cost_of(network, channels=channels, scale=scale).macs
    ),
    "latency_ms": lambda network, channels, scale: latency_ms(
        network, channels=channels, scale=scale
    ),
}
"""Functions of network, channels and scale that compute a cost, by report key. All are counted but
`latency_ms`, which is measured."""


def _outermost(name: str, root: str, by_module: Mapping[str, Any]) -> bool:
    """Whether a module is called by the network itself rather than by another module of it."""
    parts = name.split(".")
    above = (".".join(parts[:n]) for n in range(2, len(parts)))
    return len(parts) > 1 and parts[0] == root and not any(part in by_module for part in above)


def _convolves(operation: object) -> bool:
    return "convolution" in str(operation)


class _Reach(TorchDispatchMode):  # type: ignore[no-untyped-call]  # torch leaves it untyped
    """Adds up the kernel radii, in LR pixels, of all convolutions that run in the context."""

    def __init__(self, side: int) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # torch leaves it untyped
        self._side = side
        self._sum = 0.0
        self._bounded = True

    def __torch_dispatch__(
        self,
        func: Any,
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        name = func.overloadpacket.__name__
        if name == "convolution":
            image, kernel = args[0], args[1]
            self._sum += (kernel.shape[-1] // 2) * self._side / image.shape[-1]
        elif name.startswith(_WIDE):
            self._bounded = False
        return func(*args, **(kwargs or {}))

    def bound(self) -> int | None:
        """Return the reach of all convolutions in a row and of a bicubic upsampling before them.

        None if an operation has no bounded receptive field.
        """
        return math.ceil(self._sum) + KERNEL_SUPPORT // 2 if self._bounded else None
