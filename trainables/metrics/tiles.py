"""Runs a network over large images in tiles, or over all eight orientations of an image."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import product

from torch import Tensor

Upscale = Callable[[Tensor, int], Tensor]
"""A function from LR images (B C H W) and a scale to SR images."""

USUAL_OVERLAP = 32
"""Overlap of tiles in LR pixels for a network of unbounded reach (as usual for SwinIR)."""

_MOST_CUTS = 64
"""Largest number of rows or columns of tiles that is tried."""


@dataclass(frozen=True)
class _Span:
    """One side of a tile, in LR pixels: its input, and the part whose result is kept."""

    begin: int
    end: int
    keep_begin: int
    keep_end: int


def tiled(upscale: Upscale, *, pixels: int, overlap: int, multiple_of: int = 1) -> Upscale:
    """Wrap `upscale` so that images above a budget are computed in overlapping tiles.

    Each pixel of the result is taken from the tile whose inner part contains it. If `overlap` is at
    least the network's reach, it equals the pixel computed from the whole image, up to the order of
    floating-point additions.

    Of all grids whose tiles fit the budget, the one with the least work is chosen. The inner part
    of a tile is at least as long as `overlap`, so the work is at most nine times that of the whole
    image. If no such grid fits, the one with the smallest tiles is used and exceeds the budget.

    Args:
        upscale: the network.
        pixels: output pixels that may be computed at a time.
        overlap: LR pixels of a tile beyond its inner part, on each side within the image.
        multiple_of: tiles begin and end at multiples of this (8 for SwinIR's windows).
    """
    assert pixels > 0 and overlap >= 0 and multiple_of > 0

    def upscale_tiled(lr_BCHW: Tensor, scale: int) -> Tensor:
        height, width = lr_BCHW.shape[-2:]
        budget = pixels // scale**2
        if height * width <= budget:
            return upscale(lr_BCHW, scale)
        rows, columns = _grid(height, width, budget, overlap, multiple_of)
        canvas: Tensor | None = None
        for row, column in product(rows, columns):
            part_BCHW = lr_BCHW[..., row.begin : row.end, column.begin : column.end]
            sr_BCHW = upscale(part_BCHW.contiguous(), scale)
            if canvas is None:
                canvas = sr_BCHW.new_empty(*sr_BCHW.shape[:2], scale * height, scale * width)
            canvas[..., _kept(row, scale), _kept(column, scale)] = sr_BCHW[
                ..., _inner(row, scale), _inner(column, scale)
            ]
        assert canvas is not None
        return canvas

    return upscale_tiled


def self_ensemble(upscale: Upscale) -> Upscale:
    """Wrap `upscale` by the geometric self-ensemble, which papers mark with a plus: EDSR+.

    The mean over the eight flips and rotations of the input, each result turned back (Lim et al.,
    CVPRW 2017, section 3.3).
    """

    def upscale_eightfold(lr_BCHW: Tensor, scale: int) -> Tensor:
        total: Tensor | None = None
        for transpose, flips in product((False, True), ((), (-1,), (-2,), (-2, -1))):
            turned_BCHW = lr_BCHW.mT if transpose else lr_BCHW
            sr_BCHW = upscale(turned_BCHW.flip(flips).contiguous(), scale).flip(flips)
            sr_BCHW = sr_BCHW.mT if transpose else sr_BCHW
            total = sr_BCHW if total is None else total + sr_BCHW
        assert total is not None
        return total / 8

    return upscale_eightfold


def _grid(
    height: int, width: int, budget: int, overlap: int, multiple_of: int
) -> tuple[list[_Span], list[_Span]]:
    """Choose rows and columns of tiles: least work within the budget, else the smallest tiles."""
    options = {
        side: [
            list(_spans(side, cuts, overlap, multiple_of))
            for cuts in range(1, min(_MOST_CUTS, max(1, side // max(1, overlap))) + 1)
        ]
        for side in {height, width}
    }

    def price(grid: tuple[list[_Span], list[_Span]]) -> tuple[int, int]:
        rows, columns = ([span.end - span.begin for span in side] for side in grid)
        largest = max(rows) * max(columns)
        return max(0, largest - budget), sum(rows) * sum(columns)

    rows, columns = min(product(options[height], options[width]), key=price)
    return rows, columns


def _spans(side: int, cuts: int, overlap: int, multiple_of: int) -> Iterator[_Span]:
    """Divide `side` into about `cuts` equal parts, each with its overlap."""
    part = -(-side // cuts)
    part = -(-part // multiple_of) * multiple_of
    margin = -(-overlap // multiple_of) * multiple_of
    for begin in range(0, side, part):
        end = min(begin + part, side)
        yield _Span(max(0, begin - margin), min(side, end + margin), begin, end)


def _kept(span: _Span, scale: int) -> slice:
    return slice(scale * span.keep_begin, scale * span.keep_end)


def _inner(span: _Span, scale: int) -> slice:
    offset = span.begin
    return slice(scale * (span.keep_begin - offset), scale * (span.keep_end - offset))
