"""Writes the report of a study: its page, its tables and its figures for papers."""

from __future__ import annotations

import logging
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
from tune_sr.results.student import draw_pictures
from tune_sr.storage.disk import write_atomically
from tune_sr.storage.layout import PAGE
from tune_sr.visualization.pictures import read_pictures

_log = logging.getLogger(__name__)

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


def write_page(data: StudyData, sections: Sequence[Section], path: Path) -> None:
    """Write the page of a study.

    Args:
        data: the study.
        sections: in their order.
        path: the HTML file; its folder is created.

    Raises:
        OSError: it cannot be written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, page(*heading(data), sections))


def write_study_page(folder: Path) -> None:
    """Write the page of the study in `folder` from what lies there.

    Raises:
        ValueError: there is no study.
        OSError: it cannot be written.
    """
    data = StudyData.load(folder)
    write_page(data, sections_of(data), folder / PAGE)


def draw_missing_pictures(data: StudyData) -> None:
    """Draw a study's pictures where it has none, or those of another trial than its best.

    What cannot be drawn any more stays missing: the page names it.
    """
    found = read_pictures(data.results.folder)
    drawn = None if found is None else found[1]["trials"].get("best")
    if data.best is None or drawn == data.best.name:
        return
    try:
        draw_pictures(data.results)
    except (ValueError, OSError) as error:
        _log.warning("no pictures: %s", error)


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
