"""Writes, verifies, finds and prunes a run's checkpoints; each is written whole or not at all."""

from __future__ import annotations

import hashlib
import io
import json
import logging
import math
import os
import shutil
from collections.abc import Collection, Iterable, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch

from trainables.values import Report, quality_of

STATE, MANIFEST = "run.pt", "MANIFEST.json"
LATEST_KEPT = 2
"""Newest checkpoints kept besides the best: the second is the fallback if the first is damaged."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Manifest:
    """The description of a checkpoint, written after its state; without it a folder is none."""

    step: int
    """Student updates done."""
    psnr_y_db: float
    """The score by which the best checkpoint is chosen; in a run without held-out images its
    `teacher_agreement_db`."""
    eligible: bool
    """Whether the student had grown to its full depth."""
    report: Report
    """The report made at this step, so that a kill between checkpoint and report loses neither."""
    sha256: str
    """Hexadecimal digest of the state file."""
    study: str | None = None
    """The `id` of its study; None outside of one, and in checkpoints of older versions."""
    point: str | None = None
    """The `point_digest` of the trained point; None outside of a study."""


@dataclass(frozen=True)
class Owner:
    """The study, and the point of it, whose checkpoints are used; those of others are skipped."""

    study: str
    """The `id` of the study."""
    point: str | None = None
    """The `point_digest` of the trained point; None: any point of the study."""
    takes_unnamed: bool = False
    """Whether checkpoints without a study's `id` are used: for studies of older versions."""

    def owns(self, manifest: Manifest) -> bool:
        """Whether the checkpoint of a manifest belongs to this owner."""
        if manifest.study is None:
            return self.takes_unnamed
        return manifest.study == self.study and self.point in (None, manifest.point)

    def at(self, point: Mapping[str, Any]) -> Owner:
        """Return the owner of the checkpoints of one point of the study."""
        return replace(self, point=point_digest(point))

    def of_any_point(self) -> Owner:
        """Return the owner of all checkpoints of the study."""
        return replace(self, point=None)


def point_digest(point: Mapping[str, Any]) -> str:
    """Digest a point (dotted path to value) to 64 hexadecimal digits, independent of its order.

    >>> point_digest({"a": 1, "b": [2.0]}) == point_digest({"b": (2.0,), "a": 1})
    True
    """
    return hashlib.sha256(json.dumps(dict(point), sort_keys=True).encode()).hexdigest()


@dataclass(frozen=True)
class Checkpoint:
    """A folder with a state file and its manifest."""

    folder: Path
    manifest: Manifest

    def state(self) -> dict[str, Any] | None:
        """Load the saved state onto the CPU; None if the file is missing or its digest is wrong."""
        try:
            content = (self.folder / STATE).read_bytes()
        except OSError:
            return None
        if hashlib.sha256(content).hexdigest() != self.manifest.sha256:
            return None
        loaded = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
        return dict(loaded)


def write_checkpoint(
    parent: Path,
    state: Mapping[str, Any],
    report: Report,
    *,
    eligible: bool,
    owner: Owner | None = None,
) -> Checkpoint:
    """Write a checkpoint under `parent`; on return it is on disk, whole.

    Args:
        parent: a trial's folder; the checkpoint becomes `parent/checkpoint_<step>`.
        state: tensors and plain values.
        report: the report made at this state; its `step` names the checkpoint.
        eligible: whether the student had grown to its full depth.
        owner: the study and point it belongs to; None: none.

    Raises:
        OSError: the disk is full or cannot be written; nothing of this checkpoint is left, and
            older ones are unchanged.
    """
    step = int(report["step"])
    folder = parent / f"checkpoint_{step:06d}"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / MANIFEST).unlink(missing_ok=True)  # an earlier attempt wrote the same step
    buffer = io.BytesIO()
    torch.save(dict(state), buffer)
    content = buffer.getvalue()
    digest = hashlib.sha256(content).hexdigest()
    whose = (None, None) if owner is None else (owner.study, owner.point)
    manifest = Manifest(step, quality_of(report), eligible, dict(report), digest, *whose)
    try:
        _write(folder / STATE, content)
        _write(folder / MANIFEST, json.dumps(asdict(manifest), indent=1).encode())
    except OSError:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    return Checkpoint(folder, manifest)


