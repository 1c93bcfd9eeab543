"""Starts a Ray on this machine for the time of a study, or joins a running cluster.

A cluster is joined where `--address` names it, or where the driver is a job that was submitted to
one (`ray job submit`). The RAY_ADDRESS of a shell is not joined: it names where jobs are submitted.
The driver runs on a node of the cluster, and neither starts nor ends a cluster.
"""

from __future__ import annotations

import logging
import os
import re
import resource
import secrets
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path

from tune_sr.cli.signals import held_back
from tune_sr.execution.private_folder import private_folder, remove_leftovers

_ENVIRONMENT = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_AIR_NEW_OUTPUT": "0",  # the new output prints its configuration box even when silent
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",  # trials that ask for no GPU may share what is there
    "RAY_TRAIN_COUNT_PREEMPTION_AS_FAILURE": "1",  # else Ray begins it again, past the ledger
    "RAY_TRAIN_ENABLE_V2_MIGRATION_WARNINGS": "0",
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",  # the ledger has it all
    "TUNE_DISABLE_STRICT_METRIC_CHECKING": "1",  # Ray looks at none of them
    "TUNE_DISABLE_SIGINT_HANDLER": "1",  # tune_sr/driver/signals.py
    "TUNE_GLOBAL_CHECKPOINT_S": "1000000000",  # its snapshots are never read: a resume is a replay
    "TUNE_WARN_EXCESSIVE_EXPERIMENT_CHECKPOINT_SYNC_THRESHOLD_S": "0",
    "TUNE_FORCE_TRIAL_CLEANUP_S": "10",
}


_ADDRESS = re.compile(r"auto|[^\s:/]+:\d{1,5}|\[[0-9a-fA-F:]+\]:\d{1,5}")
_ANSWERS_S = 5.0
"""Seconds that a cluster's head may take to accept a connection."""


class ClusterError(ValueError):
    """A cluster cannot be joined, or cannot run the study; nothing was started."""


def usable_cpus() -> int:
    """The CPUs that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def usable_gpus() -> int:
    """The GPUs that this process may use."""
    import torch

    return torch.cuda.device_count()


def address_of(given: str | None) -> str | None:
    """The cluster to join: `given`, else the one this process is a job of; None: no cluster.

    Raises:
        ClusterError: `given` is not an address that a driver can join.

    >>> address_of("head:6379")
    'head:6379'
    """
    if given is None:
        return os.environ.get("RAY_ADDRESS", "auto") if is_job() else None
    if not _ADDRESS.fullmatch(given):
        rule = "HOST:PORT of a cluster's head (6379 unless it says otherwise), or auto"
        raise ClusterError(f"--address {given}: {rule}; the driver runs on a node of it")
    return given


def is_job() -> bool:
    """Whether this process is a job of a cluster, by the variable that Ray's drivers look at."""
    return "RAY_JOB_CONFIG_JSON_ENV_VAR" in os.environ


@contextmanager
def joined_ray(address: str) -> Iterator[None]:
    """Join a running cluster and leave it afterwards, which ends the trials of this process.

    A cluster that this process has joined already is used and not left.

    Raises:
        ClusterError: nothing answers there, or this machine is no node of it.
    """
    _quiet_ray()
    import ray

    if ray.is_initialized():
        yield
        return
    _check_answers(address)
    try:
        with held_back():
            ray.init(address=address, log_to_driver=False, logging_level="CRITICAL")
    except Exception as error:  # of Ray's many kinds
        message = " ".join(str(error).split())[:200]
        way_out = "where a cluster asks for its token, say RAY_AUTH_MODE=token here as well"
        rule = f"cannot be joined from here: {message}; {way_out}"
        raise ClusterError(f"--address {address}: {rule}") from None
    try:
        yield
    finally:
        ray.shutdown()


def _check_answers(address: str) -> None:
    if address == "auto":
        return
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=_ANSWERS_S).close()
    except (OSError, OverflowError) as error:
        raise ClusterError(f"--address {address}: no cluster answers there: {error}") from None


def _quiet_ray() -> None:
    """Set Ray's environment and log levels, which it reads when it is imported."""
    for name, value in _ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    for name in ("ray", "ray.tune", "ray.train", "ray.data"):
        logging.getLogger(name).setLevel(logging.CRITICAL)


