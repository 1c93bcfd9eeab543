"""Everything that is decided about a study before it starts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self

from tune_sr.objectives.objective import PSNR_ONLY, Objective
from tune_sr.schedulers.pbt import PopulationBasedTraining, exploit_steps
from tune_sr.schedulers.rules import SchedulerConfig
from tune_sr.space.search_space import SearchSpace

if TYPE_CHECKING:
    from trainables.config import TrialConfig


@dataclass(frozen=True, kw_only=True)
class StudyConfig:
    """Everything about a study that is decided before it starts."""

    name: str
    space: SearchSpace
    folder: Path
    """The study's own, absolute: `<storage>/<name>`."""
    searcher: str = "tpe"
    scheduler: SchedulerConfig = field(default_factory=SchedulerConfig)
    objective: Objective = PSNR_ONLY
    trials: int
    concurrent: int | Literal["auto"] = "auto"
    """Trials at a time; auto: as many as there are CPUs and GPUs for."""
    cpus_per_trial: float = 1.0
    gpus_per_trial: float = 0.0
    """0: trials are placed by CPUs alone; on this machine they share its GPU, if there is one."""
    hours: float | None = None
    """Of drivers' work on it, all starts together; then it is finished as it stands."""
    gpu_hours: float | None = None
    """Of GPUs given to trials, the same."""
    seed: int = 0
    experiment: str
    tracking_uri: str | None = field(default=None, repr=False)
    """MLflow's store, with its secrets; without them in `space`, and in what Ray pickles."""
    address: str | None = None
    """The cluster that it runs on; None: this machine."""
    retry_failed: bool = False
    """Whether this start tries trials again that failed and `may_be_retried`."""

    @classmethod
    def from_settings(
        cls, space: SearchSpace, name: str, storage: Path, address: str | None = None
    ) -> Self:
        """What a space's `study` section says, for a study called `name` in `storage`.

        Raises:
            ValueError: two of its settings contradict each other.
        """
        study = dict(space.study)
        study["scheduler"] = SchedulerConfig.model_validate(study["scheduler"])
        study["objective"] = Objective.parse(study["objective"])
        own = {"name", "space", "folder", "address", "retry_failed"}
        known = {each.name for each in fields(cls)} - own
        auto = study["gpus_per_trial"] == "auto"  # tune_sr/driver/gpu_fraction.py
        said = {key: value for key, value in study.items() if key in known}
        said["gpus_per_trial"] = 0.0 if auto else study["gpus_per_trial"]
        folder = (storage / name).absolute()
        space = space.without_secrets()
        config = cls(name=name, space=space, folder=folder, address=address, **said)
        if config.gpu_hours is not None and config.gpus_per_trial == 0 and not auto:
            rule = "counts the GPUs that trials are given: say --gpus-per-trial as well"
            raise ValueError(f"--gpu-hours {config.gpu_hours:g}: {rule}")
        return config

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "tracking_uri": self.space.study.get("tracking_uri")}

    @property
    def threads(self) -> int:
        """CPU threads of each trial, on which bits depend."""
        return self.space.fixed.get("threads") or max(1, int(self.cpus_per_trial))

    def trial_config(self, point: Mapping[str, Any]) -> TrialConfig:
        """The whole configuration of a trial.

        Raises:
            ConfigError: the point cannot be trained.
        """
        return self.space.trial_config(point)

    def population(self) -> PopulationBasedTraining:
        """Its trials as they copy one another; without an exchange in its scheduler none does."""
        return PopulationBasedTraining(
            exploit_steps(self.scheduler, self.space.budget),
            self.scheduler.reduction_factor,
            self.space.dimensions,
            self.trial_config,
            self.seed,
            self.objective.value,
            len(self.space.first_points),
        )
