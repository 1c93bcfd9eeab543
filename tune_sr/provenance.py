"""What made a study: versions, machine, commit."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

_PACKAGES = ("tune-sr", "torch", "ray", "optuna", "mlflow", "numpy", "scikit-image", "pydantic")


def provenance(argv: Sequence[str]) -> dict[str, Any]:
    """For `study.json`: what cannot be found out afterwards."""
    import torch

    gpus = [torch.cuda.get_device_name(number) for number in range(torch.cuda.device_count())]
    return {
        "version": _version("tune-sr"),
        "argv": list(argv),
        "git": _git(Path(__file__).parent),
        "packages": {name: _version(name) for name in _PACKAGES},
        "python": sys.version.split()[0],
        "platform": platform.platform(),
        "devices": {"cpus": os.cpu_count(), "cpu": platform.machine(), "gpus": gpus},
    }


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:  # run from a checkout that is not installed
        return None


def _git(folder: Path) -> dict[str, Any] | None:
    """Commit and whether files differ from it; None outside a checkout."""
    commit = _output("git", "-C", str(folder), "rev-parse", "HEAD")
    if commit is None:
        return None
    changed = _output("git", "-C", str(folder), "status", "--porcelain", "--untracked-files=no")
    return {"commit": commit, "dirty": bool(changed)}


def _output(*command: str) -> str | None:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=10, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()
