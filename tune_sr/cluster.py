"""A Ray of our own on this machine: silent, apart from any other, and gone afterwards."""

from __future__ import annotations

import logging
import os
import shutil
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
    "RAY_TRAIN_ENABLE_V2_MIGRATION_WARNINGS": "0",
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",  # the ledger has it all
    "TUNE_DISABLE_SIGINT_HANDLER": "1",  # tune_sr/signals.py
    "TUNE_GLOBAL_CHECKPOINT_S": "1000000000",  # its snapshots are never read: a resume is a replay
    "TUNE_WARN_EXCESSIVE_EXPERIMENT_CHECKPOINT_SYNC_THRESHOLD_S": "0",
    "TUNE_FORCE_TRIAL_CLEANUP_S": "10",
}


def usable_cpus() -> int:
    """The CPUs that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


@contextmanager
def local_ray(cpus: int) -> Iterator[None]:
    """Start a Ray with `cpus` CPUs and end it afterwards; where one is running it is used and left.

    It never joins a cluster that an address file or variable names. Should this process be killed,
    Ray's processes end by themselves within a minute, and the next start removes their files.
    """
    for name, value in _ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    import ray

    if ray.is_initialized():
        yield
        return
    for name in ("ray", "ray.tune", "ray.train", "ray.data"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    _remove_leftovers()
    folder = _parent() / f"{_PREFIX}{os.getpid()}"
    try:
        ray.init(
            address="local",
            num_cpus=cpus,
            include_dashboard=False,
            log_to_driver=False,
            logging_level="CRITICAL",
            _temp_dir=str(folder),
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
