"""One plain line for each event of a study."""

from __future__ import annotations

from tune_sr.cli.formatting import short
from tune_sr.ledger.events import Event
from tune_sr.ledger.history import TrialRecord
from tune_sr.progress.status import Board


def event_line(board: Board, event: Event, *, repeated: bool = False) -> str | None:
    """The plain line of an event that `board` has taken into account; None where it has none.

    Args:
        board: the study as it stands, this event included.
        event: what happened.
        repeated: whether it repeats a report, as `Board.apply` returns it.
    """
    line = _trial_line(board, event) if "trial" in event else _study_line(board, event)
    return f"{line} (repeated)" if line is not None and repeated else line


def _study_line(board: Board, event: Event) -> str | None:
    frame, ended = board.frame, board.ended()
    if event["event"] == "driver_started" and board.history.starts > 1:
        start = f"resumed (start {board.history.starts})"
        line = f"study {frame.name} {start}: {ended} of {frame.trials} trials have ended"
        return "\n".join((line, *board.footnotes()))
    if event["event"] == "study_ended":
        how, best = "finished" if event["finished"] else "not finished", board.best()
        told = f"{_told(board, best[0])}, trial {best[0].name}" if best else "no report"
        told += f"; a front of {len(board.front())}" if frame.cost and best else ""
        return f"study {frame.name} {how}: {ended} of {frame.trials} trials ended, {told}"
    return None


def _trial_line(board: Board, event: Event) -> str | None:
    kind, trial = event["event"], f"trial {event['trial']}"
    record = board.history.trials[event["trial"]]
    if kind == "trial_added":
        point = (f"{path}={short(value)}" for path, value in event["point"].items())
        line = " ".join((trial, "added", *point))
        return "\n".join((line, *_new_footnote(board, record)))
    if kind == "attempt":
        return f"{trial} attempt {event.get('attempt')}: {event.get('reason')}"
    if kind == "retried":
        return f"{trial} is tried again; it had failed: {event.get('reason')}"
    if kind == "reported":
        value = event["report"].get(board.frame.objective)
        told = "none" if value is None else board.figure(record, value)
        where = f"step {event['step']}/{board.frame.steps} {board.frame.objective}"
        return f"{trial} {where} {told} {event['decision']}"
    if kind == "cloned":
        point = (f"{path}={short(value)}" for path, value in event["point"].items())
        line = " ".join((trial, "goes on as a copy of", event["from"], *point))
        return "\n".join((line, *_new_footnote(board, record)))
    if kind == "trial_ended":
        reason = f": {event['reason']}" if event.get("reason") else ""
        return f"{trial} {event['state']}{reason}, {_told(board, record)}"
    return None


def _told(board: Board, record: TrialRecord) -> str:
    value = board.value_of(record)
    return "no report" if value is None else f"best {board.figure(record, value)}"


def _new_footnote(board: Board, record: TrialRecord) -> list[str]:
    """That of a trial just added, if it is the first with this caveat."""
    same = [each for each in board.history.trials.values() if each.caveat == record.caveat]
    return [f"{board.mark(record)} {record.caveat}"] if record.caveat and len(same) == 1 else []


def opening_line(board: Board) -> str:
    """The first plain line: what is going to happen."""
    frame = board.frame
    marks = (("bicubic", frame.bicubic), ("teacher", frame.teacher))
    known = "".join(f", {name} {value:.2f} dB" for name, value in marks if value is not None)
    return f"study {frame.name}: {frame.trials} trials of {frame.steps} steps{known}"
