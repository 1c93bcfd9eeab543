"""Keeps the graph of a study's best student beside its weights, for MLflow's model."""

from __future__ import annotations

from pathlib import Path

from tune_sr.exporting.graphs import pt2_bytes, trace
from tune_sr.exporting.interface import Upscaler
from tune_sr.exporting.subject import load_subject
from tune_sr.results.chosen_student import chosen_student
from tune_sr.storage.disk import appearing
from tune_sr.storage.layout import BEST, GRAPH, STUDENT
from tune_sr.tracking.logged_model import notes_in


def keep_graph(study: Path) -> bool:
    """Write `best/student.pt2`, as `export --format pt2` does, unless it is that of the student.

    Args:
        study: the study's folder.

    Returns:
        Whether the study is finished and has a best student: else nothing is written.

    Raises:
        Exception: the student cannot be read or traced; no graph is left.
    """
    if not (study / BEST / STUDENT).exists():
        return False
    subject = load_subject(chosen_student(str(study)), None)
    if subject.summary.get("finished") is not True:
        return False
    graph, notes = study / BEST / GRAPH, subject.facts()
    if not graph.exists() or notes_in(graph) != notes:
        graph.unlink(missing_ok=True)
        program = trace(Upscaler(subject.network, subject.scale))
        with appearing(graph) as fresh:
            fresh.write_bytes(pt2_bytes(program, notes))
    return True
