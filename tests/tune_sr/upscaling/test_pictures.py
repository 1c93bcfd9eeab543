"""Pictures of every kind: what is kept of them, what is converted, what is refused."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from PIL import Image, ImageCms, ImageOps

from trainables.limits import PIXELS
from tune_sr.upscaling.pictures import AnimatedError, Picture, read_picture, write_picture
from tune_sr.upscaling.png16 import write_png16

RGB = np.random.default_rng(0).integers(0, 256, (5, 7, 3), dtype=np.uint8)
SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def image(mode: str) -> Image.Image:
    return Image.fromarray(RGB).convert(mode)


@pytest.mark.parametrize(
    ("mode", "suffix", "channels", "note"),
    [
        ("L", ".png", 1, None),
        ("1", ".png", 1, None),
        ("LA", ".png", 2, None),
        ("RGB", ".webp", 3, None),
        ("RGBA", ".png", 4, None),
        ("P", ".png", 3, "palette converted to RGB"),
        ("CMYK", ".jpg", 3, "CMYK converted to sRGB"),
        ("I;16", ".tif", 1, None),
        ("LAB", ".tif", 3, "LAB converted to RGB"),
    ],
)
def test_each_mode(mode: str, suffix: str, channels: int, note: str | None, tmp_path: Path) -> None:
    path = tmp_path / f"x{suffix}"
    image(mode).save(path)
    found = read_picture(path)
    assert found.pixels.shape == (5, 7, channels)
    assert found.levels == (65535 if mode == "I;16" else 255)
    assert found.has_alpha == (channels in (2, 4))
    assert found.notes == ((note,) if note else ())


def test_transparent_colours_become_alpha(tmp_path: Path) -> None:
    image("P").save(tmp_path / "p.png", transparency=0)
    image("RGB").save(tmp_path / "rgb.png", transparency=tuple(map(int, RGB[2, 3])))
    image("L").save(tmp_path / "l.png", transparency=int(np.asarray(image("L"))[2, 3]))
    palette = read_picture(tmp_path / "p.png")
    assert palette.pixels.shape[2] == 4 and palette.notes == ("palette converted to RGBA",)
    for name, channels in (("rgb", 4), ("l", 2)):
        found = read_picture(tmp_path / f"{name}.png")
        assert found.pixels.shape[2] == channels
        assert found.pixels[2, 3, -1] == 0 and found.pixels[..., -1].max() == 255


@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientation_is_applied_and_reset(orientation: int, tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112], exif[0x010F] = orientation, "maker"
    exif.get_ifd(0x8769)[0xA002] = 7
    path = tmp_path / "x.png"
    Image.fromarray(RGB).save(path, exif=exif)
    with Image.open(path) as opened:
        upright = np.asarray(ImageOps.exif_transpose(opened))
    found = read_picture(path)
    assert np.array_equal(found.pixels, upright)
    again = Image.Exif()
    again.load(found.exif)
    assert again[0x0112] == 1 and again[0x010F] == "maker"
    assert again.get_ifd(0x8769)[0xA002] == upright.shape[1]


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".webp", ".tif"])
def test_profile_and_exif_are_kept(suffix: str, tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112], exif[0x010F] = 1, "maker"
    Image.fromarray(RGB).save(tmp_path / "x.png", exif=exif, icc_profile=SRGB)
    write_picture(tmp_path / f"y{suffix}", read_picture(tmp_path / "x.png"))
    with Image.open(tmp_path / f"y{suffix}") as written:
        assert written.info["icc_profile"] == SRGB
        assert written.getexif()[0x010F] == "maker"
        difference = np.abs(np.asarray(written).astype(int) - RGB)
    assert difference.max() <= (60 if suffix == ".jpg" else 0)


def test_a_cmyk_profile_is_used_and_not_kept(tmp_path: Path) -> None:
    image("CMYK").save(tmp_path / "plain.jpg")
    image("CMYK").save(tmp_path / "odd.jpg", icc_profile=b"no profile at all")
    for name in ("plain.jpg", "odd.jpg"):
        assert read_picture(tmp_path / name).icc is None


def test_16_bits_stay(tmp_path: Path) -> None:
    deep = RGB.astype(np.uint16) * 257 + 1
    write_png16(tmp_path / "x.png", deep, icc=SRGB)
    found = read_picture(tmp_path / "x.png")
    assert np.array_equal(found.pixels, deep) and found.icc == SRGB
    write_picture(tmp_path / "y.png", found)
    assert np.array_equal(read_picture(tmp_path / "y.png").pixels, deep)
    for suffix in (".jpg", ".tif", ".webp"):
        with pytest.raises(ValueError, match=r"this picture has 16: name a \.png"):
            write_picture(tmp_path / f"z{suffix}", found)
        assert not (tmp_path / f"z{suffix}").exists()


@pytest.mark.parametrize("orientation", [1, 3, 6])
def test_a_tiff_of_16_bits_stays_and_is_turned_once(orientation: int, tmp_path: Path) -> None:
    deep = RGB.astype(np.uint16) * 257 + 1
    flag = [(0x0112, "H", 1, orientation, True)]
    tifffile.imwrite(tmp_path / "x.tif", deep, photometric="rgb", extratags=flag)
    turns = {1: 0, 3: 2, 6: 3}[orientation]
    assert np.array_equal(read_picture(tmp_path / "x.tif").pixels, np.rot90(deep, turns))


def test_alpha_does_not_fit_into_a_jpeg(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"\.jpg holds no alpha channel"):
        write_picture(tmp_path / "x.jpg", Picture(np.zeros((2, 2, 4), np.uint8)))


def frames(suffix: str) -> bytes:
    out = io.BytesIO()
    kind = {".gif": "GIF", ".webp": "WEBP", ".png": "PNG", ".tif": "TIFF"}[suffix]
    more: dict[str, Any] = {"save_all": True, "append_images": [image("L").convert("RGB")]}
    Image.fromarray(RGB).save(out, format=kind, **more)
    return out.getvalue()


@pytest.mark.parametrize("suffix", [".gif", ".webp", ".png", ".tif"])
def test_more_than_one_frame_is_refused(suffix: str, tmp_path: Path) -> None:
    (tmp_path / f"x{suffix}").write_bytes(frames(suffix))
    with pytest.raises(AnimatedError, match="2 frames"):
        read_picture(tmp_path / f"x{suffix}")


def test_what_is_no_picture_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "x.png").write_bytes(b"not a picture")
    with pytest.raises(ValueError, match="cannot identify"):
        read_picture(tmp_path / "x.png")
    Image.fromarray(RGB).convert("F").save(tmp_path / "f.tif")
    with pytest.raises(ValueError, match="F of more than 8 bits in TIFF: save it as PNG"):
        read_picture(tmp_path / "f.tif")
    Image.fromarray(RGB).save(tmp_path / "large.png")
    monkeypatch.setattr("tune_sr.upscaling.pictures.PIXELS", 34)
    assert PIXELS > 34
    with pytest.raises(ValueError, match="7x5, more than 34 pixels"):
        read_picture(tmp_path / "large.png")


def test_a_result_appears_whole_or_not_at_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "x.png").write_bytes(b"before")

    def fail(self: Image.Image, path: Path, **_: Any) -> None:
        path.write_bytes(b"half")
        raise OSError("disk full")

    monkeypatch.setattr(Image.Image, "save", fail)
    with pytest.raises(OSError, match="disk full"):
        write_picture(tmp_path / "x.png", Picture(RGB))
    assert [path.read_bytes() for path in tmp_path.iterdir()] == [b"before"]
