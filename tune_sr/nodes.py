"""Where a study runs: this machine, or the nodes of a cluster, which must share its folder."""

from __future__ import annotations

import logging
import math
import socket
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tune_sr.cluster import ClusterError, joined_ray, local_ray, usable_cpus
from tune_sr.places import (
    Node,
    Places,
    Share,
    check_fits,
    local_workers,
    most_at_a_time,
    trial_resources,
)
from tune_sr.study_config import StudyConfig

_log = logging.getLogger(__name__)

_SEEN_S, _ANSWERED_S = 10.0, 60.0
"""How long a shared folder may take to show a new file elsewhere, and a node to tell."""


@contextmanager
def ray_for(config: StudyConfig) -> Iterator[Places | None]:
    """The Ray that a study runs on; of a cluster, its places, which come and go.

    Raises:
        ClusterError: the cluster cannot be joined, or cannot run it.
    """
    if config.address is None:
        with local_ray(_cpus(config)):
            yield None
        return
    with joined_places(
        config.address, trial_resources(config), most_at_a_time(config), config.folder
    ) as places:
        gpus = sum(node.gpus for node in living_nodes())
        if gpus and not config.gpus_per_trial and config.space.fixed.get("device") != "cpu":
            _log.warning(
                "the cluster has %g GPUs and no trial asks for one: all trials of a node crowd on "
                "its first; --gpus-per-trial gives each its own, or a part",
                gpus,
            )
        yield places


def at_a_time(config: StudyConfig) -> int:
    """Trials at a time where the study would run; a cluster is asked, and left at once.

    Raises:
        ClusterError: the cluster cannot be joined, or cannot run it.
    """
    if config.address is None:
        return local_workers(config)
    with joined_places(config.address, trial_resources(config), most_at_a_time(config)) as places:
        return places.count()


@contextmanager
def joined_places(
    address: str, share: Share, most: int | None, folder: Path | None = None
) -> Iterator[Places]:
    """Join a cluster that can run a study; leave it afterwards.

    Args:
        address: as `address_of` gives it.
        share: what each trial is given.
        most: trials at a time; None: as many as fit.
        folder: the study's, which all nodes must share; None: nothing is to be written.

    Raises:
        ClusterError: it cannot be joined, has no node for a trial, or does not share the folder.
    """
    with joined_ray(address):
        nodes = living_nodes()
        check_fits(share, nodes)
        if folder is not None:
            check_shared(folder, [node for node in nodes if share.on(node)])
        yield Places(share, most, living_nodes)


def living_nodes() -> list[Node]:
    """The nodes of the cluster that this process has joined."""
    import ray

    return [_node(each) for each in ray.nodes() if each["Alive"]]


def check_shared(folder: Path, nodes: Sequence[Node]) -> None:
    """Make sure that every node reads what is written to `folder`, and that it can write there.

    Raises:
        ClusterError: names the node, and why it cannot.
    """
    mark = folder / f".shared-{uuid.uuid4().hex[:8]}"
    try:
        mark.write_text(mark.name, encoding="utf-8")
        for node, problem in _problems(mark, nodes):
            if node.id not in {each.id for each in living_nodes()}:
                continue  # lost meanwhile, as nodes may be at any time
            raise ClusterError(
                f"{folder}: node {node.name} {problem}; --storage must be a folder that all nodes "
                "share, at one path"
            )
    finally:
        for left in folder.glob(".shared-*"):  # also those of a driver that died meanwhile
            left.unlink(missing_ok=True)


def _problems(mark: Path, nodes: Sequence[Node]) -> Iterator[tuple[Node, str]]:
    """What keeps which node from sharing the folder of `mark`; none where nothing does."""
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    answer = ray.remote(num_cpus=0, max_retries=0)(_answer)
    asked = {
        answer.options(
            scheduling_strategy=NodeAffinitySchedulingStrategy(node.id, soft=False)
        ).remote(mark, _own(mark, node), _SEEN_S): node
        for node in nodes
    }
    answered, _ = ray.wait(list(asked), num_returns=len(asked), timeout=_ANSWERED_S)
    for task, node in asked.items():
        problem = _told(task) if task in answered else f"does not answer in {_ANSWERED_S:.0f} s"
        if problem is None and not _holds(_own(mark, node), mark.name, _SEEN_S):
            problem = "writes there what nobody else sees"
        if problem is not None:
            yield node, problem


def _told(task: Any) -> str | None:
    import ray

    try:
        problem: str | None = ray.get(task)
    except ray.exceptions.RayError as error:  # above all: it lacks this package, or another version
        return f"cannot run a trial: {' '.join(str(error).split())[-200:]}"
    return problem


def _answer(mark: Path, own: Path, seconds: float) -> str | None:
    """Runs on a node: reads the driver's mark and leaves one of its own."""
    if not _holds(mark, mark.name, seconds):
        return f"({socket.gethostname()}) does not see what is written there"
    try:
        own.write_text(mark.name, encoding="utf-8")
    except OSError as error:
        return f"({socket.gethostname()}) cannot write there: {error.strerror}"
    return None


def _holds(path: Path, text: str, seconds: float) -> bool:
    """Whether a file shows `text` soon: a network's folder may take a while to show a new file."""
    until = time.monotonic() + seconds
    while True:
        try:
            if path.read_text(encoding="utf-8") == text:
                return True
        except OSError:
            pass
        if time.monotonic() >= until:
            return False
        time.sleep(0.2)


def _own(mark: Path, node: Node) -> Path:
    return mark.with_name(f"{mark.name}-{node.id[:16]}")


def _node(described: Mapping[str, Any]) -> Node:
    has = described["Resources"]
    name = described.get("NodeName") or described["NodeManagerAddress"]
    return Node(described["NodeID"], name, has.get("CPU", 0.0), has.get("GPU", 0.0))


def _cpus(config: StudyConfig) -> int:
    """For Ray: all there are, or as many as were asked for by name."""
    return max(usable_cpus(), math.ceil(local_workers(config) * config.cpus_per_trial))
