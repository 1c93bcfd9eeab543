"""The summary that `search` prints at the end of a study."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from trainables.values import QUALITIES
from tune_sr.cli.formatting import footnote_marks, format_cost, format_value
from tune_sr.results.confirmed import confirmation_lines
from tune_sr.tracking.store import TrackingStore

if TYPE_CHECKING:
    from tune_sr.results.results import Results
    from tune_sr.study.config import StudyConfig


def summary_text(config: StudyConfig, results: Results) -> str:
    """The closing text: trials, reference scores, best trial, front, and where results lie."""
    summary = results.summary()
    store = TrackingStore.resolve(config.settings.tracking_uri, config.folder.parent)
    rows = [
        ("bicubic", _figures(summary["bicubic"])),
        ("teacher", _figures(summary["teacher"], summary)),
        ("first point", _figures(summary["first"], summary)),
        ("best trial", _figures(summary["best"], summary)),
    ]
    counts = summary["trials"]
    parts = [f"{counts[state]} {state}" for state in ("completed", "stopped", "failed")]
    lines = [f"{counts['total']} trials: {', '.join(parts)}; {summary['seconds']:.0f} s"]
    lines += [f"  {name:<12}{figures}" for name, figures in rows if figures]
    best = summary["best"]
    lines += [f"  {mark} {caveat}" for caveat, mark in _marks(summary).items()]
    if best is not None:
        lines += [f"trial {best['trial']}, step {best['step']}:"]
        lines += [f"  {path} = {format_value(value)}" for path, value in best["config"].items()]
    lines += _front_lines(summary)
    lines += confirmation_lines(summary.get("confirmed"))
    lines += [
        f"results: {config.folder}",
        f"curves:  mlflow ui --workers 1 --backend-store-uri {store.shown}",
    ]
    return "\n".join(lines)


def _front_lines(summary: Mapping[str, Any]) -> list[str]:
    """A line for each trial of the front; empty where cost is no objective."""
    if "front" not in summary:
        return []
    value, cost = summary["objective"]
    rows = [
        f"  trial {each['trial']}  {each[value]:.2f} dB  {format_cost(cost, each[cost])}"
        for each in summary["front"]
    ]
    return [f"front of {value} against {cost}, cheapest first (in front/):", *rows]


def _marks(summary: Mapping[str, Any]) -> dict[str, str]:
    """The caveats of the first and the best trial, each with the mark of its footnote."""
    return footnote_marks((summary[which] or {}).get("caveat") for which in ("first", "best"))


def _figures(figures: Mapping[str, Any] | None, summary: Mapping[str, Any] | None = None) -> str:
    """`28.92 dB  ssim 0.8811  +0.55 dB over bicubic, 38 % of the teacher's gain`."""
    key = next((each for each in QUALITIES if each in (figures or {})), None)
    if figures is None or key is None or figures[key] is None:
        return ""
    mark = _marks(summary).get(figures.get("caveat") or "", "") if summary else ""
    text = f"{figures[key]:.2f}{mark} dB"
    text += f"  ssim {figures['ssim']:.4f}" if "ssim" in figures else " to the teacher"
    if summary is None or summary["bicubic"] is None:
        return text
    gain = figures[key] - summary["bicubic"][key]
    text += f"  {gain:+.2f} dB over bicubic"
    teacher = summary["teacher"]
    if teacher is None or teacher is figures:
        return text
    whole = teacher[key] - summary["bicubic"][key]
    return f"{text}, {100 * gain / whole:.0f} % of the teacher's gain" if whole > 0 else text
