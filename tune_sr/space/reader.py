"""Reads the sections of a space's file; each error is one line with file and line number."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from trainables.config import TrialConfig
from trainables.dotted import get, leaves, look_up, put, remove
from trainables.errors import ConfigError
from trainables.limits import DIMENSIONS
from trainables.paths import expanded
from trainables.presets import expand_presets
from tune_sr.cli.redaction import redacted_words
from tune_sr.space.corner_checks import UntrainablePointError, check_corners, lowest_corner
from tune_sr.space.dimension import Dimension, parents_first, parse_dimension
from tune_sr.space.points import MissingQuantityError, read_point
from tune_sr.space.search_space import SearchSpace
from tune_sr.space.yaml_file import ADDRESS, Document, Keys, SpaceError, parse_value

_SECTIONS: dict[str, type] = {"fixed": dict, "search": dict, "first": list, "study": dict}
NOT_SEARCHED = ("seed", "budget", "heldout", "device", "precision", "graphs", "threads")
"""Sections and keys at which trials are compared, so that all trials have them equal."""
_SAME = {"student.scale": "student.scales", "student.scales": "student.scale"}
_DECIDES_PRESET = {"method.name", "method.preset", "optimiser.name", "student.name"}


def check_sections(document: Document) -> None:
    """Refuse unknown sections, sections of a wrong type, and a space without `fixed`.

    Raises:
        SpaceError: one line with file, line, section, and the known sections.
    """
    known = ", ".join(_SECTIONS)
    for section, raw in document.content.items():
        if section not in _SECTIONS:
            rule = f"unknown section; a space has {known}"
            raise document.error((section,), section, rule)
        if not isinstance(raw, _SECTIONS[section]) and raw is not None:
            kind = "list of points" if _SECTIONS[section] is list else "mapping"
            raise document.error((section,), section, f"takes a {kind}; got {raw!r}")
    if not document.content.get("fixed"):
        rule = f"missing: a space has {known}, and what is not searched is fixed"
        raise document.error((), "fixed", rule)


class SpaceReading:
    """Reads the space in a document, with `PATH=VALUE` overrides that win over the file."""

    def __init__(self, document: Document, path: Path, overrides: Sequence[str]) -> None:
        self.document = document
        self.path = path
        self.fixed: dict[str, Any] = document.content["fixed"]
        self.first: list[Any] = document.content.get("first") or []
        self.study: dict[str, Any] = document.content.get("study") or {}
        self.dimensions = self._dimensions(document.content.get("search") or {})
        self.places: dict[str, str] = {}
        self.dropped: set[str] = set()
        for override in overrides:
            self._override(override)

    def space(self) -> tuple[SearchSpace, list[TrialConfig]]:
        """The space, and its configurations at all corners, from `check_corners`.

        Raises:
            SpaceError: one line with file, line, dotted path, rule and the known keys.
        """
        self._check_dimensions()
        if not _DECIDES_PRESET & set(self.dimensions):
            self.fixed = expand_presets(self.fixed)
            for path in self.dimensions:
                remove(self.fixed, path)
        space = SearchSpace(
            name=self.path.stem,
            dimensions=self.dimensions,
            fixed=self.fixed,
            first_points=(),
            path=self.path,
        )
        self._check_names(space)
        space = replace(space, first_points=self._first_points())
        try:
            configs = check_corners(space)
        except UntrainablePointError as problem:
            raise self.located(problem, problem.point, space) from None
        self._make_absolute({config.method.name: config for config in configs})
        return space, configs

    def _dimensions(self, search: Mapping[str, Any]) -> dict[str, Dimension]:
        if len(search) > DIMENSIONS:
            rule = f"{len(search):,} quantities are searched; at most {DIMENSIONS}"
            raise self.document.error(("search",), "search", rule)
        dimensions = {}
        for path, entry in search.items():
            try:
                dimensions[path] = parse_dimension(path, entry)
            except ValueError as error:
                raise self.document.error(("search", path), path, str(error)) from None
            if path.split(".")[0] in NOT_SEARCHED:
                rule = f"cannot be searched: trials are compared at equal {', '.join(NOT_SEARCHED)}"
                raise self.document.error(("search", path), path, rule)
        return dimensions

    def _override(self, override: str) -> None:
        path, equals, text = override.partition("=")
        place = f"--set {redacted_words([override])[0]}"
        if not equals or not all(path.split(".")):
            raise SpaceError(place, "", "takes PATH=VALUE, such as budget.steps=600")
        value = parse_value(text, place, interpolate=path != ADDRESS)
        self.places[path] = place
        if self.dimensions.pop(path, None):
            self.dropped.add(path)
        section, key = (self.study, path[6:]) if path.startswith("study.") else (self.fixed, path)
        try:
            put(section, key, value)
            remove(section, _SAME.get(key, ""))
        except ValueError as error:
            raise SpaceError(place, path, str(error)) from None

    def _check_dimensions(self) -> None:
        for path, dimension in self.dimensions.items():
            self._check_place(path)
            for parent, values in dimension.when.items():
                self._check_condition(dimension, parent, values)
        try:
            ordered = parents_first(tuple(self.dimensions.values()))
        except ValueError as error:
            raise self.document.error(("search",), "search", str(error)) from None
        self.dimensions = {dimension.path: dimension for dimension in ordered}

    def _check_place(self, path: str) -> None:
        keys: Keys = ("search", path)
        above = [path.rsplit(".", depth)[0] for depth in range(1, path.count(".") + 1)]
        try:
            look_up(self.fixed, path)
        except KeyError:
            pass
        else:
            raise self.document.error(keys, path, "is given under fixed as well: keep one")
        for prefix in above:
            held = get(self.fixed, prefix, {})
            if prefix in self.dimensions or not isinstance(held, dict):
                raise self.document.error(keys, path, f"{prefix} is a value, not a mapping")

    def _check_condition(self, dimension: Dimension, parent: str, values: tuple[Any, ...]) -> None:
        keys: Keys = ("search", dimension.path, "when", parent)
        searched = self.dimensions.get(parent)
        if searched is None and parent not in self.dropped:
            if get(self.fixed, parent, self) is self:
                rule = f"when: {parent} is neither searched nor fixed"
                raise self.document.error(keys, dimension.path, rule)
            return
        if searched is None:
            return
        if searched.distribution not in ("choice", "randint"):
            rule = f"when: {parent} must be a choice or a randint, not {searched.distribution}"
            raise self.document.error(keys, dimension.path, rule)
        for value in values:
            try:
                searched.validate(value)
            except ValueError as error:
                rule = f"when: {parent}: {error}"
                raise self.document.error(keys, dimension.path, rule) from None

    def _check_names(self, space: SearchSpace) -> None:
        """Refuse a searched quantity that no `TrialConfig` has, before `first` is read."""
        point = lowest_corner(space)
        try:
            space.trial_config(point)
        except ConfigError as problem:
            if problem.path in point:
                raise self.located(problem, point, space) from None

    def _first_points(self) -> tuple[dict[str, Any], ...]:
        points: list[dict[str, Any]] = []
        for index, entry in enumerate(self.first):
            if not isinstance(entry, dict):
                rule = f"a point maps dotted paths to values; got {entry!r}"
                raise self.document.error(("first", index), "first", rule)
            point = self._first_point(index, entry)
            if point is not None and not (self.dropped and point in points):
                points.append(point)
        return tuple(points)

    def _first_point(self, index: int, entry: Mapping[str, Any]) -> dict[str, Any] | None:
        """Read a point of `first`; None where an override has made it incomplete."""
        try:
            rule = "missing: a first point has every quantity"
            point = read_point(self.dimensions, self.fixed, entry, rule)
        except ConfigError as error:
            if self.dropped and isinstance(error, MissingQuantityError):
                return None
            keys: Keys = ("first", index, error.path)
            raise self.document.error(keys, error.path, error.rule) from None
        for path in entry:
            if path in self.dimensions and path not in point and not self.dropped:
                condition = self.dimensions[path].to_dict()["when"]
                rule = f"does not exist at this point, but when {condition}"
                raise self.document.error(("first", index, path), path, rule)
            if path not in self.dimensions and path not in self.dropped:
                rule = f"is not searched; searched: {', '.join(self.dimensions) or 'nothing'}"
                raise self.document.error(("first", index, path), path, rule)
        return point

    def _make_absolute(self, configs: Mapping[str, TrialConfig]) -> None:
        """Make every path in `fixed` absolute: each trial has a working directory of its own."""
        for config in configs.values():
            parsed = config.model_dump(mode="json")
            for path, value in list(leaves(self.fixed)):
                put(self.fixed, path, _absolute(value, get(parsed, path, None)))

    def located(
        self, problem: ConfigError, point: Mapping[str, Any], space: SearchSpace
    ) -> SpaceError:
        """The error of `problem` with its place: the override, or the line of the file."""
        for path, place in self.places.items():
            if f"{problem.path}.".startswith(f"{path}."):
                return SpaceError(place, problem.path, problem.rule)
        keys = problem.path.split(".")
        for length in range(len(keys), 0, -1):
            prefix = ".".join(keys[:length])
            below = [each for each in self.places if each.startswith(f"{prefix}.")]
            if below:
                return SpaceError(self.places[below[-1]], problem.path, problem.rule)
            if prefix in point:
                where: Keys = ("search", prefix)
                if point in space.first_points:
                    where = ("first", space.first_points.index(point), prefix)
                return self.document.error(where, problem.path, problem.rule)
            for section in ("fixed", "study"):
                inside: Keys = (
                    (section, *keys[:length]) if section == "fixed" else (*keys[:length],)
                )
                if inside in self.document.lines:
                    return self.document.error(inside, problem.path, problem.rule)
        return self.document.error(("fixed",), problem.path, problem.rule)


def _absolute(value: Any, read: Any) -> Any:
    """Make the paths in a value of `fixed` absolute: words that became so when it was `read`."""
    if isinstance(value, list) and isinstance(read, list) and len(value) == len(read):
        return [_absolute(*pair) for pair in zip(value, read, strict=True)]
    if isinstance(value, dict) and isinstance(read, dict):
        return {key: _absolute(each, read.get(key)) for key, each in value.items()}
    words = isinstance(value, str) and isinstance(read, str) and read != value
    return str(expanded(value).absolute()) if words and Path(read).is_absolute() else value
