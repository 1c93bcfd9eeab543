"""Configures a new study, or another start of one that exists, from the command line's flags."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from tune_sr.ledger.ledger import is_started, read_events
from tune_sr.space.search_space import SearchSpace
from tune_sr.study.config import StudyConfig
from tune_sr.study.resume import (
    address_again,
    check_extends,
    check_nothing_lost,
    check_unchanged,
    load_stored_study,
)
from tune_sr.study.settings import StudySettings
from tune_sr.study.space_file import load_study
from tune_sr.study.warm_start import trials_taken

_FLAGS = (
    "trials", "confirm", "margin", "ablate", "hours", "gpu_hours", "concurrent", "cpus_per_trial",
    "gpus_per_trial", "tracking_uri", "seed",
)  # fmt: skip
"""Flags that override settings of the space's `study` section."""


def new_study(arguments: argparse.Namespace, address: str | None, in_job: bool) -> StudyConfig:
    """Configure a study that does not exist yet, on the Ray cluster at `address`, if any.

    `in_job` is whether this process is a Ray job, whose working folder is deleted after it.

    Raises:
        ValueError: the space cannot be used, or the name is taken.
    """
    space, settings = load_study(arguments.space, arguments.overrides)
    name = arguments.name or settings.name or arguments.space.stem
    storage = _storage(arguments, settings, in_job)
    flags = {key: getattr(arguments, key) for key in _FLAGS}
    own = {"name": name, "storage": str(storage)}
    settings = settings.with_overrides({**flags, **own}, space)
    taken = None
    if arguments.warm_start is not None:
        if settings.objective.cost is not None:
            raise ValueError("--warm-start: takes over values of one objective, this study has two")
        taken = trials_taken(space, arguments.warm_start)
    config = StudyConfig(space, settings, storage / name, address, taken=taken)
    events = read_events(config.folder)
    if is_started(events):
        rule = "a study of this name exists: go on with it by --resume, or choose another --name"
        raise ValueError(f"{config.folder}: {rule}")
    check_nothing_lost(config.folder, events)
    return config


def resumed_study(arguments: argparse.Namespace, address: str | None, in_job: bool) -> StudyConfig:
    """Configure another start of a study that exists; the arguments are those of `new_study`.

    Raises:
        ValueError: there is none, or the flags or the space would make it another study.
    """
    given: SearchSpace | None = None
    asked = StudySettings()
    if arguments.space is not None:
        given, asked = load_study(arguments.space, arguments.overrides)
    elif arguments.overrides:
        raise ValueError("--set: a resume takes it with --space only")
    name = arguments.name or asked.name or arguments.space.stem
    storage = _storage(arguments, asked, in_job)
    folder = (storage / name).absolute()
    space, settings = load_stored_study(folder, read_events(folder))
    space = space.settled("fp32")  # in which studies computed before there was a choice
    flags = {key: getattr(arguments, key) for key in _FLAGS}
    if given is not None:
        given = given.settled(space.fixed["precision"])
        for override in arguments.overrides:  # study.KEY=VALUE is a flag in other words
            key = override.partition("=")[0].removeprefix("study.")
            if key in _FLAGS and flags[key] is None and override.startswith("study."):
                flags[key] = getattr(asked, key)
        seeded = asked.with_overrides({"seed": arguments.seed}, given)
        check_unchanged(folder, (space, settings), (given, seeded))
    flags["tracking_uri"] = flags["tracking_uri"] or address_again(
        settings.tracking_uri, asked.tracking_uri
    )
    check_extends(settings, flags)
    own = {"name": name, "storage": str(storage)}
    resumed = settings.with_overrides({**flags, **own}, space)
    check_unchanged(folder, (space, settings), (space, resumed))
    return StudyConfig(space, resumed, folder, address, arguments.retry_failed)


def _storage(arguments: argparse.Namespace, settings: StudySettings, in_job: bool) -> Path:
    """The folder that studies lie in; `~` is expanded.

    Raises:
        ValueError: it would be deleted with the folder of a job.
    """
    storage = Path(os.path.expanduser(arguments.storage or settings.storage))  # noqa: PTH111  # Path's own fails for an unknown ~user
    if in_job and not storage.is_absolute():
        rule = "not absolute; a job's own folder goes with it: say one that every node sees"
        raise ValueError(f"--storage {storage}: {rule}")
    return storage
