"""A row of the papers' table, and the table as JSON."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Row:
    """One row of the table; a figure that does not exist is None.

    Attributes:
        network: as the user wrote it, or `bicubic`.
        data: name of the benchmark.
        scale: 2, 3 or 4.
        protocol: a key of `PROTOCOLS`; figures of two protocols cannot be compared.
        psnr_y_db: PSNR of the luma in dB, mean over the images.
        ssim: SSIM, mean over the images.
        images: number of images.
        params: number of trainable parameters.
        macs: multiply-accumulates for an LR image of 256x256.
        images_per_second: images of this benchmark at this scale, time of the network alone, on
            this machine.
        psnr_to_teacher_db: PSNR in dB between this result and the teacher's, mean over the images.
        caveat: what keeps the network from being compared with its paper; None if nothing.
        lpips: LPIPS of RGB, mean over the images, lower is better; None where not asked for.
        dists: DISTS of RGB, in the same way.
    """

    network: str
    data: str
    scale: int
    protocol: str
    psnr_y_db: float | None
    ssim: float | None
    images: int
    params: int | None
    macs: int | None
    images_per_second: float | None
    psnr_to_teacher_db: float | None
    caveat: str | None = None
    lpips: float | None = None
    dists: float | None = None


def as_json(rows: Sequence[Row], **about: Any) -> dict[str, Any]:
    """Return the rows as `{"rows": [...]}` for JSON, with the keys `about` beside them."""
    return {"rows": [dict(vars(row)) for row in rows], **about}
