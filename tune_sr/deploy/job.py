"""What a cluster is to run: a study, begun where there is none yet and gone on with where it is."""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from tune_sr import search
from tune_sr.deploy.template import check_plain, fill_in

_OURS = {
    "space": "say it before the --",
    "name": "say it before the --",
    "storage": "say it before the --",
    "resume": "a deployment sees to this itself",
    "address": "a deployment sees to this itself",
    "dry_run": "try it with the search itself",
}
"""Flags of the search that are not for the words behind a deployment's, each with a way out."""

_UNSAID = "\0"
"""A space that no word of a command line can name."""


@dataclass(frozen=True, kw_only=True)
class Job:
    """A study, and what one node of the cluster that runs it has."""

    name: str
    """Of the study; checked."""
    space: str
    """The text of its space, as it was written."""
    storage: Path
    """The folder that studies lie in, absolute, the same on every node."""
    words: tuple[str, ...] = ()
    """Further arguments of the search."""
    probes_gpu: bool = False
    """Whether its driver tries a trial on a GPU first, to see how much of one each needs."""
    env: Mapping[str, str] = field(default_factory=dict)
    """What every node finds in its environment."""

    @property
    def study(self) -> Path:
        """The study's folder."""
        return self.storage / self.name

    def command(self, space: str, address: str) -> str:
        """The search in words of a shell.

        Args:
            space: where its file will lie, and
            address: of the cluster; both as a shell is to read them.
        """
        name, storage = shlex.quote(self.name), shlex.quote(str(self.storage))
        words = [f"{search.PROG} --space {space} --name {name} --storage {storage}"]
        return " ".join([*words, f"--address {address}", *map(shlex.quote, self.words)])

    def script(self, space: str, address: str) -> str:
        """A shell script that begins the study or goes on with it; see `command`."""
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
    """A study that a cluster can run.

    Args:
        space: its file, on this machine.
        storage: a folder that every node of the cluster sees.
        name: of the study; None: what its space says, else its file's name.
        words: further arguments of the search. Where nodes have GPUs and neither these nor the
            space say how much of one a trial takes, it is given one.
        env: variables of every node, which the space may refer to.
        cpus: of a node; None: not known.
        gpus: of a node; None: not known.

    Raises:
        ValueError: one line: the space, or what is asked of a node, cannot be used.
    """
    from tune_sr.study.space_file import load_study

    if not storage.is_absolute():
        raise ValueError(f"--storage {storage}: not absolute; every node finds it by this path")
    for word in words:
        check_plain(f"-- {word}", word)
    unsaid, said = (search.parse_arguments(["--space", _UNSAID, *more]) for more in ((), words))
    for flag, way_out in _OURS.items():
        if getattr(said, flag) != getattr(unsaid, flag):
            raise ValueError(f"--{flag.replace('_', '-')}: {way_out}")
    with _environment(env or {}):
        loaded, settings = load_study(space, said.overrides)
    name = name or settings.name or space.stem
    flags = {key: value for key, value in vars(said).items() if key in settings.to_dict()}
    settings = settings.with_overrides({**flags, "name": name}, loaded)
    words, auto = tuple(words), settings.gpus_per_trial == "auto"
    if auto and gpus == 0:
        raise ValueError("--gpus-per-trial auto: a node has 0; leave it out")
    for what, there in (("cpus", cpus), ("gpus", gpus)):
        needed = getattr(settings, f"{what}_per_trial")
        if there is not None and isinstance(needed, int | float) and needed > there:
            rule = f"a node has {there}; no trial could start"
            raise ValueError(f"--{what}-per-trial {needed:g}: {rule}")
    if gpus and not settings.gpus_per_trial:
        words += ("--gpus-per-trial", "1")
    text = check_plain(str(space), space.read_text(encoding="utf-8"), lines=True)
    return Job(name=name, space=text, storage=storage, words=words, probes_gpu=auto, env=env or {})


@contextmanager
def _environment(env: Mapping[str, str]) -> Iterator[None]:
    """The variables that the nodes will have, for as long as their space is read here."""
    before = dict(os.environ)
    os.environ.update(env)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)
