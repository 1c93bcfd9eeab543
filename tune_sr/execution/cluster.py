"""Connects a study to Ray: one started on this machine, or a running cluster."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tune_sr.execution.resources import (
    ClusterCapacity,
    TrialResources,
    check_fits,
    living_nodes,
    local_workers,
    most_at_a_time,
    trial_resources,
)
from tune_sr.execution.session import joined_ray, local_ray, usable_cpus
from tune_sr.execution.shared_folder import check_shared
from tune_sr.study.config import StudyConfig

_log = logging.getLogger(__name__)


@contextmanager
def connect_ray(config: StudyConfig) -> Iterator[ClusterCapacity | None]:
    """Connect to the Ray that a study runs on; yield a cluster's capacity, None on this machine.

    Raises:
        ClusterError: the cluster cannot be joined, or cannot run it.
    """
    if config.address is None:
        with local_ray(_cpus(config)):
            yield None
        return
    with joined_cluster(
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


def max_concurrent(config: StudyConfig) -> int:
    """How many trials would run at a time; a cluster is joined to count them, and left.

    Raises:
        ClusterError: the cluster cannot be joined, or cannot run it.
    """
    if config.address is None:
        return local_workers(config)
    with joined_cluster(config.address, trial_resources(config), most_at_a_time(config)) as places:
        return places.slots()


@contextmanager
def joined_cluster(
    address: str, share: TrialResources, most: int | None, folder: Path | None = None
) -> Iterator[ClusterCapacity]:
    """Join a cluster that can run a study; leave it afterwards.

    Args:
        address: as `address_of` gives it.
        share: CPUs and GPUs of each trial.
        most: trials at a time; None: as many as fit.
        folder: the study's, which all nodes must share; None: nothing will be written.

    Raises:
        ClusterError: it cannot be joined, has no node for a trial, or does not share the folder.
    """
    with joined_ray(address):
        nodes = living_nodes()
        check_fits(share, nodes)
        if folder is not None:
            check_shared(folder, [node for node in nodes if share.on(node)])
        yield ClusterCapacity(share, most, living_nodes)


def _cpus(config: StudyConfig) -> int:
    """The CPUs of a local Ray: all usable ones, more where `concurrent` asks for more."""
    return max(usable_cpus(), math.ceil(local_workers(config) * config.settings.cpus_per_trial))
