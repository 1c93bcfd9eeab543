"""Reads a study's YAML file: the search space in it, and the settings of its `study` section."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from trainables.errors import ConfigError
from tune_sr.searchers.algorithms import max_trials
from tune_sr.space.dimension import parse_dimension
from tune_sr.space.reader import SpaceReading, check_sections
from tune_sr.space.search_space import EDITION, SearchSpace
from tune_sr.space.yaml_file import parse_yaml, read_yaml
from tune_sr.study.settings import StudySettings

Study = tuple[SearchSpace, StudySettings]
"""The content of a study's YAML file."""


def load_study(path: Path, overrides: Sequence[str] = ()) -> Study:
    """Read a space and the settings of its study from a file, and check the space at every corner.

    Args:
        path: a YAML file; `search_spaces/README.md` has the grammar.
        overrides: `PATH=VALUE`, as `--set` takes them: a path under `fixed`, or `study.KEY`.
            Setting a searched quantity fixes it.

    Raises:
        SpaceError: one line with file, line, dotted path, rule and the known keys.
    """
    path = Path(path)
    document = read_yaml(path)
    check_sections(document)
    reading = SpaceReading(document, path, overrides)
    space, configs = reading.space()
    section = reading.study
    if section.get("experiment") is None:
        section["experiment"] = path.stem
    last_growth = max((step for each in configs for step in each.growth_steps()), default=0)
    try:
        settings = StudySettings.parse(section, configs[0].budget, last_growth)
        if "trials" not in section:
            most = max_trials(settings.searcher, space)
            settings = settings.model_copy(update={"trials": most or settings.trials})
        settings.check_against(space)
    except ConfigError as problem:
        raise reading.located(problem, {}, space) from None
    return space, settings


def load_space(path: Path, overrides: Sequence[str] = ()) -> SearchSpace:
    """Read a space as `load_study` does, with the same errors, without the study's settings."""
    return load_study(path, overrides)[0]


def to_resolved(space: SearchSpace, settings: StudySettings) -> dict[str, Any]:
    """Every section of a study's space as plain values, as `space.yaml` and the ledger hold it."""
    return {**space.to_dict(), "study": settings.to_dict()}


def read_resolved(text: str, path: Path = Path("space.yaml"), edition: int = EDITION) -> Study:
    """Read back the YAML of `to_resolved`; the space was checked when it was loaded.

    Args:
        text: the YAML.
        path: its file, for messages.
        edition: the edition of defaults that the study was begun with.

    Raises:
        ConfigError: the YAML, or its `study` section, cannot be read.
        LookupError: a section is missing.
    """
    document = parse_yaml(text, str(path), interpolate=False)
    check_sections(document)
    content = document.content
    space = SearchSpace(
        name=content["study"]["experiment"],
        dimensions={key: parse_dimension(key, entry) for key, entry in content["search"].items()},
        fixed=content["fixed"],
        first_points=tuple(content["first"]),
        path=path,
        edition=edition,
    )
    return space, StudySettings.from_dict(content["study"])
