"""Restores the student of a checkpoint for evaluation, without building its training."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

import torch

from trainables.agreement import make_heldout
from trainables.config import TrialConfig
from trainables.device import chosen_device
from trainables.errors import ConfigError
from trainables.networks import SRNet, make_network
from trainables.run import RunImages, load_teacher

_log = logging.getLogger(__name__)


class FinishedStudent:
    """The student of a checkpoint, with all that a comparison panel of it needs.

    The files of its teacher and of its initial weights may be missing; without the former the panel
    lacks the teacher.

    Attributes:
        config: the configuration of its run.
        student: the network with the scored parameters: averaged ones where `ema` is set.
        active: number of body units that have taken part in training.
        teacher: the teacher; None without one, or if its file cannot be read (a log warning).
        heldout: what the student was scored on; None if that is a teacher that cannot be read.
    """

    def __init__(
        self, config: TrialConfig, state: Mapping[str, Any], images: RunImages | None = None
    ) -> None:
        """Build the networks and load the student's parameters.

        Args:
            config: the configuration of the run.
            state: as returned by `Run.state_dict`.
            images: the run's decoded images; None: read the images that `config` names.

        Raises:
            ValueError: a held-out image cannot be read; names it.
        """
        self.config = config
        device = chosen_device(config.device)
        images = images or RunImages.of(config)
        untrained = config.student.model_copy(update={"weights": None, "start": None})
        network = make_network(untrained, torch.Generator())
        judged = state["average"] if "average" in state else state["method"]["student"]
        network.load_state_dict(judged)
        self.student = network.to(device).eval().requires_grad_(False)
        self.student.started = state.get("started")
        self.active = int(state["active"])
        try:
            self.teacher = load_teacher(config, device)
        except (ConfigError, OSError) as error:
            _log.warning("no picture of the teacher: %s", error)
            self.teacher = None
        self.heldout = None
        if config.heldout is not None or self.teacher is not None:
            self.heldout = make_heldout(
                config.heldout,
                images.heldout,
                self.teacher,
                scales=config.student.scales,
                colour=self.student.colour,
                device=device,
            )

    @property
    def outcome(self) -> SRNet:
        """The network that is scored and kept, as `Run.outcome`."""
        return self.student
