"""Which pictures are enlarged, and the names of their results."""

from __future__ import annotations

from pathlib import Path

import pytest

from tune_sr.upscaling.plan import planned


@pytest.fixture
def files(tmp_path: Path) -> Path:
    names = ("photo.jpg", "other.png", "set/a.jpg", "set/a.png", "set/sub/b.tif", "set/notes.txt")
    for name in (*names, "set/.hidden.png", "set/.cache/c.png"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return tmp_path


def names(folder: Path, *inputs: str, output: str | None = None) -> dict[str, str]:
    jobs = planned(
        [str(folder / each) for each in inputs], None if output is None else folder / output, 3
    )
    return {
        str(job.source.relative_to(folder)): str(job.target.relative_to(folder)) for job in jobs
    }


def test_beside_the_inputs(files: Path) -> None:
    assert names(files, "photo.jpg", "set") == {
        "photo.jpg": "photo_x3.png",
        "set/a.jpg": "set_x3/a.jpg.png",
        "set/a.png": "set_x3/a.png.png",
        "set/sub/b.tif": "set_x3/sub/b.png",
    }


def test_output_is_a_file_or_a_folder(files: Path) -> None:
    assert names(files, "photo.jpg", output="big.jpg") == {"photo.jpg": "big.jpg"}
    assert names(files, "photo.jpg", output="out") == {"photo.jpg": "out/photo_x3.png"}
    assert names(files, "set", output="out")["set/sub/b.tif"] == "out/sub/b.png"
    both = names(files, "set", "photo.jpg", output="out")
    assert both["set/sub/b.tif"] == "out/set_x3/sub/b.png"
    assert both["photo.jpg"] == "out/photo_x3.png"


def test_results_in_the_folder_are_no_pictures(files: Path) -> None:
    (files / "set/out").mkdir()
    (files / "set/out/old.png").touch()
    assert set(names(files, "set", output="set/out")) == {"set/a.jpg", "set/a.png", "set/sub/b.tif"}
    (files / "photo_x3.png").touch()
    assert names(files, "photo.jpg", "photo_x3.png") == {"photo.jpg": "photo_x3.png"}


@pytest.mark.parametrize(
    ("inputs", "output", "words"),
    [
        (("gone.png",), None, "gone.png: no such file"),
        (("photo.jpg", "other.png"), "x.png", "one file for one picture; name a folder"),
        (("set",), "x.png", "one file for one picture"),
        (("set",), "set", "is the folder itself"),
        (("other.png",), "other.png", "its result would take its place"),
        (("photo.jpg", "set/../photo.png"), "out", "no such file"),
        (("set/.cache",), None, "holds no picture"),
    ],
)
def test_refusals(files: Path, inputs: tuple[str, ...], output: str | None, words: str) -> None:
    (files / "set/.cache/c.png").unlink()
    with pytest.raises(ValueError, match=words):
        names(files, *inputs, output=output)


def test_two_pictures_of_one_result_are_refused(files: Path) -> None:
    (files / "photo.png").touch()
    with pytest.raises(ValueError, match=r"photo\.jpg and .*photo\.png would both become"):
        names(files, "photo.jpg", "photo.png")
