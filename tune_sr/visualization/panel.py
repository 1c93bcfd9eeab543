"""Draws one held-out photograph as a panel: LR, bicubic, student, teacher and HR side by side."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from trainables.resample import resize_uint8, upsample_BCHW
from trainables.run import upscaler
from trainables.snapshots import hardest_window
from tune_sr.visualization.pareto_front import ACCENT, FAINT, INK, ParetoPlot, draw_pareto_plot

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from torch import Tensor

    from trainables.finished import FinishedStudent
    from trainables.run import Run

Pixels = NDArray[np.uint8]

WIDTH = 1600
_MARGIN, _GAP = 26, 12
_HEADER, _CAPTION, _FOOTER = 64, 62, 40
_CHART, _AXES = 460, (90, 20, 70)
"""In pixels: the height of the plot below the images, and its axes' margins left, above, below."""
_DETAILS = (60, 50, 30, 20, 10)
"""Sides of the enlarged window in HR pixels, the largest first: divisors of a column's width, so
that pixels stay square."""


@dataclass(frozen=True)
class Tile:
    """One column of a panel."""

    title: str
    image_HWC: Pixels
    """RGB, 0 to 255; the tiles of a panel have one size."""
    psnr_db: float | None = None
    """PSNR in dB, written below the image; None: none is written."""
    accent: bool = False
    """Whether the caption is highlighted, as the student's is."""


def draw_student_panel(
    path: Path, run: Run | FinishedStudent, plot: ParetoPlot | None = None
) -> None:
    """Write the panel of a run's student, with the depth it has grown to, at its first scale.

    The photograph is the first held-out image; the PSNR below each image is that of this one image
    under the run's protocol. Without held-out images a generated LR image is shown, with the
    teacher's result in place of HR.

    Args:
        path: the PNG to write; its folder is created.
        run: a run with held-out images, or with a generator to show one of.
        plot: the Pareto plot of the study, drawn below; None: none.
    """
    name, note, tiles = student_tiles({"student": run}, 0)
    tiles = [replace(tile, accent=tile.title == "student") for tile in tiles]
    draw_panel(path, tiles, title=f"{name}, x{run.student.scales[0]}", note=note, plot=plot)


def student_tiles(
    students: Mapping[str, Run | FinishedStudent], photograph: int
) -> tuple[str, str, list[Tile]]:
    """The columns of one held-out image: LR, bicubic, each student, the teacher, HR.

    Without held-out images, an imagined image; the teacher's result stands in place of HR.

    Args:
        students: by the title of their column; at least one, all of one scale.
        photograph: which held-out image, from 0.

    Returns:
        The image's name, what its figures mean, and its tiles, all of one size.
    """
    import torch

    one = next(iter(students.values()))
    scale, heldout = one.student.scales[0], one.heldout
    assert heldout is not None, "there is something to show"
    imagined = one.config.heldout is None
    view = heldout.views[scale][-1 if imagined else photograph]
    upscales: dict[str, Callable[[Tensor, int], Tensor]] = {"bicubic": upsample_BCHW}
    upscales |= {title: upscaler(each.outcome, each.active) for title, each in students.items()}
    if one.teacher is not None and not imagined:
        upscales["teacher"] = upscaler(one.teacher)
    lr_HWC = heldout.picture(view, view.lr_BCHW) if imagined else _small(view.hr_HWC, scale)
    tiles = [_lr_tile(lr_HWC, scale)]
    with torch.no_grad():
        for title, upscale in upscales.items():
            sr_BCHW = upscale(view.lr_BCHW, scale)
            psnr_db = float(heldout.score(view, sr_BCHW)[0])
            tiles.append(Tile(title, heldout.picture(view, sr_BCHW), psnr_db))
    tiles.append(Tile("teacher" if imagined else "HR", view.hr_HWC))
    note = f"held-out photograph; PSNR of the luma, protocol {heldout.protocol}"
    note = "no photograph: an imagined image; PSNR against the teacher" if imagined else note
    return Path(view.name).stem, note, tiles


def draw_panel(
    path: Path,
    tiles: Sequence[Tile],
    *,
    title: str,
    note: str = "",
    plot: ParetoPlot | None = None,
) -> None:
    """Write a PNG, 1600 px wide: a row of whole images, a row of one detail, PSNR between them.

    The detail is the window where the second tile (bicubic) has the largest squared error from the
    last one (HR). It is found by that rule, not chosen, and is the same in every column.

    Args:
        path: the PNG to write; its folder is created.
        tiles: the columns from left to right.
        title: at the top left.
        note: at the top right, in small letters.
        plot: drawn below; None: none.

    Raises:
        ValueError: fewer than two tiles, or tiles of different sizes.
    """
    if len(tiles) < 2 or len({tile.image_HWC.shape for tile in tiles}) > 1:
        raise ValueError("a panel needs two or more tiles of one size")
    column = (WIDTH - 2 * _MARGIN - (len(tiles) - 1) * _GAP) // len(tiles) // 60 * 60
    height, width = tiles[0].image_HWC.shape[:2]
    photo = round(column * height / width)
    side = next((s for s in _DETAILS if 2 * s <= min(height, width)), min(height, width, 10))
    top, left = hardest_window(tiles[1].image_HWC, tiles[-1].image_HWC, side)

    whole = _HEADER + photo + _CAPTION + column + _FOOTER
    figure = _canvas(whole + (0 if plot is None else _CHART))
    _text(figure, _MARGIN, 26, title, size=20, weight="bold")
    _text(figure, WIDTH - _MARGIN, 28, note, size=14, colour=FAINT, align="right")
    first = (WIDTH - len(tiles) * column - (len(tiles) - 1) * _GAP) // 2
    for number, tile in enumerate(tiles):
        x = first + number * (column + _GAP)
        detail = tile.image_HWC[top : top + side, left : left + side]
        _image(figure, x, _HEADER, _smooth(tile.image_HWC, photo, column))
        zoom = column / width
        _box(figure, x + left * zoom, _HEADER + top * zoom, side * zoom)
        _caption(figure, x, _HEADER + photo, column, tile)
        _image(figure, x, _HEADER + photo + _CAPTION, _blocks(detail, column))
    below = f"second row: the marked {side} x {side} pixels, where bicubic errs most"
    _text(figure, first, _HEADER + photo + _CAPTION + column + 12, below, size=13, colour=FAINT)
    if plot is not None:
        _charted(figure, first, whole, plot)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=figure.dpi, metadata={"Software": None})


