"""The kinds of cluster that a study is deployed to: what each takes, and its file filled in."""

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

_HERE = Path(sys.executable).parent
"""Where python and ray are, on nodes that share their file system with this machine."""
_LONGEST = 47
"""Characters of a RayJob's name: KubeRay makes longer ones of it."""


@dataclass(frozen=True)
class Target:
    """One kind of cluster."""

    requires: tuple[str, ...]
    """Flags without which there is no such file."""
    defaults: Mapping[str, Any]
    """Its other flags, and what holds without them."""
    write: Callable[[Job, Path, Mapping[str, Any]], str]
    """The file, of a job, the space's file and every flag of this kind."""

    @property
    def flags(self) -> tuple[str, ...]:
        """Every one that it takes."""
        return (*self.requires, *self.defaults)

    def complete_flags(self, kind: str, given: Mapping[str, Any]) -> dict[str, Any]:
        """Every flag of this kind, as given or as it holds without.

        Raises:
            ValueError: one line: a flag is missing, or is another kind's.
        """
        known = ", ".join(f"--{flag}" for flag in self.flags)
        said = {flag: value for flag, value in given.items() if value is not None}
        for flag in said:
            if flag not in self.flags:
                raise ValueError(f"--{flag}: not of {kind}, which takes {known}")
        for flag in self.requires:
            if flag not in said:
                raise ValueError(f"{kind} needs --{flag}; it takes {known}")
        return {**self.defaults, **said}


def rayjob(job: Job, _: Path, flags: Mapping[str, Any]) -> str:
    """A KubeRay RayJob, with the space in a ConfigMap.

    Raises:
        ValueError: the study's name is too long for one, or its driver needs a GPU.
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
    """A cluster of Ray's own launcher, over ssh."""
    head, *workers = flags["hosts"]
    folder = f"tune_sr-{job.name}"
    resources = "".join(
        f" --num-{what}={flags[what]}" for what in ("cpus", "gpus") if flags[what] is not None
    )
    # A secret that all nodes read: nobody else who reaches them may use the cluster.
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
    """A batch script that makes the cluster of its own nodes."""
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
        {"user": None, "image": None, "cpus": None, "gpus": None, "bin": _HERE},
        cluster,
    ),
    "slurm": Target(
        (),
        {"workers": 2, "cpus": 8, "gpus": 1, "memory": None, "time": "1-00:00:00", "bin": _HERE},
        slurm,
    ),
}
"""By the word that the command takes."""


def _kubernetes_name(name: str) -> str:
    slug = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")
    slug = slug if slug[0].isalpha() else f"study-{slug}"
    if len(slug) > _LONGEST:
        raise ValueError(f"--name {name}: at most {_LONGEST} characters for a RayJob")
    return slug


def _exports(job: Job, folder: Path | None) -> list[str]:
    """Lines of a shell that set what a job's nodes find in their environment."""
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
