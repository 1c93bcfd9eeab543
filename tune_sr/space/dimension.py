"""The dimensions of a search space: distribution, condition and values of a quantity."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from trainables.dotted import look_up
from trainables.limits import STEPS

Point = Mapping[str, Any]
"""A point of a space: dotted path to value, active quantities only."""

_ENUMERATED = 16
"""Size up to which every value of a discrete range is a corner value."""


@dataclass(frozen=True)
class Dimension:
    """A searched quantity, with a distribution of Ray Tune."""

    path: str
    """Dotted path into `TrialConfig`."""
    distribution: str
    """A key of `DISTRIBUTIONS`."""
    args: tuple[Any, ...]
    """Arguments of the distribution: (low, high), (low, high, q) or the choices."""
    when: Mapping[str, tuple[Any, ...]] = field(default_factory=dict)
    """Condition: it exists only in trials where each of these paths has one of its values."""

    def active(self, point: Point, fixed: Mapping[str, Any]) -> bool:
        """Whether the quantity exists beside the values of `point` and of `fixed` (nested)."""
        return all(
            any(_same(_held(path, point, fixed), value) for value in values)
            for path, values in self.when.items()
        )

    def corner_values(self) -> tuple[Any, ...]:
        """The values at which a space is checked.

        All values of a choice, and of a discrete range of at most 16 numbers; the two ends of any
        other range.
        """
        if self.distribution == "choice":
            return self.args
        low, high = self.args[0], self.args[1]
        if self.distribution in ("randint", "lograndint"):
            return tuple(range(low, high)) if high - low <= _ENUMERATED else (low, high - 1)
        if self.distribution == "quniform":
            intervals = round((high - low) / self.args[2])
            few = range(intervals + 1) if intervals < _ENUMERATED else (0, intervals)
            return tuple(self.on_grid(low + count * self.args[2]) for count in few)
        return (low, high)

    def all_values(self) -> Iterable[Any] | None:
        """Every value in order, computed on demand; None for a continuous range."""
        if self.distribution == "choice":
            return self.args
        if self.distribution in ("randint", "lograndint"):
            return range(*self.args)
        if self.distribution != "quniform":
            return None
        low, high, step = self.args
        count = round((high - low) / step) + 1
        return (self.on_grid(low + index * step) for index in range(count))

    def on_grid(self, value: float) -> float:
        """The multiple of q nearest to `value`, rounded to 12 significant digits."""
        step = self.args[2]
        return float(f"{round(value / step) * step:.12g}")

    def validate(self, value: Any) -> Any:
        """Convert `value` to the dimension's type, as an int to a float; return an equal choice.

        Raises:
            ValueError: the rule that the value breaks.
        """
        if self.distribution == "choice":
            for choice in self.args:
                if _same(choice, value):
                    return choice
            raise ValueError(f"{_text(value)} is not one of {_listed(self.args)}")
        low, high = self.args[0], self.args[1]
        if self.distribution in ("randint", "lograndint"):
            if isinstance(value, bool) or not isinstance(value, int) or not low <= value < high:
                rule = (
                    f"{_text(value)} is not a whole number of {self.distribution} [{low}, {high}]"
                )
                raise ValueError(f"{rule}, whose upper end is left out")
            return value
        if not _is_number(value) or not low <= value <= high:
            raise ValueError(
                f"{_text(value)} is not a number of {self.distribution} [{low:g}, {high:g}]"
            )
        if self.distribution == "quniform":
            if not math.isclose(self.on_grid(value), value, rel_tol=1e-9, abs_tol=1e-12):
                raise ValueError(f"{_text(value)} is not a multiple of {self.args[2]:g}")
            return self.on_grid(value)
        return float(value)

    def to_dict(self) -> dict[str, Any]:
        """The dimension's entry in a `search` section, which `parse_dimension` reads back."""
        entry: dict[str, Any] = {self.distribution: list(self.args)}
        if self.when:
            entry["when"] = {path: list(values) for path, values in self.when.items()}
        return entry


def parse_dimension(path: str, entry: Any) -> Dimension:
    """Read one entry of a space's `search` section.

    Raises:
        ValueError: the rule that the entry breaks.

    >>> parse_dimension("method.w_R", {"loguniform": [0.1, 10]}).args
    (0.1, 10.0)
    """
    known = ", ".join(DISTRIBUTIONS)
    if not isinstance(entry, dict):
        raise ValueError(f"say how it is distributed, as in {{uniform: [0.1, 10]}}; known: {known}")
    words = [key for key in entry if key != "when"]
    unknown = [word for word in words if word not in DISTRIBUTIONS]
    if unknown:
        raise ValueError(f"{unknown[0]}: unknown word; known: {known}, and when")
    if len(words) != 1:
        raise ValueError(f"needs one distribution, has {len(words)}; known: {known}")
    word = words[0]
    if not isinstance(entry[word], list):
        raise ValueError(f"{word} takes a list; got {_text(entry[word])}")
    return Dimension(
        path, word, DISTRIBUTIONS[word](word, entry[word]), _parse_when(entry.get("when", {}))
    )


