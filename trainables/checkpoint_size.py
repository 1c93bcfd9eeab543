"""How many bytes a checkpoint takes, known before there is one."""

from __future__ import annotations

import torch

from trainables.config import TrialConfig
from trainables.methods import Setting, make_method
from trainables.networks import SRNet, TeacherConfig, make_network
from trainables.networks.base import SRNetConfig
from trainables.optimisers import Optimiser
from trainables.values import Randomness


def checkpoint_bytes(config: TrialConfig, student: SRNet, teacher: SRNet | None) -> int:
    """About the size of one checkpoint of a trial: parameters, and what optimisers keep of them.

    Args:
        config: of the trial.
        student: what `config.student` describes; it may be shared, for only sizes matter.
        teacher: the same of `config.teacher`, which CSD trains as well; None for a network that
            only another library can build, and that no method trains.
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
    """Its size in bytes; every network is built once, however many trials share it."""
    described = {network for config in configs for network in (config.student, config.teacher)}
    built: dict[TeacherConfig | None, SRNet] = {
        network: make_network(
            network.model_copy(update={"weights": None}), Randomness(0, "plan").generator
        )
        for network in described
        if isinstance(network, SRNetConfig)
    }
    return max(
        checkpoint_bytes(config, built[config.student], built.get(config.teacher))
        for config in configs
    )
