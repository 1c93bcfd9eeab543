"""Writes `study.json`: the versions, the machine and the commit that a study ran with."""

from __future__ import annotations

import json
import logging
import os
import platform
import subprocess
import sys
from collections.abc import Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from tune_sr.storage.disk import read_object, write_atomically
from tune_sr.storage.layout import PROVENANCE

_PACKAGES = ("tune-sr", "torch", "ray", "optuna", "mlflow", "numpy", "scikit-image", "pydantic")
_BITS = ("processor", "instruction_set", "threads", "gpus")
"""Keys of `devices` on which the last bits of a result depend."""


def record(folder: Path, argv: Sequence[str], threads: int, **study: object) -> None:
    """Write `study.json` for a start of the study in `folder`.

    Logs one warning if the last start was on another kind of machine: the last bits of results may
    then differ from those of an uninterrupted study.

    Args:
        folder: the study's folder.
        argv: the command line.
        threads: CPU threads of each trial.
        **study: further keys to write, such as the study's name.
    """
    path = folder / PROVENANCE
    now = provenance(argv, threads)
    changes = [
        f"{what.replace('_', ' ')} {_shown(here)}, was {_shown(there)}"
        for what, there, here in _differences(read_object(path), now)
    ]
    write_atomically(path, json.dumps({**study, **now}, indent=1) + "\n")
    if changes:
        warning = "another machine than the last start's (%s): bits may differ from here on"
        logging.getLogger(__name__).warning(warning, "; ".join(changes))


def provenance(argv: Sequence[str], threads: int) -> dict[str, Any]:
    """Collect versions, commit, platform, CPU and GPUs: what cannot be found out afterwards.

    Args:
        argv: the command line.
        threads: CPU threads of each trial.
    """
    import torch

    gpus = [torch.cuda.get_device_name(number) for number in range(torch.cuda.device_count())]
    return {
        "version": _version("tune-sr"),
        "argv": list(argv),
        "git": _git(Path(__file__).parent),
        "packages": {name: _version(name) for name in _PACKAGES},
        "python": sys.version.split()[0],
        "platform": platform.platform(),
        "devices": {
            "cpus": os.cpu_count(),
            "cpu": platform.machine(),
            "processor": _processor(),
            "instruction_set": torch.backends.cpu.get_cpu_capability(),
            "threads": threads,
            "gpus": gpus,
        },
    }


def _differences(
    before: Mapping[str, Any], now: Mapping[str, Any]
) -> list[tuple[str, object, object]]:
    """List the changed properties on which bits depend: name, before, now.

    Keys that an older version did not write are left out.
    """
    there, here = before.get("devices", {}), now["devices"]
    found = [(key, there[key], here[key]) for key in _BITS if key in there]
    if "torch" in before.get("packages", {}):
        found.append(("torch", before["packages"]["torch"], now["packages"]["torch"]))
    return [each for each in found if each[1] != each[2]]


def _shown(value: object) -> str:
    return (", ".join(map(str, value)) or "none") if isinstance(value, list) else str(value)


def _processor() -> str:
    """Return the processor's model name; its architecture where the system gives none."""
    if sys.platform == "darwin":
        return _output("sysctl", "-n", "machdep.cpu.brand_string") or platform.machine()
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:  # Windows
        return platform.processor() or platform.machine()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:  # run from a checkout that is not installed
        return None


def _git(folder: Path) -> dict[str, Any] | None:
    """Return the commit, and whether tracked files differ from it; None outside a checkout."""
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
