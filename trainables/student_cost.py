"""What a student costs, computed from its configuration before it is trained."""

from __future__ import annotations

from functools import lru_cache

from trainables.config import TrialConfig
from trainables.metrics.cost import COSTS
from trainables.networks import NETWORKS, NetworkConfig, make_network
from trainables.values import Randomness

COUNTED = ("params", "macs")
"""The costs that follow from a configuration; latency has to be measured on the trial's device."""


def student_cost(config: TrialConfig, key: str) -> float:
    """Count a cost of the fully grown student at its largest scale, as its reports will have it.

    Args:
        config: the configuration of the student's training.
        key: one of `COUNTED`.
    """
    return _counted(config.student.model_copy(update={"weights": None, "start": None}), key)


@lru_cache(maxsize=4096)
def _counted(student: NetworkConfig, key: str) -> float:
    network = make_network(student, Randomness(0, "plan").generator)
    channels = 3 if NETWORKS[student.name].colour == "rgb" else 1
    return COSTS[key](network, channels, max(student.scales))
