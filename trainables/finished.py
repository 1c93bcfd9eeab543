"""A student as a checkpoint has it, ready to be judged; nothing that it learned with is built."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

import torch

from trainables.agreement import make_heldout
from trainables.config import TrialConfig
from trainables.device import chosen_device
from trainables.networks import SRNet, make_network
from trainables.run import RunImages, load_teacher
from trainables.values import ConfigError

_log = logging.getLogger(__name__)


class FinishedStudent:
    """The student of a checkpoint, with what a picture of it needs.

    The files of its teacher and of its own first weights may be gone: only what it is compared
    with then lacks.

    Attributes:
        config: of its run.
        student: the network, with the parameters that were judged, `outcome` of its run.
        active: body units that have taken part in training.
        teacher: None where there is none, or where its file cannot be read, with a log warning.
        heldout: what it was judged by; None where that is a teacher which cannot be read.
    """

    def __init__(
        self, config: TrialConfig, state: Mapping[str, Any], images: RunImages | None = None
    ) -> None:
        """Build it.

        Args:
            config: of its run.
            state: what `Run.state_dict` gave.
            images: decoded images of the run; read from where `config` names them if None.

        Raises:
            ValueError: held-out images cannot be read, by name.
        """
        self.config = config
        device = chosen_device(config.device)
        images = images or RunImages.of(config)
        untrained = config.student.model_copy(update={"weights": None})
        network = make_network(untrained, torch.Generator())
        judged = state["average"] if "average" in state else state["method"]["student"]
        network.load_state_dict(judged)
        self.student = network.to(device).eval().requires_grad_(False)
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
        """The student, as `Run.outcome`."""
        return self.student
