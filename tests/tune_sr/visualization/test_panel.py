"""The picture shows what its captions say, at the size they promise."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

from trainables.config import TrialConfig
from trainables.data.images import Images
from trainables.networks import build_network
from trainables.networks.checkpoint import save_network
from trainables.run import Run, RunImages
from tune_sr.visualization import panel
from tune_sr.visualization.panel import Tile, draw_panel, draw_student_panel


def picture(seed, height=96, width=96):
    rng = np.random.default_rng(seed)
    coarse = rng.uniform(0, 255, (height // 8, width // 8, 3))
    return np.kron(coarse, np.ones((8, 8, 1))).astype(np.uint8)


def tiles(height=96, width=96, titles=("LR", "bicubic", "student", "teacher", "HR")):
    return [Tile(title, picture(n, height, width), 30.0 + n) for n, title in enumerate(titles)]


def written(path, shown, **words):
    draw_panel(path, shown, **{"title": "a photograph, x2", **words})
    with Image.open(path) as image:
        return np.asarray(image.convert("RGB"))


def test_every_picture_is_in_its_column_and_its_detail_below_pixel_for_pixel(tmp_path):
    shown = tiles()
    top, left, side = 16, 24, 30
    for tile in shown:
        tile.image_HWC[...] = 90
    # Where the second picture is furthest from the last lies the detail, and nowhere else.
    shown[1].image_HWC[top : top + side, left : left + side] = 0
    shown[-1].image_HWC[top : top + side, left : left + side] = picture(9)[:side, :side]
    page = written(tmp_path / "panel.png", shown)
    assert page.shape[1] == 1600
    column, first = 300, (1600 - 5 * 300 - 4 * 12) // 2
    begin = 64 + column + 62
    x = first + 4 * (column + 12)
    detail = page[begin : begin + column, x : x + column]
    enlarged = picture(9)[:side, :side].repeat(10, axis=0).repeat(10, axis=1)
    assert np.array_equal(detail, enlarged)


@pytest.mark.parametrize(
    ("height", "width", "names"),
    [(252, 252, 5), (96, 240, 5), (240, 96, 4), (24, 24, 5), (11, 300, 2)],
)
def test_any_shape_and_any_number_of_columns_fits(tmp_path, height, width, names):
    shown = [
        Tile(str(n), np.full((height, width, 3), 40 * n, np.uint8), 30.0) for n in range(names)
    ]
    page = written(tmp_path / "panel.png", shown)
    assert page.shape[1] == 1600
    assert (page[:, :20] == 255).all()
    assert (page[:, -20:] == 255).all()


def test_a_name_in_another_script_or_with_mathematics_in_it_is_drawn(tmp_path):
    written(tmp_path / "panel.png", tiles(), title="Füße $\\alpha$ 100%_{x}", note="ж")


def test_equal_pictures_have_a_detail_too(tmp_path):
    same = picture(1)
    written(tmp_path / "panel.png", [Tile("a", same), Tile("b", same)])


def test_pictures_of_different_sizes_are_refused(tmp_path):
    with pytest.raises(ValueError, match="one size"):
        draw_panel(tmp_path / "p.png", [Tile("a", picture(0)), Tile("b", picture(0, 88))], title="")


def test_drawing_twice_gives_the_same_file(tmp_path):
    for name in ("a.png", "b.png"):
        draw_panel(tmp_path / name, tiles(), title="t")
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()


@pytest.fixture(params=[None, 0.5], ids=["student", "average"])
def run(tmp_path, request):
    teacher = build_network({"name": "vdsr", "features": 8, "blocks": 4, "scale": 2})
    save_network(tmp_path / "teacher.safetensors", teacher)
    network = {"name": "vdsr", "features": 8, "blocks": 4, "scale": 2}
    config = TrialConfig.parse(
        {
            "method": {"name": "noise"},
            "student": network,
            "teacher": {**network, "weights": str(tmp_path / "teacher.safetensors")},
            "batch": {"images": 2, "patch": 16},
            "heldout": {"crop": None},
            "budget": {"steps": 2, "steps_per_report": 1},
            "ema": request.param,
            "threads": 1,
        }
    )
    names, arrays = ("first.png", "second.png"), (picture(0), picture(1))
    run = Run(config, images=RunImages(heldout=Images(names, arrays)))
    run.advance()
    return run


def test_a_students_panel_says_what_the_protocol_measures(run, tmp_path, monkeypatch):
    drawn = {}
    monkeypatch.setattr(
        panel, "draw_panel", lambda path, tiles, **words: drawn.update(words, t=tiles)
    )
    draw_student_panel(tmp_path / "panel.png", run)
    assert [tile.title for tile in drawn["t"]] == [
        "LR 48 x 48",
        "bicubic",
        "student",
        "teacher",
        "HR",
    ]
    assert drawn["title"] == "first, x2"
    assert "yfloat" in drawn["note"]
    view = run.heldout.views[2][0]
    with torch.no_grad():
        expected = run.heldout.score(view, run.outcome(view.lr_BCHW))[0].item()
    student = drawn["t"][2]
    assert student.accent
    assert student.psnr_db == pytest.approx(expected)
    assert np.array_equal(drawn["t"][-1].image_HWC, picture(0))


def test_a_students_panel_is_a_png(run, tmp_path):
    draw_student_panel(tmp_path / "new folder" / "panel.png", run)
    with Image.open(tmp_path / "new folder" / "panel.png") as image:
        assert (image.format, image.width) == ("PNG", 1600)
