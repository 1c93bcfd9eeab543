"""The live table of a running study."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import TYPE_CHECKING

from tune_sr.cli.formatting import format_cost, format_duration, format_value
from tune_sr.ledger.history import TrialRecord
from tune_sr.progress.status import StudyStatus

if TYPE_CHECKING:
    from rich.console import Group, RenderableType
    from rich.table import Table
    from rich.text import Text

_STYLES = {"running": "bold cyan", "completed": "green", "stopped": "yellow", "failed": "red"}
_NARROW, _QUANTITY = 110, 11
"""Characters: the least width with the decision's column, and the width of a searched quantity."""


def render(status: StudyStatus, now: float, *, rows: int, width: int) -> Group:
    """The live table: title, marks, then at most `rows` trials.

    Args:
        status: the study so far.
        now: seconds since 1970, for the times shown.
        rows: how many trials fit; running ones come first, then the best of the ended.
        width: characters of a line, by which the number of searched quantities is chosen.
    """
    from rich.console import Group
    from rich.text import Text

    trials = sorted(status.history.all_records(), key=lambda record: _order(status, record))
    footnotes = status.footnotes()
    rows = max(3, rows - sum(1 + len(line) // width for line in footnotes))
    more = len(trials) - rows
    below = [Text(f"and {more} more", style="dim")] if more > 0 else []
    below += [Text(line, style="dim") for line in footnotes]
    table = _table(status, trials[:rows], width)
    return Group(_title(status, now), *_marks(status, width), Text(), table, *below)


def _order(status: StudyStatus, record: TrialRecord) -> tuple[int, float, int]:
    value = status.value_of(record)
    rank = 0 if record.state is None else 2 if record.state == "failed" else 1
    return rank, 0.0 if rank == 0 or value is None else -value, record.number


def _title(status: StudyStatus, now: float) -> Text:
    from rich.text import Text

    title = Text(status.outline.name, style="bold", no_wrap=True, overflow="ellipsis")
    title.append(f"  {status.ended()} of {status.outline.trials} trials", style="not bold")
    if (confirmation := status.history.confirmation) is not None:
        ended = sum(record.state is not None for record in confirmation.trials.values())
        title.append(f", {ended} of {status.outline.repeats} repeats", style="not bold")
    left = status.seconds_left(now)
    if status.began is not None:
        title.append(f"  {format_duration(now - status.began)} gone", style="not bold dim")
    if left is not None:
        title.append(f", {format_duration(left)} to go", style="not bold dim")
    states: Counter[str] = Counter(
        record.state or "running" for record in status.history.trials.values()
    )
    for state, style in _STYLES.items():
        if states[state]:
            title.append(f"  {states[state]} {state}", style=f"not bold {style}")
    return title


def _marks(status: StudyStatus, width: int) -> Iterator[Text]:
    """Two lines: the best value drawn between bicubic and the teacher, and as text."""
    from rich.text import Text

    outline, best = status.outline, status.best()
    if outline.bicubic is not None and outline.teacher is not None:
        cells = max(10, min(48, width - 40))
        line = Text(f"bicubic {outline.bicubic:.2f} ", style="dim", no_wrap=True)
        share = (best[1] - outline.bicubic) / (outline.teacher - outline.bicubic) if best else 0.0
        place = min(cells - 1, max(0, round(share * (cells - 1))))
        line.append("━" * place, style="not dim green")
        line.append("●" if best else "─", style="not dim bold green")
        yield line.append("─" * (cells - 1 - place)).append(f" {outline.teacher:.2f} teacher")
    if best is not None:
        value = f"{best[1]:.2f}{status.footnote_mark(best[0])} dB"
        text = f"best {value}{outline.gain(best[1])}, trial {best[0].name}"
        yield Text(text, style="bold green", no_wrap=True, overflow="ellipsis")


def _table(status: StudyStatus, trials: list[TrialRecord], width: int) -> Table:
    from rich.table import Table

    narrow = width < _NARROW
    cost = [status.outline.cost] if status.outline.cost else []
    columns = ["trial", "state", "steps", "", "rung", "decision", "best dB", "gain", *cost]
    if narrow:
        columns.remove("decision")
    room = max(1, (width - (60 if narrow else 78)) // _QUANTITY - len(cost))
    points = (record.point for record in status.history.trials.values())
    paths = list(dict.fromkeys(path for point in points for path in point))[:room]
    table = Table(box=None, pad_edge=False, header_style="dim", padding=(0, 2, 0, 0))
    for column in columns:
        right = column in ("", "rung", "best dB", "gain", *cost)
        table.add_column(column, justify="right" if right else "left", no_wrap=True)
    for path in paths:
        table.add_column(path.rpartition(".")[2], justify="right", no_wrap=True)
    front = {record.name for record in status.front()}
    for record in trials:
        unbeaten = record.name in front
        cells = _cells(status, record, 8 if narrow else 16, unbeaten=unbeaten)
        values = (
            format_value(record.point[path]) if path in record.point else "" for path in paths
        )
        row = [cells[column] for column in columns]
        table.add_row(*row, *values, style="bold" if unbeaten else "")
    return table


def _cells(
    status: StudyStatus, record: TrialRecord, bar: int, *, unbeaten: bool
) -> dict[str, RenderableType]:
    """The cells of one trial by column.

    Args:
        status: the study so far.
        record: the trial.
        bar: characters of its steps.
        unbeaten: whether no trial so far beats it at its cost, where that is an objective.
    """
    from rich.progress_bar import ProgressBar
    from rich.text import Text

    outline, value, cost = status.outline, status.value_of(record), status.cost_of(record)
    state = record.state or "running"
    step = max(record.reports, default=0)
    passed = sum(rung in record.reports for rung in outline.rungs)
    known = value is not None and outline.bicubic is not None
    colour = _STYLES[state]
    return {
        "trial": record.name,
        "state": Text((record.reason or state)[:20] if state == "failed" else state, colour),
        "steps": ProgressBar(
            outline.steps, step, bar, complete_style=colour, finished_style=colour
        ),
        "": f"{step}/{outline.steps}",
        "rung": f"{passed}/{len(outline.rungs)}" if outline.rungs else "",
        "decision": record.reports[step].decision if step else "",
        "best dB": "" if value is None else f"{value:.2f}{status.footnote_mark(record)}",
        "gain": f"{(value or 0) - (outline.bicubic or 0):+.2f}" if known else "",
        outline.cost or "cost": _priced(outline.cost, cost, unbeaten=unbeaten),
    }


def _priced(key: str | None, cost: float | None, *, unbeaten: bool) -> str:
    """A cost such as `664.7 K ●`, the mark for a trial on the front; as wide without it."""
    if key is None or cost is None:
        return ""
    return f"{format_cost(key, cost)} {'●' if unbeaten else ' '}"
