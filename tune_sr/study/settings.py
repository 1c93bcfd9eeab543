"""The `study` section of a space: its keys, defaults and rules, and flags that replace them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Literal

from pydantic import Field, ValidationError, field_validator

from trainables.config import BudgetConfig
from trainables.limits import NAME_LENGTH, TRIALS
from trainables.problems import first_problem
from trainables.values import Config, ConfigError
from tune_sr.cli.redaction import redacted
from tune_sr.objectives.objective import AGREEMENT, QUALITY, Objective
from tune_sr.schedulers.grace_period import parse_scheduler
from tune_sr.schedulers.rules import SCHEDULERS
from tune_sr.searchers.algorithms import SEARCHERS, max_trials
from tune_sr.space.search_space import SearchSpace
from tune_sr.space.yaml_file import SpaceError

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


class StudySection(Config):
    """Defaults of the command line: a flag wins."""

    name: str | None = None
    """The study's folder; null: the command chooses."""
    experiment: str | None = None
    """MLflow's; null: the space's file name."""
    searcher: str = "tpe"
    """A key of `SEARCHERS`."""
    scheduler: dict[str, Any]
    """`SchedulerConfig`, complete."""
    objective: Any = QUALITY
    """What is to be large; or a list of it and what is to be small, one of `COSTS`. Where `heldout`
    is null, and only there, `teacher_agreement`."""
    trials: int = Field(default=16, ge=1, le=TRIALS)
    """Configurations tried; of a grid, where nothing is said, all."""
    hours: float | None = Field(default=None, gt=0.0)
    """No trial starts later than this; null: no limit."""
    gpu_hours: float | None = Field(default=None, gt=0.0)
    """The study ends when trials have been given GPUs for so long; null: no limit."""
    concurrent: int | Literal["auto"] = "auto"
    """Trials at a time; auto: as many as there are CPUs and GPUs for."""
    cpus_per_trial: float = Field(default=1.0, gt=0.0)
    """CPU cores each trial is given."""
    gpus_per_trial: float | Literal["auto"] = 0.0
    """GPUs each trial is given, or the part of one that it may fill; 0: placed by CPUs alone; auto:
    the part that the first point's trial needs, which is tried."""
    seed: int = Field(default=0, ge=0, lt=2**63)
    """What every proposal and every trial's randomness derive from."""
    storage: str = "runs"
    """The folder that studies lie in."""
    tracking_uri: str | None = None
    """MLflow's store; null: MLFLOW_TRACKING_URI, else one beside the studies."""

    @field_validator("name")
    @classmethod
    def _is_a_folder_name(cls, name: str | None) -> str | None:
        if name is not None and len(name) > NAME_LENGTH:
            raise ValueError(f"{name[:20]!r}...: {len(name)} characters; at most {NAME_LENGTH}")
        if name is not None and not _NAME.fullmatch(name):
            raise ValueError(f"{name!r}: letters, digits, . _ - and a letter or digit in front")
        return name

    @field_validator("objective")
    @classmethod
    def _is_known(cls, objective: Any) -> str | list[str]:
        return Objective.parse(objective).to_yaml()

    @field_validator("searcher")
    @classmethod
    def _known(cls, searcher: str) -> str:
        if searcher not in SEARCHERS:
            raise ValueError(f"unknown searcher {searcher!r}; known: {', '.join(SEARCHERS)}")
        return searcher

    @field_validator("concurrent")
    @classmethod
    def _at_least_one(cls, concurrent: int | str) -> int | str:
        if isinstance(concurrent, int) and concurrent < 1:
            raise ValueError(f"at least 1, or auto; got {concurrent}")
        return concurrent

    @field_validator("gpus_per_trial")
    @classmethod
    def _part_or_whole(cls, gpus: float | str) -> float | str:
        if isinstance(gpus, str):
            return gpus
        if gpus < 0:
            raise ValueError(f"at least 0, or auto; got {gpus:g}")
        if gpus > 1 and gpus != int(gpus):
            raise ValueError(f"a part of one GPU, or a whole number of them; got {gpus:g}")
        return gpus


