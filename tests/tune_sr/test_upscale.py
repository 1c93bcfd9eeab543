"""`python -m tune_sr.upscale`: folders, resuming, what cannot be read, and its refusals."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from trainables.networks import build_network
from trainables.networks.checkpoint import save_network
from tune_sr import upscale


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.fixture(scope="session")
def student(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("upscale") / "student.safetensors"
    save_network(path, build_network({"name": "vdsr", "features": 4, "blocks": 2}, seed=1))
    return str(path)


def draw(path: Path, mode: str = "RGB", sides: tuple[int, int] = (7, 5)) -> Path:
    height, width = sides[1], sides[0]
    drawn = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(drawn).convert(mode).save(path)
    return path


def run(*words: object) -> int:
    try:
        return upscale.main([*map(str, words), "--threads", "1", "--device", "cpu"])
    except SystemExit as refused:
        return int(str(refused.code))


def test_a_folder_of_twenty_goes_on_where_it_stopped(student: str, capsys: Any) -> None:
    for number in range(20):
        draw(Path(f"set/{number:02d}.png"))
    words = ("set", "--network", student, "--scale", 2)
    assert run(*words) == 0
    first = capsys.readouterr().out.splitlines()
    assert first[0] == f"network: {student}, x2"
    assert first[1].startswith("20 written in ")
    written = sorted(Path("set_x2").iterdir())
    assert [path.name for path in written] == [f"{number:02d}.png" for number in range(20)]
    before = written[3].read_bytes()
    times = {path: path.stat().st_mtime_ns for path in written}
    written[3].unlink()
    written[7].unlink()
    assert run(*words) == 0
    assert "2 written in " in capsys.readouterr().out
    assert written[3].read_bytes() == before
    changed = [path for path in written if path.stat().st_mtime_ns != times[path]]
    assert changed == [written[3], written[7]]
    assert run(*words) == 0
    assert "0 written" in (out := capsys.readouterr().out)
    assert "20 skipped, whose results exist (--overwrite)" in out
    assert run(*words, "--overwrite") == 0
    assert "20 written" in capsys.readouterr().out


def test_names_sizes_and_modes(student: str, capsys: Any) -> None:
    draw(Path("a.jpg")), draw(Path("grey.png"), "L"), draw(Path("cmyk.jpg"), "CMYK")
    draw(Path("alpha.png"), "RGBA", (3, 3)), draw(Path("palette.png"), "P", (40, 31))
    inputs = ("a.jpg", "grey.png", "cmyk.jpg", "alpha.png", "palette.png")
    assert run(*inputs, "--network", student, "--beside") == 0  # x4, its largest
    told = capsys.readouterr().out.splitlines()
    assert "cmyk.jpg: CMYK converted to sRGB" in told
    assert "palette.png: palette converted to RGB" in told
    for name, mode, size in (
        ("a", "RGB", (28, 20)),
        ("grey", "L", (28, 20)),
        ("cmyk", "RGB", (28, 20)),
        ("alpha", "RGBA", (12, 12)),
        ("palette", "RGB", (160, 124)),
    ):
        with Image.open(f"{name}_x4.png") as found:
            assert (found.mode, found.size) == (mode, size), name
        with Image.open(f"{name}_x4_beside.png") as found:
            assert found.size == (2 * size[0] + 4, size[1])


def test_what_cannot_be_read_is_named_after_the_others(student: str, capsys: Any) -> None:
    draw(Path("set/a.png")), draw(Path("set/z.png"))
    Path("set/b.png").write_bytes(b"no picture")
    frames = [Image.new("L", (4, 4), value) for value in (0, 99)]
    frames[0].save("set/c.gif", save_all=True, append_images=frames[1:])
    Path("film.mp4").write_bytes(b"moving")
    assert run("set", "film.mp4", "--network", student) == 2
    shown = capsys.readouterr()
    assert "2 written in" in shown.out and "3 not read" in shown.out
    assert sorted(path.name for path in Path("set_x4").iterdir()) == ["a.png", "z.png"]
    lines = shown.err.splitlines()
    assert lines[0].startswith("python -m tune_sr.upscale: set/b.png: cannot identify")
    assert lines[1] == "python -m tune_sr.upscale: set/c.gif: animated; enlarge its frames:"
    assert "  ffmpeg -framerate 25 -i film_frames_x4/%06d.png -pix_fmt yuv420p film_x4.mp4" in lines


def test_output_and_formats(student: str, capsys: Any) -> None:
    draw(Path("a.jpg")), draw(Path("alpha.png"), "RGBA")
    assert run("a.jpg", "--network", student, "--scale", 2, "--output", "big/a.jpg") == 0
    with Image.open("big/a.jpg") as found:
        assert (found.format, found.size) == ("JPEG", (14, 10))
    assert run("alpha.png", "--network", student, "--output", "alpha.jpg") == 2
    assert "alpha.png: .jpg holds no alpha channel: name a .png" in capsys.readouterr().err


def study(name: str, student: str, *, finished: bool, at: float) -> None:
    best = Path("runs") / name / "best"
    best.mkdir(parents=True)
    (best / "student.safetensors").write_bytes(Path(student).read_bytes())
    summary = {"finished": finished, "best": {"trial": "0003", "psnr_y_db": 32.278}}
    (best.parent / "summary.json").write_text(json.dumps(summary))
    (best.parent / "ledger.jsonl").touch()
    os.utime(best.parent / "summary.json", (at, at))


def test_the_newest_finished_study_is_the_default(student: str, capsys: Any) -> None:
    draw(Path("a.png"))
    assert run("a.png", "--scale", 2) == 0
    assert capsys.readouterr().out.startswith("network: shipped:vdsr, x2\n")
    for name, finished, at in (("old", True, 1), ("newer", True, 2), ("running", False, 3)):
        study(name, student, finished=finished, at=at)
    assert run("a.png", "--overwrite") == 0
    said = "network: runs/newer (best, trial 0003, 32.28 dB), x4"
    assert capsys.readouterr().out.splitlines()[0] == said
    assert run("a.png", "--network", "runs/running", "--overwrite") == 0
    assert capsys.readouterr().out.startswith("network: runs/running (best")


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ("gone.png", "gone.png: no such file"),
        ("a.png --network gone.pth", "gone.pth: no such file"),
        ("a.png --network empty", "neither a study nor a training"),
        ("a.png --network shipped:best", "nothing of the name best ships"),
        ("a.png --network shipped:edsr_x2 --scale 3", "--scale 3: the network serves 2"),
        ("a.png --network a.png", "--network a.png: not a file of plain tensors"),
        ("empty", "empty holds no picture"),
        ("a.png --scale 5", "invalid choice: 5"),
        ("a.png --tile-pixels 0", "--tile-pixels"),
        ("a.png --output a.png", "its result would take its place"),
    ],
)
def test_refusals_are_one_line(words: str, told: str, capfd: Any) -> None:
    draw(Path("a.png"))
    Path("empty").mkdir()
    assert run(*words.split()) == 2
    shown = capfd.readouterr()
    assert shown.out == "" or shown.out.startswith("network")
    assert len(shown.err.splitlines()) == 1, shown.err
    assert told in shown.err


def test_help_is_quick() -> None:
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "tune_sr.upscale", "--help"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert "photo_x2.png" in done.stdout
    imported = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}
    assert not {"torch", "numpy", "PIL", "rich", "ray"} & imported
