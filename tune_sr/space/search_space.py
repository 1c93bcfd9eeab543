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
from trainables.values import Blank
from tune_sr.cli.redaction import without_secrets
from tune_sr.space.dimension import Dimension, Point
from tune_sr.space.yaml_file import dump_yaml


@dataclass(frozen=True)
class SearchSpace:
    """What a study searches. A value: it can be pickled, compared, written down and read back."""

    name: str
    """The file's name without its ending."""
    dimensions: Mapping[str, Dimension]
    """By dotted path; a conditional one after those it depends on."""
    fixed: Mapping[str, Any]
    """A nested `TrialConfig` less what is searched, presets filled in, paths absolute."""
    first_points: tuple[Mapping[str, Any], ...]
    """Points tried before anything else; the first of them is the paper's own setting."""
    study: Mapping[str, Any]
    """Every key of the `study` section, defaults filled in."""
    path: Path
    """The file it was read from."""

    def without_secrets(self) -> SearchSpace:
        """The same as it may be written down: a tracking address without user info and tokens."""
        uri = self.study.get("tracking_uri")
        kept = {} if uri is None else {"tracking_uri": without_secrets(uri)}
        return replace(self, study={**self.study, **kept})

    def settled(self, precision: Precision) -> SearchSpace:
        """The same space with `precision` where it leaves that to the machine (`auto`).

        A study is settled once, by the machine that begins it: its trials are compared, so that all
        of them compute in one precision, wherever they run and whenever they are resumed.
        """
        if self.fixed.get("precision", "auto") != "auto":
            return self
        return replace(self, fixed={**self.fixed, "precision": precision})

    def trial_config(self, point: Point, seed: int | None = None) -> TrialConfig:
        """The configuration of one point; pure.

        Where the method is searched, `data` and `teacher` go to the methods that take them.

        Args:
            point: dotted path to value.
            seed: of the trial; where None, that of `fixed`, else the study's: all trials share one.

        Raises:
            ConfigError: the point cannot be trained, with path and rule.
        """
        nested = _copy(self.fixed)
        for path, value in point.items():
            put(nested, path, value)
        if seed is not None:
            nested["seed"] = seed
        elif "seed" in self.study:
            nested.setdefault("seed", self.study["seed"])
        method = METHODS.get(str(point.get("method.name")))
        if method is not None and method.batch is Blank:
            nested.pop("data", None)
        if method is not None and not method.taught:
            nested.pop("teacher", None)
        return TrialConfig.parse(nested)

    def active(self, point: Point) -> tuple[str, ...]:
        """The paths of the quantities that exist beside what `point` has chosen."""
        return tuple(
            path
            for path, dimension in self.dimensions.items()
            if dimension.active(point, self.fixed)
        )

    @property
    def budget(self) -> BudgetConfig:
        """Of every trial: it cannot be searched."""
        return BudgetConfig.model_validate(self.fixed["budget"])

    def to_dict(self) -> dict[str, Any]:
        """The whole space as plain values that JSON can hold; equal spaces give equal ones."""
        return {
            "fixed": _copy(self.fixed),
            "search": {path: each.to_dict() for path, each in self.dimensions.items()},
            "first": [dict(point) for point in self.first_points],
            "study": _copy(self.study),
        }

    def to_yaml(self) -> str:
        """`resolved` as YAML, which `read_resolved` reads back."""
        return dump_yaml(self.to_dict())


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
    """The quantities that are numbers, and exist in every trial."""
    return {
        path: dimension
        for path, dimension in space.dimensions.items()
        if dimension.distribution != "choice"
        and not set(dimension.when) & set(space.dimensions)
        and dimension.active({}, space.fixed)
    }
