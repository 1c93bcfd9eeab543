"""Writes the report of a study: its page, its tables and its figures for papers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from tune_sr.reporting.page import heading, page
from tune_sr.reporting.section import Section
from tune_sr.reporting.sections import (
    front,
    generators,
    operations,
    pictures,
    settings,
    so_what,
    stopping,
    trials,
)
from tune_sr.reporting.study_data import StudyData
from tune_sr.storage.disk import write_atomically

SECTIONS: Sequence[Callable[[StudyData], Section | None]] = (
    so_what.section,
    pictures.section,
    trials.curves_section,
    trials.gain_section,
    trials.trials_section,
    settings.settings_section,
    settings.together_section,
    stopping.section,
    generators.section,
    front.section,
    operations.timeline_section,
    operations.failures_section,
    operations.use_section,
)
"""The page's sections in their order; one that does not apply to a study is None."""


def sections_of(data: StudyData) -> list[Section]:
    """The sections that apply to a study."""
    return [made for make in SECTIONS if (made := make(data)) is not None]


def write_page(data: StudyData, path: Path, more: Sequence[Section] = ()) -> list[Section]:
    """Write the page of a study.

    Args:
        data: the study.
        path: the HTML file; its folder is created.
        more: sections behind the first.

    Returns:
        The sections.

    Raises:
        OSError: it cannot be written.
    """
    made = sections_of(data)
    made[1:1] = more
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, page(*heading(data), made))
    return made


def write_tables(sections: Sequence[Section], folder: Path) -> None:
    """Write every table as CSV, with all digits, and as LaTeX (booktabs).

    Raises:
        OSError: they cannot be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for table in (table for section in sections for table in section.tables):
        write_atomically(folder / f"{table.name}.csv", table.to_csv())
        write_atomically(folder / f"{table.name}.tex", table.to_latex())


def numbers(sections: Sequence[Section]) -> dict[str, Any]:
    """All numbers of a report, by section."""
    return {
        section.anchor: {
            **section.numbers,
            **{table.name: table.to_json() for table in section.tables},
        }
        for section in sections
    }