def parents_first(dimensions: Sequence[Dimension]) -> tuple[Dimension, ...]:
    """Sort dimensions so that each comes after those its condition names, else as they are given.

    Raises:
        ValueError: the conditions of some dimensions form a cycle.
    """
    waiting = {dimension.path: dimension for dimension in dimensions}
    ordered: list[Dimension] = []
    while waiting:
        ready = next((d for d in waiting.values() if not set(d.when) & set(waiting)), None)
        if ready is None:
            raise ValueError(f"when: {_listed(tuple(waiting))} wait for each other")
        ordered.append(waiting.pop(ready.path))
    return tuple(ordered)


def combinations(
    dimensions: Sequence[Dimension],
    fixed: Mapping[str, Any],
    values: Callable[[Dimension], Iterable[Any]],
) -> Iterator[dict[str, Any]]:
    """Every point with one of `values` in each active dimension, in lexicographic order.

    Args:
        dimensions: sorted by `parents_first`.
        fixed: the nested settings that are not searched.
        values: the values to combine of one dimension.
    """

    def grow(index: int, point: dict[str, Any]) -> Iterator[dict[str, Any]]:
        if index == len(dimensions):
            yield point
        elif not dimensions[index].active(point, fixed):
            yield from grow(index + 1, point)
        else:
            for value in values(dimensions[index]):
                yield from grow(index + 1, {**point, dimensions[index].path: value})

    return grow(0, {})


def _parse_range(word: str, args: list[Any]) -> tuple[Any, ...]:
    count = 3 if word == "quniform" else 2
    form = "[low, high, q]" if count == 3 else "[low, high]"
    if len(args) != count or not all(_is_number(arg) for arg in args):
        raise ValueError(f"{word} takes numbers {form}; got {_listed(args)}")
    if word in ("randint", "lograndint"):
        if not all(isinstance(arg, int) for arg in args):
            raise ValueError(f"{word} takes whole numbers; got {_listed(args)}")
    else:
        args = [float(arg) for arg in args]
    low, high = args[0], args[1]
    if low >= high:
        raise ValueError(f"{word} [{low:g}, {high:g}] is empty: low must lie below high")
    if word.startswith("log") and low <= 0:
        raise ValueError(f"{word} [{low:g}, {high:g}] must start above 0")
    if count == 3 and args[2] <= 0:
        raise ValueError(f"quniform's q must be above 0; got {args[2]:g}")
    steps = (high - low) / args[2] if count == 3 else high - low
    if (count == 3 or isinstance(low, int)) and steps > STEPS:
        raise ValueError(f"{word} {_listed(args)} has more than {STEPS:,} values")
    if count == 3 and not all(_is_multiple(end, args[2]) for end in (low, high)):
        raise ValueError(f"quniform's ends {low:g} and {high:g} must be multiples of {args[2]:g}")
    return tuple(args)


def _parse_choice(word: str, args: list[Any]) -> tuple[Any, ...]:
    del word
    if not args:
        raise ValueError("choice is empty")
    for index, arg in enumerate(args):
        finite = not isinstance(arg, float) or math.isfinite(arg)
        if not isinstance(arg, str | int | float | None) or not finite:
            raise ValueError(f"choice takes words, numbers, true, false, null; got {_text(arg)}")
        if any(arg == other for other in args[:index]):
            raise ValueError(f"choice names {_text(arg)} twice (or as another type)")
    return tuple(args)


def _parse_when(raw: Any) -> dict[str, tuple[Any, ...]]:
    if not isinstance(raw, dict) or any(value in ([], {}) for value in raw.values()):
        raise ValueError("when takes {path: value} or {path: [value, ...]}")
    conditions = {
        path: tuple(value) if isinstance(value, list) else (value,) for path, value in raw.items()
    }
    for path, values in conditions.items():
        for value in values:
            if not isinstance(value, str | int | float | None):
                raise ValueError(f"when: {path} has words and numbers, not {_text(value)}")
    return conditions


DISTRIBUTIONS: dict[str, Callable[[str, list[Any]], tuple[Any, ...]]] = {
    "uniform": _parse_range,
    "loguniform": _parse_range,
    "quniform": _parse_range,
    "randint": _parse_range,
    "lograndint": _parse_range,
    "choice": _parse_choice,
}
"""Distributions of a `search` entry, in Ray Tune's words, with the readers of their arguments."""


_ABSENT = object()


def _held(path: str, point: Point, fixed: Mapping[str, Any]) -> Any:
    if path in point:
        return point[path]
    try:
        return look_up(fixed, path)
    except KeyError:  # searched itself, and not chosen in this trial
        return _ABSENT


def _same(one: Any, other: Any) -> bool:
    """Equal, and not merely as True == 1: a choice of false is not a choice of 0."""
    return bool(one == other) and isinstance(one, bool) == isinstance(other, bool)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _is_multiple(value: float, step: float) -> bool:
    return math.isclose(value / step, round(value / step), rel_tol=1e-9, abs_tol=1e-9)


def _text(value: Any) -> str:
    return json.dumps(value, default=str)  # as YAML has it: true, null, "word"


def _listed(values: Sequence[Any]) -> str:
    return ", ".join(_text(value) for value in values)
