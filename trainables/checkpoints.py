"""A run's checkpoints: written whole or not at all, verified before use, only a few kept."""

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
"""Besides the best one: the newest, and one to fall back on should the newest be damaged."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Manifest:
    """What a checkpoint is, written after its state is on disk: without it there is none."""

    step: int
    """Student updates done."""
    psnr_y_db: float
    """Its value in the choice of the best; of a run without held-out images its
    `teacher_agreement_db`."""
    eligible: bool
    """Whether the student had grown to its full depth."""
    report: Report
    """The report made at this step, so that a kill between checkpoint and report loses neither."""
    sha256: str
    """Of the state file."""
    study: str | None = None
    """The `id` of the study that it was made in; None outside of one, and from before there was
    this key."""
    point: str | None = None
    """`point_digest` of what was trained, in a study."""


@dataclass(frozen=True)
class Owner:
    """Whose checkpoints count; those of others are passed over."""

    study: str
    """The `id` of the study."""
    point: str | None = None
    """`point_digest` of what is trained; None: any point of the study."""
    takes_unnamed: bool = False
    """Whether those count that name no study: for a study from before they did."""

    def owns(self, manifest: Manifest) -> bool:
        """Whether a checkpoint with this manifest counts."""
        if manifest.study is None:
            return self.takes_unnamed
        return manifest.study == self.study and self.point in (None, manifest.point)

    def at(self, point: Mapping[str, Any]) -> Owner:
        """The same study, at one point of it."""
        return replace(self, point=point_digest(point))

    def of_any_point(self) -> Owner:
        """All of the study."""
        return replace(self, point=None)


def point_digest(point: Mapping[str, Any]) -> str:
    """A point, dotted path to value, as 64 hexadecimal digits: the same however it is ordered.

    >>> point_digest({"a": 1, "b": [2.0]}) == point_digest({"b": (2.0,), "a": 1})
    True
    """
    return hashlib.sha256(json.dumps(dict(point), sort_keys=True).encode()).hexdigest()


@dataclass(frozen=True)
class Checkpoint:
    """A folder with a state and the manifest that vouches for it."""

    folder: Path
    manifest: Manifest

    def state(self) -> dict[str, Any] | None:
        """What was saved, on the CPU; None where the file is gone or not what was written."""
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
    """Save `state` under `parent`; it is on disk, whole, when this returns.

    Args:
        parent: a trial's folder; the checkpoint becomes `parent/checkpoint_<step>`.
        state: tensors and plain values.
        report: the report made at this state; its `step` names the checkpoint.
        eligible: whether the student had grown to its full depth.
        owner: whose it is; None: of no study.

    Raises:
        OSError: the disk is full or cannot be written; of this one nothing is left, which would
            take room that others need, and an older checkpoint is not touched.
    """
    step = int(report["step"])
    folder = parent / f"checkpoint_{step:06d}"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / MANIFEST).unlink(missing_ok=True)  # an attempt before this one wrote the same step
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
    """The checkpoints in some trial folders, newest step first; their states are not read.

    Args:
        parents: the folders.
        owner: whose count; None: all.
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
    """The newest checkpoint with `after` < step <= `until` whose state is what its manifest says.

    A damaged one is reported by a log warning and set aside: its manifest becomes
    `MANIFEST.damaged`, so that it is never again counted among those that can be relied on.
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
    """A checkpoint at `step` whose state is what its manifest says, with that state."""
    for checkpoint in find_checkpoints(parents, owner):
        if checkpoint.manifest.step == step and (state := checkpoint.state()) is not None:
            return checkpoint, state
    return None


def best_of(checkpoints: Iterable[Checkpoint]) -> Checkpoint | None:
    """The one a trial is judged by: the best fully grown one, else the best; ties: the earlier."""
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
    """Keep the newest two and the best one of a trial, and those at the steps of `keep`.

    A folder that resists is left, and so are those of others than `owner`.
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
    """Replace `path` by `content` in one step that survives a power cut."""
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
