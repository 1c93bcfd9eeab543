"""The summary that `search` prints at the end of a study."""

from __future__ import annotations

import math
import re
import shlex
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from trainables.values import QUALITIES
from tune_sr.cli.formatting import (
    aligned,
    footnote_marks,
    format_cost,
    format_duration,
)
from tune_sr.objectives.objective import QUALITY
from tune_sr.objectives.score import Scorer
from tune_sr.results.confirmed import confirmation_lines
from tune_sr.results.prunable import checkpoints_of, freed
from tune_sr.results.trials_table import trials_table
from tune_sr.results.verdict import LEAST_CHANGE, seconds_to_confirm, stopped, teachers_share
from tune_sr.storage.disk import megabytes
from tune_sr.storage.layout import BEST, PAGE, STUDENT
from tune_sr.study.until import is_settled
from tune_sr.tracking.store import TrackingStore

if TYPE_CHECKING:
    from tune_sr.ledger.reports import Judged
    from tune_sr.results.results import Results
    from tune_sr.study.config import StudyConfig

_FIRST = "paper's point"
_SEEDS = 5
"""Seeds of the confirmation that is proposed."""
_MUCH = 100_000_000
"""Bytes of checkpoints that can go above which the command that deletes them is named."""
_NAMED, _RUNGS = 4, 3
"""Most trials that are named at one rung, and most rungs that are shown."""


def summary_text(config: StudyConfig, results: Results) -> str:
    """The closing text: scores, what was gained and whether it is shown, trials, what comes next.

    Args:
        config: the study, as this start has it.
        results: what it found.
    """
    summary = results.summary()
    lines = [
        _head(config, summary),
        *_until_lines(results),
        *_limit_lines(results),
        *_score_lines(summary),
        *(f"  {mark} {caveat}" for caveat, mark in _marks(summary).items()),
        *_gain_lines(config, results),
        *stopped_lines(stopped(results.history)),
        *_failed_lines(results),
        *_imagined_lines(results),
        *(f"  {line}" for line in trials_table(results)),
        *_front_lines(summary),
        *confirmation_lines(summary.get("confirmed")),
        *_next_lines(config, results),
    ]
    return "\n".join(lines)


def _head(config: StudyConfig, summary: Mapping[str, Any]) -> str:
    """`study dfsr, finished: 8 trials (4 completed, 4 stopped), 4:18, 1,500 of 1,920 ...`."""
    counts = summary["trials"]
    total, done = counts["total"], summary["student_steps"]
    states = {state: counts[state] for state in ("completed", "stopped", "failed")}
    states["not ended"] = total - sum(states.values())
    shown = ", ".join(f"{count} {state}" for state, count in states.items() if count)
    how = "finished" if summary["finished"] else "not finished"
    most = total * config.space.budget.steps
    time = format_duration(summary["seconds"])
    trials = f"{total} trials ({shown or 'none ended'})"
    return f"study {config.name}, {how}: {trials}, {time}, {done:,} of {most:,} student updates"


def _until_lines(results: Results) -> list[str]:
    """Why a search ended before its last trial, where it did by itself."""
    until = results.settings.until
    scorer = Scorer(results.settings.objective, results.space.trial_config)
    if until is None or not is_settled(until, results.history, scorer):
        return []
    none = f"none of the latest {until.trials} trials gained more than {until.gain_db:g} dB"
    return [f"ended by study.until: {none}"]


def _limit_lines(results: Results) -> list[str]:
    """The limit of the objective, and how many trials ended at once because they were beyond it."""
    limit = results.settings.objective.limit
    if limit is None:
        return []
    reasons = [each.reason or "" for each in results.history.trials.values()]
    beyond = sum("beyond the limit" in reason for reason in reasons)
    ended = f"; {beyond} points beyond it were not trained" if beyond else ""
    return [f"limit: {limit}{ended}"]


def _score_lines(summary: Mapping[str, Any]) -> list[str]:
    """Bicubic, the first point, the best trial and the teacher, as far as there are any."""
    best = summary["best"]
    rows = [
        ("bicubic", _figures(summary["bicubic"])),
        (_FIRST, _figures(summary["first"], summary)),
        (f"best, {best['trial']}" if best else "best", _figures(best, summary)),
        ("teacher", _figures(summary["teacher"], summary)),
    ]
    width = max(len(name) for name, _ in rows)
    return [f"  {name:<{width}}  {figures}" for name, figures in rows if figures]


def _gain_lines(config: StudyConfig, results: Results) -> list[str]:
    """What the best trial gained over the first point, and whether that is shown."""
    best, first, gain = results.best, results.first, results.gain
    if best is None or first is None:
        return []
    if gain is None:
        alone = results.score(first) is not None
        why = f"is the best of {len(results.scored())}" if alone else "has no score"
        return [f"the {_FIRST} {why}"]
    line = f"best over the {_FIRST}: {gain}"
    if gain.confirmed:
        return [line]
    seconds = seconds_to_confirm(results.history, _SEEDS)
    about = "" if seconds is None else f", about {_minutes(seconds)}"
    return [f"{line}; --confirm {_SEEDS} retrains both{about}"]