def parse_study(says: Any, budget: BudgetConfig, last_growth: int) -> dict[str, Any]:
    """Every key of a study, defaults and the scheduler's numbers filled in.

    Args:
        says: the section as a space has it, or with flags merged into it.
        budget: of every trial of the space.
        last_growth: the latest update with which a student of the space grows; 0 if none does.

    Raises:
        ConfigError: the dotted path from `study` on, the rule, and the known keys.

    >>> budget = BudgetConfig(steps=300, steps_per_report=30)
    >>> parse_study({"scheduler": "none", "trials": 4}, budget, last_growth=45)["trials"]
    4
    """
    if not isinstance(says, Mapping):
        raise ConfigError("study", f"a mapping of keys to values; got {says!r}")
    scheduler = parse_scheduler(says.get("scheduler", "asha"), budget, last_growth)
    return complete({**says, "scheduler": scheduler.model_dump()})


def complete(section: Mapping[str, Any]) -> dict[str, Any]:
    """Every key of a study whose scheduler is complete already, as when flags win over a space.

    Raises:
        ConfigError: as `parse_study`.
    """
    try:
        return _Sections.model_validate({"study": dict(section)}).study.model_dump()
    except ValidationError as error:
        raise first_problem(_Sections, error, {"study": section}) from None


def fit(section: Mapping[str, Any], space: SearchSpace, *, all_of_them: bool) -> dict[str, Any]:
    """A complete section whose searcher and objective suit `space`, with points for its trials.

    Args:
        section: as `complete` gives it.
        space: what can be chosen.
        all_of_them: where the searcher comes to an end, so many are the trials.

    Raises:
        ConfigError: as `parse_study`.
    """
    _check_objective(section, space)
    most = max_trials(section["searcher"], space)
    if most is not None and all_of_them:
        return {**section, "trials": most}
    if most is not None and section["trials"] > most:
        rule = f"{section['trials']} are too many: the {section['searcher']} has {most} points"
        raise ConfigError("study.trials", rule)
    return dict(section)


def with_flags(space: SearchSpace, flags: Mapping[str, Any]) -> SearchSpace:
    """Replace keys of a space's `study` by the command line's; None leaves one alone.

    Raises:
        SpaceError: one line with the flag, the rule and the known keys.
    """
    given = {key: value for key, value in flags.items() if value is not None}
    try:
        study = complete({**space.study, **given})
        return replace(space, study=fit(study, space, all_of_them=False))
    except ConfigError as problem:
        key = problem.path.removeprefix("study.")
        flag = f"--{key.replace('_', '-')} {given.get(key, '')}".strip()
        raise SpaceError(redacted(flag), problem.path, redacted(problem.rule)) from None


def _check_objective(section: Mapping[str, Any], space: SearchSpace) -> None:
    says, cost = section["objective"], Objective.parse(section["objective"]).cost
    judged_by_teacher = space.fixed.get("heldout", "the default") is None
    if judged_by_teacher and says != AGREEMENT:
        rule = f"heldout is null, so that only the teacher can judge: say {AGREEMENT}, not {says}"
        raise ConfigError("study.objective", rule)
    if says == AGREEMENT and not judged_by_teacher:
        rule = f"{AGREEMENT} is for a study without any real image: say heldout: null as well"
        raise ConfigError("study.objective", rule)
    if cost is None:
        return
    if not any(path.startswith("student.") for path in space.dimensions):
        rule = f"{cost} is the same for all trials: no quantity of the student is searched"
        raise ConfigError("study.objective", rule)
    if section["searcher"] == "cmaes":
        rule = "cmaes has one objective; take another searcher, such as tpe or nsga2"
        raise ConfigError("study.searcher", rule)
    scheduler = section["scheduler"]["name"]
    if SCHEDULERS[scheduler].is_population_based:
        rule = f"{scheduler} copies what is best and has one objective; take another, such as asha"
        raise ConfigError("study.scheduler", rule)


class _Sections(Config):
    study: StudySection  # so that pydantic's paths begin with the section's name
