"""The `study` section of a search space: its keys, their defaults and their rules."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import Field, PlainSerializer, PlainValidator, ValidationError, field_validator

from trainables.config import BudgetConfig
from trainables.errors import ConfigError
from trainables.limits import NAME_LENGTH, SEEDS, TRIALS
from trainables.problems import first_problem
from trainables.values import Config
from tune_sr.cli.redaction import redacted, without_secrets
from tune_sr.objectives.limit import Limit
from tune_sr.objectives.objective import AGREEMENT, PSNR_ONLY, Objective
from tune_sr.schedulers.grace_period import check_scheduler, least_grace
from tune_sr.schedulers.pbt import check_exchanges
from tune_sr.schedulers.rules import SCHEDULERS, SchedulerConfig
from tune_sr.searchers.algorithms import SEARCHERS, max_trials
from tune_sr.searchers.context import DEFAULT_PRIOR, PriorConfig
from tune_sr.space.search_space import SearchSpace
from tune_sr.space.yaml_file import SpaceError
from tune_sr.study.limited import LimitError, check_limit
from tune_sr.study.until import UntilConfig

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


class StudySettings(Config):
    """Settings of a study, as the `study` section of its space and the command line give them.

    The order of the fields is the order of the keys in `space.yaml` and in the ledger.
    """

    name: str | None = None
    """Name of the study's folder; null: the command's, else the name of the space's file."""
    experiment: str | None = None
    """Name of the MLflow experiment; where it is left out, the name of the space's file."""
    searcher: str = "tpe"
    """A key of `SEARCHERS`."""
    prior: PriorConfig | None = DEFAULT_PRIOR
    """The belief that the searcher `auto` begins with; null: none. Other searchers have none."""
    scheduler: SchedulerConfig = SchedulerConfig()
    """The scheduler that stops trials early. In a space a name alone will do, and the default grace
    period is the least that the space allows."""
    objective: Annotated[
        Objective, PlainValidator(Objective.parse), PlainSerializer(Objective.to_yaml)
    ] = PSNR_ONLY
    """The quality to maximise; a list of it and a cost to minimise, one of `COSTS`; or a mapping of
    it to `max` and of `params` or `macs` to a limit. The quality is `teacher_agreement` where
    `heldout` is null, and only there."""
    trials: int = Field(default=16, ge=1, le=TRIALS)
    """Number of configurations to try; the default of a grid is all of its points."""
    confirm: Annotated[int, Field(ge=0, le=SEEDS)] | Literal["auto"] = 0
    """Number of new seeds with which the best and the first point are trained again after the
    search, to tell a gain from noise; 0: none; auto: the three best trials and the first point
    race over seeds, for at most 40 % of the search's updates."""
    margin: float = Field(default=0.02, ge=0.0)
    """Gains within so many dB of 0 are equal: the confirmation's verdict where the whole interval
    lies within."""
    hours: float | None = Field(default=None, gt=0.0)
    """Hours that drivers may search, over all starts; null: no limit. A confirmation has none."""
    gpu_hours: float | None = Field(default=None, gt=0.0)
    """GPU hours that trials of the search may be given, over all starts; null: no limit."""
    ablate: bool = False
    """Whether the confirmation also trains the best point with one quantity set back to the first
    point's, for each quantity that differs: which of them made the gain?"""
    until: UntilConfig | None = None
    """When the search ends before its last trial: once the latest ones gained nothing; null:
    never."""
    concurrent: int | Literal["auto"] = "auto"
    """Number of trials at a time; auto: as many as there are CPUs and GPUs for."""
    cpus_per_trial: float = Field(default=1.0, gt=0.0)
    """CPU cores of each trial."""
    gpus_per_trial: float | Literal["auto"] = 0.0
    """GPUs of each trial, or a fraction of one; 0: trials are placed by CPUs alone, and share this
    machine's GPU, if there is one; auto: the fraction that a trial of the first point needs, which
    is measured."""
    seed: int = Field(default=0, ge=0, lt=2**63)
    """Seed of every proposal, and of every trial unless the space fixes another one."""
    storage: str = "runs"
    """Folder that studies lie in."""
    tracking_uri: str | None = Field(default=None, repr=False)
    """MLflow's store, which may hold a password: it is left out of `repr`, pickles and `to_dict`.
    null: MLFLOW_TRACKING_URI, else a database beside the studies."""

    @field_validator("name")
    @classmethod
    def _check_name(cls, name: str | None) -> str | None:
        if name is not None and len(name) > NAME_LENGTH:
            raise ValueError(f"{name[:20]!r}...: {len(name)} characters; at most {NAME_LENGTH}")
        if name is not None and not _NAME.fullmatch(name):
            raise ValueError(f"{name!r}: letters, digits, . _ - and a letter or digit in front")
        return name

    @field_validator("searcher")
    @classmethod
    def _check_searcher(cls, searcher: str) -> str:
        if searcher not in SEARCHERS:
            raise ValueError(f"unknown searcher {searcher!r}; known: {', '.join(SEARCHERS)}")
        return searcher

    @field_validator("confirm")
    @classmethod
    def _check_confirm(cls, confirm: int | str) -> int | str:
        if confirm == 1:
            raise ValueError("at least 2 seeds, or 0 for none: one tells nothing of their spread")
        return confirm

    @field_validator("concurrent")
    @classmethod
    def _check_concurrent(cls, concurrent: int | str) -> int | str:
        if isinstance(concurrent, int) and concurrent < 1:
            raise ValueError(f"at least 1, or auto; got {concurrent}")
        return concurrent

    @field_validator("gpus_per_trial")
    @classmethod
    def _check_gpus(cls, gpus: float | str) -> float | str:
        if isinstance(gpus, str):
            return gpus
        if gpus < 0:
            raise ValueError(f"at least 0, or auto; got {gpus:g}")
        if gpus > 1 and gpus != int(gpus):
            raise ValueError(f"a part of one GPU, or a whole number of them; got {gpus:g}")
        return gpus

    @classmethod
    def parse(
        cls, section: Mapping[str, Any], budget: BudgetConfig, last_growth: int
    ) -> StudySettings:
        """Read the `study` section of a space whose trials have `budget`.

        `last_growth` is the latest update with which a student grows; 0 if none does. Before it, no
        trial may be stopped.

        Raises:
            ConfigError: the dotted path from `study` on, the rule, and the known keys.

        >>> budget = BudgetConfig(steps=300, steps_per_report=30)
        >>> StudySettings.parse({"trials": 4}, budget, last_growth=45).scheduler.grace_period
        3
        """
        scheduler = section.get("scheduler", "asha")
        if isinstance(scheduler, str):
            scheduler = {"name": scheduler}
        given = isinstance(scheduler, Mapping) and "grace_period" in scheduler
        if isinstance(scheduler, Mapping) and not given:
            scheduler = {**scheduler, "grace_period": least_grace(budget, last_growth)}
        settings = cls.from_dict({**section, "scheduler": scheduler})
        check_scheduler(settings.scheduler, budget, last_growth, grace_given=given)
        return settings

    @classmethod
    def from_dict(cls, section: Mapping[str, Any]) -> StudySettings:
        """Read back what `to_dict` gave; keys that an older study lacks get their defaults.

        Raises:
            ConfigError: the dotted path from `study` on, the rule, and the known keys.
        """
        try:
            return _Root.model_validate({"study": dict(section)}).study
        except ValidationError as error:
            raise first_problem(_Root, error, {"study": section}) from None

    def to_dict(self) -> dict[str, Any]:
        """The settings as plain values, as they are stored: the tracking address has no secrets."""
        return self.without_secrets().model_dump()

    def without_secrets(self) -> StudySettings:
        """A copy whose tracking address has no user info and no tokens."""
        uri = self.tracking_uri and without_secrets(self.tracking_uri)
        return self.model_copy(update={"tracking_uri": uri})

    def __getstate__(self) -> dict[Any, Any]:
        return super(StudySettings, self.without_secrets()).__getstate__()

    def with_overrides(self, flags: Mapping[str, Any], space: SearchSpace) -> StudySettings:
        """A copy with the command line's flags that are not None, checked against `space`.

        Raises:
            SpaceError: one line with the flag, the rule and the known keys.
        """
        given = {key: value for key, value in flags.items() if value is not None}
        try:
            settings = self.from_dict({**self.model_dump(), **given})
            settings.check_against(space)
        except ConfigError as problem:
            key = problem.path.removeprefix("study.")
            flag = f"--{key.replace('_', '-')} {given.get(key, '')}".strip()
            raise SpaceError(redacted(flag), problem.path, redacted(problem.rule)) from None
        return settings

    def check_against(self, space: SearchSpace) -> None:
        """Refuse a scheduler, an objective, a searcher or a number of trials unfit for `space`.

        Raises:
            ConfigError: the dotted path from `study` on, and the rule.
        """
        check_exchanges(self.scheduler.name, space.dimensions)
        if self.confirm == "auto" and self.objective.cost is not None:
            rule = f"a race has one objective, and this study has {self.objective.cost} too: "
            raise ConfigError("study.confirm", f"{rule}give a number of seeds")
        self._check_objective(space)
        if self.ablate and not self.confirm:
            rule = "trains with the seeds of a confirmation: say --confirm K as well"
            raise ConfigError("study.ablate", rule)
        if self.ablate and self.confirm == "auto":
            rule = "trains with the seeds of a confirmation, of which a race has no fixed number: "
            raise ConfigError("study.ablate", f"{rule}say --confirm K in place of auto")
        if self.confirm and SCHEDULERS[self.scheduler.name].is_population_based:
            rule = f"{self.scheduler.name} changes a trial's point while it trains: no one point "
            raise ConfigError("study.confirm", f"{rule}can be trained again; leave it 0")
        most = max_trials(self.searcher, space)
        if most is not None and self.trials > most:
            rule = f"{self.trials} are too many: the {self.searcher} has {most} points"
            raise ConfigError("study.trials", rule)

    def _check_objective(self, space: SearchSpace) -> None:
        objective, cost = self.objective.to_yaml(), self.objective.cost
        by_agreement = self.objective.value == Objective.parse(AGREEMENT).value
        judged_by_teacher = space.fixed.get("heldout", "the default") is None
        if judged_by_teacher and not by_agreement:
            rule = "heldout is null, so that only the teacher can judge: "
            raise ConfigError("study.objective", f"{rule}say {AGREEMENT}, not {objective}")
        if by_agreement and not judged_by_teacher:
            rule = f"{AGREEMENT} is for a study without any real image: say heldout: null as well"
            raise ConfigError("study.objective", rule)
        if self.objective.limit is not None:
            self._check_limit(space, self.objective.limit)
        if cost is None:
            return
        if self.until is not None:
            rule = f"counts gains of one objective, and this study has {cost} too; leave it out"
            raise ConfigError("study.until", rule)
        if not any(path.startswith("student.") for path in space.dimensions):
            rule = f"{cost} is the same for all trials: no quantity of the student is searched"
            raise ConfigError("study.objective", rule)
        if self.searcher == "cmaes":
            rule = "cmaes has one objective; take another searcher, such as tpe or nsga2"
            raise ConfigError("study.searcher", rule)
        name = self.scheduler.name
        if SCHEDULERS[name].is_population_based:
            rule = f"{name} copies what is best and has one objective; take another, such as asha"
            raise ConfigError("study.scheduler", rule)

    def _check_limit(self, space: SearchSpace, limit: Limit) -> None:
        if not any(path.startswith("student.") for path in space.dimensions):
            rule = (
                f"{limit.key} are the same for all trials: no quantity of the student is searched"
            )
            raise ConfigError("study.objective", rule)
        name = self.scheduler.name
        if SCHEDULERS[name].is_population_based:
            rule = f"{name} changes a trial's point while it trains: take another, such as asha"
            raise ConfigError("study.scheduler", rule)
        for number, point in enumerate(space.first_points):
            try:
                check_limit(limit, space.trial_config(point, self.seed))
            except LimitError as error:
                rule = f"its {error.rule}: give a point that keeps to it"
                raise ConfigError(f"first[{number}]", rule) from None


class _Root(Config):
    study: StudySettings  # so that pydantic's paths begin with the section's name
