"""One plain line for each event of a study."""

from __future__ import annotations

from tune_sr.cli.formatting import format_value
from tune_sr.ledger.events import Event
from tune_sr.ledger.history import TrialRecord
from tune_sr.progress.status import StudyStatus


def event_line(status: StudyStatus, event: Event, *, repeated: bool = False) -> str | None:
    """The plain line of an event that `status` has taken into account; None where it has none.

    Args:
        status: the study as it stands, this event included.
        event: what happened.
        repeated: whether it repeats a report, as `StudyStatus.apply` returns it.
    """
    line = _trial_line(status, event) if "trial" in event else _study_line(status, event)
    return f"{line} (repeated)" if line is not None and repeated else line


def _study_line(status: StudyStatus, event: Event) -> str | None:
    outline, ended = status.outline, status.ended()
    if event["event"] == "driver_started" and status.history.starts > 1:
        start = f"resumed (start {status.history.starts})"
        line = f"study {outline.name} {start}: {ended} of {outline.trials} trials have ended"
        return "\n".join((line, *status.footnotes()))
    if event["event"] == "study_ended":
        how, best = "finished" if event["finished"] else "not finished", status.best()
        told = f"{_told(status, best[0])}, trial {best[0].name}" if best else "no report"
        told += f"; a front of {len(status.front())}" if outline.cost and best else ""
        return f"study {outline.name} {how}: {ended} of {outline.trials} trials ended, {told}"
    return None


def _trial_line(status: StudyStatus, event: Event) -> str | None:
    kind, trial = event["event"], f"trial {event['trial']}"
    record = status.history.trials[event["trial"]]
    if kind == "trial_added":
        point = (f"{path}={format_value(value)}" for path, value in event["point"].items())
        line = " ".join((trial, "added", *point))
        return "\n".join((line, *_new_footnote(status, record)))
    if kind == "attempt":
        return f"{trial} attempt {event.get('attempt')}: {event.get('reason')}"
    if kind == "retried":
        return f"{trial} is tried again; it had failed: {event.get('reason')}"
    if kind == "reported":
        value = event["report"].get(status.outline.objective)
        told = "none" if value is None else status.figure(record, value)
        where = f"step {event['step']}/{status.outline.steps} {status.outline.objective}"
        return f"{trial} {where} {told} {event['decision']}"
    if kind == "cloned":
        point = (f"{path}={format_value(value)}" for path, value in event["point"].items())
        line = " ".join((trial, "goes on as a copy of", event["from"], *point))
        return "\n".join((line, *_new_footnote(status, record)))
    if kind == "trial_ended":
        reason = f": {event['reason']}" if event.get("reason") else ""
        return f"{trial} {event['state']}{reason}, {_told(status, record)}"
    return None


def _told(status: StudyStatus, record: TrialRecord) -> str:
    value = status.value_of(record)
    return "no report" if value is None else f"best {status.figure(record, value)}"


def _new_footnote(status: StudyStatus, record: TrialRecord) -> list[str]:
    """That of a trial just added, if it is the first with this caveat."""
    same = [each for each in status.history.trials.values() if each.caveat == record.caveat]
    return (
        [f"{status.footnote_mark(record)} {record.caveat}"]
        if record.caveat and len(same) == 1
        else []
    )


def opening_line(status: StudyStatus) -> str:
    """The first plain line: what is going to happen."""
    outline = status.outline
    marks = (("bicubic", outline.bicubic), ("teacher", outline.teacher))
    known = "".join(f", {name} {value:.2f} dB" for name, value in marks if value is not None)
    return f"study {outline.name}: {outline.trials} trials of {outline.steps} steps{known}"
