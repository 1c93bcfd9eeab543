"""A batch through a network, a few images at a time: the same result in less memory.

Images do not influence each other inside a network, so it can take them in portions. What backward
needs of a portion is not kept: it is computed again when its turn comes, and the gradients of all
portions add up. What exists at once is that of one portion, and all results. The loss is still that
of the whole batch, whatever it is: it may couple the images, and has one logarithm and one clip.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint


def in_portions(
    network: Callable[[Tensor], tuple[Tensor, ...]], x_BCHW: Tensor, micro_batch: int | None
) -> tuple[Tensor, ...]:
    """What `network` makes of `x_BCHW`, of at most `micro_batch` images at a time; None: of all.

    Every result has the images in its first dimension. `network` may be called again in backward,
    so what it depends on must be the same then.

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
    # No network draws random numbers: there is no state of theirs to bring back.
    result: tuple[Tensor, ...] = checkpoint(
        network, x_BCHW, use_reentrant=False, preserve_rng_state=False
    )
    return result
