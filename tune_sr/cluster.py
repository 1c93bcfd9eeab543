"""The Ray that a study runs on: one of its own, gone afterwards; or a cluster, joined and left.

A cluster is joined where `--address` names it, or where the driver is a job that was handed to one
(`ray job submit`). What a shell's RAY_ADDRESS names is not joined: that is where jobs are handed
in. The driver runs on a node of the cluster; it never starts one, nor ends one.
"""

from __future__ import annotations

import logging
import os
import re
import secrets
import shutil
import socket
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_PREFIX = "tsr-"
_LONGEST = 30
"""Characters of a temporary folder in which Ray's sockets still have a name that fits in 107."""

_ENVIRONMENT = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_AIR_NEW_OUTPUT": "0",  # the new output prints its configuration box even when silent
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",  # trials that ask for no GPU may share what is there
    "RAY_TRAIN_COUNT_PREEMPTION_AS_FAILURE": "1",  # else Ray begins it again, past the ledger
    "RAY_TRAIN_ENABLE_V2_MIGRATION_WARNINGS": "0",
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",  # the ledger has it all
    "TUNE_DISABLE_STRICT_METRIC_CHECKING": "1",  # Ray looks at none of them
    "TUNE_DISABLE_SIGINT_HANDLER": "1",  # tune_sr/signals.py
    "TUNE_GLOBAL_CHECKPOINT_S": "1000000000",  # its snapshots are never read: a resume is a replay
    "TUNE_WARN_EXCESSIVE_EXPERIMENT_CHECKPOINT_SYNC_THRESHOLD_S": "0",
    "TUNE_FORCE_TRIAL_CLEANUP_S": "10",
}


_ADDRESS = re.compile(r"auto|[^\s:/]+:\d{1,5}|\[[0-9a-fA-F:]+\]:\d{1,5}")
_ANSWERS_S = 5.0
"""How long a cluster's head may take to accept a connection."""


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
    """The cluster to join: the one named, else the one this process is a job of; None: none.

    Raises:
        ClusterError: not an address that a driver can join.

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
    """Whether this process is a job that was handed to a cluster, as Ray's own drivers tell."""
    return "RAY_JOB_CONFIG_JSON_ENV_VAR" in os.environ


@contextmanager
def joined_ray(address: str) -> Iterator[None]:
    """Join a running cluster and leave it afterwards; this process's trials end with it.

    Where this process has joined one already, that one is used and left as it is.

    Raises:
        ClusterError: nothing answers there, or this machine is no node of it.
    """
    _silence()
    import ray

    if ray.is_initialized():
        yield
        return
    _check_answers(address)
    try:
        ray.init(address=address, log_to_driver=False, logging_level="CRITICAL")
    except Exception as error:  # of Ray's many kinds; what they say is all there is to know
        said = " ".join(str(error).split())[:200]
        way_out = "where a cluster asks for its token, say RAY_AUTH_MODE=token here as well"
        rule = f"cannot be joined from here: {said}; {way_out}"
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


def _silence() -> None:
    """What Ray shall not say, and not do, is told it before it is imported."""
    for name, value in _ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    for name in ("ray", "ray.tune", "ray.train", "ray.data"):
        logging.getLogger(name).setLevel(logging.CRITICAL)


@contextmanager
def local_ray(cpus: int) -> Iterator[None]:
    """Start a Ray with `cpus` CPUs and end it afterwards; where one is running it is used and left.

    It never joins a cluster that an address file or variable names. Should this process be killed,
    Ray's processes end by themselves within a minute, and the next start removes their files.
    """
    _silence()
    import ray

    if ray.is_initialized():
        yield
        return
    _remove_leftovers()
    if not {"RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"} & os.environ.keys():
        # Else Ray makes one for all in the home, which need not be there, and clusters started
        # later would ask for it.
        os.environ["RAY_AUTH_TOKEN"] = secrets.token_hex(32)
    folder = _parent() / f"{_PREFIX}{os.getpid()}"
    try:
        ray.init(
            address="local",
            num_cpus=cpus,
            include_dashboard=False,
            log_to_driver=False,
            logging_level="CRITICAL",
            _temp_dir=str(folder),
            # A record of every call to a trial, for a dashboard that this Ray does not have.
            _system_config={"task_events_report_interval_ms": 0},
        )
        yield
    finally:
        ray.shutdown()
        shutil.rmtree(folder, ignore_errors=True)


def _parent() -> Path:
    system = Path(tempfile.gettempdir())
    return system if len(str(system)) <= _LONGEST else Path("/tmp")


def _remove_leftovers() -> None:
    """The folders of earlier processes that were killed; a pid is enough to tell."""
    for folder in _parent().glob(f"{_PREFIX}*"):
        pid = folder.name.removeprefix(_PREFIX)
        if pid.isdigit() and not Path(f"/proc/{pid}").exists() and Path("/proc/self").exists():
            shutil.rmtree(folder, ignore_errors=True)
