"""The kinds of cluster a study can be deployed to: the flags of each, and its file."""

from __future__ import annotations

import getpass
import re
import shlex
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from tune_sr.deploy.job import Job
from tune_sr.deploy.template import fill_in, quoted, written_to

_BIN = Path(sys.executable).parent
"""The folder of python and ray on nodes that share their file system with this machine."""
_LONGEST_NAME = 47
"""Largest length of a RayJob's name, to which KubeRay appends more."""


@dataclass(frozen=True)
class Target:
    """A kind of cluster: its flags, and the function that writes its file."""

    requires: tuple[str, ...]
    """The flags that must be given."""
    defaults: Mapping[str, Any]
    """The optional flags and their defaults."""
    write: Callable[[Job, Path, Mapping[str, Any]], str]
    """Returns the text of the file, from a job, the path of its space and all flags of this kind.
    """

    @property
    def flags(self) -> tuple[str, ...]:
        """The names of all flags of this kind."""
        return (*self.requires, *self.defaults)

    def complete_flags(self, kind: str, given: Mapping[str, Any]) -> dict[str, Any]:
        """Complete the given flags by defaults.

        Args:
            kind: the key of this target in `TARGETS`, for refusals.
            given: flags by name; None means not given.

        Raises:
            ValueError: one line: a required flag is missing, or a flag belongs to another kind.
        """
        known = ", ".join(f"--{flag}" for flag in self.flags)
        flags = {flag: value for flag, value in given.items() if value is not None}
        for flag in flags:
            if flag not in self.flags:
                raise ValueError(f"--{flag}: not of {kind}, which takes {known}")
        for flag in self.requires:
            if flag not in flags:
                raise ValueError(f"{kind} needs --{flag}; it takes {known}")
        return {**self.defaults, **flags}


def rayjob(job: Job, _: Path, flags: Mapping[str, Any]) -> str:
    """Write the manifest of a KubeRay RayJob, with the space in a ConfigMap.

    Raises:
        ValueError: the study's name is too long for a RayJob, or its driver needs a GPU, which the
            head has not.
    """
    if job.probes_gpu:
        rule = "tries one trial where the driver runs, on the head, which has no GPU: say a number"
        raise ValueError(f"--gpus-per-trial auto: {rule}")
    values = {
        "name": job.name,
        "job": _kubernetes_name(job.name),
        "space": job.space,
        "script": job.script("/etc/tune_sr/space.yaml", "auto"),
        "ray": quoted(version("ray")),
        "image": quoted(flags["image"]),
        "claim": quoted(flags["claim"]),
        "storage": quoted(str(job.storage)),
        "workers": str(flags["workers"]),
        "cpus": str(flags["cpus"]),
        "memory": str(flags["memory"]),
        "gpus": f'nvidia.com/gpu: "{flags["gpus"]}"' if flags["gpus"] else "",
        "env": "\n".join(
            f"- {{name: {name}, value: {quoted(value)}}}" for name, value in job.env.items()
        ),
    }
    return fill_in("rayjob.yaml", values)


