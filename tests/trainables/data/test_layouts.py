"""HR and LR files find each other in the layouts of real-world sets."""

from pathlib import Path

import numpy as np
import pytest

from trainables.data.images import write_image
from trainables.data.layouts import hr_files, lr_files, read_set


def picture(side: int) -> np.ndarray:
    return np.zeros((side, side, 3), dtype=np.uint8)


def test_realsr_keeps_both_in_one_folder_for_each_scale(tmp_path: Path) -> None:
    train = tmp_path / "Canon" / "Train"
    for scale in (2, 3):
        for number in (1, 2):
            write_image(train / f"{scale}/Canon_00{number}_HR.png", picture(12))
            write_image(train / f"{scale}/Canon_00{number}_LR{scale}.png", picture(12 // scale))
    for folder in (train, train / "3"):
        hr = hr_files(folder, 3)
        assert [path.relative_to(train).as_posix() for path in hr] == [
            "3/Canon_001_HR.png",
            "3/Canon_002_HR.png",
        ]
        assert [path.name for path in lr_files(folder, hr, 3)] == [
            "Canon_001_LR3.png",
            "Canon_002_LR3.png",
        ]
    large, small = read_set(train, (2, 3), train)
    assert small is not None
    assert [array.shape for array in small[2].arrays] == [(6, 6, 3)] * 2
    assert large[2] is not large[3]  # RealSR's HR images differ from scale to scale


def test_drealsr_numbers_both_by_how_large_they_are(tmp_path: Path) -> None:
    write_image(tmp_path / "train_HR/Canon_10_x4.png", picture(16))
    write_image(tmp_path / "train_LR/Canon_10_x1.png", picture(4))
    hr = hr_files(tmp_path / "train_HR", 4)
    (lr,) = lr_files(tmp_path / "train_LR", hr, 4)
    assert lr.name == "Canon_10_x1.png"


def test_an_lr_file_is_never_an_hr_file_of_a_like_name(tmp_path: Path) -> None:
    write_image(tmp_path / "hr/a.png", picture(8))
    for name in ("ax3.png", "a_LR.png", "a_LR2.png", "a_x1.png", "aax2.png"):
        write_image(tmp_path / "lr" / name, picture(4))
    hr = hr_files(tmp_path / "hr", 2)
    with pytest.raises(ValueError, match=r"lr holds no LR image of a\.png at x2, such as ax2\.png"):
        lr_files(tmp_path / "lr", hr, 2)


def test_a_scale_that_has_no_subfolder_is_missing(tmp_path: Path) -> None:
    write_image(tmp_path / "hr/a_HR.png", picture(12))
    write_image(tmp_path / "lr/2/a_LR2.png", picture(6))
    hr = hr_files(tmp_path / "hr", 3)
    with pytest.raises(
        ValueError, match=r"lr holds no LR image of a_HR\.png at x3, such as a_LR3\."
    ):
        lr_files(tmp_path / "lr", hr, 3)
    with pytest.raises(ValueError, match=r"gone does not exist"):
        lr_files(tmp_path / "gone", hr, 3)


def test_what_is_missing_is_found_before_anything_is_decoded(tmp_path: Path) -> None:
    write_image(tmp_path / "hr/b.png", picture(8))
    (tmp_path / "hr/a.png").write_text("no image")
    write_image(tmp_path / "lr/ax2.png", picture(4))
    with pytest.raises(ValueError, match=r"lr holds no LR image of b\.png"):
        read_set(tmp_path / "hr", [2], tmp_path / "lr")
