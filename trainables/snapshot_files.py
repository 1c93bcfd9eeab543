"""Where a trial's pictures over its updates lie, and which of them are kept."""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Iterable
from pathlib import Path
from typing import Final

IMAGINED, DETAIL = "imagined", "detail"
"""Folders of a trial's pictures, and their names in MLflow: images that its generators make of 16
fixed latents (of Noise: 16 images of noise), and a part of the first held-out image by the
student."""
KINDS = (IMAGINED, DETAIL)
MOST: Final = 6
"""Pictures kept of each kind, besides the first and the newest."""

_NAME = re.compile(r"step-(\d{6,})\.png")


def picture_name(step: int) -> str:
    """Return the name of the file of a student step.

    >>> picture_name(30)
    'step-000030.png'
    """
    return f"step-{step:06d}.png"


def pictures_in(folder: Path) -> dict[int, Path]:
    """Find the pictures in a folder by student step; none where there is no folder."""
    files: Iterable[Path] = folder.iterdir() if folder.is_dir() else ()
    named = ((_NAME.fullmatch(path.name), path) for path in files)
    return {int(name[1]): path for name, path in named if name}


def snapshots_of(study: Path, trial: str, kind: str) -> dict[int, Path]:
    """Find the pictures of a trial, by student step: the first, the newest and some between.

    Args:
        study: the study's folder.
        trial: the trial's name.
        kind: one of `KINDS`.
    """
    found: dict[int, Path] = {}
    for folder in sorted(study.glob(f"trials/*/{trial}/{kind}")):  # of the starts, the latest last
        found |= pictures_in(folder)
    return {step: found[step] for step in sorted(kept_steps(found, math.gcd(*found)))}


def kept_steps(steps: Collection[int], spacing: int) -> set[int]:
    """Choose the steps whose pictures are kept: 0, the newest, and at most `MOST` evenly between.

    Those between are multiples of `spacing` doubled as often as it takes, so that a picture that is
    deleted is never needed again.

    Args:
        steps: those with a picture.
        spacing: updates between two reports.

    >>> sorted(kept_steps(range(0, 270, 30), 30))
    [0, 60, 120, 180, 240]
    """
    newest, apart = max(steps, default=0), max(spacing, 1)
    while newest // apart > MOST:
        apart *= 2
    return {step for step in steps if step in (0, newest) or step % apart == 0}