def cluster(job: Job, _: Path, flags: Mapping[str, Any]) -> str:
    """Write the file of a cluster for Ray's launcher (`ray up`), which reaches machines by ssh.

    Raises:
        ValueError: docker cannot mount the storage folder, or no `--user` is given and this process
            has no user name.
    """
    head, *workers = flags["hosts"]
    folder = f"tune_sr-{job.name}"
    resources = "".join(
        f" --num-{what}={flags[what]}" for what in ("cpus", "gpus") if flags[what] is not None
    )
    # The token that all nodes read: without it nobody who reaches them can use the cluster.
    token = shlex.quote(str(job.storage / ".ray_token"))
    environment = [
        *_exports(job, None if flags["image"] else flags["bin"]),
        f"export RAY_AUTH_MODE=token RAY_AUTH_TOKEN_PATH={token}",
    ]
    made = (
        f"mkdir -p {shlex.quote(str(job.storage))}; [ -s {token} ] || "
        f"(umask 077; od -An -N32 -tx1 /dev/urandom | tr -d ' \\n' > {token}); "
    )
    before = "".join(f"{line}; " for line in environment)
    script = job.script(f"~/{folder}/space.yaml", "auto")
    start = f"{before}ulimit -n 65536; ray start --disable-usage-stats{resources}"
    values = {
        "name": job.name,
        "cluster": quoted(job.name),
        "folder": folder,
        "head": quoted(head),
        "workers": f"[{', '.join(map(quoted, workers))}]",
        "user": quoted(flags["user"] or _user()),
        "docker": _docker(job, flags["image"]),
        "write_space": written_to(f"~/{folder}/space.yaml", job.space),
        "write_script": written_to(f"~/{folder}/study.sh", "\n".join([*environment, script])),
        "stop": quoted(f"{before}ray stop"),
        "start_head": quoted(
            f"{made}{start} --head --port=6379 --autoscaling-config=~/ray_bootstrap_config.yaml"
        ),
        "start_worker": quoted(f"{start} --address=$RAY_HEAD_IP:6379"),
    }
    return fill_in("cluster.yaml", values)


def slurm(job: Job, space: Path, flags: Mapping[str, Any]) -> str:
    """Write a batch script for `sbatch`, which starts a Ray cluster on the nodes of its own job."""
    values = {
        "name": job.name,
        "workers": str(flags["workers"]),
        "cpus": str(flags["cpus"]),
        "gpus": str(flags["gpus"]),
        "gpus_per_node": f"#SBATCH --gpus-per-node={flags['gpus']}" if flags["gpus"] else "",
        "memory": f"#SBATCH --mem={flags['memory']}G" if flags["memory"] else "",
        "time": flags["time"],
        "environment": "\n".join(_exports(job, flags["bin"])),
        "script": job.script(shlex.quote(str(space.absolute())), '"$address"'),
    }
    return fill_in("slurm.sh", values)


TARGETS: dict[str, Target] = {
    "rayjob": Target(
        ("image", "claim"), {"workers": 2, "cpus": 8, "gpus": 1, "memory": 32}, rayjob
    ),
    "cluster": Target(
        ("hosts",),
        {"user": None, "image": None, "cpus": None, "gpus": None, "bin": _BIN},
        cluster,
    ),
    "slurm": Target(
        (),
        {"workers": 2, "cpus": 8, "gpus": 1, "memory": None, "time": "1-00:00:00", "bin": _BIN},
        slurm,
    ),
}
"""The kinds of cluster, by the command's first argument."""


def _kubernetes_name(name: str) -> str:
    slug = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")
    slug = slug if slug[0].isalpha() else f"study-{slug}"
    if len(slug) > _LONGEST_NAME:
        raise ValueError(f"--name {name}: at most {_LONGEST_NAME} characters for a RayJob")
    return slug


def _exports(job: Job, folder: Path | None) -> list[str]:
    """Return shell lines that export a job's environment, with `folder` first in PATH if given."""
    path = [f'export PATH={shlex.quote(str(folder))}:"$PATH"'] if folder else []
    return path + [f"export {name}={shlex.quote(value)}" for name, value in job.env.items()]


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # the latter since Python 3.13
        rule = "this machine has no name for whoever runs this: say who is known there to ssh"
        raise ValueError(f"--user: {rule}") from None


def _docker(job: Job, image: str | None) -> str:
    if image is None:
        return ""
    if ":" in str(job.storage):
        raise ValueError(f"--storage {job.storage}: docker takes no folder with a colon in it")
    # Ray hands its options to a shell as they are.
    volume = quoted(f"--volume={shlex.quote(f'{job.storage}:{job.storage}')}")
    name = quoted(f"tune_sr-{job.name}")
    return f"docker:\n  image: {quoted(image)}\n  container_name: {name}\n  run_options: [{volume}]"