def stopped_lines(rungs: Mapping[int, Sequence[tuple[str, Judged | None]]]) -> list[str]:
    """At most one line: which trials were stopped at which rung, their values and those needed.

    Args:
        rungs: as `verdict.stopped` returns it.
    """
    shown = [_stopped_at(step, trials) for step, trials in list(rungs.items())[:_RUNGS]]
    later = sum(len(trials) for trials in list(rungs.values())[_RUNGS:])
    shown += [f"{later} later"] if later else []
    return [f"stopped: {'; '.join(shown)}"] if shown else []


def _stopped_at(step: int, trials: Sequence[tuple[str, Judged | None]]) -> str:
    """`0006, 0007 at 90 (31.59, 31.38; needed 31.74, 31.72)`, or a count and two ranges."""
    few = len(trials) <= _NAMED
    names = ", ".join(name for name, _ in trials) if few else f"{len(trials)} trials"
    known = [judged for _, judged in trials if judged is not None]
    if not known:
        return f"{names} at {step:,}"
    show = _listed if few else _range
    values = show([each.value for each in known])
    return f"{names} at {step:,} ({values}; needed {show([each.needed for each in known])})"


def _listed(values: Iterable[float]) -> str:
    return ", ".join(f"{value:.2f}" if math.isfinite(value) else "none" for value in values)


def _range(values: Iterable[float]) -> str:
    finite = [value for value in values if math.isfinite(value)]
    return f"{min(finite):.2f} .. {max(finite):.2f}" if finite else "none"


def _failed_lines(results: Results) -> list[str]:
    """One line: how many trials failed, by the first words of the reason."""
    failed = [each for each in results.history.trials.values() if each.state == "failed"]
    reasons = Counter(re.split(": | at step", each.reason or "no reason")[0] for each in failed)
    shown = "; ".join(f"{count} {reason}" for reason, count in reasons.most_common(_RUNGS))
    return [f"failed: {shown}"] if shown else []


def _imagined_lines(results: Results) -> list[str]:
    """How far the best trial's generator had moved; empty where it has none."""
    score = results.score(results.best) if results.best else None
    change = score.report.get("generator_change") if score else None
    if change is None or not math.isfinite(change):
        return []
    verdict = ": as good as untrained" if change < LEAST_CHANGE else ""
    return [f"imagined: the best trial's generator moved by {100 * change:.1f} %{verdict}"]


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


def _next_lines(config: StudyConfig, results: Results) -> list[str]:
    """Where the results lie, and the commands to look at them, to use and to check them."""
    store = TrackingStore.resolve(config.settings.tracking_uri, config.folder.parent)
    rows = [["results:", str(config.folder)]]
    if (config.folder / PAGE).exists():
        rows.append(["page:", str(config.folder / PAGE)])
    if results.best is not None:
        folder = shlex.quote(str(config.folder))
        rows.append(["use it:", f"python -m tune_sr.upscale PHOTO --network {folder}"])
        student = shlex.quote(str(config.folder / BEST / STUDENT))
        measure = f"python -m tune_sr.evaluate --network {student} --data FOLDER"
        rows.append(["measure:", measure])
    rows.append(["curves:", f"mlflow ui --workers 1 --backend-store-uri {store.shown}"])
    if results.view is not None:
        rows.append(["", results.view])
    if results.history.finished and (free := freed(checkpoints_of(results))) > _MUCH:
        prune = f"python -m tune_sr.prune {shlex.quote(str(config.folder))}"
        rows.append(["disk:", f"{prune} --yes frees {megabytes(free)} of checkpoints"])
    return aligned(rows, left=(0, 1))


def _marks(summary: Mapping[str, Any]) -> dict[str, str]:
    """The caveats of the first and the best trial, each with the mark of its footnote."""
    return footnote_marks((summary[which] or {}).get("caveat") for which in ("first", "best"))


def _figures(figures: Mapping[str, Any] | None, summary: Mapping[str, Any] | None = None) -> str:
    """`28.92 dB  0.8811  +0.55 dB over bicubic, 38 % of the teacher's gain`."""
    key = next((each for each in QUALITIES if each in (figures or {})), None)
    if figures is None or key is None or figures[key] is None:
        return ""
    mark = _marks(summary).get(figures.get("caveat") or "", "") if summary else ""
    text = f"{figures[key]:.2f}{mark} dB"
    if key != QUALITY:
        text += " to the teacher"
    elif figures.get("ssim") is not None:
        text += f"  {figures['ssim']:.4f}"
    if summary is None or summary["bicubic"] is None:
        return text
    bicubic, teacher = summary["bicubic"][key], summary["teacher"]
    text += f"  {figures[key] - bicubic:+.2f} dB over bicubic"
    if teacher is None or teacher is figures or key != QUALITY:
        return text
    share = teachers_share(figures[key], bicubic, teacher[key])
    return text if share is None else f"{text}, {100 * share:.0f} % of the teacher's gain"


def _minutes(seconds: float) -> str:
    """`7 min`, `40 s` or `2.5 h`."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
