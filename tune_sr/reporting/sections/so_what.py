"""So what? The best student, and whether it is better than the first point's."""

from __future__ import annotations

from collections import Counter
from typing import Any

from tune_sr.reporting.markup import Markup, joined, tag
from tune_sr.reporting.plots import number_line
from tune_sr.reporting.plots.style import as_text
from tune_sr.reporting.section import Section, plot
from tune_sr.reporting.study_data import StudyData, Trial
from tune_sr.reporting.table import Column, Table, note
from tune_sr.results.confirmed import two_changes_text, worded
from tune_sr.results.raced import race_lines


def section(data: StudyData) -> Section:
    """The two sentences, the number line and, where seeds confirm it, the paired differences."""
    line = number_line.figure(data)
    confirmed = data.summary.get("confirmed")
    parts = [note(best_sentence(data), " ", gain_sentence(data))]
    if (limit := data.results.settings.objective.limit) is not None:
        parts.append(note(f"Students were limited to {limit}; none beyond that was trained."))
    if line is not None:
        parts.append(plot("number-line", "scores in dB on one line"))
    table = _confirmed_table(confirmed) if confirmed else None
    if table is not None:
        parts += [tag("h3", "Trained again with new seeds"), table.to_html()]
    raced = _race_table(confirmed) if confirmed and "race" in confirmed else None
    if confirmed and raced is not None:
        parts += [tag("h3", "Raced over seeds"), note(race_lines(confirmed["race"])[0]),
                  raced.to_html()]  # fmt: skip
    ablated = _ablation_table(confirmed) if confirmed and "ablation" in confirmed else None
    if confirmed and ablated is not None:
        parts += [tag("h3", "What each setting of the best trial gives alone"), ablated.to_html()]
        parts += [note(two) for two in [two_changes_text(confirmed.get("two_changes"))] if two]
    numbers = {key: value for key, value in data.summary.items() if key != "confirmed"}
    return Section(
        "so-what", "so what", "So what?", joined(*parts),
        figures={} if line is None else {"number-line": line},
        tables=tuple(each for each in (table, raced, ablated) if each is not None),
        numbers={**numbers, "wobble_db": data.wobble, "confirmed": confirmed,
                 "verdict": verdict(data)},
    )  # fmt: skip


def best_sentence(data: StudyData) -> Markup:
    """The best trial: its score, its gain over bicubic, its share of the teacher's gain."""
    best = data.best
    if best is None or best.score is None:
        return joined(_nothing(data))
    unit = "dB" if "bicubic" in data.marks else "dB of agreement with the teacher"
    said = f"Trial {best.name}: {best.score:.2f} {unit}"
    bicubic, teacher = data.marks.get("bicubic"), data.marks.get("teacher")
    if bicubic is not None:
        said += f", {best.score - bicubic:+.2f} over bicubic"
        if teacher is not None and teacher > bicubic:
            share = 100 * (best.score - bicubic) / (teacher - bicubic)
            said += f", {share:.0f} % of the teacher's gain"
    else:
        said += "; without held-out images there is no bicubic to gain over"
    return joined(tag("b", said), f"; {seen(data, best)}.")


def seen(data: StudyData, trial: Trial) -> str:
    """Which training images a trial's student saw."""
    config = data.results.space.trial_config(trial.point)
    return "it saw no training image" if config.data is None else "trained on photographs"


def _nothing(data: StudyData) -> str:
    if not data.trials:
        return "No trial has begun yet."
    states = Counter(trial.state for trial in data.trials)
    if states["failed"] == len(data.trials):
        reasons = Counter(trial.reason or "no reason recorded" for trial in data.trials)
        why, count = reasons.most_common(1)[0]
        return f"All {len(data.trials)} trials failed, {count} of them by: {why}."
    return "No trial has a finite report yet."


def verdict(data: StudyData) -> str:
    """What may be said of best - first: a confirmation's verdict, else what one run of each shows.

    Returns:
        `better`, `worse`, `equal`, `inside the noise`; `not shown to be a gain`, `not confirmed
        yet`; `no first point`, `no score`, `the first point is the best`.
    """
    if data.results.gain is not None:
        return data.results.gain.verdict
    best, first = data.best, data.first
    if first is None:
        return "no first point"
    if best is None or best.score is None or first.score is None:
        return "no score"
    return "the first point is the best"


def gain_sentence(data: StudyData) -> Markup:
    """What the best gained over the first point, and how sure that is."""
    found, best, first = verdict(data), data.best, data.first
    if found == "no first point":
        return joined("This space has no paper's point to compare with.")
    if found == "no score" or best is None or first is None:
        failed = first is not None and first.state == "failed"
        return joined("The first point failed: there is nothing to compare with." if failed else "")
    if found == "the first point is the best":
        return joined("No trial is better than the first point, the paper's setting.")
    difference = (data.summary.get("confirmed") or {}).get("difference")
    if difference:
        seeds = len(difference["values"])
        interval = f"{difference['low']:+.3f} .. {difference['high']:+.3f}"
        said = f"Over the first point: {difference['mean']:+.3f} dB with {seeds} new seeds, "
        kind = "the race's" if "race" in data.summary["confirmed"] else "95 %"
        more = f"{kind} interval {interval}; over seeds, on these held-out images."
        return joined(tag("b", f"{said}{worded(difference)}"), f" ({more})")
    assert best.score is not None and first.score is not None
    gain = f"Over the first point: {best.score - first.score:+.2f} dB, {found}"
    if data.wobble is None:
        why = "one run of each"
    elif found == "not confirmed yet":
        why = f"one seed, best of {len(data.trials)}"
    else:
        why = f"one and the same curve moves by {data.wobble:.2f} dB between two reports"
    return joined(tag("b", gain), f": {why}. ", _confirm_hint(data))


def _confirm_hint(data: StudyData) -> Markup:
    name = data.results.folder.name
    return joined(tag("code", f"--resume --name {name} --confirm 5"), " trains both again.")


def _ablation_table(confirmed: dict[str, Any]) -> Table:
    columns = [Column("quantity"), Column("best"), Column("first"),
               Column("gives, dB", 3, signed=True), Column("low", 3, signed=True),
               Column("high", 3, signed=True), Column("verdict")]  # fmt: skip
    rows = []
    for each in confirmed["ablation"]:
        gives = each["gives"] or {}
        figures = (gives.get(key) for key in ("mean", "low", "high"))
        verdict = worded(gives) if gives else "fewer than two seeds"
        rows.append((each["quantity"], as_text(each["best"]), as_text(each["first"]), *figures,
                     verdict))  # fmt: skip
    return Table("ablation", columns, rows)


def _race_table(confirmed: dict[str, Any]) -> Table:
    columns = [Column("trial"), Column("seeds"), Column("mean, dB", 3), Column("dropped after"),
               Column("p", 4)]  # fmt: skip
    keys = ("trial", "seeds", "mean", "dropped_after", "p")
    rows = [tuple(each[key] for key in keys) for each in confirmed["race"]["racers"]]
    return Table("race", columns, rows)


def _confirmed_table(confirmed: dict[str, Any]) -> Table | None:
    rows = [
        (role, each["trial"], each["mean"], each["sd"], each["luck"], len(each["values"]))
        for role in ("first", "best", "cheapest")
        if (each := confirmed.get(role)) is not None
    ]
    columns = [Column("role"), Column("trial"), Column("mean, dB", 3), Column("sd", 3),
               Column("search - mean", 3, signed=True), Column("seeds")]  # fmt: skip
    return Table("confirmed", columns, rows) if rows else None
