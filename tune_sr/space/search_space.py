"""A search space: which quantities a study varies, over what, around which fixed settings."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from trainables.config import BudgetConfig, TrialConfig
from trainables.dotted import put
from trainables.methods import METHODS
from trainables.numerics import Precision
from trainables.presets import EARLIER_DEFAULTS
from trainables.values import Blank
from tune_sr.space.dimension import Dimension, Point

EDITION = 2
"""The edition of the methods' defaults: 1 had `EARLIER_DEFAULTS`, 2 has those of the classes. The
ledger's first event names the edition that a study was begun with, and its trials keep it."""


@dataclass(frozen=True)
class SearchSpace:
    """A search space: a value that can be pickled, compared, written down and read back."""

    name: str
    """Name of the space's file without its ending."""
    dimensions: Mapping[str, Dimension]
    """The searched quantities by dotted path; a conditional one after those it depends on."""
    fixed: Mapping[str, Any]
    """The nested `TrialConfig` without the searched quantities; presets are filled in, paths are
    absolute."""
    first_points: tuple[Mapping[str, Any], ...]
    """Points tried before all others; the first of them is the paper's own setting."""
    path: Path
    """The file that the space was read from."""
    edition: int = EDITION
    """The edition of defaults that its trials have, of those in `EDITION`'s list."""

    def settled(self, precision: Precision) -> SearchSpace:
        """A copy with `precision` in place of `precision: auto`; any other precision stays.

        The first driver of a study settles it, for its machine: trials are compared, so that all of
        them compute in one precision, wherever they run and whenever they are resumed.
        """
        if self.fixed.get("precision", "auto") != "auto":
            return self
        return replace(self, fixed={**self.fixed, "precision": precision})

    def trial_config(self, point: Point, seed: int | None = None) -> TrialConfig:
        """The configuration of the trial of one point; pure.

        Where the method is searched, `data` and `teacher` go to the methods that take them.

        Args:
            point: dotted path to value.
            seed: the trial's, unless `fixed` or `point` has one; None: that of `TrialConfig`.

        Raises:
            ConfigError: the point cannot be trained, with path and rule.
        """
        nested = _copy(self.fixed)
        for path, value in point.items():
            put(nested, path, value)
        if seed is not None:
            nested.setdefault("seed", seed)
        if self.edition < EDITION:
            _complete_as_before(nested.get("method"))
        method = METHODS.get(str(point.get("method.name")))
        if method is not None and method.batch is Blank:
            nested.pop("data", None)
        if method is not None and not method.taught:
            nested.pop("teacher", None)
        return TrialConfig.parse(nested)

    @property
    def budget(self) -> BudgetConfig:
        """Budget of every trial: it cannot be searched."""
        return BudgetConfig.model_validate(self.fixed["budget"])

    def to_dict(self) -> dict[str, Any]:
        """The sections `fixed`, `search` and `first` as plain values that JSON can hold."""
        return {
            "fixed": _copy(self.fixed),
            "search": {path: each.to_dict() for path, each in self.dimensions.items()},
            "first": [dict(point) for point in self.first_points],
        }


def _complete_as_before(method: Any) -> None:
    """Complete a method's section, in place, by the defaults of the first edition."""
    if isinstance(method, dict):
        key = str(method.get("name")), str(method.get("preset", "default"))
        for field, value in EARLIER_DEFAULTS.get(key, {}).items():
            method.setdefault(field, value)


def _copy(nested: Mapping[str, Any]) -> dict[str, Any]:
    return {
        key: _copy(value)
        if isinstance(value, Mapping)
        else list(value)
        if isinstance(value, list | tuple)
        else value
        for key, value in nested.items()
    }


def numeric_dimensions(space: SearchSpace) -> dict[str, Dimension]:
    """The dimensions of numbers that exist in every trial, by dotted path."""
    return {
        path: dimension
        for path, dimension in space.dimensions.items()
        if dimension.distribution != "choice"
        and not set(dimension.when) & set(space.dimensions)
        and dimension.active({}, space.fixed)
    }