def _small(hr_HWC: Pixels, scale: int) -> Pixels:
    """Downscale an HR image to LR, by the 8-bit bicubic kernel of `resize_uint8`."""
    import torch

    hr_B3HW = torch.tensor(hr_HWC).permute(2, 0, 1)[None]
    return resize_uint8(hr_B3HW, Fraction(1, scale))[0].permute(1, 2, 0).numpy()


def _lr_tile(lr_HWC: Pixels, scale: int) -> Tile:
    """Make the LR column: each LR pixel becomes a square of `scale` x `scale` pixels."""
    title = f"LR {lr_HWC.shape[1]} x {lr_HWC.shape[0]}"
    return Tile(title, lr_HWC.repeat(scale, axis=0).repeat(scale, axis=1))


def _caption(figure: Figure, x: int, y: int, column: int, tile: Tile) -> None:
    colour = ACCENT if tile.accent else INK
    _text(figure, x + 2, y + 14, tile.title, size=19, weight="bold", colour=colour)
    if tile.psnr_db is not None:
        value = f"{tile.psnr_db:.2f} dB"
        _text(figure, x + column - 8, y + 14, value, size=19, colour=colour, align="right")


def _charted(figure: Figure, x: int, y: int, plot: ParetoPlot) -> None:
    """Draw `plot` as wide as the images, its upper edge `y` pixels below the figure's top."""
    left, above, below = _AXES
    height = figure.get_figheight() * figure.dpi
    box = (x + left, height - y - _CHART + below, WIDTH - 2 * x - left, _CHART - above - below)
    axes = figure.add_axes((box[0] / WIDTH, box[1] / height, box[2] / WIDTH, box[3] / height))
    draw_pareto_plot(axes, plot, size=14 * 72 / figure.dpi)


def _smooth(image_HWC: Pixels, height: int, width: int) -> Pixels:
    from PIL import Image

    smooth = Image.fromarray(image_HWC).resize((width, height), Image.Resampling.LANCZOS)
    return np.asarray(smooth, dtype=np.uint8)


def _blocks(image_HWC: Pixels, side: int) -> Pixels:
    """Enlarge an image to `side` x `side` by nearest neighbour, without interpolation."""
    rows = np.arange(side) * image_HWC.shape[0] // side
    columns = np.arange(side) * image_HWC.shape[1] // side
    enlarged: Pixels = image_HWC[rows][:, columns]
    return enlarged


def _canvas(height: int) -> Figure:
    """Make a figure of `WIDTH` x `height` pixels, outside of matplotlib's global state."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(WIDTH / 100, height / 100), dpi=100, facecolor="white")
    FigureCanvasAgg(figure)
    return figure


def _image(figure: Figure, x: int, y: int, image_HWC: Pixels) -> None:
    height = round(figure.get_figheight() * figure.dpi)
    figure.figimage(image_HWC, xo=x, yo=height - y - image_HWC.shape[0], origin="upper")


def _box(figure: Figure, x: float, y: float, side: float) -> None:
    """Draw a square outline, white within black, to be visible on any image."""
    from matplotlib.patches import Rectangle

    bottom = figure.get_figheight() * figure.dpi - y - side
    for colour, thickness in ((INK, 3.2), ("white", 1.4)):
        box = Rectangle(
            (x, bottom),
            side,
            side,
            fill=False,
            edgecolor=colour,
            linewidth=thickness,
            transform=None,
        )
        figure.add_artist(box)


def _text(
    figure: Figure,
    x: float,
    y: float,
    text: str,
    *,
    size: int,
    colour: str = INK,
    weight: str = "normal",
    align: str = "left",
) -> None:
    """Draw `text` with its upper edge `y` pixels below the figure's top; `size` in pixels."""
    style: dict[str, Any] = {"fontweight": weight, "ha": align, "va": "top", "color": colour}
    height = figure.get_figheight() * figure.dpi
    figure.text(
        x / WIDTH, 1 - y / height, text, fontsize=size * 72 / figure.dpi, parse_math=False, **style
    )
