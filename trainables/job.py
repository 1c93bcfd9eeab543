"""What all trials of one start of a study share."""

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
    """What all trials of one start of a study share; handed over once, apart from Ray's config."""

    configure: Callable[[Mapping[str, Any]], TrialConfig]
    """A point, dotted path to value, as a whole configuration."""
    trials: Path
    """The study's folder of starts: checkpoints lie in `trials/<start>/<trial>/`."""
    start: str
    """This start's folder name."""
    threads: int
    """CPU threads where the configuration names none: the CPUs that a trial is given."""
    images: RunImages | None = None
    gpu_part: float = 0.0
    """The part of its GPU's memory that a trial may fill; 0: all."""
    keep: tuple[int, ...] = ()
    """Steps whose checkpoints stay, because other trials may go on from them."""
    costs: tuple[str, ...] = ()
    """Keys of `trainables.metrics.cost.COSTS` that every report has beside its own."""
    owner: Owner | None = None
    """The study, whose checkpoints count; None: all do."""
    digests: Mapping[str, str] = field(default_factory=dict)
    """Of files that the study began with (`trainables.digests`)."""
