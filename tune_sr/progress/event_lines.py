"""Formats each event of a study as one plain line."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tune_sr.cli.formatting import format_value
from tune_sr.ledger import events as kinds
from tune_sr.ledger.events import Event, typed
from tune_sr.ledger.history import TrialRecord
from tune_sr.ledger.reports import Judged
from tune_sr.progress.status import StudyStatus


def event_line(status: StudyStatus, event: Event, *, repeated: bool = False) -> str | None:
    """The plain line of an event that `status` has taken into account; None where it has none.

    Args:
        status: the study so far, this event included.
        event: what happened.
        repeated: whether it repeats a report, as `StudyStatus.apply` returns it.
    """
    line = _line(status, event)
    return f"{line} (repeated)" if line is not None and repeated else line


def _line(status: StudyStatus, event: Event) -> str | None:
    outline, record = status.outline, status.history.record
    match typed(event):
        case kinds.DriverStarted() if status.history.starts > 1:
            start, ended = status.history.starts, f"{status.ended()} of {status.trials}"
            line = f"study {outline.name} resumed (start {start}): {ended} trials have ended"
            return "\n".join((line, *status.footnotes()))
        case kinds.StudyEnded(finished=finished):
            return _end_line(status, finished=finished)
        case kinds.TrialAdded(trial=name, point=point, repeats=None):
            line = f"trial {name} added{_point(point)}"
            return "\n".join((line, *_new_footnote(status, record(name))))
        case kinds.TrialAdded(trial=name, point=point, repeats=repeated):
            return f"trial {name} added: {repeated} with seed {point['seed']}"
        case kinds.TrialAttempt(trial=name, attempt=count, reason=reason):
            return f"trial {name} attempt {count}: {reason}"
        case kinds.TrialRetried(trial=name, reason=reason):
            return f"trial {name} is tried again; it had failed: {reason}"
        case kinds.TrialReported(trial=name, step=step, report=report, decision=decision) as made:
            value = report.get(outline.objective)
            figure = "none" if value is None else status.figure(record(name), value)
            where = f"step {step}/{outline.steps} {outline.objective}"
            judged = Judged.from_dict(made.judged) if decision == "stop" else None
            how = f"{decision}: {judged}" if judged else decision
            return f"trial {name} {where} {figure} {how}"
        case kinds.StopAsked(trial=name):
            return f"trial {name} ends with its next report: a person asked for it"
        case kinds.PointAsked(point=point):
            return f"a point was asked for, one trial more:{_point(point)}"
        case kinds.TrialCloned(trial=name, source=source, point=point):
            line = f"trial {name} goes on as a copy of {source}{_point(point)}"
            return "\n".join((line, *_new_footnote(status, record(name))))
        case kinds.TrialEnded(trial=name, state=state, reason=reason):
            why = f": {reason}" if reason else ""
            return f"trial {name} {state}{why}, {_best_report(status, record(name))}"
    return None


def _end_line(status: StudyStatus, *, finished: bool) -> str:
    outline, best = status.outline, status.best()
    how = "finished" if finished else "not finished"
    found = f"{_best_report(status, best[0])}, trial {best[0].name}" if best else "no report"
    found += f"; a front of {len(status.front())}" if outline.cost and best else ""
    ended = f"{status.ended()} of {status.trials} trials ended"
    return f"study {outline.name} {how}: {ended}, {found}"


def _point(point: Mapping[str, Any]) -> str:
    """` method.P=2 optimiser.lr=0.1`; empty for an empty point."""
    return "".join(f" {path}={format_value(value)}" for path, value in point.items())


def _best_report(status: StudyStatus, record: TrialRecord) -> str:
    value = status.value_of(record)
    return "no report" if value is None else f"best {status.figure(record, value)}"


def _new_footnote(status: StudyStatus, record: TrialRecord) -> list[str]:
    """The footnote of a trial, where it is the first with its caveat; else empty."""
    same = [each for each in status.history.trials.values() if each.caveat == record.caveat]
    new = record.caveat and len(same) == 1
    return [f"{status.footnote_mark(record)} {record.caveat}"] if new else []


def opening_line(status: StudyStatus) -> str:
    """The first plain line: the study, how long it is and its reference scores."""
    outline = status.outline
    marks = (("bicubic", outline.bicubic), ("teacher", outline.teacher))
    known = "".join(f", {name} {value:.2f} dB" for name, value in marks if value is not None)
    return f"study {outline.name}: {outline.trials} trials of {outline.steps} steps{known}"
