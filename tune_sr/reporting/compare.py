"""Holds studies side by side, and subtracts only what compares."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import mean, variance
from typing import Any

import plotly.graph_objects as go

from trainables.dotted import look_up
from tune_sr.reporting.markup import Markup, joined, tag
from tune_sr.reporting.plots import best_so_far
from tune_sr.reporting.plots.style import LIGHT, limits, plain, rounded
from tune_sr.reporting.section import Section, plot, switch
from tune_sr.reporting.sections.pictures import column_of
from tune_sr.reporting.sections.so_what import verdict
from tune_sr.reporting.study_data import StudyData
from tune_sr.reporting.table import Column, Table, lead, note
from tune_sr.study.space_file import to_resolved
from tune_sr.visualization.pictures import read_pictures

_MUST_AGREE = {
    "protocol": "heldout.protocol",
    "held-out images": "heldout.images",
    "crop": "heldout.crop",
    "scales": "student.scales",
    "scale": "student.scale",
    "teacher": "teacher",
    "budget of a trial": "budget",
}
"""What two studies must share for a difference of their scores to mean anything."""
_OF_ONE_STUDY = ("name", "seed", "storage", "tracking_uri", "experiment", "concurrent",
                 "cpus_per_trial", "gpus_per_trial", "confirm", "hours", "gpu_hours")  # fmt: skip
_COLOURS = ("accent", "stopped", "running", "failed", "ink", "faint")
_DASHES = ("solid", "dash", "dot", "dashdot", "longdash", "longdashdot")


@dataclass(frozen=True)
class Welch:
    """The difference of two means over seeds that share nothing, in dB."""

    mean: float
    low: float
    """Lower end of the 95 % interval."""
    high: float


def welch(ours: Sequence[float], theirs: Sequence[float]) -> Welch:
    """Welch's interval of the difference of two means, each of two values or more.

    Raises:
        ValueError: one has fewer than two values.

    >>> found = welch([32.0, 32.1, 32.2], [31.9, 32.0, 32.1])
    >>> f"{found.mean:.2f} {found.low:.2f} {found.high:.2f}"
    '0.10 -0.13 0.33'
    """
    from scipy.special import stdtrit

    if min(len(ours), len(theirs)) < 2:
        raise ValueError("two values of either at least: one tells nothing of its spread")
    one, other = variance(ours) / len(ours), variance(theirs) / len(theirs)
    centre, total = mean(ours) - mean(theirs), one + other
    if total == 0:
        return Welch(centre, centre, centre)
    freedom = total**2 / (one**2 / (len(ours) - 1) + other**2 / (len(theirs) - 1))
    half = float(stdtrit(freedom, 0.975)) * math.sqrt(total)
    return Welch(centre, centre - half, centre + half)


def differing(one: StudyData, other: StudyData) -> list[str]:
    """What keeps the scores of two studies from being compared, in words; empty: nothing."""
    found = [] if one.objective == other.objective else ["objective"]
    found += [] if one.summary["protocol"] == other.summary["protocol"] else ["protocol"]
    for words, path in _MUST_AGREE.items():
        if _fixed(one, path) != _fixed(other, path) and words not in found:
            found.append(words)
    return found


def _fixed(data: StudyData, path: str) -> Any:
    try:
        return look_up(data.results.space.fixed, path)
    except (KeyError, TypeError):
        return None


def folded(studies: Sequence[StudyData]) -> list[list[StudyData]]:
    """Studies in groups that differ in their seed alone, in the order of their first members."""
    groups: dict[str, list[StudyData]] = {}
    for data in studies:
        resolved = to_resolved(data.results.space, data.results.settings)
        study = {k: v for k, v in resolved["study"].items() if k not in _OF_ONE_STUDY}
        groups.setdefault(repr({**resolved, "study": study}), []).append(data)
    return list(groups.values())


def compare_section(data: StudyData, others: Sequence[StudyData]) -> Section:
    """The section of a page that compares its study with others.

    Args:
        data: the page's study.
        others: the studies beside it, at least one.
    """
    studies = [data, *others]
    table = _table(studies)
    parts: list[Markup] = [lead("Studies that differ in their seed alone are one row."),
                           table.to_html()]  # fmt: skip
    parts += [note(text) for text in _comparisons(data, others)]
    figure = _figure(studies)
    if figure is not None:
        hours = {"updates": "student updates", "hours": "GPU hours, or hours of trials"}
        parts += [tag("p", switch("compare", "x", hours), class_="switches"),
                  plot("compare", "best so far of each study")]  # fmt: skip
    points = _points_table(studies)
    if points is not None:
        parts += [tag("h3", "The best points"), points.to_html()]
    pictures = [each for study in studies for each in _pictures(study)]
    if pictures:
        parts.append(tag("div", *pictures, class_="columns"))
    tables = [table] if points is None else [table, points]
    return Section("compare", "compare", "How does it compare with the other studies?",
                   joined(*parts), {} if figure is None else {"compare": figure}, tables,
                   {"comparisons": _comparisons(data, others)})  # fmt: skip


def _table(studies: Sequence[StudyData]) -> Table:
    columns = [Column("study"), Column("method"), Column("student"), Column("bicubic", 2),
               Column("first, dB", 2), Column("best, dB", 2), Column("lowest", 2),
               Column("highest", 2), Column("best - first", 2, signed=True), Column("verdict"),
               Column("teacher's gain, %", 0), Column("updates"), Column("hours", 2)]  # fmt: skip
    return Table("compare", columns, [_row(group) for group in folded(studies)])


def _row(group: Sequence[StudyData]) -> list[Any]:
    one = group[0]
    bests = [d.best.score for d in group if d.best and d.best.score is not None]
    firsts = [d.first.score for d in group if d.first and d.first.score is not None]
    best, first = (mean(each) if each else None for each in (bests, firsts))
    bicubic, teacher = one.marks.get("bicubic"), one.marks.get("teacher")
    share = None
    if best is not None and bicubic is not None and teacher is not None and teacher > bicubic:
        share = 100 * (best - bicubic) / (teacher - bicubic)
    fixed = one.results.space.fixed
    student = fixed.get("student", {})
    size = "x".join(str(student[key]) for key in ("blocks", "features") if key in student)
    several = len(group) > 1
    return [
        ", ".join(d.name for d in group),
        (fixed.get("method") or {}).get("name", "searched"),
        f"{student.get('name', 'searched')} {size}".strip(),
        bicubic, first, best,
        min(bests) if several and bests else None, max(bests) if several and bests else None,
        None if best is None or first is None else best - first,
        " / ".join(dict.fromkeys(verdict(d) for d in group)),
        share,
        sum(d.summary["student_steps"] for d in group),
        sum(s.end - s.start for d in group for s in d.spans) / 60 * (one.gpus_per_trial or 1.0),
    ]  # fmt: skip


def _comparisons(data: StudyData, others: Sequence[StudyData]) -> list[str]:
    """One sentence for each other study: the difference of the bests, or why there is none."""
    said = []
    for other in others:
        why = differing(data, other)
        if why:
            said.append(f"{other.name} has another {' and '.join(why)}: no difference is taken.")
        elif data.best is None or other.best is None:
            said.append(f"{other.name}: one of the two has no best trial yet.")
        else:
            said.append(_difference(data, other))
    return said


def _difference(data: StudyData, other: StudyData) -> str:
    assert data.best is not None and other.best is not None
    ours, theirs = (_repeats(each) for each in (data, other))
    if min(len(ours), len(theirs)) >= 2:
        found = welch(ours, theirs)
        apart = found.low > 0 or found.high < 0
        word = "different" if apart else "not told apart"
        interval = f"95 % interval {found.low:+.3f} .. {found.high:+.3f} (Welch)"
        return f"{data.name} - {other.name}: {found.mean:+.3f} dB, {interval}: {word}."
    gain = (data.best.score or math.nan) - (other.best.score or math.nan)
    open_ = [each.name for each, found_ in ((data, ours), (other, theirs)) if len(found_) < 2]
    return (
        f"{data.name} - {other.name}: {gain:+.2f} dB between the best trials, one seed each; "
        f"not called different before --confirm of {' and '.join(open_)}."
    )


def _repeats(data: StudyData) -> list[float]:
    """The scores of the best trial's repeats."""
    best: Mapping[str, Any] = (data.summary.get("confirmed") or {}).get("best") or {}
    return list(best.get("values", {}).values())


