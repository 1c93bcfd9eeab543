"""Reads a study from its ledger, and refuses a resume that changes what its trials are."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from trainables.dotted import leaves
from trainables.errors import ConfigError
from tune_sr.cli.redaction import lacks_secrets, redacted, without_secrets
from tune_sr.ledger.events import Event
from tune_sr.ledger.ledger import is_started
from tune_sr.space.search_space import SearchSpace
from tune_sr.space.yaml_file import dump_yaml
from tune_sr.storage.layout import LEDGER, SPACE
from tune_sr.study.settings import StudySettings
from tune_sr.study.space_file import Study, read_resolved, to_resolved

_MAY_CHANGE = (
    "name", "trials", "confirm", "margin", "ablate", "hours", "gpu_hours", "concurrent",
    "cpus_per_trial", "gpus_per_trial", "storage", "tracking_uri",
)  # fmt: skip
"""Settings that a resume may change: none of them decides what a trial is."""


def load_stored_study(folder: Path, events: Sequence[Event]) -> Study:
    """Read the space of a study from its ledger, and the settings its latest driver had.

    Raises:
        ValueError: there is no study in `folder`, or its ledger does not describe one.
    """
    started = next((event for event in events if event["event"] == "study_started"), None)
    if started is None:
        check_nothing_lost(folder, events)
        raise ValueError(f"{folder}: no study to resume here; leave --resume out to begin one")
    starts = (event for event in events if event["event"] == "driver_started")
    latest = [event["study"] for event in starts if "study" in event]
    try:
        study = latest[-1] if latest else started["space"].get("study", {})
        text = dump_yaml({**started["space"], "study": study})
        return read_resolved(text, folder / SPACE, edition=started.get("edition") or 1)
    except (LookupError, TypeError, AttributeError):
        rule = "its lines study_started and driver_started hold no space: bring back a copy of it"
        raise ValueError(f"{folder / LEDGER}: {rule}") from None
    except ConfigError as error:
        raise ValueError(f"{folder / LEDGER}: {redacted(str(error))}") from None


def check_nothing_lost(folder: Path, events: Sequence[Event]) -> None:
    """Refuse a folder that holds trials or events of a study whose ledger, or its start, is lost.

    A study begun there would take its checkpoints and events for its own.

    Raises:
        ValueError: names the remains, and the ways out.
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


def check_unchanged(folder: Path, stored: Study, given: Study) -> None:
    """Refuse a resume that would change what the trials of the study in `folder` are.

    Raises:
        ValueError: names the first three differences, and the ways out.
    """
    before, now = _fixed_by_the_start(*stored), _fixed_by_the_start(*given)
    differences = [
        f"{path} was {_shown(before, path)} and is {_shown(now, path)}"
        for path in changed_paths(before, now)
    ]
    if differences:
        more = f" (and {len(differences) - 3} more)" if len(differences) > 3 else ""
        changes = "; ".join(differences[:3]) + more
        raise ValueError(
            f"{given[0].path}: not the space of {folder}: {changes}. "
            "Resume with the space as it was (or without --space), or begin another with --name"
        )


def changed_paths(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """The dotted paths whose values differ, or that only one of two flat mappings has.

    >>> changed_paths({"seed": 0, "ema": 0.9}, {"seed": 0, "ema": 0.5, "batch.images": 2})
    ['ema', 'batch.images']
    """
    return [path for path in dict.fromkeys((*before, *now)) if before.get(path) != now.get(path)]


def check_extends(stored: StudySettings, flags: Mapping[str, Any]) -> None:
    """Refuse a resume whose flags, by the name of their setting, would shorten a study.

    Raises:
        ValueError: names the flag and the study's present limit.
    """
    for key in ("trials", "confirm", "hours", "gpu_hours"):
        before, now = getattr(stored, key), flags.get(key)
        if "auto" in (before, now):  # a race may follow a confirmation, and the reverse
            continue
        if before is not None and now is not None and now < before:
            rule = f"the study has {before:g} already; give as many or more"
            raise ValueError(f"--{key.replace('_', '-')} {now:g}: {rule}")


def without_secrets_of_old(event: Event) -> Event:
    """Remove the secrets from the tracking address of a `study_started` that an old version wrote.

    Ray writes the events that a searcher remembers to disk; other events are returned as they are.
    """
    study = event.get("space", {}).get("study") if event["event"] == "study_started" else None
    if not study or not study.get("tracking_uri"):
        return event
    kept = {**study, "tracking_uri": without_secrets(study["tracking_uri"])}
    return {**event, "space": {**event["space"], "study": kept}}


def address_again(stored: str | None, given: str | None) -> str | None:
    """Restore the secrets that a study's tracking address is `stored` without.

    Returns:
        `given` or MLFLOW_TRACKING_URI, whichever first equals `stored` but for the secrets; None
        where neither does, and where `stored` lacks none.
    """
    if stored is None or not lacks_secrets(stored):
        return None
    candidates = (given, os.environ.get("MLFLOW_TRACKING_URI"))
    same = (each for each in candidates if each and without_secrets(each) == stored != each)
    return next(same, None)


def _fixed_by_the_start(space: SearchSpace, settings: StudySettings) -> dict[str, Any]:
    """Everything that decides what a trial is and which trials there are, by dotted path."""
    resolved = json.loads(json.dumps(to_resolved(space, settings)))
    first = resolved.pop("first")
    for key in _MAY_CHANGE:
        resolved["study"].pop(key, None)
    return {**dict(leaves(resolved)), "first": first}


def _shown(values: Mapping[str, Any], path: str) -> str:
    return json.dumps(values[path]) if path in values else "absent"
