"""The exponential moving average of a student's parameters, which is scored where `ema` is set."""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor

from trainables.networks import SRNet


class Average:
    """The exponential moving average of a student, initialised with a copy of it.

    After each update a <- decay a + (1 - decay) student, for every parameter, as in BasicSR.

    Args:
        student: the network that is trained.
        decay: between 0 and 1.
    """

    def __init__(self, student: SRNet, decay: float) -> None:
        self.decay = decay
        self.network = copy.deepcopy(student).eval().requires_grad_(False)
        self._own: list[Tensor] = list(self.network.parameters())
        self._student: list[Tensor] = list(student.parameters())

    @torch.no_grad()
    def follow(self) -> None:
        """Update the average by the student's current parameters."""
        torch._foreach_lerp_(self._own, self._student, 1.0 - self.decay)

    def state_dict(self) -> dict[str, Any]:
        """Return the averaged parameters."""
        return self.network.state_dict()

    def load_state_dict(self, state_dict: dict[str, Any], /) -> None:
        """Load the averaged parameters from `state_dict`."""
        self.network.load_state_dict(state_dict)
