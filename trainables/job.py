"""The settings that all trials of one driver start share."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from trainables.checkpoints import Owner
from trainables.config import TrialConfig
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
