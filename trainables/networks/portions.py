"""Runs a batch through a network in micro-batches: the same result in less memory.

Images do not influence each other inside a network, so they can be processed in portions.
Activations of a portion are not stored but recomputed in backward, and the gradients of all
portions add up; memory holds the activations of one portion, and all results. The loss is still
that of the whole batch, so it may couple images, and is clipped once.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint


def in_portions(
    network: Callable[[Tensor], tuple[Tensor, ...]], x_BCHW: Tensor, micro_batch: int | None
) -> tuple[Tensor, ...]:
    """Run `network` on at most `micro_batch` images at a time, and concatenate its results.

    Args:
        network: returns tensors with the images in their first dimension. It may be called again in
            backward, and must compute the same then.
        x_BCHW: the batch.
        micro_batch: images at a time; None: all.

    >>> in_portions(lambda x: (2 * x, x + len(x)), torch.arange(3.0), micro_batch=2)
    (tensor([0., 2., 4.]), tensor([2., 3., 3.]))
    """
    if micro_batch is None or len(x_BCHW) <= micro_batch:
        return network(x_BCHW)
    results = [_passed(network, part) for part in torch.split(x_BCHW, micro_batch)]
    return tuple(torch.cat(each) for each in zip(*results, strict=True))


def _passed(network: Callable[[Tensor], tuple[Tensor, ...]], x_BCHW: Tensor) -> tuple[Tensor, ...]:
    if not torch.is_grad_enabled():
        return network(x_BCHW)
    # Networks draw no random numbers, so no state of a generator need be restored.
    result: tuple[Tensor, ...] = checkpoint(
        network, x_BCHW, use_reentrant=False, preserve_rng_state=False
    )
    return result
