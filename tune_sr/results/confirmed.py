"""What a study's confirmation found: trials repeated with the same seeds, compared in pairs."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from statistics import mean, stdev
from typing import TYPE_CHECKING, Any, Final

from tune_sr.ledger.repeats import changed_alone, repeated_trial
from tune_sr.results.paired import paired_difference, verdict_of
from tune_sr.results.raced import described, race_lines, raced_difference
from tune_sr.study.racing import race_of

if TYPE_CHECKING:
    from tune_sr.ledger.history import History, TrialRecord
    from tune_sr.objectives.score import Score, Scorer
    from tune_sr.study.settings import StudySettings

ENOUGH: Final = 0.95
"""The share of the gain from which on two changes are called enough."""
Scores = dict[int, float]
"""Scores in dB of a trial's repeats, by the number of their seed, from 1."""


def confirmed(
    history: History,
    scorer: Scorer,
    settings: StudySettings,
    first: TrialRecord | None,
    steps: int,
) -> dict[str, Any] | None:
    """The key `confirmed` of `summary.json`; None where nothing was repeated to its end.

    Each repeat is judged as a trial is, by its best report after the student's last growth: it is
    the student that would be handed out. The runs of the search itself are left out, because the
    best trial was chosen for its score.

    Args:
        history: the study so far.
        scorer: the rule by which its trials are judged.
        settings: the study's.
        first: the trial of the first point; None without one.
        steps: student updates of a whole trial.
    """
    repeats: defaultdict[str, list[TrialRecord]] = defaultdict(list)
    for record in () if history.confirmation is None else history.confirmation.trials.values():
        if record.state == "completed" and record.repeats:
            repeats[record.repeats].append(record)
    if not repeats:
        return None
    scores = {name: _scores(scorer, records) for name, records in repeats.items()}
    last = {name: _last(settings.objective.value, each) for name, each in repeats.items()}
    found: dict[str, Any] = {"seeds": settings.confirm}
    front = scorer.front(history.trials.values())
    roles = {"first": first, "best": front[-1] if front else None}
    if front and front[0] not in roles.values():
        roles["cheapest"] = front[0]
    for role, trial in roles.items():
        if trial is not None and (values := scores.get(trial.name)):
            found[role] = _described(trial.name, values, scorer.score(trial))
    best = roles["best"]
    if best is not None and first is not None:
        found.update(_ablation(scores, best, first, settings.margin))
    raced = race_of(history, scorer, steps) if settings.confirm == "auto" and first else None
    if raced is not None:
        race = raced[0]
        found.update(seeds=len(race.looks) and race.looks[-1].seeds, race=described(race, scores))
        found["difference"] = _judged(
            raced_difference(race, race.racers[1], scores), settings.margin
        )
    elif first is not None and best is not None and first is not best:
        names = best.name, first.name
        for key, known in (("difference", scores), ("difference_of_last_reports", last)):
            ours, theirs = (known.get(each, {}) for each in names)
            found[key] = _difference(ours, theirs, settings.margin)
    return found


def _ablation(
    scores: Mapping[str, Scores], best: TrialRecord, first: TrialRecord, margin: float
) -> dict[str, Any]:
    """What each quantity of the best point alone gives, by the key `ablation`; see `_two_changes`.

    The paired difference between the best point and the same with that quantity set back to the
    first point's, the largest first. Empty where no such point was trained.
    """
    rows: list[dict[str, Any]] = []
    for repeats, values in scores.items():
        trial, path = repeated_trial(repeats)
        if trial == best.name and path is not None and changed_alone(path) is None:
            given = _difference(scores.get(best.name, {}), values, margin)
            values_of = {"best": best.point.get(path), "first": first.point.get(path)}
            rows.append({"quantity": path, **values_of, "gives": given})
    rows.sort(key=lambda row: -row["gives"]["mean"] if row["gives"] else math.inf)
    two = _two_changes(scores, rows, best.name, first.name, margin)
    return {"ablation": rows, **two} if rows else {}


def _two_changes(
    scores: Mapping[str, Scores],
    rows: Sequence[Mapping[str, Any]],
    best: str,
    first: str,
    margin: float,
) -> dict[str, Any]:
    """What the two most important changes keep of the gain, by the key `two_changes`.

    `if_additive` is the share that follows from the ablation alone; `keeps` that which the first
    point with these two changes alone has over the seeds, None before it was trained and without
    a gain. Empty of fewer than three changes.
    """
    told = [row for row in rows if row["gives"] is not None]
    gain = _difference(scores.get(best, {}), scores.get(first, {}), margin)
    if len(rows) < 3 or len(told) < 2 or gain is None:
        return {}
    changes = {row["quantity"] for row in told[:2]}
    alone: dict[str, Any] | None = None
    for name, values in scores.items():
        if changes == set(changed_alone(repeated_trial(name)[1]) or ()):
            alone = _difference(values, scores.get(first, {}), margin)
    whole = gain["mean"] if gain["mean"] > 0 else None
    return {
        "two_changes": {
            "quantities": [row["quantity"] for row in told[:2]],
            "over_first": alone,
            "keeps": alone["mean"] / whole if alone and whole else None,
            "if_additive": sum(row["gives"]["mean"] for row in told[:2]) / whole if whole else None,
        }
    }


