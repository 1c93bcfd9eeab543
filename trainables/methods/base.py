"""The interface of all methods: what a student is trained with, and one update of it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Generic, TypeVar, final

import torch
from torch import Tensor

from trainables.networks.base import ScaledConfig, SRNet, SRNetConfig
from trainables.optimisers import OptimiserConfig
from trainables.replay import AtOnce, Replay
from trainables.values import Blank, Pairs, Stateful

Batch = TypeVar("Batch", Pairs, Blank)

_ADDED = {"generator_change"}
"""Learners that checkpoints of earlier versions lack; as they are built is as they should be."""


@dataclass(frozen=True)
class Pairing:
    """The networks' configurations and the batch, checked by a method before anything is built."""

    student: SRNetConfig
    """The student's configuration."""
    teacher: ScaledConfig | None
    """The teacher's configuration; None for a method without one."""
    images: int
    """Images in a batch."""
    patch: int
    """Side in pixels of an image at the network's body input."""


@dataclass(frozen=True)
class Setting:
    """The input of every method's constructor besides its own configuration."""

    student: SRNet
    """The network to train."""
    teacher: SRNet | None
    """The teacher: its parameters get no gradient, its input may; None for a method without one."""
    optimiser: OptimiserConfig
    """The configuration of the student's optimiser."""
    steps: int
    """The trial's budget, in student updates."""
    patch: int
    """Side in pixels of an image at the network's body input."""
    seed: int
    """The trial's seed."""
    device: torch.device
    """Where the networks are."""
    replay: Replay = field(default_factory=AtOnce)
    """Runs the device's part of every update."""

    def frozen_teacher(self) -> SRNet:
        """Return the teacher, of a method that `TrialConfig` has checked to have one."""
        assert self.teacher is not None
        return self.teacher


class Distiller(ABC, Generic[Batch]):
    """A method in training: its student, its optimisers, and one update."""

    batch: ClassVar[type]
    """The type of its batches: `Pairs` of images, or `Blank` for a data-free method."""
    taught: ClassVar[bool] = True
    """Whether it needs a teacher."""
    student: SRNet
    """The network that is trained."""

    @classmethod
    def refusals(cls, _config: Any, _pairing: Pairing) -> Iterator[tuple[str, str]]:
        """Yield each reason why this method cannot train with a configuration and a pairing.

        A reason is a dotted path of the trial's configuration and, in one sentence, the rule it
        breaks.
        """
        yield from ()

    @classmethod
    def caveat(cls, _config: Any) -> str | None:
        """Return what keeps a result of this configuration from comparing with the paper; or None.

        One sentence, the footnote in every table that shows the result.
        """
        return None

    @abstractmethod
    def step(self, batch: Batch) -> dict[str, Tensor]:
        """Update the student once.

        Returns this step's losses under `loss/<name>`, the student's own first: detached scalars,
        still on the device.
        """

    @abstractmethod
    def learners(self) -> dict[str, Stateful]:
        """Return all objects that training changes, by name: networks, optimisers, counters, ..."""

    @abstractmethod
    def lr(self) -> float:
        """Return the student's learning rate at its last update."""

    def figures(self) -> dict[str, Tensor]:
        """What a report holds of the method beside its losses: scalars, still on the device.

        Computing them changes no learner. A figure that is not finite ends the run as diverged.
        """
        return {}

    def imagined(self) -> Tensor | None:
        """Return images of fixed latents, B C H W in [0, 1]; None where no images are imagined.

        Making them changes no learner.
        """
        return None

    def prepared(self) -> deque[Any]:
        """Return what is prepared for later updates; empty whenever a state is saved."""
        return deque()

    def active(self) -> int:
        """Return the number of the student's body units that took part in its last update."""
        return len(self.student.body)

    @final
    def state_dict(self) -> dict[str, Any]:
        """Return the state of every learner, by name."""
        assert not self.prepared(), "prepared work, and the numbers drawn for it, would be lost"
        return {name: learner.state_dict() for name, learner in self.learners().items()}

    @final
    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore the state of every learner.

        Raises:
            ValueError: the state has other names than the learners.
        """
        learners = self.learners()
        if not set(learners) - _ADDED <= set(state) <= set(learners):
            raise ValueError(f"state of {sorted(state)} does not fit {sorted(learners)}")
        for name, learner in learners.items():
            if name in state:
                learner.load_state_dict(state[name])
        self.prepared().clear()
