"""The job of a cluster: a study, as a command that starts it, or resumes it where it exists."""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from tune_sr import search
from tune_sr.deploy.template import check_plain, fill_in

_SET_BY_DEPLOY = {
    "space": "say it before the --",
    "name": "say it before the --",
    "storage": "say it before the --",
    "resume": "a deployment sees to this itself",
    "address": "a deployment sees to this itself",
    "dry_run": "try it with the search itself",
}
"""Flags of `search` refused after `--` in the command line of `deploy`, each with the way out."""

_NO_SPACE = "\0"
"""A value of --space that no command line can contain."""


@dataclass(frozen=True, kw_only=True)
class Job:
    """A study to run on a cluster, and the environment of its nodes."""

    name: str
    """The study's name; checked."""
    space: str
    """The text of the space's YAML file."""
    storage: Path
    """The folder of all studies: absolute, and the same on every node."""
    words: tuple[str, ...] = ()
    """Further arguments of `search`."""
    probes_gpu: bool = False
    """Whether the driver first measures a trial's GPU memory (`gpus_per_trial: auto`)."""
    env: Mapping[str, str] = field(default_factory=dict)
    """The environment variables of every node."""

    @property
    def study(self) -> Path:
        """The study's folder."""
        return self.storage / self.name

    def command(self, space: str, address: str) -> str:
        """Return the `search` command as shell source.

        Args:
            space: the path of the space's file on the node, as shell source.
            address: the cluster's address, as shell source.
        """
        name, storage = shlex.quote(self.name), shlex.quote(str(self.storage))
        words = [f"{search.PROG} --space {space} --name {name} --storage {storage}"]
        return " ".join([*words, f"--address {address}", *map(shlex.quote, self.words)])

    def script(self, space: str, address: str) -> str:
        """Return a shell script that starts the study, or resumes it where it exists.

        Args:
            space: the path of the space's file on the node, as shell source.
            address: the cluster's address, as shell source.
        """
        command = self.command(space, address)
        return fill_in("study.sh", {"study": shlex.quote(str(self.study)), "command": command})


def make_job(
    space: Path,
    storage: Path,
    *,
    name: str | None = None,
    words: Sequence[str] = (),
    env: Mapping[str, str] | None = None,
    cpus: int | None = None,
    gpus: int | None = None,
) -> Job:
    """Read and check the space and the arguments of a study, and make its job.

    Args:
        space: the space's file on this machine.
        storage: an absolute path to a folder that every node of the cluster shares.
        name: the study's name; None: the space's `study.name`, else the name of its file.
        words: further arguments of `search`. Where nodes have GPUs and neither these nor the space
            set `gpus_per_trial`, each trial gets one GPU.
        env: environment variables of every node, which the space may refer to.
        cpus: CPUs of a node; None: not known.
        gpus: GPUs of a node; None: not known.

    Raises:
        ValueError: one line: the space or an argument cannot be used, or a trial needs more than a
            node has.
    """
    from tune_sr.study.space_file import load_study

    if not storage.is_absolute():
        raise ValueError(f"--storage {storage}: not absolute; every node finds it by this path")
    for word in words:
        check_plain(f"-- {word}", word)
    defaults, given = (search.parse_arguments(["--space", _NO_SPACE, *w]) for w in ((), words))
    for flag, way_out in _SET_BY_DEPLOY.items():
        if getattr(given, flag) != getattr(defaults, flag):
            raise ValueError(f"--{flag.replace('_', '-')}: {way_out}")
    with _environment(env or {}):
        loaded, settings = load_study(space, given.overrides)
    name = name or settings.name or space.stem
    flags = {key: value for key, value in vars(given).items() if key in settings.to_dict()}
    settings = settings.with_overrides({**flags, "name": name}, loaded)
    words, auto = tuple(words), settings.gpus_per_trial == "auto"
    if auto and gpus == 0:
        raise ValueError("--gpus-per-trial auto: a node has 0; leave it out")
    for resource, available in (("cpus", cpus), ("gpus", gpus)):
        needed = getattr(settings, f"{resource}_per_trial")
        if available is not None and isinstance(needed, int | float) and needed > available:
            rule = f"a node has {available}; no trial could start"
            raise ValueError(f"--{resource}-per-trial {needed:g}: {rule}")
    if gpus and not settings.gpus_per_trial:
        words += ("--gpus-per-trial", "1")
    text = check_plain(str(space), space.read_text(encoding="utf-8"), lines=True)
    return Job(name=name, space=text, storage=storage, words=words, probes_gpu=auto, env=env or {})


@contextmanager
def _environment(env: Mapping[str, str]) -> Iterator[None]:
    """Add the nodes' environment variables to this process's while the context is in use."""
    before = dict(os.environ)
    os.environ.update(env)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)
