"""A YAML file -> a search space, its `study` section read and checked."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from trainables.values import ConfigError
from tune_sr.schedulers.pbt import check_exchanges
from tune_sr.space.dimension import parse_dimension
from tune_sr.space.reader import SpaceReading, check_sections
from tune_sr.space.search_space import SearchSpace
from tune_sr.space.yaml_file import parse_yaml, read_yaml
from tune_sr.study.settings import fit, parse_study


def load_space(path: Path, overrides: Sequence[str] = ()) -> SearchSpace:
    """Read a space from its file and check it at every corner.

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
    last_growth = max((step for each in configs for step in each.growth_steps()), default=0)
    section.setdefault("experiment", path.stem)
    try:
        study = parse_study(section, configs[0].budget, last_growth)
        check_exchanges(study["scheduler"]["name"], space.dimensions)
        study = fit(study, space, all_of_them="trials" not in section)
    except ConfigError as problem:
        raise reading.located(problem, {}, space) from None
    return replace(space, study=study)


def read_resolved(text: str, path: Path = Path("space.yaml")) -> SearchSpace:
    """Read back what `SearchSpace.to_yaml` gave; it was checked when the space was loaded."""
    document = parse_yaml(text, str(path), interpolate=False)
    check_sections(document)
    content = document.content
    return SearchSpace(
        name=content["study"]["experiment"],
        dimensions={key: parse_dimension(key, says) for key, says in content["search"].items()},
        fixed=content["fixed"],
        first_points=tuple(content["first"]),
        study=content["study"],
        path=path,
    )