@contextmanager
def local_ray(cpus: int) -> Iterator[None]:
    """Start a Ray with `cpus` CPUs and end it afterwards; use one that runs, and leave it running.

    It never joins a cluster that an address file or variable names, and listens only on 127.0.0.1.
    When this process is killed, Ray's processes end by themselves within a minute, and the next
    start removes their files.

    Raises:
        ClusterError: Ray cannot be started, mostly for lack of memory or processes.
    """
    _quiet_ray()
    import ray

    if ray.is_initialized():
        yield
        return
    remove_leftovers()
    _check_processes(cpus)
    if not {"RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"} & os.environ.keys():
        # Else Ray writes one into the home folder, which need not exist, and clusters started
        # later would require it.
        os.environ["RAY_AUTH_TOKEN"] = secrets.token_hex(32)
    with private_folder() as folder:
        try:
            _start(cpus, folder)
            yield
        finally:
            ray.shutdown()


def _start(cpus: int, folder: Path) -> None:
    import ray

    try:
        with held_back(), _on_loopback(), _few_processes():
            ray.init(
                address="local",
                num_cpus=cpus,
                include_dashboard=False,
                log_to_driver=False,
                logging_level="CRITICAL",
                _temp_dir=str(folder),
                _system_config={
                    # A record of every call to a trial, for a dashboard that this Ray lacks.
                    "task_events_report_interval_ms": 0,
                },
            )
    except Exception as error:  # of Ray's many kinds
        message = " ".join(str(error).split())[:200]
        raise ClusterError(f"Ray cannot be started here: {message}; {_limits()}") from None


@contextmanager
def _on_loopback() -> Iterator[None]:
    """Make a Ray that starts meanwhile listen only on 127.0.0.1.

    `_node_ip_address` has no such effect: Ray replaces 127.0.0.1 by the address of a network card,
    except where clusters are disabled, as on systems other than Linux.
    """
    from ray._private import ray_constants

    before = ray_constants.ENABLE_RAY_CLUSTER
    ray_constants.ENABLE_RAY_CLUSTER = False
    try:
        yield
    finally:
        ray_constants.ENABLE_RAY_CLUSTER = before


@contextmanager
def _few_processes() -> Iterator[None]:
    """Within it a Ray that starts leaves out two processes, which take two seconds of a core.

    They copy what trials print to the driver, which does not show it, and ask a cloud for machines.
    """
    from ray._private import parameter

    before = parameter.RayParams
    parameter.RayParams = partial(before, no_monitor=True, include_log_monitor=False)
    try:
        yield
    finally:
        parameter.RayParams = before


_THREADS, _THREADS_PER_CPU = 130, 20
"""Threads of a local Ray, and of each process for a trial; measured with Ray 2.60. Where it cannot
have them it aborts this process, with no exception to catch."""


def _check_processes(cpus: int) -> None:
    """Refuse a start that needs more processes and threads than this user may have.

    Raises:
        ClusterError: names the limit.
    """
    limit = resource.getrlimit(resource.RLIMIT_NPROC)[0]
    if limit == resource.RLIM_INFINITY or os.geteuid() == 0:  # root is not held to it
        return
    free, needed = limit - _threads_of_user(), _THREADS + _THREADS_PER_CPU * cpus
    if free < needed:
        rule = f"it needs about {needed} processes and threads, and this user may start {free} more"
        raise ClusterError(f"Ray cannot be started here: {rule}: raise the limit (ulimit -u)")


def _threads_of_user() -> int:
    """How many threads of this user /proc shows."""
    threads = 0
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):  # it has just ended
            if process.stat().st_uid == os.geteuid():
                threads += len(list((process / "task").iterdir()))
    return threads


def _limits() -> str:
    """The limits of this process as text."""
    named = {
        "address space": (resource.RLIMIT_AS, "ulimit -v"),
        "processes": (resource.RLIMIT_NPROC, "ulimit -u"),
        "size of a file": (resource.RLIMIT_FSIZE, "ulimit -f"),
        "open files": (resource.RLIMIT_NOFILE, "ulimit -n"),
    }
    limits = {what: resource.getrlimit(number)[0] for what, (number, _) in named.items()}
    finite = [
        f"{what} {limits[what]} ({flag})"
        for what, (_, flag) in named.items()
        if limits[what] != resource.RLIM_INFINITY
    ]
    return f"limits of this process: {', '.join(finite) or 'none'}"
