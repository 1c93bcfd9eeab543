"""Writes what a study has come to: results, students, page, and the graph that MLflow holds."""

from __future__ import annotations

import logging
import shlex
from pathlib import Path
from typing import TYPE_CHECKING

from tune_sr.results.results import write_results
from tune_sr.results.student import draw_pictures, write_best
from tune_sr.storage.disk import retry_while_disk_full

if TYPE_CHECKING:
    from tune_sr.driver.preflight import Prepared
    from tune_sr.results.results import Results

_log = logging.getLogger(__name__)


def write_outcome(folder: Path, prepared: Prepared) -> Results:
    """Write a study's results, best student, pictures and page; of two objectives `front/` as well.

    While the disk is full, it is tried again. A student that cannot be written, and any fault of
    pictures and page, is a log warning.
    """
    results = retry_while_disk_full(folder, lambda: write_results(folder))
    try:
        retry_while_disk_full(folder, lambda: write_best(results, prepared.images))
    except ValueError as error:
        _log.warning("not every student was written: %s", error)
    _write_page(results, prepared)
    return results


def _write_page(results: Results, prepared: Prepared) -> None:
    # Late: plotly takes half a second to import, which no start has to wait for.
    from tune_sr.reporting.report import write_study_page

    folder = results.folder
    try:
        retry_while_disk_full(folder, lambda: draw_pictures(results, prepared.images))
        retry_while_disk_full(folder, lambda: write_study_page(folder))
    except Exception as error:
        again = f"python -m tune_sr.report {shlex.quote(str(folder))}"
        _log.warning("no page was written (%s); to try again: %s", error, again)


def write_graph(folder: Path) -> None:
    """Write `best/student.pt2` of a finished study; any fault is a log warning."""
    # Late: torch's tracing takes seconds to import.
    from tune_sr.exporting.kept_graph import keep_graph

    try:
        keep_graph(folder)
    except Exception as error:
        what = " ".join(str(error).split())[:300]
        _log.warning("MLflow gets no model of the best student: %s", what)
