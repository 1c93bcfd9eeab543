"""Chooses which searched quantities the live table has columns for, and under which names."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from tune_sr.cli.formatting import cut_name, format_value, short_names

_NAME = 8
"""Most characters of a column's head, unless its values are wider."""
_GAP = 2
"""Characters between columns."""

Point = Mapping[str, Any]


class Columns(NamedTuple):
    """The searched quantities of a table, by dotted path."""

    shown: dict[str, str]
    """Those with a column, in the order of the space, each with its head."""
    left_out: dict[str, str]
    """The others, each with its name."""


def choose(points: Sequence[Point], room: int) -> Columns:
    """Choose the quantities that differ most among trials, as many as there is room for.

    Args:
        points: of the trials so far.
        room: characters of a line that are free for these columns, gaps included.

    >>> choose([{"method.w_R": 0.1, "method.P": 2}, {"method.w_R": 2.9, "method.P": 1}], room=6)
    Columns(shown={'method.w_R': 'w_R'}, left_out={'method.P': 'P'})
    """
    names = short_names(path for point in points for path in point)
    heads = {path: cut_name(name, _NAME) for path, name in names.items()}
    several = Counter(heads.values())
    heads = {path: names[path] if several[head] > 1 else head for path, head in heads.items()}
    chosen = set()
    for path in sorted(names, key=lambda path: -spread([point.get(path) for point in points])):
        width = _GAP + max(
            len(heads[path]), *(len(format_value(each[path])) for each in points if path in each)
        )
        if width <= room:
            room -= width
            chosen.add(path)
    return Columns(
        {path: heads[path] for path in names if path in chosen},
        {path: name for path, name in names.items() if path not in chosen},
    )


def spread(values: Sequence[Any]) -> float:
    """How much a quantity differs among trials, from 0 (not at all) to 1.

    Of positive numbers the distance of the ends by their sum, so that ranges of any size compare;
    of everything else the chance that two trials differ. Both are reduced by the share of trials
    that lack the quantity.

    Args:
        values: one for each trial, None where it lacks the quantity.

    >>> spread([1, 3]), spread(["a", "a"]), spread(["a", "b"]), spread([1, 3, None, None])
    (0.5, 0.0, 0.5, 0.25)
    """
    present = [value for value in values if value is not None]
    if not present:
        return 0.0
    if all(isinstance(each, int | float) and each >= 0 for each in present):
        low, high = min(present), max(present)
        differs = (high - low) / (high + low) if high > low else 0.0
    else:
        shares = (count / len(present) for count in Counter(map(repr, present)).values())
        differs = 1 - sum(share**2 for share in shares)
    return float(differs * len(present) / len(values))
