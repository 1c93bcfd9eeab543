"""The configuration of a study to begin or to go on with, from the command line's flags."""

from __future__ import annotations

import argparse
import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

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
from tune_sr.study.settings import with_flags
from tune_sr.study.space_file import load_space

_FLAGS = (
    "trials", "hours", "gpu_hours", "concurrent", "cpus_per_trial", "gpus_per_trial",
    "tracking_uri", "seed",
)  # fmt: skip
"""Flags that are keys of a space's `study` section, where they win."""


def new_study(arguments: argparse.Namespace, address: str | None, in_job: bool) -> StudyConfig:
    """The study to begin.

    Raises:
        ValueError: the space cannot be used, or the name is taken.
    """
    space = load_space(arguments.space, arguments.overrides)
    name = arguments.name or space.study["name"] or arguments.space.stem
    storage = _storage(arguments, space.study, in_job)
    flags = {key: getattr(arguments, key) for key in _FLAGS}
    space = with_flags(space, {**flags, "name": name, "storage": str(storage)})
    config = StudyConfig.from_settings(space, name, storage, address)
    events = read_events(config.folder)
    if is_started(events):
        rule = "a study of this name exists: go on with it by --resume, or choose another --name"
        raise ValueError(f"{config.folder}: {rule}")
    check_nothing_lost(config.folder, events)
    return config


def resumed_study(arguments: argparse.Namespace, address: str | None, in_job: bool) -> StudyConfig:
    """The study to go on with.

    Raises:
        ValueError: there is none, or what is asked is another one.
    """
    given: SearchSpace | None = None
    if arguments.space is not None:
        given = load_space(arguments.space, arguments.overrides)
    elif arguments.overrides:
        raise ValueError("--set: a resume takes it with --space only")
    of_space: Mapping[str, Any] = given.study if given else {}
    name = arguments.name or of_space.get("name") or arguments.space.stem
    storage = _storage(arguments, of_space, in_job)
    folder = (storage / name).absolute()
    # A study of before there was a choice computed in float32.
    stored = load_stored_study(folder, read_events(folder)).settled("fp32")
    given = given and given.settled(stored.fixed["precision"])
    flags = {key: getattr(arguments, key) for key in _FLAGS}
    if given is not None:
        for override in arguments.overrides:  # study.KEY=VALUE is a flag in other words
            key = override.partition("=")[0].removeprefix("study.")
            if key in _FLAGS and flags[key] is None and override.startswith("study."):
                flags[key] = given.study[key]
        check_unchanged(folder, stored, with_flags(given, {"seed": arguments.seed}))
    flags["tracking_uri"] = flags["tracking_uri"] or address_again(
        stored.study["tracking_uri"], given
    )
    check_extends(stored, flags)
    resumed = with_flags(stored, {**flags, "name": name, "storage": str(storage)})
    check_unchanged(folder, stored, resumed)
    config = StudyConfig.from_settings(resumed, name, storage, address)
    return replace(config, retry_failed=arguments.retry_failed)


def _storage(arguments: argparse.Namespace, of_space: Mapping[str, Any], in_job: bool) -> Path:
    """Where studies lie.

    Raises:
        ValueError: it would go with the folder of a job.
    """
    said = arguments.storage or of_space.get("storage", "runs")
    storage = Path(os.path.expanduser(said))  # noqa: PTH111  # Path's own fails for an unknown ~user
    if in_job and not storage.is_absolute():
        rule = "not absolute; a job's own folder goes with it: say one that every node sees"
        raise ValueError(f"--storage {storage}: {rule}")
    return storage
