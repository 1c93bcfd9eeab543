"""Finds the checkpoints of a finished study that it needs no more, and deletes them."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from trainables.checkpoints import MANIFEST, find_checkpoints
from tune_sr.cli.formatting import aligned
from tune_sr.schedulers.rules import SCHEDULERS
from tune_sr.storage.disk import megabytes
from tune_sr.storage.layout import TRIALS
from tune_sr.study.identity import owner_of

if TYPE_CHECKING:
    from tune_sr.ledger.history import TrialRecord
    from tune_sr.results.results import Results


@dataclass(frozen=True)
class TrialCheckpoints:
    """The checkpoints of one trial, of all starts of the driver."""

    trial: str
    group: str
    """How the trial ended, or why its checkpoints are kept."""
    kept: bool
    folders: tuple[Path, ...]
    size: int
    """Bytes of the files in `folders`."""


def checkpoints_of(results: Results) -> list[TrialCheckpoints]:
    """List the checkpoints of every trial and repeat that has any, and which of them are kept.

    Kept are those of the best trial, of the first point's and of the front, from which `best/`,
    `front/` and `pictures/` are written again; of trials that have not ended; and all of a
    population, where a new trial may continue as a copy of any. Checkpoints of another study,
    symbolic links and whatever else lies among them are not listed.

    Args:
        results: of the study.

    Raises:
        OSError: the folder of its trials cannot be read.
    """
    folders: dict[str, list[Path]] = {}
    for start in _subfolders(results.folder / TRIALS):
        for folder in _subfolders(start):
            folders.setdefault(folder.name, []).append(folder)
    found = []
    for record in results.history.all_records():
        mine = tuple(_checkpoints(results, folders.get(record.name, [])))
        if mine:
            why = _why_kept(results, record)
            group = why or ("repeats" if record.repeats else str(record.state))
            size = sum(map(_size, mine))
            found.append(TrialCheckpoints(record.name, group, why is not None, mine, size))
    return found


def freed(checkpoints: Iterable[TrialCheckpoints]) -> int:
    """Sum up the bytes of the checkpoints that are not kept."""
    return sum(each.size for each in checkpoints if not each.kept)


def delete(checkpoints: TrialCheckpoints) -> None:
    """Delete a trial's checkpoints, and its folders where they are empty then.

    Raises:
        OSError: one cannot be removed; what is left of it is no checkpoint any more.
    """
    assert not checkpoints.kept, "the study needs it"
    for folder in checkpoints.folders:
        # The manifest goes first: a half-removed checkpoint must not look like one.
        (folder / MANIFEST).unlink(missing_ok=True)
        shutil.rmtree(folder)
        with suppress(OSError):  # something else lies there
            folder.parent.rmdir()


def prune_table(checkpoints: Iterable[TrialCheckpoints]) -> list[str]:
    """Make the lines of a table: what is kept and what can go, by groups of trials."""
    groups: dict[tuple[bool, str], list[TrialCheckpoints]] = {}
    for each in checkpoints:
        groups.setdefault((not each.kept, each.group), []).append(each)
    rows = [["", "", "trials", "checkpoints", "size"]]
    for (goes, group), trials in sorted(groups.items()):
        count = sum(len(each.folders) for each in trials)
        size = megabytes(sum(each.size for each in trials))
        rows.append(["can go" if goes else "kept", group, str(len(trials)), str(count), size])
    return [f"  {line}" for line in aligned(rows, left=(0, 1))]


def _why_kept(results: Results, record: TrialRecord) -> str | None:
    reasons = {
        "best": record is results.best,
        "first point": record is results.first,
        "front": record in results.front and record is not results.best,
    }
    if any(reasons.values()):
        return ", ".join(reason for reason, holds in reasons.items() if holds)
    if record.state is None:
        return "not ended"
    if SCHEDULERS[results.settings.scheduler.name].is_population_based:
        return "may be copied"
    return None


def _checkpoints(results: Results, folders: list[Path]) -> list[Path]:
    owner = owner_of(results.history.study)
    listed = find_checkpoints(folders)
    others = {each.folder for each in listed if owner and not owner.owns(each.manifest)}
    found = (path for folder in folders for path in _subfolders(folder, "checkpoint_*"))
    return [path for path in found if path not in others]


def _subfolders(folder: Path, pattern: str = "*") -> list[Path]:
    return sorted(path for path in folder.glob(pattern) if path.is_dir() and not path.is_symlink())


def _size(folder: Path) -> int:
    return sum(
        (Path(where) / name).lstat().st_size
        for where, _, names in os.walk(folder)
        for name in names
    )
