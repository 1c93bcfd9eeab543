"""The built-in photographs, and what a folder of images may do wrong."""

import dataclasses
import warnings
from pathlib import Path

import numpy as np
import pytest
import skimage.data
from PIL import Image

from trainables.data import images as module
from trainables.data.images import Part, photos, read_images
from tune_sr.upscaling.png16 import write_png16


def save(path: Path, mode: str = "RGB", size: tuple[int, int] = (20, 12)) -> Path:
    Image.new(mode, size).save(path)
    return path


def refusal(folder: Path | str) -> str:
    with pytest.raises(ValueError, match=r".") as caught:
        read_images(str(folder), "train")
    message = str(caught.value)
    assert "\n" not in message
    return message


@pytest.mark.parametrize(
    ("part", "digest"),
    [
        ("train", "e7c94cca43e4b692b58e5067d03a513ebab4fab566f39f2b791cff4f87efffca"),
        ("heldout", "257aa9848d15f33f0e5f26294a83b7b44c079bc8ea4c12eff12d9a7e267d676b"),
    ],
)
def test_photos_are_the_recorded_pixels(part: Part, digest: str) -> None:
    assert photos(part).digest() == digest
    assert read_images("photos", part).names == photos(part).names


def test_photos_are_what_scikit_image_itself_returns() -> None:
    ours = dict(zip(photos("heldout").names, photos("heldout").arrays, strict=True))
    for name in ("astronaut", "coffee"):
        assert np.array_equal(ours[f"{name}.png"], getattr(skimage.data, name)())
    assert np.array_equal(ours["rocket.jpg"], skimage.data.rocket())
    camera = photos("train").arrays[photos("train").names.index("camera.png")]
    assert np.array_equal(camera, np.stack([skimage.data.camera()] * 3, axis=2))


def test_no_photograph_is_both_trained_on_and_held_out() -> None:
    assert set(photos("train").names).isdisjoint(photos("heldout").names)
    assert len(photos("train")) == 8
    assert min(min(a.shape[:2]) for a in photos("heldout").arrays) >= 252


def test_one_changed_pixel_is_another_digest() -> None:
    images = photos("heldout")
    changed = images.arrays[0].copy()
    changed[0, 0, 0] ^= 1
    assert dataclasses.replace(images, arrays=(changed, *images.arrays[1:])).digest() != (
        images.digest()
    )


def test_photos_that_decode_otherwise_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    names, _ = module._PHOTOS["heldout"]
    monkeypatch.setitem(module._PHOTOS, "heldout", (names, "0" * 64))
    assert "decodes the heldout photographs to other pixels" in refusal_of_photos()
    monkeypatch.setitem(module._PHOTOS, "heldout", (("gone.png",), "0" * 64))
    assert "no gone.png" in refusal_of_photos()


def refusal_of_photos() -> str:
    with pytest.raises(ValueError, match=r"^photos: ") as caught:
        photos("heldout")
    return str(caught.value)


def test_a_folder_is_read_in_order_of_names(tmp_path: Path) -> None:
    for name in ("b.png", "a.JPG", "c.bmp", "d.tiff", "e.webp"):
        save(tmp_path / name)
    (tmp_path / "notes.txt").write_text("not an image")
    (tmp_path / "._a.png").write_text("what macOS leaves behind")
    images = read_images(str(tmp_path), "train")
    assert images.names == ("a.JPG", "b.png", "c.bmp", "d.tiff", "e.webp")
    assert all(a.shape == (12, 20, 3) and a.dtype == np.uint8 for a in images.arrays)


@pytest.mark.parametrize("mode", ["L", "1", "P"])
def test_grey_and_palette_become_rgb_without_a_word(tmp_path: Path, mode: str) -> None:
    save(tmp_path / "a.png", mode)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        (array,) = read_images(str(tmp_path), "train").arrays
    assert array.shape == (12, 20, 3)


@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_alpha_is_dropped_with_one_warning(tmp_path: Path, mode: str) -> None:
    save(tmp_path / "a.png", mode)
    save(tmp_path / "b.png", mode)
    with pytest.warns(UserWarning, match=r"a\.png and 1 more: alpha channel dropped") as caught:
        images = read_images(str(tmp_path), "train")
    assert len(caught) == 1
    assert images.arrays[0].shape == (12, 20, 3)


def test_missing_and_empty_folders_are_named(tmp_path: Path) -> None:
    assert f"{tmp_path / 'nowhere'} does not exist" in refusal(tmp_path / "nowhere")
    assert "holds no image" in refusal(tmp_path)
    file = save(tmp_path / "a.png")
    assert "a.png is not a folder" in refusal(file)


def test_a_folder_of_folders_says_where_to_look(tmp_path: Path) -> None:
    (tmp_path / "HR").mkdir()
    assert "did you mean its subfolder HR?" in refusal(tmp_path)


def test_truncated_and_foreign_files_are_named(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    Image.fromarray(rng.integers(0, 256, (64, 64, 3), np.uint8)).save(tmp_path / "whole.png")
    whole = (tmp_path / "whole.png").read_bytes()
    (tmp_path / "cut.png").write_bytes(whole[: len(whole) // 2])
    assert "cut.png cannot be read as an image" in refusal(tmp_path)
    (tmp_path / "cut.png").write_bytes(b"")
    assert "cut.png cannot be read as an image" in refusal(tmp_path)
    (tmp_path / "cut.png").write_text("hello")
    assert "cut.png cannot be read as an image" in refusal(tmp_path)


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_16_bits_are_read_as_the_nearest_of_256_levels(tmp_path: Path, channels: int) -> None:
    drawn = np.random.default_rng(0).integers(0, 2**16, (12, 20, channels), dtype=np.uint16)
    drawn[0, 0] = 65535
    write_png16(tmp_path / "deep.png", drawn)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        (array,) = read_images(str(tmp_path), "train").arrays
        (middle,) = read_images(str(tmp_path), "heldout", 8).arrays
    assert [("deep.png: alpha channel dropped" in str(each.message)) for each in caught] == (
        [True, True] if channels in (2, 4) else []
    )
    colour = drawn[..., :3] if channels > 2 else drawn[..., :1].repeat(3, axis=2)
    assert array.dtype == np.uint8 and np.array_equal(array, np.rint(colour / 257))
    assert array[0, 0].tolist() == [255] * 3
    assert np.array_equal(middle, array[2:10, 6:14])


def test_16_bits_of_8_are_those_8(tmp_path: Path) -> None:
    drawn = np.random.default_rng(0).integers(0, 256, (12, 20, 3), dtype=np.uint8)
    write_png16(tmp_path / "deep.png", drawn.astype(np.uint16) * 257)
    assert np.array_equal(read_images(str(tmp_path), "train").arrays[0], drawn)


def test_float_images_are_refused(tmp_path: Path) -> None:
    save(tmp_path / "real.tif", "F")
    assert refusal(tmp_path).endswith("real.tif: F of more than 8 bits in TIFF: save it as PNG")


def test_of_several_damaged_files_the_first_is_named(tmp_path: Path) -> None:
    for number in range(40):
        save(tmp_path / f"{number:02d}.png")
    for number in (31, 7, 8):
        (tmp_path / f"{number:02d}.png").write_text("hello")
    assert "07.png cannot be read as an image" in refusal(tmp_path)
