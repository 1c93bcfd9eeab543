"""Writes a study's best students: weights, configuration and picture."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trainables.checkpoints import valid_at
from trainables.finished import FinishedStudent
from trainables.networks.checkpoint import save_network
from tune_sr.space.yaml_file import dump_yaml
from tune_sr.storage.layout import BEST, CONFIG, FRONT, GRAPH, PANEL, STUDENT
from tune_sr.study.identity import owner_of
from tune_sr.visualization.panel import draw_student_panel
from tune_sr.visualization.pareto_front import ParetoPlot, TrialPoint
from tune_sr.visualization.pictures import write_pictures

if TYPE_CHECKING:
    from trainables.checkpoints import Owner
    from trainables.run import RunImages
    from tune_sr.ledger.history import TrialRecord
    from tune_sr.results.results import Results

_OF_A_TRIAL = re.compile(r"\d{4,}(\.new)?")
"""Names of the folders that are written into `front/`; no other is ever removed."""
_OF_THE_MACHINE = ("device", "graphs", "threads")
"""Keys of a configuration that describe the machine it ran on; they are not written."""


def write_best(results: Results, images: RunImages | None = None) -> bool:
    """Write `best/` from the checkpoint of the best trial's best report.

    Where cost is an objective, `front/<trial>/` holds the same of every trial that none beats.

    Args:
        results: of the study; with no trial that has a score there is nothing to write.
        images: its decoded images, if they are at hand.

    Returns:
        Whether there is a best student.

    Raises:
        ValueError: a checkpoint is gone or damaged; its folder stays as it was.
        OSError: it cannot be written.
    """
    if results.best is None:
        return False
    _write(results, results.best, results.folder / BEST, images)
    if results.cost is not None:
        for record in results.front:
            _write(results, record, results.folder / FRONT / record.name, images)
        unbeaten = {record.name for record in results.front}
        remove_beaten(results.folder / FRONT, unbeaten)
    return True


def remove_beaten(front: Path, unbeaten: Collection[str]) -> None:
    """Remove the folders of trials that others beat since the study was extended.

    Whatever else lies in `front` stays, such as files of the file system.
    """
    for other in front.iterdir():
        ours = _OF_A_TRIAL.fullmatch(other.name) and other.is_dir() and not other.is_symlink()
        if ours and other.name not in unbeaten:
            shutil.rmtree(other)


def _write(results: Results, record: TrialRecord, folder: Path, images: RunImages | None) -> None:
    """Write the student of a trial's best report into `folder`, each file atomically."""
    score = results.score(record)
    assert score is not None, "it is among the best"
    finished = finished_student(results, record, images, f"{folder.relative_to(results.folder)} is")
    config = finished.config
    finished.student = finished.student.settled(finished.active)
    fresh = folder.with_name(f"{folder.name}.new")
    shutil.rmtree(fresh, ignore_errors=True)
    fresh.mkdir(parents=True)
    notes = {"study": results.folder.name, "trial": record.name, "step": str(score.step)}
    caveat = record.caveat_at(score.step)
    notes |= {"caveat": caveat} if caveat else {}
    start = finished.student.started
    notes |= {"start": start} if start else {}
    save_network(fresh / STUDENT, finished.outcome, notes)
    portable = config.model_dump(mode="json", exclude=set(_OF_THE_MACHINE))
    (fresh / CONFIG).write_text(dump_yaml(_without_home(portable)), encoding="utf-8")
    if finished.heldout is not None:
        draw_student_panel(fresh / PANEL, finished, _chart(results))
    folder.mkdir(exist_ok=True)
    (folder / PANEL).unlink(missing_ok=True)  # of another student
    if not _alike(folder / STUDENT, fresh / STUDENT):
        (folder / GRAPH).unlink(missing_ok=True)  # of that one too
    for path in fresh.iterdir():
        path.replace(folder / path.name)
    fresh.rmdir()


def _alike(first: Path, second: Path) -> bool:
    return first.exists() and first.read_bytes() == second.read_bytes()


def finished_student(
    results: Results, record: TrialRecord, images: RunImages | None, left: str
) -> FinishedStudent:
    """The student of a trial's best report, from its checkpoint.

    Args:
        results: of the study.
        record: a trial that has a score.
        images: the study's decoded images, if they are at hand.
        left: what a refusal says is left as it was: `best is`.

    Raises:
        ValueError: its checkpoint is gone or damaged.
    """
    score = results.score(record)
    assert score is not None, "it has a report"
    point = record.point_at(score.step)
    owner = owner_of(results.history.study)
    mine = owner and owner.at(point)
    state = _state(results.folder, record.name, score.step, left, mine)
    config = results.space.trial_config(point, results.settings.seed)
    return FinishedStudent(config, state, images)


def draw_pictures(results: Results, images: RunImages | None = None) -> bool:
    """Write `pictures/`: two photographs by the first point's student and by the best.

    Args:
        results: of the study.
        images: its decoded images, if they are at hand.

    Returns:
        Whether there was anything to draw; else what was drawn earlier stays.

    Raises:
        ValueError: a held-out image cannot be read.
        OSError: they cannot be written.
    """
    best, first = results.best, results.first
    if best is None:
        return False
    students: dict[str, FinishedStudent] = {}
    missing: dict[str, str] = {}
    for title, record in {"first point": first, "best": best}.items():
        if record is None or (record is best and title != "best"):
            continue
        if results.score(record) is None:
            missing[title] = f"trial {record.name} has no score"
            continue
        try:
            students[title] = finished_student(results, record, images, "pictures are")
        except ValueError:
            missing[title] = f"the checkpoint of trial {record.name} is gone"
    if "best" not in students or students["best"].heldout is None:
        return False
    trials = {"best": best.name, **({"first point": first.name} if first else {})}
    write_pictures(results.folder, students, trials, missing)
    return True


def _chart(results: Results) -> ParetoPlot | None:
    """The plot of quality against cost of all trials; None where cost is no objective."""
    if results.cost is None:
        return None
    marks = (results.history.study or {}).get("marks") or {}
    value = results.objective
    return ParetoPlot(
        value,
        results.cost,
        tuple(TrialPoint(each.name, score.value, score.cost) for each, score in results.scored()),
        tuple(record.name for record in results.front),
        {name: mark[value] for name, mark in marks.items() if mark and value in mark},
    )


def _state(folder: Path, trial: str, step: int, left: str, owner: Owner | None) -> dict[str, Any]:
    found = valid_at(folder.glob(f"trials/*/{trial}"), step, owner)
    if found is not None:
        return found[1]
    raise ValueError(
        f"{folder}: no checkpoint of trial {trial} at step {step} that can be relied on; "
        f"{left} left as it was"
    )


def _without_home(value: Any) -> Any:
    """`value` with the folder in TUNE_SR_DATA replaced by the variable, for other machines."""
    home = os.environ.get("TUNE_SR_DATA")
    if isinstance(value, Mapping):
        return {key: _without_home(item) for key, item in value.items()}
    if home and isinstance(value, str) and value.startswith(home.rstrip("/") + "/"):
        return "${TUNE_SR_DATA}" + value[len(home.rstrip("/")) :]
    return value