def _figure(studies: Sequence[StudyData]) -> go.Figure | None:
    made = plain("student updates of all trials", "best so far, dB", height=360)
    titles = {"updates": "student updates of all trials", "hours": "hours"}
    made.update_layout(meta={"titles": titles})
    values: list[float] = []
    for place, data in enumerate(studies):
        found = best_so_far.progress(data)
        if not found.values:
            continue
        values += found.values
        made.add_scatter(
            x=found.updates, y=rounded(found.values, 3), mode="lines", name=data.name,
            line={"shape": "hv", "width": 2.2, "color": LIGHT[_COLOURS[place % len(_COLOURS)]],
                  "dash": _DASHES[place % len(_DASHES)]},
            meta={"x": {"hours": found.hours}},
            hovertemplate="%{y:.2f} dB<extra>%{fullData.name}</extra>",
        )  # fmt: skip
    if not values:
        return None
    floor = min((d.marks["bicubic"] for d in studies if "bicubic" in d.marks), default=None)
    made.update_yaxes(range=limits(values, (), floor))
    return made


def _points_table(studies: Sequence[StudyData]) -> Table | None:
    """The best points over the quantities that more than one study searches."""
    paths = [path for data in studies for path in data.results.space.dimensions]
    common = [path for path in dict.fromkeys(paths) if paths.count(path) > 1]
    rows = [
        [data.name, *(data.best.point.get(path) for path in common)]
        for data in studies
        if data.best is not None
    ]
    columns = [Column("study"), *(Column(path) for path in common)]
    return Table("best-points", columns, rows) if common and rows else None


def _pictures(data: StudyData) -> list[Markup]:
    """The first photograph by a study's best student."""
    found = read_pictures(data.results.folder)
    if found is None or not found[1]["pictures"]:
        return []
    folder, about = found
    best = next(c for c in about["pictures"][0]["columns"] if c["title"] == "best")
    return [column_of(folder, {**best, "title": f"best of {data.name}"}, loupe=False)]
