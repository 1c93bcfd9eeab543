"""A bank of the features of images imagined before: the last so many rows, first in, first out.

[CMI] keeps its bank in host memory and leaves it out of its checkpoints. Ours lies on the device,
where rows come from and go to, so that no update waits for a copy: (entries * numbers in a row *
4) bytes, 6 MiB for VDSR and 25 MiB for a full EDSR at 4096 entries. It is a learner.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from trainables.values import Randomness


class Bank:
    """At most `size` rows of `features` numbers; how many are filled, the host knows."""

    def __init__(self, size: int, features: int, device: torch.device | str = "cpu") -> None:
        self.rows_KF = torch.zeros(size, features, device=device)
        self.pushed = 0

    def __len__(self) -> int:
        """Rows filled so far."""
        return min(self.pushed, len(self.rows_KF))

    def push(self, new_BF: Tensor) -> None:
        """Add rows, detached, each in the place of the oldest once the bank is full."""
        size, count = len(self.rows_KF), len(new_BF)
        assert count <= size, f"{count} rows do not fit in a bank of {size}"
        start = self.pushed % size
        before_the_end = min(count, size - start)
        self.rows_KF[start : start + before_the_end] = new_BF[:before_the_end].detach()
        self.rows_KF[: count - before_the_end] = new_BF[before_the_end:].detach()
        self.pushed += count

    def draw(self, count: int, randomness: Randomness) -> Tensor:
        """Numbers of `count` different rows out of the filled ones, or of all, on the host."""
        return torch.randperm(len(self), generator=randomness.generator)[:count]

    def state_dict(self) -> dict[str, Any]:
        """The filled rows, and how many were ever pushed."""
        return {"rows": self.rows_KF[: len(self)].clone(), "pushed": self.pushed}

    def load_state_dict(self, state_dict: dict[str, Any], /) -> None:
        """Hold the rows of `state_dict`; the next one pushed goes where it would have gone."""
        self.pushed = int(state_dict["pushed"])
        self.rows_KF.zero_()
        self.rows_KF[: len(self)] = state_dict["rows"]