def find_checkpoints(parents: Iterable[Path], owner: Owner | None = None) -> list[Checkpoint]:
    """List the checkpoints in a trial's folders, the newest step first, without reading states.

    Args:
        parents: the folders.
        owner: the owner of the checkpoints to list; None: list all.
    """
    found = []
    for path in (path for parent in parents for path in parent.glob(f"checkpoint_*/{MANIFEST}")):
        with suppress(OSError, ValueError, TypeError):  # cut short or being pruned: no checkpoint
            manifest = Manifest(**json.loads(path.read_bytes()))
            if owner is None or owner.owns(manifest):
                found.append(Checkpoint(path.parent, manifest))
    return sorted(found, key=lambda each: (-each.manifest.step, str(each.folder)))


def newest_valid(
    parents: Iterable[Path],
    after: int = 0,
    until: float = math.inf,
    owner: Owner | None = None,
) -> tuple[Checkpoint, dict[str, Any]] | None:
    """Return the newest intact checkpoint with `after` < step <= `until`, and its state.

    A damaged one is logged and its manifest renamed to `MANIFEST.damaged`, so that it is not found
    again. None if there is no intact one.
    """
    for checkpoint in find_checkpoints(parents, owner):
        if checkpoint.manifest.step <= after:
            break
        if checkpoint.manifest.step > until:
            continue
        state = checkpoint.state()
        if state is not None:
            return checkpoint, state
        _log.warning("%s is damaged; an earlier one is used", checkpoint.folder)
        with suppress(OSError):
            (checkpoint.folder / MANIFEST).rename(checkpoint.folder / "MANIFEST.damaged")
    return None


def valid_at(
    parents: Iterable[Path], step: int, owner: Owner | None = None
) -> tuple[Checkpoint, dict[str, Any]] | None:
    """Return an intact checkpoint at `step` and its state; None if there is none."""
    for checkpoint in find_checkpoints(parents, owner):
        if checkpoint.manifest.step == step and (state := checkpoint.state()) is not None:
            return checkpoint, state
    return None


def best_of(checkpoints: Iterable[Checkpoint]) -> Checkpoint | None:
    """Return the best checkpoint of a fully grown student, else the best; of equals the first."""
    return max(
        checkpoints,
        key=lambda each: (
            each.manifest.eligible,
            each.manifest.psnr_y_db,
            -each.manifest.step,
        ),
        default=None,
    )


def prune(parents: Iterable[Path], keep: Collection[int] = (), owner: Owner | None = None) -> None:
    """Delete a trial's checkpoints but the newest two, the best, and those at the steps of `keep`.

    Folders that cannot be removed, and checkpoints of another owner, are left.
    """
    by_step: dict[int, Checkpoint] = {}
    checkpoints = find_checkpoints(parents, owner)
    for checkpoint in checkpoints:
        by_step[checkpoint.manifest.step] = checkpoint  # of equals, the one of the latest start
    kept = list(by_step.values())[:LATEST_KEPT]
    kept += filter(None, [best_of(by_step.values())])
    kept += [each for step, each in by_step.items() if step in keep]
    for checkpoint in checkpoints:
        if not any(checkpoint is each for each in kept):
            # The manifest goes first: a half-removed checkpoint must not look like one.
            with suppress(OSError):
                (checkpoint.folder / MANIFEST).unlink()
            shutil.rmtree(checkpoint.folder, ignore_errors=True)


def _write(path: Path, content: bytes) -> None:
    """Write `content` to `path` atomically and durably: it survives a power cut."""
    temporary = path.with_name(path.name + ".tmp")
    with temporary.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)
    descriptor = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
