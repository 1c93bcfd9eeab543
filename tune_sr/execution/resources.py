"""CPUs and GPUs of trials and nodes, and how many trials fit on a machine or a cluster."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from tune_sr.execution.session import ClusterError, usable_cpus, usable_gpus
from tune_sr.study.config import StudyConfig

_CALLED = {"cpus": "CPUs", "gpus": "GPUs"}
_LOOK_S = 1.0
"""Seconds for which the list of nodes is not asked for again."""

_log = logging.getLogger(__name__)


class Node(NamedTuple):
    """One living node."""

    id: str
    name: str
    cpus: float
    gpus: float


class TrialResources(NamedTuple):
    """CPUs and GPUs of a trial; a fraction of a GPU is a fraction of a single one."""

    cpus: float
    gpus: float = 0.0

    def on(self, node: Node) -> int:
        """How many trials fit on a node at a time.

        >>> TrialResources(cpus=2, gpus=0.4).on(Node("", "a", cpus=16, gpus=3))
        6
        >>> TrialResources(cpus=2, gpus=2).on(Node("", "a", cpus=16, gpus=3))
        1
        """
        by_cpus = _whole(node.cpus / self.cpus)
        if self.gpus == 0:
            return by_cpus
        if self.gpus < 1:
            return min(by_cpus, int(node.gpus) * _whole(1 / self.gpus))
        return min(by_cpus, _whole(node.gpus / self.gpus))

    def resources(self) -> dict[str, float]:
        """The same as a mapping for Ray."""
        return {"cpu": self.cpus} | ({"gpu": self.gpus} if self.gpus else {})


def check_fits(share: TrialResources, nodes: Sequence[Node]) -> None:
    """Refuse resources that no node has, since Ray would wait for such a node for ever.

    Raises:
        ClusterError: names the flag, and what the nodes have.
    """
    if any(share.on(node) for node in nodes):
        return
    most = TrialResources(
        *(max(getattr(node, kind) for node in nodes) for kind in TrialResources._fields)
    )
    lacking = [
        kind for kind in TrialResources._fields if getattr(share, kind) > getattr(most, kind)
    ]
    shown = lacking or TrialResources._fields
    asked = " ".join(f"--{kind}-per-trial {getattr(share, kind):g}" for kind in shown)
    there = " and ".join(f"{getattr(most, kind):g} {_CALLED[kind]}" for kind in shown)
    if len(nodes) == 1:
        rule = f"{nodes[0].name} has {there}"
    elif lacking:
        rule = f"none of the {len(nodes)} nodes has more than {there}"
    else:
        rule = f"none of the {len(nodes)} nodes has both"
    raise ClusterError(f"{asked}: {rule}; no trial could start")


def trial_resources(config: StudyConfig) -> TrialResources:
    """The CPUs and GPUs of each trial of a study."""
    return TrialResources(config.settings.cpus_per_trial, config.gpus_per_trial)


def most_at_a_time(config: StudyConfig) -> int | None:
    """Trials of a study at a time at most; None: as many as fit."""
    return None if config.settings.concurrent == "auto" else config.settings.concurrent


def local_workers(config: StudyConfig) -> int:
    """Trials of a study at a time on this machine, at least one."""
    share = trial_resources(config)
    return most_at_a_time(config) or max(1, share.on(this_machine(share)))


def check_this_machine(config: StudyConfig) -> None:
    """Refuse a study whose trials this machine cannot run, unless an address names a cluster.

    Raises:
        ClusterError: names the flag, and what this machine has.
    """
    if config.address is None:
        share = trial_resources(config)
        check_fits(share, [this_machine(share)])


def this_machine(share: TrialResources) -> Node:
    """This machine as a node; its GPUs are counted only where trials use any."""
    return Node("", "this machine", usable_cpus(), usable_gpus() if share.gpus else 0)


class ClusterCapacity:
    """How many trials fit on a cluster at a time, now: nodes come and go.

    Args:
        share: CPUs and GPUs of each trial.
        most: an upper limit; None: as many as fit.
        look: returns the living nodes; called at most once a second.
    """

    def __init__(
        self,
        share: TrialResources,
        most: int | None,
        look: Callable[[], Sequence[Node]],
    ) -> None:
        self._share, self._most, self._look = share, most, look
        self._looked, self._count = -math.inf, 0
        self._seen: set[str] = set()
        self._gone: set[str] = set()

    def slots(self) -> int:
        """How many trials fit on the living nodes together."""
        if time.monotonic() - self._looked >= _LOOK_S:
            self._update()
        return self._count if self._most is None else min(self._count, self._most)

    def nodes_lost(self) -> int:
        """How many nodes have left since this object was made."""
        self._update()
        return len(self._gone)

    def _update(self) -> None:
        nodes = self._look()
        self._looked = time.monotonic()
        ids = {node.id for node in nodes}
        self._gone |= self._seen - ids
        self._seen |= ids
        before, self._count = self._count, sum(self._share.on(node) for node in nodes)
        if before and not self._count:
            _log.warning("the cluster has no node left that takes a trial: waiting for one")


def _whole(ratio: float) -> int:
    return int(ratio + 1e-9)  # 1 / 0.1 and the like


def living_nodes() -> list[Node]:
    """The nodes of the cluster that this process has joined."""
    import ray

    return [_node(each) for each in ray.nodes() if each["Alive"]]


def _node(described: Mapping[str, Any]) -> Node:
    has = described["Resources"]
    name = described.get("NodeName") or described["NodeManagerAddress"]
    return Node(described["NodeID"], name, has.get("CPU", 0.0), has.get("GPU", 0.0))
