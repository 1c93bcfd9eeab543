"""What a method is: everything one student learns with, and one update of it."""

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
    """Who teaches whom, on how much: what a method may refuse before anything is built."""

    student: SRNetConfig
    teacher: ScaledConfig | None
    images: int
    """Images in a batch."""
    patch: int
    """Side of an image at the network's body input."""


@dataclass(frozen=True)
class Setting:
    """What every method is built from, beside its own configuration."""

    student: SRNet
    teacher: SRNet | None
    """Frozen, not detached: its parameters take no gradient, its input may."""
    optimiser: OptimiserConfig
    steps: int
    """The trial's budget, in student updates."""
    patch: int
    """Side of an image at the network's body input."""
    seed: int
    device: torch.device
    replay: Replay = field(default_factory=AtOnce)
    """Does the device's half of every update."""

    def frozen_teacher(self) -> SRNet:
        """The teacher, which `TrialConfig` has promised to a method that needs one."""
        assert self.teacher is not None
        return self.teacher


class Distiller(ABC, Generic[Batch]):
    """Everything one method learns with, and one update of it."""

    batch: ClassVar[type]
    """`Pairs` or `Blank`: being data-free is a fact of the signature."""
    taught: ClassVar[bool] = True
    """Whether there is a teacher."""
    student: SRNet

    @classmethod
    def refusals(cls, _config: Any, _pairing: Pairing) -> Iterator[tuple[str, str]]:
        """What this method cannot do with its configuration `_config` and this pair of networks.

        Yields a dotted path of the trial's configuration and, in one sentence, the rule it breaks.
        """
        yield from ()

    @classmethod
    def caveat(cls, _config: Any) -> str | None:
        """What must be known to hold a result of this configuration against the paper's; or None.

        One sentence, which every table that shows the result repeats.
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
        """Every object that changes while training: networks, optimisers, counts, randomness."""

    @abstractmethod
    def lr(self) -> float:
        """The student's learning rate at its last update."""

    def figures(self) -> dict[str, Tensor]:
        """What a report holds of the method beside its losses: scalars, still on the device.

        Computing them changes no learner. A figure that is not finite ends the run as diverged.
        """
        return {}

    def prepared(self) -> deque[Any]:
        """What is prepared for updates to come: nothing wherever a state is taken."""
        return deque()

    def active(self) -> int:
        """How many body units of the student took part in its last update."""
        return len(self.student.body)

    @final
    def state_dict(self) -> dict[str, Any]:
        """The state of every learner, under its name."""
        assert not self.prepared(), "it would be lost, and what was drawn for it with it"
        return {name: learner.state_dict() for name, learner in self.learners().items()}

    @final
    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Become the state given; refuses a different set of names."""
        learners = self.learners()
        if not set(learners) - _ADDED <= set(state) <= set(learners):
            raise ValueError(f"state of {sorted(state)} does not fit {sorted(learners)}")
        for name, learner in learners.items():
            if name in state:
                learner.load_state_dict(state[name])
        self.prepared().clear()
