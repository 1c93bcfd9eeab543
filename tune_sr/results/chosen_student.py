"""Finds the student that a command line means: a file, a study's folder, or the newest study."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trainables.errors import ConfigError
from trainables.networks.shipped import is_shipped, shipped_file
from trainables.paths import expanded, is_folder, why_no_file
from tune_sr.storage.disk import read_object
from tune_sr.storage.layout import BEST, FRONT, LEDGER, STUDENT, SUMMARY


@dataclass(frozen=True)
class ChosenStudent:
    """A student's weights file.

    Attributes:
        file: the weights.
        study: the folder of the study that made it; None for a file from elsewhere.
        described: its name for the terminal, such as `runs/dfsr (best, trial 0003, 32.28 dB)`.
    """

    file: Path
    study: Path | None
    described: str


def chosen_student(named: str | None, runs: Path = Path("runs")) -> ChosenStudent:
    """Find the student of a file, of a study's or a training's folder, or that ships.

    Args:
        named: a weights file; a study's folder, for its best student; the folder of a training
            without a search; `shipped` (the VDSR) or `shipped:NAME`; None: the best student of the
            newest finished study in `runs`, and where there is none `shipped`.
        runs: the folder of studies that is searched.

    Raises:
        ValueError: there is no such file, or a study without a student.
    """
    if named is None:
        newest = newest_finished(runs)
        return _shipped("shipped") if newest is None else _of_study(newest)
    if is_shipped(named):
        return _shipped(named)
    path = expanded(named)
    if is_folder(path):
        if (path / LEDGER).exists() or (path / BEST).exists():
            return _of_study(path)
        if why_no_file(path / STUDENT) is None:
            return ChosenStudent(path / STUDENT, study_of(path / STUDENT), str(path))
        raise ValueError(f"{path}: neither a study nor a training: it holds no {STUDENT}")
    reason = why_no_file(path)
    if reason is not None:
        raise ValueError(f"{path}: {reason}; name a weights file, a study's folder, or shipped")
    return ChosenStudent(path, study_of(path), str(path))


def newest_finished(runs: Path) -> Path | None:
    """Return the folder of the study in `runs` that finished last; None without one."""
    found = []
    for path in runs.glob(f"*/{SUMMARY}"):
        ready = (path.parent / BEST / STUDENT).exists()
        if ready and read_summary(path.parent).get("finished") is True:
            found.append((path.stat().st_mtime, path.parent))
    return max(found)[1] if found else None


def read_summary(study: Path) -> dict[str, Any]:
    """Read a study's `summary.json`; empty where there is none or it cannot be read."""
    return read_object(study / SUMMARY)


def study_of(file: Path) -> Path | None:
    """Return the folder of the study in whose `best/` or `front/<trial>/` a file lies."""
    folder = file.absolute().parent
    places = (
        (folder.parent, folder.name == BEST),
        (folder.parent.parent, folder.parent.name == FRONT),
    )
    return next((path for path, named in places if named and (path / LEDGER).exists()), None)


def _of_study(folder: Path) -> ChosenStudent:
    file = folder / BEST / STUDENT
    reason = why_no_file(file)
    if reason is not None:
        raise ValueError(f"{file}: {reason}: no trial of this study has a student yet")
    best = read_summary(folder).get("best") or {}
    score = best.get("psnr_y_db")
    figure = f", {score:.2f} dB" if isinstance(score, float) else ""
    trial = f"best, trial {best['trial']}{figure}" if "trial" in best else "best"
    return ChosenStudent(file, folder, f"{folder} ({trial})")


def _shipped(named: str) -> ChosenStudent:
    try:
        file = shipped_file(named, None if ":" in named else "vdsr")
    except ConfigError as error:
        raise ValueError(f"{named}: {error.rule}") from None
    return ChosenStudent(file, None, f"shipped:{file.stem}")
