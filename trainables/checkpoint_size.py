"""Estimates the bytes of a checkpoint before one is written."""

from __future__ import annotations

import torch

from trainables.config import TrialConfig
from trainables.methods import Setting, make_method
from trainables.networks import SRNet, TeacherConfig, make_network
from trainables.networks.base import SRNetConfig
from trainables.optimisers import Optimiser
from trainables.values import Randomness


def checkpoint_bytes(config: TrialConfig, student: SRNet, teacher: SRNet | None) -> int:
    """Estimate the bytes of one checkpoint of a trial: parameters and optimiser state.

    Args:
        config: the trial's configuration.
        student: a network as `config.student` describes it; only its sizes are used.
        teacher: the same for `config.teacher`, which CSD trains as well; None for a network that
            only another library can build, which no method trains.
    """
    setting = Setting(
        student=student,
        teacher=teacher or student,
        optimiser=config.optimiser,
        steps=config.budget.steps,
        patch=config.batch.patch,
        seed=config.seed,
        device=torch.device("cpu"),
    )
    total = 0 if config.ema is None else sum(p.nbytes for p in student.parameters())
    for learner in make_method(config.method, setting).learners().values():
        if isinstance(learner, Optimiser):
            slots = 1 if learner.config.name == "sgd" else 2
            total += slots * sum(p.nbytes for p in learner.parameters)
        else:
            state = learner.state_dict().values()
            total += sum(value.nbytes for value in state if isinstance(value, torch.Tensor))
    return total


def largest_checkpoint(configs: list[TrialConfig]) -> int:
    """Return the bytes of the largest checkpoint of any of `configs`, which is not empty.

    Networks that occur in several configurations are built once.
    """
    described = {network for config in configs for network in (config.student, config.teacher)}
    built: dict[TeacherConfig | None, SRNet] = {
        network: make_network(
            network.model_copy(update={"weights": None, "start": None}),
            Randomness(0, "plan").generator,
        )
        for network in described
        if isinstance(network, SRNetConfig)
    }
    return max(
        checkpoint_bytes(config, built[config.student], built.get(config.teacher))
        for config in configs
    )
