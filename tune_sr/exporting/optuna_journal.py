"""Writes a study as a journal of Optuna's, which optuna-dashboard and Optuna's own plots open."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

import optuna
from optuna.distributions import BaseDistribution
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import FrozenTrial, TrialState

from tune_sr.ledger.history import TrialRecord
from tune_sr.objectives.score import Score
from tune_sr.results.results import Results
from tune_sr.searchers.optuna_trials import distribution_of

_STATES = {
    "completed": TrialState.COMPLETE,
    "stopped": TrialState.PRUNED,
    "failed": TrialState.FAIL,
    None: TrialState.RUNNING,
}
_NOTE_LENGTH = 2045
"""Characters of one part of a note, as optuna-dashboard divides it."""


def write_journal(path: Path, results: Results) -> int:
    """Write all trials of a study: parameters, reports, states, times, notes.

    Reports become intermediate values by student update, a completed trial's score its value, with
    its cost as the second value where that is an objective. A stopped trial is pruned. Reason,
    caveat, attempts and figures are user attributes. The repeats of a confirmation are left out.

    Args:
        path: the journal; it must not exist.
        results: the study, finished or not.

    Returns:
        The number of trials.
    """
    storage = JournalStorage(JournalFileBackend(str(path)))
    directions = ["maximize", *(["minimize"] if results.cost is not None else [])]
    name = str((results.history.study or {}).get("name", results.folder.name))
    study = optuna.create_study(storage=storage, study_name=name, directions=directions)
    names = [results.objective, *([results.cost] if results.cost else [])]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it is experimental, and only a label
        study.set_metric_names(names)
    records = sorted(results.history.trials.values(), key=lambda each: each.number)
    study.add_trials([_trial(record, results) for record in records])
    known = storage.get_all_trials(study._study_id)
    for record, trial in zip(records, known, strict=True):
        if note := _note(record, results):
            _set_note(storage, study._study_id, trial._trial_id, note)
    _set_note(storage, study._study_id, None, _about(results))
    return len(records)


def _trial(record: TrialRecord, results: Results) -> FrozenTrial:
    score = results.score(record)
    state = _STATES[record.state]
    if state is TrialState.COMPLETE and not _values(score, results):
        state = TrialState.FAIL  # without a finite report Optuna has no value to complete it with
    params, distributions, outside = _point(record, results)
    ended = None if state is TrialState.RUNNING else _moment(record.ended_at or record.added_at)
    return FrozenTrial(
        number=record.number,
        state=state,
        value=None,
        values=_values(score, results) if state is TrialState.COMPLETE else None,
        datetime_start=_moment(record.added_at),
        datetime_complete=ended,
        params=params,
        distributions=distributions,
        user_attrs={**_attributes(record, score), **outside},
        system_attrs={},
        intermediate_values=dict(_curve(record, results.objective)),
        trial_id=record.number,
    )


def _point(
    record: TrialRecord, results: Results
) -> tuple[dict[str, Any], dict[str, BaseDistribution], dict[str, Any]]:
    """Return parameters, their distributions, and what lies outside of these: PBT may go there."""
    params: dict[str, Any] = {}
    distributions: dict[str, BaseDistribution] = {}
    outside: dict[str, Any] = {}
    for path, value in record.point.items():
        distribution = distribution_of(results.space.dimensions[path])
        if distribution._contains(distribution.to_internal_repr(value)):
            params[path], distributions[path] = value, distribution
        else:
            outside[path] = value
    return params, distributions, outside


def _values(score: Score | None, results: Results) -> list[float] | None:
    if score is None:
        return None
    values = [score.value, *([] if results.cost is None else [float(score.cost or math.nan)])]
    return values if all(math.isfinite(value) for value in values) else None


def _curve(record: TrialRecord, objective: str) -> Iterator[tuple[int, float]]:
    for step in sorted(record.reports):
        value = record.reports[step].report.get(objective, math.nan)
        if math.isfinite(value):
            yield step, value


def _attributes(record: TrialRecord, score: Score | None) -> dict[str, Any]:
    found = {
        "trial": record.name,
        "reason": record.reason,
        "caveat": record.caveat,
        "attempts": record.attempts or None,
        "step": score.step if score else None,
        "score": score.value if score else None,
        "ssim": score.report.get("ssim") if score else None,
    }
    return {key: value for key, value in found.items() if value is not None}


def _note(record: TrialRecord, results: Results) -> str:
    """Return the text of a trial's note: its role, and why it ended as it did."""
    roles = [("first point", results.first), ("best", results.best)]
    lines = [f"**{role}**" for role, trial in roles if trial is record]
    lines += [f"{record.state}: {record.reason}"] if record.reason else []
    lines += [record.caveat] if record.caveat else []
    return "\n\n".join(lines)


def _about(results: Results) -> str:
    known: Mapping[str, Any] = results.summary()
    rows = [f"# {known['study']}", f"protocol {known['protocol']}; values in dB"]
    for role in ("bicubic", "teacher", "first", "best"):
        value = (known[role] or {}).get(results.objective)
        if value is not None:
            rows.append(f"{role}: {value:.2f} dB")
    return "\n\n".join(rows)


def _set_note(storage: JournalStorage, study: int, trial: int | None, text: str) -> None:
    """Store a note where optuna-dashboard reads it: in attributes of the study, in parts."""
    of_trial = "" if trial is None else f"{trial}:"
    for number, start in enumerate(range(0, len(text), _NOTE_LENGTH)):
        part = text[start : start + _NOTE_LENGTH]
        storage.set_study_system_attr(study, f"dashboard:{of_trial}note_str:{number}", part)
    storage.set_study_system_attr(study, f"dashboard:{of_trial}note_ver", 1)


def _moment(seconds: float) -> datetime:
    """Convert seconds since 1970 to local time without a zone, as Optuna keeps it."""
    return datetime.fromtimestamp(seconds)
