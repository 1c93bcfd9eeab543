"""The table of a study's trials, as text."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tune_sr.cli.formatting import aligned, format_cost, format_value, short_names

if TYPE_CHECKING:
    from tune_sr.ledger.history import TrialRecord
    from tune_sr.results.results import Results

ROWS = 12
"""Most trials that are shown; `results.csv` has all."""


def trials_table(results: Results, rows: int = ROWS) -> list[str]:
    """The lines of the table: a head, then the trials, the best first and those that failed last.

    A dot marks the best trial, or each of the front. Empty where there are no trials.

    Args:
        results: the study's.
        rows: most trials that are shown. The first point's is always one of them.
    """
    scores = {record.name: score.value for record, score in results.scored()}
    trials = sorted(
        results.history.trials.values(),
        key=lambda each: (each.name not in scores, -scores.get(each.name, 0.0), each.number),
    )
    if not trials:
        return []
    shown = trials[:rows]
    if results.first is not None and results.first not in shown:
        shown[-1] = results.first
    names = short_names(results.space.dimensions)
    cost = results.settings.objective.costs
    gained = [] if results.bicubic is None else ["gain"]
    head = ["trial", "", "state", "updates", "dB", *gained, "last", *cost, *names.values()]
    table = [head, *(_row(results, record) for record in shown)]
    more = len(trials) - len(shown)
    rest = [f"and {more} more in results.csv"] if more else []
    return [*aligned(table, left=(0, 1, 2)), *rest]


def _row(results: Results, record: TrialRecord) -> list[str]:
    score, last = results.score(record), max(record.reports, default=0)
    point = record.point if score is None else record.point_at(score.step)
    value = None if score is None else score.value
    gained = [] if results.bicubic is None else [_figure(value, results.bicubic)]
    latest = record.reports[last].report.get(results.objective) if last else None
    costs = results.settings.objective.costs
    known = score.report if score else {}
    cost = [format_cost(key, known[key]) if key in known else "" for key in costs]
    return [
        record.name,
        "●" if record in results.front else "",
        record.state or "running",
        f"{last}/{results.space.budget.steps}",
        _figure(value),
        *gained,
        _figure(latest),
        *cost,
        *(format_value(point[path]) if path in point else "-" for path in results.space.dimensions),
    ]


def _figure(value: float | None, over: float | None = None) -> str:
    if value is None:
        return ""
    return f"{value:.2f}" if over is None else f"{value - over:+.2f}"