def _described(name: str, scores: Scores, own: Score | None) -> dict[str, Any]:
    """A repeated trial: its scores over the seeds, and how lucky its own run was, in dB."""
    values = list(scores.values())
    return {
        "trial": name,
        "mean": mean(values),
        "sd": stdev(values) if len(values) > 1 else None,
        "values": {str(number): value for number, value in scores.items()},
        "luck": own.value - mean(values) if own else None,
    }


def _difference(ours: Scores, theirs: Scores, margin: float) -> dict[str, Any] | None:
    """The paired difference; None with fewer than two seeds that both have finished."""
    both = sorted(ours.keys() & theirs.keys())
    if len(both) < 2:
        return None
    pairs = [ours[each] for each in both], [theirs[each] for each in both]
    found = paired_difference(*pairs, margin)
    return {
        **asdict(found),
        "values": list(found.values),
        "verdict": found.verdict,
        "visible_db": found.visible_db,
        "seeds_needed": found.seeds_needed,
    }


def _judged(difference: dict[str, Any] | None, margin: float) -> dict[str, Any] | None:
    if difference is None:
        return None
    verdict = verdict_of(difference["low"], difference["high"], margin)
    return {**difference, "margin": margin, "verdict": verdict}


def _scores(scorer: Scorer, records: Iterable[TrialRecord]) -> Scores:
    judged = {record.number: scorer.score(record) for record in records}
    return {number: score.value for number, score in judged.items() if score is not None}


def _last(objective: str, records: Iterable[TrialRecord]) -> Scores:
    """The objective in the last report of each repeat, where it is finite."""
    values = {
        record.number: record.reports[max(record.reports)].report[objective]
        for record in records
        if record.reports
    }
    return {number: value for number, value in values.items() if math.isfinite(value)}


def confirmation_lines(found: Mapping[str, Any] | None) -> list[str]:
    """The lines about a confirmation in a study's closing text; empty without one."""
    if found is None:
        return []
    if "race" in found:
        return race_lines(found["race"])
    difference = found.get("difference")
    seeds = len(difference["values"]) if difference else 0
    verdict = f": {worded(difference)}" if difference else ""
    lines = [f"confirmed with {seeds} new seeds{verdict}"]
    for role, title in (("first", "first point"), ("best", "best trial"), ("cheapest", "cheapest")):
        if (each := found.get(role)) is not None:
            spread = "" if each["sd"] is None else f"  sd {each['sd']:.3f}"
            luck = "" if each["luck"] is None else f"  (in the search {each['luck']:+.2f})"
            lines.append(f"  {title:<12}{each['mean']:.2f} dB{spread}{luck}")
    if difference is None:
        return [*lines, "  two seeds that both have finished are needed to compare them"]
    low, high = difference["low"], difference["high"]
    gain = f"{difference['mean']:+.3f} dB, 95 % interval {low:+.3f} .. {high:+.3f}"
    lines.append(f"  {'gain':<12}{gain}; over seeds, on these held-out images")
    if difference["verdict"] == "inside the noise":
        needed = difference["seeds_needed"]
        would = f"{needed} seeds would settle it" if needed else "more than 50 would be needed"
        lines.append(f"  no gain below {difference['visible_db']:.2f} dB shows with these; {would}")
    lines += _ablation_lines(found.get("ablation", []))
    two = two_changes_text(found.get("two_changes"))
    return [*lines, f"  {two}"] if two else lines


def worded(difference: Mapping[str, Any]) -> str:
    """The verdict on a difference in words: of equal ones, within which margin.

    >>> worded({"verdict": "equal", "margin": 0.02}), worded({"verdict": "better"})
    ('equal within 0.02 dB', 'better')
    """
    verdict = str(difference["verdict"])
    return f"{verdict} within {difference['margin']:g} dB" if verdict == "equal" else verdict


def two_changes_text(two: Mapping[str, Any] | None) -> str:
    """Whether the two most important changes keep 95 % of the gain; empty where nothing tells."""
    if two is None or (two["keeps"] is None and two["if_additive"] is None):
        return ""
    names, over = " and ".join(two["quantities"]), two["over_first"]
    if two["keeps"] is None or over is None:
        return (
            f"{names} would keep {100 * two['if_additive']:.0f} % of the gain, were they additive"
        )
    enough = "enough" if two["keeps"] >= ENOUGH else "not enough"
    interval = f"{over['mean']:+.3f} dB, {over['low']:+.3f} .. {over['high']:+.3f}"
    return f"{names} alone: {interval}, {100 * two['keeps']:.0f} % of the gain: {enough}"


def _ablation_lines(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    lines = ["what each setting of the best trial gives alone"] if rows else []
    for row in rows:
        values = f"{_short(row['best'])}, not {_short(row['first'])}"
        gives = row["gives"]
        shown = (
            "fewer than two seeds have finished"
            if gives is None
            else f"{gives['mean']:+.3f} dB, {gives['low']:+.3f} .. {gives['high']:+.3f}: "
            f"{worded(gives)}"
        )
        lines.append(f"  {row['quantity']:<28}{values:<28}{shown}")
    return lines


def _short(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
