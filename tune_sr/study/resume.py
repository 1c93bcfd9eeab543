"""Reads the space a study was started with; refuses a resume that changes what its trials are."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from trainables.dotted import leaves
from tune_sr.cli.redaction import lacks_secrets, without_secrets
from tune_sr.ledger.events import Event
from tune_sr.ledger.ledger import is_started
from tune_sr.space.search_space import SearchSpace
from tune_sr.space.yaml_file import dump_yaml
from tune_sr.storage.layout import LEDGER, SPACE
from tune_sr.study.space_file import read_resolved

_MAY_CHANGE = (
    "name", "trials", "hours", "gpu_hours", "concurrent", "cpus_per_trial", "gpus_per_trial",
    "storage", "tracking_uri",
)  # fmt: skip
"""Keys of a study that a resume may give anew: none of them changes what a trial is."""


def load_stored_study(folder: Path, events: Sequence[Event]) -> SearchSpace:
    """The space of a study as its latest driver had it.

    Raises:
        ValueError: there is no study in `folder`.
    """
    started = next((event for event in events if event["event"] == "study_started"), None)
    if started is None:
        check_nothing_lost(folder, events)
        raise ValueError(f"{folder}: no study to resume here; leave --resume out to begin one")
    starts = (event for event in events if event["event"] == "driver_started")
    latest = [event["study"] for event in starts if "study" in event]
    try:
        study = latest[-1] if latest else started["space"].get("study", {})
        return read_resolved(dump_yaml({**started["space"], "study": study}), folder / SPACE)
    except (LookupError, TypeError, AttributeError):
        rule = "its lines study_started and driver_started hold no space: bring back a copy of it"
        raise ValueError(f"{folder / LEDGER}: {rule}") from None


def check_nothing_lost(folder: Path, events: Sequence[Event]) -> None:
    """Refuse a folder with what a study left there whose ledger, or its first line, is gone.

    Its checkpoints and events would be taken for those of a study that is begun there.

    Raises:
        ValueError: names what is there, and the ways out.
    """
    if is_started(events):
        return
    ledger = folder / LEDGER
    saved = ledger.with_name(f"{ledger.stem}.saved.jsonl")
    trials = folder / "trials"
    if events:
        what = f"{ledger}: has events of a study and not the one that began it (study_started)"
    elif trials.is_dir() and any(trials.iterdir()):
        what = f"{folder}: has trials of a study and no ledger.jsonl"
    else:
        return
    copy = saved if saved.exists() else "a copy of that file"
    raise ValueError(f"{what}: bring back {copy}, move the folder away, or choose another --name")


def check_unchanged(folder: Path, stored: SearchSpace, given: SearchSpace) -> None:
    """Refuse a space other than the study's.

    Raises:
        ValueError: shows the difference.
    """
    before, now = _fixed_by_the_start(stored), _fixed_by_the_start(given)
    differences = [
        f"{path} was {_shown(before, path)} and is {_shown(now, path)}"
        for path in dict.fromkeys((*before, *now))
        if before.get(path) != now.get(path)
    ]
    if differences:
        more = f" (and {len(differences) - 3} more)" if len(differences) > 3 else ""
        changes = "; ".join(differences[:3]) + more
        raise ValueError(
            f"{given.path}: not the space of {folder}: {changes}. "
            "Resume with the space as it was (or without --space), or begin another with --name"
        )


def check_extends(stored: SearchSpace, flags: Mapping[str, Any]) -> None:
    """Refuse a resume that would shorten a study.

    Raises:
        ValueError: names the flag and what the study has.
    """
    for key in ("trials", "hours", "gpu_hours"):
        before, now = stored.study.get(key), flags.get(key)  # there are ledgers from before a key
        if before is not None and now is not None and now < before:
            rule = f"the study has {before:g} already; give as many or more"
            raise ValueError(f"--{key.replace('_', '-')} {now:g}: {rule}")


def without_secrets_of_old(event: Event) -> Event:
    """An event as it is written today: earlier versions wrote the tracking address as it was given.

    What a searcher remembers of its ledger, Ray writes to disk with it.
    """
    study = event.get("space", {}).get("study") if event["event"] == "study_started" else None
    if not study or not study.get("tracking_uri"):
        return event
    kept = {**study, "tracking_uri": without_secrets(study["tracking_uri"])}
    return {**event, "space": {**event["space"], "study": kept}}


def address_again(stored: str | None, given: SearchSpace | None) -> str | None:
    """The tracking address that a study was begun with, from where it stands with its secrets.

    A study is written down without them. None where neither the space that a resume was given nor
    MLFLOW_TRACKING_URI has the same address, or where no secret was left out.
    """
    if stored is None or not lacks_secrets(stored):
        return None
    candidates = [given.study["tracking_uri"] if given else None]
    candidates.append(os.environ.get("MLFLOW_TRACKING_URI"))
    same = (each for each in candidates if each and without_secrets(each) == stored != each)
    return next(same, None)


def _fixed_by_the_start(space: SearchSpace) -> dict[str, Any]:
    """Everything that decides what a trial is and which trials there are, by dotted path."""
    resolved = json.loads(json.dumps(space.to_dict()))
    first = resolved.pop("first")
    for key in _MAY_CHANGE:
        resolved["study"].pop(key, None)
    return {**dict(leaves(resolved)), "first": first}


def _shown(values: Mapping[str, Any], path: str) -> str:
    return json.dumps(values[path]) if path in values else "absent"
