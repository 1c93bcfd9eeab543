"""What a race over seeds found (`--confirm auto`): its racers, its winner and its intervals."""

from __future__ import annotations

from collections.abc import Mapping
from statistics import correlation, stdev
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tune_sr.statistics.race import Race

Scores = Mapping[int, float]
"""Scores in dB of a trial's repeats, by the number of their seed, from 1."""


def described(race: Race, scores: Mapping[str, Scores]) -> dict[str, Any]:
    """The key `race` of `confirmed` in `summary.json`."""
    racers = []
    for name in race.racers:
        values, left = scores.get(name, {}), race.dropped.get(name)
        racers.append(
            {
                "trial": name,
                "seeds": len(values),
                "mean": sum(values.values()) / len(values) if values else None,
                "dropped_after": left and left.seeds,
                "p": left and left.p,
            }
        )
    return {
        "winner": race.winner,
        "finished": not race.due,
        "trainings": race.spent,
        "of": race.trainings,
        "racers": racers,
    }


def raced_difference(race: Race, name: str, scores: Mapping[str, Scores]) -> dict[str, Any] | None:
    """A racer's difference to the first one, at the last look that compared them.

    Its interval excludes 0 where the race would have dropped one of the two for the other: it
    allows for the looks and for the number of racers. None without such a look.
    """
    first = race.racers[0]
    look = None if name == first else race.last_look(name, first)
    if look is None:
        return None
    seeds = range(1, look.seeds + 1)
    ours, theirs = ([scores[each][seed] for seed in seeds] for each in (name, first))
    values = [a - b for a, b in zip(ours, theirs, strict=True)]
    centre, half = look.means[name] - look.means[first], look.half_width
    varied = len(values) > 2 and len(set(ours)) > 1 and len(set(theirs)) > 1
    return {
        "values": values,
        "mean": centre,
        "sd": stdev(values),
        "low": centre - half,
        "high": centre + half,
        "correlation": correlation(ours, theirs) if varied else None,
        "p": look.p(first, name) if centre > 0 else look.p(name, first),
        "visible_db": half,
        "seeds_needed": None,
    }


def race_lines(found: Mapping[str, Any]) -> list[str]:
    """The lines about a race in a study's closing text.

    Args:
        found: the key `race` of `confirmed`.
    """
    winner, first = found["winner"], found["racers"][0]
    seeds = max(each["seeds"] for each in found["racers"])
    outcome = f"trial {winner} wins" if winner else _undecided(found)
    head = f"raced over {seeds} new seeds, {found['trainings']} of {found['of']} trainings"
    lines = [f"{head}: {outcome}"]
    for each in found["racers"]:
        title = "first point" if each is first else f"trial {each['trial']}"
        mean = "no score" if each["mean"] is None else f"{each['mean']:.2f} dB"
        lines.append(f"  {title:<12}{mean} over {each['seeds']}{_left(each)}")
    return lines


def _undecided(found: Mapping[str, Any]) -> str:
    if not found["finished"]:
        return "not finished"
    beaten = all(each["dropped_after"] is not None for each in found["racers"][1:])
    return "none is better than the first point" if beaten else "no winner: inside the noise"


def _left(racer: Mapping[str, Any]) -> str:
    if racer["dropped_after"] is None:
        return ""
    if racer["p"] is None:
        return "; dropped: a training failed"
    return f"; dropped after {racer['dropped_after']}: behind, p {racer['p']:.2g}"
