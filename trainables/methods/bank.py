"""A first-in, first-out bank of the features of images generated before.

[CMI] keeps its bank in host memory and out of its checkpoints. Here it is on the device, so that no
update copies rows to the host: (entries * numbers in a row * 4) bytes, 6 MiB for VDSR and 25 MiB
for a full EDSR at 4096 entries. Its state is saved in checkpoints.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from trainables.values import Randomness


class Bank:
    """Holds at most `size` rows of `features` numbers; the host knows how many are filled."""

    def __init__(self, size: int, features: int, device: torch.device | str = "cpu") -> None:
        self.rows_KF = torch.zeros(size, features, device=device)
        self.pushed = 0

    def __len__(self) -> int:
        """Return the number of filled rows."""
        return min(self.pushed, len(self.rows_KF))

    def push(self, new_BF: Tensor) -> None:
        """Add rows, detached; in a full bank they replace the oldest."""
        size, count = len(self.rows_KF), len(new_BF)
        assert count <= size, f"{count} rows do not fit in a bank of {size}"
        start = self.pushed % size
        before_the_end = min(count, size - start)
        self.rows_KF[start : start + before_the_end] = new_BF[:before_the_end].detach()
        self.rows_KF[: count - before_the_end] = new_BF[before_the_end:].detach()
        self.pushed += count

    def draw(self, count: int, randomness: Randomness) -> Tensor:
        """Draw the indices of `count` different filled rows, or of all if fewer; on the host."""
        return torch.randperm(len(self), generator=randomness.generator)[:count]

    def state_dict(self) -> dict[str, Any]:
        """Return the filled rows, and how many rows were ever pushed."""
        return {"rows": self.rows_KF[: len(self)].clone(), "pushed": self.pushed}

    def load_state_dict(self, state_dict: dict[str, Any], /) -> None:
        """Restore the rows of `state_dict` and the position of the next one."""
        self.pushed = int(state_dict["pushed"])
        self.rows_KF.zero_()
        self.rows_KF[: len(self)] = state_dict["rows"]
