"""What a study that exists was begun with, and how far a new command may differ from it."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trainables.dotted import leaves
from tune_sr.faults import may_be_retried
from tune_sr.ledger import Event, History, Ledger
from tune_sr.redact import lacks_secrets, without_secrets
from tune_sr.space import SearchSpace
from tune_sr.spending import GpuMeter
from tune_sr.yaml_lines import dump_yaml

if TYPE_CHECKING:
    from tune_sr.study import StudyConfig

_MAY_CHANGE = (
    "name", "trials", "hours", "gpu_hours", "concurrent", "cpus_per_trial", "gpus_per_trial",
    "storage", "tracking_uri",
)  # fmt: skip
"""Keys of a study that a resume may give anew: none of them changes what a trial is."""


def read_events(folder: Path) -> list[Event]:
    """The ledger of the study in `folder`; empty where there is none.

    Raises:
        ValueError: what has its name is a folder, or another user's.
    """
    try:
        return list(Ledger(folder / "ledger.jsonl").events())
    except (IsADirectoryError, PermissionError) as error:
        why = (error.strerror or str(error)).lower()
        raise ValueError(f"{folder / 'ledger.jsonl'}: cannot be read: {why}") from None


def exists(events: Sequence[Event]) -> bool:
    """Whether a study was begun: a driver that died before its first line began none."""
    return any(event["event"] == "study_started" for event in events)


def stored_space(folder: Path, events: Sequence[Event]) -> SearchSpace:
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
        resolved = {**started["space"], "study": study}
        return SearchSpace.from_resolved(dump_yaml(resolved), folder / "space.yaml")
    except (LookupError, TypeError, AttributeError):
        rule = "its lines study_started and driver_started hold no space: bring back a copy of it"
        raise ValueError(f"{folder / 'ledger.jsonl'}: {rule}") from None


def check_nothing_lost(folder: Path, events: Sequence[Event]) -> None:
    """Refuse a folder with what a study left there whose ledger, or its first line, is gone.

    Its checkpoints and events would be taken for those of a study that is begun there.

    Raises:
        ValueError: names what is there, and the ways out.
    """
    if exists(events):
        return
    ledger = folder / "ledger.jsonl"
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
    before, now = _deciding(stored), _deciding(given)
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


def left_to_do(config: StudyConfig) -> float | None:
    """Seconds that a study may still take, infinite without a limit; None where it is finished.

    A limit of GPU time is none of these seconds: whether any of it is left is what counts here.
    """
    events = read_events(config.folder)
    history = History.of(events)
    retried = config.retry_failed and any(map(may_be_retried, history.trials.values()))
    if len(history.trials) >= config.trials and not history.running() and not retried:
        return None
    if config.gpu_hours is not None and GpuMeter.of(events).seconds() >= 3600 * config.gpu_hours:
        return None
    if config.hours is None:
        return math.inf
    left = 3600 * config.hours - driver_seconds(events)
    return left if left > 0 else None


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


def driver_seconds(events: Iterable[Event]) -> float:
    """How long drivers have worked on a study, all its starts together."""
    total, began, last = 0.0, None, 0.0
    for event in events:
        if event["event"] == "driver_started":
            total += last - began if began is not None else 0.0
            began = event["time"]
        last = event["time"]
    return total + (last - began if began is not None else 0.0)


def _deciding(space: SearchSpace) -> dict[str, Any]:
    """Everything that decides what a trial is and which trials there are, by dotted path."""
    resolved = json.loads(json.dumps(space.resolved()))
    first = resolved.pop("first")
    for key in _MAY_CHANGE:
        resolved["study"].pop(key, None)
    return {**dict(leaves(resolved)), "first": first}


def _shown(values: Mapping[str, Any], path: str) -> str:
    return json.dumps(values[path]) if path in values else "absent"
