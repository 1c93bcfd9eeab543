"""Searching the settings of super-resolution distillation: spaces, studies, their results."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tune_sr.driver.run_study import run_study
    from tune_sr.reporting.notebook import load_results
    from tune_sr.space.search_space import SearchSpace
    from tune_sr.study.config import StudyConfig
    from tune_sr.study.space_file import load_space, load_study

__all__ = ["SearchSpace", "StudyConfig", "load_results", "load_space", "load_study", "run_study"]

_HOMES = {
    "SearchSpace": "tune_sr.space.search_space",
    "StudyConfig": "tune_sr.study.config",
    "load_results": "tune_sr.reporting.notebook",
    "load_space": "tune_sr.study.space_file",
    "load_study": "tune_sr.study.space_file",
    "run_study": "tune_sr.driver.run_study",
}


def __getattr__(name: str) -> Any:
    """Import a public name when it is first asked for: a command answers `--help` without torch."""
    if name not in _HOMES:
        raise AttributeError(f"module 'tune_sr' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)
