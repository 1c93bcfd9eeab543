"""`--warm-start`: what a study takes over from an earlier one, for its searcher alone."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from statistics import NormalDist
from typing import TYPE_CHECKING, Any

from trainables.dotted import look_up
from trainables.errors import ConfigError
from tune_sr.ledger.events import TrialsTaken
from tune_sr.ledger.history import History, TrialRecord
from tune_sr.ledger.ledger import read_events
from tune_sr.space.points import read_point
from tune_sr.study.resume import load_stored_study

if TYPE_CHECKING:
    from tune_sr.space.search_space import SearchSpace

LEAST_TRIALS = 4
"""Trials with a value that a study must have to be taken over: ranks of fewer say little."""


def trials_taken(space: SearchSpace, folder: Path) -> TrialsTaken:
    """Take the trials of the study in `folder` that are points of `space` too.

    A quantity that the earlier study did not search has its fixed value there. Trials are compared
    at equal budget, by their best value up to the last report that all of them made, and get the
    normal score of their rank: values themselves depend on protocol, scale and teacher. Trials that
    failed are left out.

    Raises:
        ValueError: there is no study, or too few of its trials fit, in one line.
    """
    events = read_events(folder)
    theirs, settings = load_stored_study(folder, events)
    records = [
        record
        for record in History.from_events(events).trials.values()
        if record.state in ("completed", "stopped") and record.reports
    ]
    points: list[dict[str, Any]] = []
    values: list[float] = []
    missed: Counter[str] = Counter()
    shared = min((max(record.reports) for record in records), default=0)
    for record in records:
        value = _best(record, settings.objective.value, shared)
        try:
            point = _point_in(space, theirs, record)
        except ConfigError as error:
            missed[error.path] += 1
            continue
        if value is not None:
            points.append(point)
            values.append(value)
    if len(points) < LEAST_TRIALS:
        named = "".join(f"; {path} does not fit in {count}" for path, count in missed.items())
        rule = f"{len(points)} of its trials are points of this space, {LEAST_TRIALS} are needed"
        raise ValueError(f"--warm-start {folder}: {rule}{named}")
    taken: list[Mapping[str, Any]] = [
        {"point": point, "score": score}
        for point, score in zip(points, _normal_scores(values), strict=True)
    ]
    return TrialsTaken(study=str(folder), trials=taken, of=len(records), misfits=dict(missed))


def _point_in(space: SearchSpace, theirs: SearchSpace, record: TrialRecord) -> dict[str, Any]:
    nested = theirs.trial_config(record.point).model_dump()
    values: dict[str, Any] = {}
    for path in space.dimensions:
        with suppress(KeyError):
            values[path] = look_up(nested, path)
    return read_point(space.dimensions, space.fixed, values, "unknown there")


def _best(record: TrialRecord, objective: str, until: int) -> float | None:
    step = record.best(objective, until=until)
    return None if step is None else record.reports[step].report[objective]


def _normal_scores(values: list[float]) -> list[float]:
    """The normal quantile of each value's rank; equal values have the mean of their ranks."""
    ordered, normal = sorted(values), NormalDist()
    ranks = [
        (ordered.index(value) + len(ordered) - ordered[::-1].index(value) - 1) / 2
        for value in values
    ]
    return [normal.inv_cdf((rank + 0.5) / len(values)) for rank in ranks]


def taken_line(taken: TrialsTaken) -> str:
    """Describe what was taken over, and what does not fit, in one line."""
    misfits = taken.misfits.items()
    missed = "".join(f"; {path} does not fit in {count}" for path, count in misfits)
    return f"{len(taken.trials)} of {taken.of} trials taken from {taken.study}{missed}"
