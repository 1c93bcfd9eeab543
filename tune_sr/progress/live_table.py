"""The live table of a running study."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from tune_sr.cli.formatting import format_cost, format_duration, format_value
from tune_sr.ledger.history import TrialRecord
from tune_sr.ledger.reports import ordinal
from tune_sr.progress.quantities import choose
from tune_sr.progress.status import StudyStatus

if TYPE_CHECKING:
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

_STYLES = {"running": "bold cyan", "completed": "green", "stopped": "yellow", "failed": "red"}
_NARROW = 110
"""Characters of the least width with columns for rungs and decisions."""


def render(status: StudyStatus, now: float, *, rows: int, width: int) -> Group:
    """The live table: title, marks, then at most `rows` trials.

    Args:
        status: the study so far.
        now: seconds since 1970, for the times shown.
        rows: how many trials fit; running ones come first, then the best of the ended.
        width: characters of a line, by which the searched quantities with a column are chosen.
    """
    from rich.console import Group
    from rich.text import Text

    trials = sorted(status.history.all_records(), key=lambda record: _order(status, record))
    footnotes = status.footnotes()
    rows = max(3, rows - sum(1 + len(line) // width for line in footnotes))
    more = len(trials) - rows
    table, also = _table(status, trials[:rows], width)
    below = [Text(f"and {more} more", style="dim")] if more > 0 else []
    below += [Text(also, style="dim", no_wrap=True, overflow="ellipsis")] if also else []
    below += [Text(line, style="dim") for line in footnotes]
    return Group(_title(status, now), *_marks(status, width), Text(), table, *below)


def _order(status: StudyStatus, record: TrialRecord) -> tuple[int, float, int]:
    value = status.value_of(record)
    rank = 0 if record.state is None else 2 if record.state == "failed" else 1
    return rank, 0.0 if rank == 0 or value is None else -value, record.number


def _title(status: StudyStatus, now: float) -> Text:
    from rich.text import Text

    title = Text(status.outline.name, style="bold", no_wrap=True, overflow="ellipsis")
    title.append(f"  {status.ended()} of {status.trials} trials", style="not bold")
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


def _table(status: StudyStatus, trials: list[TrialRecord], width: int) -> tuple[Table, str]:
    """The table of some trials, and the line that names the quantities without a column."""
    from rich.table import Table

    narrow = width < _NARROW
    cost = [status.outline.cost] if status.outline.cost else []
    columns = ["trial", "state", "steps", "", "rung", "decision", "last", "best dB", "gain", *cost]
    if narrow:
        columns = [column for column in columns if column not in ("rung", "decision")]
    front = {record.name for record in status.front()}
    cells = [_cells(status, record, narrow, unbeaten=record.name in front) for record in trials]
    taken = sum(2 + max(map(len, (name, *(each[name] for each in cells)))) for name in columns)
    points = [record.point for record in status.history.trials.values()]
    quantities = choose(points, width - taken + 2)
    table = Table(box=None, pad_edge=False, header_style="dim", padding=(0, 2, 0, 0))
    for column in columns:
        right = column in ("", "rung", "last", "best dB", "gain", *cost)
        table.add_column(column, justify="right" if right else "left", no_wrap=True)
    for head in quantities.shown.values():
        table.add_column(head, justify="right", no_wrap=True)
    for record, row in zip(trials, cells, strict=True):
        point = record.point
        values = (format_value(point[path]) if path in point else "" for path in quantities.shown)
        style = "bold" if record.name in front else ""
        table.add_row(*(row[column] for column in columns), *values, style=style)
    return table, _also_searched(status, quantities.left_out)


def _also_searched(status: StudyStatus, names: Mapping[str, str]) -> str:
    """`also searched: lr 0.109, P 2 (0003)`, with the best trial's values; empty without any."""
    best = status.best()
    point = {} if best is None else best[0].point
    told = (
        f"{name} {format_value(point[path])}" if path in point else name
        for path, name in names.items()
    )
    whose = f" ({best[0].name})" if best is not None and point.keys() & names.keys() else ""
    return f"also searched: {', '.join(told)}{whose}" if names else ""


def _cells(
    status: StudyStatus, record: TrialRecord, narrow: bool, *, unbeaten: bool
) -> dict[str, str | Text]:
    """The cells of one trial by column.

    Args:
        status: the study so far.
        record: the trial.
        narrow: whether its state has to hold the decision as well.
        unbeaten: whether no trial so far beats it at its cost, where that is an objective.
    """
    from rich.text import Text

    outline, value, cost = status.outline, status.value_of(record), status.cost_of(record)
    last, state = status.last_value(record), record.state or "running"
    step = max(record.reports, default=0)
    passed = sum(rung in record.reports for rung in outline.rungs)
    known = value is not None and outline.bicubic is not None
    colour = _STYLES[state]
    decision = _decision(record, step)
    shown = (record.reason or state)[:20] if state == "failed" else state
    if narrow and record.stopped_by is not None:
        shown = decision.partition(",")[0]
    return {
        "trial": record.name,
        "state": Text(shown, colour),
        "steps": Text(_bar(step, outline.steps, 8 if narrow else 16), colour),
        "": f"{step}/{outline.steps}",
        "rung": f"{passed}/{len(outline.rungs)}" if outline.rungs else "",
        "decision": decision,
        "last": "" if last is None else f"{last:.2f}",
        "best dB": "" if value is None else f"{value:.2f}{status.footnote_mark(record)}",
        "gain": f"{(value or 0) - (outline.bicubic or 0):+.2f}" if known else "",
        outline.cost or "cost": _priced(outline.cost, cost, unbeaten=unbeaten),
    }


def _decision(record: TrialRecord, step: int) -> str:
    """What was decided on the latest report; of a stop `needed 31.74, 6th of 7`."""
    if record.stopped_by is not None:
        judged = record.stopped_by[1]
        if math.isfinite(judged.needed):
            return f"needed {judged.needed:.2f}, {ordinal(judged.rank)} of {judged.of}"
    return record.reports[step].decision if step else ""


def _bar(done: int, whole: int, cells: int) -> str:
    """Steps as `█████░░░`, which reads without colour; it is full only at the end.

    >>> _bar(150, 240, 8), _bar(239, 240, 8), _bar(240, 240, 8)
    ('█████░░░', '███████░', '████████')
    """
    full = min(cells, cells * done // whole)
    return "█" * full + "░" * (cells - full)


def _priced(key: str | None, cost: float | None, *, unbeaten: bool) -> str:
    """A cost such as `664.7 K ●`, the mark for a trial on the front; as wide without it."""
    if key is None or cost is None:
        return ""
    return f"{format_cost(key, cost)} {'●' if unbeaten else ' '}"
