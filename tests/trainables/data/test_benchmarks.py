"""Test sets are found in every layout that they are spread in, and what is missing is named."""

from pathlib import Path

import numpy as np
import pytest

from trainables.data.benchmarks import Benchmark
from trainables.data.images import Images, photos, write_image

HR_PLACES = ["", "HR", "GTmod12", "original", "GT", "DIV2K_valid_HR"]
LR_PLACES = [
    "LR_bicubic/X2/{name}x2.png",
    "X2/{name}x2.png",
    "{name}x2.png",
    "LRbicx2/{name}.png",
    "DIV2K_valid_LR_bicubic/X2/{name}x2.png",
    "{name}.png",
]


def picture(level: int, side: int = 24) -> np.ndarray:
    return np.full((side, side, 3), level, dtype=np.uint8)


def levels(images: Images) -> list[int]:
    return [int(array[0, 0, 0]) for array in images.arrays]


@pytest.mark.parametrize("place", HR_PLACES)
def test_hr_is_found(tmp_path: Path, place: str) -> None:
    folder = tmp_path / "Set5"
    write_image(folder / place / "b.png", picture(2))
    write_image(folder / place / "a.png", picture(1))
    write_image(folder / "LR_bicubic/X2/ax2.png", picture(9, 12))
    found = Benchmark.read(str(folder), [2, 3])
    assert found.name == "Set5"
    assert found.hr[2].names == ("a.png", "b.png")
    assert levels(found.hr[3]) == [1, 2]
    assert found.hr[2] is found.hr[3]
    assert found.lr is None  # never one that was found by itself
    inner = Benchmark.read(str(folder / place), [2])
    assert inner.hr[2].names == found.hr[2].names
    assert inner.name == (place if place.startswith("DIV2K") else "Set5")


def test_urban100s_layout(tmp_path: Path) -> None:
    folder = tmp_path / "Urban100"
    for scale in (2, 4):
        for number in (1, 2):
            stem = f"img_{number:03d}_SRF_{scale}"
            write_image(folder / f"image_SRF_{scale}/{stem}_HR.png", picture(10 * scale + number))
            write_image(folder / f"image_SRF_{scale}/{stem}_LR.png", picture(number, 24 // scale))
    found = Benchmark.read(str(folder), [2, 4], folder)
    assert levels(found.hr[2]) == [21, 22]
    assert levels(found.hr[4]) == [41, 42]
    assert found.lr is not None
    assert levels(found.lr[4]) == [1, 2]
    inner = Benchmark.read(str(folder / "image_SRF_2"), [2])
    assert levels(inner.hr[2]) == [21, 22]
    assert inner.name == "Urban100"


@pytest.mark.parametrize("place", LR_PLACES)
def test_lr_is_found_where_it_is_named(tmp_path: Path, place: str) -> None:
    for number, name in enumerate(("0801", "0802"), start=1):
        write_image(tmp_path / "hr" / f"{name}.png", picture(9))
        write_image(tmp_path / "lr" / place.format(name=name), picture(number, 12))
    write_image(tmp_path / "lr" / Path(place).parent / "another.png", picture(7, 12))
    found = Benchmark.read(str(tmp_path / "hr"), [2], tmp_path / "lr")
    assert found.lr is not None
    assert levels(found.lr[2]) == [1, 2]


def test_what_is_missing_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"nowhere does not exist; name a folder of images"):
        Benchmark.read(str(tmp_path / "nowhere"), [2])
    (tmp_path / "Set5" / "mine").mkdir(parents=True)
    with pytest.raises(ValueError, match=r"Set5 holds no image .*did you mean its subfolder mine"):
        Benchmark.read(str(tmp_path / "Set5"), [2])
    write_image(tmp_path / "hr" / "a.png", picture(1))
    write_image(tmp_path / "lr" / "bx2.png", picture(1, 12))
    with pytest.raises(ValueError, match=r"lr holds no LR image of a\.png at x2, such as ax2\.png"):
        Benchmark.read(str(tmp_path / "hr"), [2], tmp_path / "lr")
    with pytest.raises(ValueError, match="the built-in photographs have no LR files"):
        Benchmark.read("photos", [2], tmp_path / "lr")


def test_the_built_in_photographs() -> None:
    found = Benchmark.read("photos", [2, 4])
    assert found.hr[4].names == photos("heldout").names
    assert found.crop == 252
