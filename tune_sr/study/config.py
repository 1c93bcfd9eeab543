"""Everything that is decided about a study before it starts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trainables.errors import ConfigError
from tune_sr.schedulers.pbt import PopulationBasedTraining, exploit_steps
from tune_sr.searchers.propose import propose
from tune_sr.space.search_space import SearchSpace
from tune_sr.space.yaml_file import dump_yaml
from tune_sr.study.limited import LimitError, check_limit
from tune_sr.study.settings import StudySettings
from tune_sr.study.space_file import to_resolved

if TYPE_CHECKING:
    from trainables.config import TrialConfig
    from tune_sr.ledger.events import TrialsTaken
    from tune_sr.ledger.history import History
    from tune_sr.searchers.context import ProposalCache


@dataclass(frozen=True)
class StudyConfig:
    """A study's space and settings, and what one start of it decides beside them.

    Raises:
        ValueError: two settings contradict each other.
    """

    space: SearchSpace
    settings: StudySettings
    folder: Path
    """The study's own folder, `<storage>/<name>`; made absolute."""
    address: str | None = None
    """Address of the Ray cluster that the study runs on; None: this machine."""
    retry_failed: bool = False
    """Whether this start repeats the failed trials for which `may_be_retried` holds."""
    taken: TrialsTaken | None = None
    """Trials of another study with which the searcher of a new study begins."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "folder", self.folder.absolute())
        hours = self.settings.gpu_hours
        if hours is not None and self.settings.gpus_per_trial == 0:
            rule = "counts the GPUs that trials are given: say --gpus-per-trial as well"
            raise ValueError(f"--gpu-hours {hours:g}: {rule}")

    @property
    def name(self) -> str:
        """The study's name: that of its folder."""
        return self.folder.name

    @property
    def gpus_per_trial(self) -> float:
        """GPUs of each trial; 0 as long as `gpus_per_trial: auto` is not resolved."""
        gpus = self.settings.gpus_per_trial
        return 0.0 if gpus == "auto" else gpus

    @property
    def threads(self) -> int:
        """CPU threads of each trial; its results depend on their number, bit for bit."""
        return self.space.fixed.get("threads") or max(1, int(self.settings.cpus_per_trial))

    def trial_config(self, point: Mapping[str, Any]) -> TrialConfig:
        """The complete configuration of the trial of `point`.

        Raises:
            ConfigError: the point cannot be trained, or costs what the objective does not allow.
        """
        config = self.space.trial_config(point, self.settings.seed)
        check_limit(self.settings.objective.limit, config)
        return config

    def _keeps_the_limit(self, point: Mapping[str, Any]) -> bool:
        try:
            self.trial_config(point)
        except LimitError:
            return False
        except ConfigError:  # refused for another reason, with its own words
            return True
        return True

    def propose(
        self, history: History, number: int, cache: ProposalCache | None = None
    ) -> dict[str, Any]:
        """The point of trial `number`, a pure function of the study's trials; see `propose`."""
        settings = self.settings
        known = settings.searcher, self.space, settings.seed, history, number
        allowed = None if settings.objective.limit is None else self._keeps_the_limit
        return propose(*known, settings.objective, cache, settings.prior, allowed)

    def population(self) -> PopulationBasedTraining:
        """The rule by which its trials copy one another; without steps where none does."""
        return PopulationBasedTraining(
            exploit_steps(self.settings.scheduler, self.space.budget),
            self.settings.scheduler.reduction_factor,
            self.space.dimensions,
            self.trial_config,
            self.settings.seed,
            self.settings.objective.value,
            len(self.space.first_points),
        )

    def to_dict(self) -> dict[str, Any]:
        """Space and settings as plain values, as the ledger holds them, without secrets."""
        return to_resolved(self.space, self.settings)

    def to_yaml(self) -> str:
        """The text of `space.yaml`, which `read_resolved` reads back."""
        return dump_yaml(self.to_dict())
