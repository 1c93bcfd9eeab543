"""PNG files of 16 bits: what is written is read back, by our reader and by Pillow."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from trainables.data.deep import is_deep, read_deep
from tune_sr.upscaling.png16 import write_png16


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_there_and_back(channels: int, tmp_path: Path) -> None:
    drawn = np.random.default_rng(0).integers(0, 2**16, (7, 5, channels), dtype=np.uint16)
    path = tmp_path / "x.png"
    write_png16(path, drawn, icc=b"a profile", exif=b"Exif\0\0II*\0")
    with Image.open(path) as image:
        assert is_deep(image)
        assert np.array_equal(read_deep(path, image), drawn)
    with Image.open(path) as image:
        assert image.size == (5, 7)
        assert image.info["icc_profile"] == b"a profile"
        high = np.asarray(image).astype(np.int64)
    if channels == 1:
        assert np.array_equal(high, drawn[..., 0])
    elif channels > 2:  # of which Pillow keeps the high bytes
        assert np.array_equal(high, drawn >> 8)
