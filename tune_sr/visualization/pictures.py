"""Writes pictures for a report, pixel for pixel: of two photographs every column as a WebP file.

They are drawn when the best student is written, because checkpoints may be gone later.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from trainables.snapshots import hardest_window
from tune_sr.storage.layout import PICTURES
from tune_sr.visualization.panel import Pixels, Tile, student_tiles

if TYPE_CHECKING:
    from trainables.finished import FinishedStudent

LARGEST = 252
"""The largest side of a picture in pixels; of a larger photograph the part is shown where bicubic
errs most."""
PHOTOGRAPHS = 2
_LOUPE = 42
_ABOUT = "pictures.json"


def write_pictures(
    study: Path,
    students: Mapping[str, FinishedStudent],
    trials: Mapping[str, str],
    missing: Mapping[str, str],
) -> None:
    """Write the folder `pictures` of a study: WebP files without loss, and `pictures.json`.

    Args:
        study: its folder.
        students: those that can be drawn, by the title of their column; not empty.
        trials: the trial of `best` and `first point`.
        missing: title -> why a column cannot be drawn.
    """
    heldout = next(iter(students.values())).heldout
    assert heldout is not None, "there is something to show"
    scale = next(iter(students.values())).student.scales[0]
    folder, fresh = study / PICTURES, study / f"{PICTURES}.new"
    shutil.rmtree(fresh, ignore_errors=True)
    fresh.mkdir(parents=True)
    count = min(PHOTOGRAPHS, len(heldout.views[scale]))
    pictures = []
    for number in range(count):
        name, note, tiles = student_tiles(students, number)
        pictures.append(_written(fresh, number, (name, note, scale), tiles, missing))
    about = {"trials": dict(trials), "missing": [f"{k}: {v}" for k, v in missing.items()],
             "pictures": pictures}  # fmt: skip
    (fresh / _ABOUT).write_text(json.dumps(about, indent=1) + "\n", encoding="utf-8")
    shutil.rmtree(folder, ignore_errors=True)
    fresh.rename(folder)


def _written(
    folder: Path,
    number: int,
    about: tuple[str, str, int],
    tiles: Sequence[Tile],
    missing: Mapping[str, str],
) -> dict[str, Any]:
    """Write one photograph's files; returns its entry in `pictures.json`."""
    from PIL import Image

    name, note, scale = about
    height, width = tiles[0].image_HWC.shape[:2]
    shown = [_crop(tile.image_HWC, tiles) for tile in tiles]
    side = min(_LOUPE, *shown[0].shape[:2])
    top, left = hardest_window(shown[1], shown[-1], side)
    columns: list[dict[str, Any]] = []
    for place, (tile, pixels) in enumerate(zip(tiles, shown, strict=True)):
        file = f"{number}-{place}.webp"
        Image.fromarray(np.ascontiguousarray(pixels)).save(
            folder / file, lossless=True, quality=80, method=4
        )
        columns.append({"title": tile.title, "psnr_db": tile.psnr_db, "file": file})
    columns[2:2] = [
        {"title": title, "psnr_db": None, "file": None, "why": why}
        for title, why in missing.items()
    ]
    part = f"; {shown[0].shape[1]} x {shown[0].shape[0]} of {width} x {height}"
    caption = f"{name}, x{scale}; {note}{part if max(height, width) > LARGEST else ''}"
    window = {"top": top, "left": left, "side": side}
    return {"name": name, "caption": caption, "window": window, "columns": columns}


def _crop(image_HWC: Pixels, tiles: Sequence[Tile]) -> Pixels:
    """The part of at most `LARGEST` pixels a side in which bicubic errs most."""
    height, width = image_HWC.shape[:2]
    if max(height, width) <= LARGEST:
        return image_HWC
    if min(height, width) <= LARGEST:
        return image_HWC[:LARGEST, :LARGEST]
    top, left = hardest_window(tiles[1].image_HWC, tiles[-1].image_HWC, LARGEST)
    return image_HWC[top : top + LARGEST, left : left + LARGEST]


def read_pictures(study: Path) -> tuple[Path, dict[str, Any]] | None:
    """The folder of a study's pictures and what they show; None where there are none to be read."""
    folder = study / PICTURES
    try:
        about = json.loads((folder / _ABOUT).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    whole = isinstance(about, dict) and {"trials", "missing", "pictures"} <= set(about)
    return (folder, about) if whole else None
