"""What a trial in a Ray process is given: the settings that all share, and its configuration."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from trainables.checkpoints import Owner
from trainables.config import TrialConfig
from trainables.dotted import leaves, put
from trainables.errors import ConfigError
from trainables.run import RunImages


@dataclass(frozen=True)
class Job:
    """The settings that all trials of one driver start share; passed once, not in Ray's config."""

    configure: Callable[[Mapping[str, Any]], TrialConfig]
    """Converts a point, dotted path to value, to a whole configuration."""
    trials: Path
    """The study's folder of starts: checkpoints are in `trials/<start>/<trial>/`."""
    start: str
    """The folder name of this start."""
    threads: int
    """CPU threads where the configuration sets none: the CPUs of a trial."""
    images: RunImages | None = None
    """The decoded images, shared by all trials; None: each trial reads its own."""
    gpu_part: float = 0.0
    """Share of its GPU's memory that a trial may use, in (0, 1]; 0: no limit."""
    keep: tuple[int, ...] = ()
    """Steps whose checkpoints are never pruned, because other trials may be copied from them."""
    costs: tuple[str, ...] = ()
    """Keys of `trainables.metrics.cost.COSTS` that are added to every report."""
    owner: Owner | None = None
    """The study whose checkpoints are used; None: all are."""
    digests: Mapping[str, str] = field(default_factory=dict)
    """Digests of the files that the study started with; see `trainables.digests`."""


def configured(method: str, given: Mapping[str, Any]) -> TrialConfig:
    """Convert Ray's `config` to the configuration of a method's trial.

    Raises:
        ConfigError: it cannot be used, or names another method.
    """
    nested: dict[str, Any] = {}
    try:
        for path, value in leaves(given):
            put(nested, path, value)
    except ValueError as error:
        raise ConfigError("", str(error)) from None
    section = nested.setdefault("method", {})
    if not isinstance(section, dict):
        raise ConfigError("method", f"takes a mapping; got {section!r}")
    name = section.setdefault("name", method)
    if name != method:
        raise ConfigError("method.name", f"{name!r}, and this is the trainable of {method}")
    return TrialConfig.parse(nested)
