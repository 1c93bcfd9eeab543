"""The first points of the paper spaces against what DUKD's official release trained, row by row.

The release is yun224/DUKD at 6960273: its twelve training files. One more line is of a file's own
words, `#   x2  --set student.scale=2`, which make its first point the row of another scale.
"""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from trainables.config import TrialConfig
from tune_sr.study.space_file import load_space

PAPER = Path(__file__).parents[2] / "search_spaces" / "paper"
UPDATES = 250_000
WORDS = re.compile(r"^#   x([234])(?:  (--set .*))?$", re.MULTILINE)


TWICE = (100_000, 200_000)
SWINIR = "001_classicalSR_DIV2K_s48w8_SwinIR-M_x{}.pth"


class Row(NamedTuple):
    """One training file of the release; a weight of a loss is over that of L_rec."""

    method: str
    teacher: str
    lambda_kd: float
    lambda_dukd: float | None = None
    n_gt_sub: int | None = None
    zoom_out: bool | None = None
    probability: float | None = None
    affinity: float | None = None
    started_from: str | None = None
    milestones: tuple[int, ...] = TWICE
    gamma: float = 0.1


ROWS = {
    ("kd_edsr", 4): Row("kd", "edsr_x4.pt", 1.0, started_from="kd_edsr_x2"),
    ("fakd_edsr", 2): Row(
        "fakd", "edsr_x2.pt", 1.0, affinity=10.0, milestones=(18_750,), gamma=0.5
    ),
    ("fakd_rcan", 4): Row("fakd", "RCAN_BIX4.pt", 1.0, affinity=10.0),
    ("dukd_edsr", 2): Row("dukd", "edsr_x2.pt", 0.2, 0.2, 2, True, 0.3),
    ("dukd_edsr", 3): Row("dukd", "edsr_x3.pt", 0.2, 0.2, 1, True, 0.3),
    ("dukd_edsr", 4): Row(
        "dukd", "edsr_x4.pt", 0.2, 0.2, 1, True, 0.3, started_from="dukd_edsr_x2"
    ),
    ("dukd_rcan", 2): Row("dukd", "RCAN_BIX2.pt", 1.0, 1.0, 1, False, 0.0),
    ("dukd_rcan", 3): Row("dukd", "RCAN_BIX3.pt", 0.5, 0.5, 1, True, 0.3),
    ("dukd_rcan", 4): Row("dukd", "RCAN_BIX4.pt", 1.0, 1.0, 1, False, 0.0),
    ("dukd_swinir", 2): Row("dukd", SWINIR.format(2), 0.2, 0.2, 1, False, 0.3),
    ("dukd_swinir", 3): Row("dukd", SWINIR.format(3), 0.2, 0.2, 1, False, 0.3),
    ("dukd_swinir", 4): Row("dukd", SWINIR.format(4), 0.2, 0.2, 1, False, 0.3),
}
"""By file of ours and scale."""


def own_words(name: str) -> dict[int, str]:
    """What the first lines of a file say of each released scale."""
    head = (PAPER / f"{name}.yaml").read_text().partition("fixed:")[0]
    return {int(scale): words or "" for scale, words in WORDS.findall(head)}


def config_of(name: str, scale: int) -> TrialConfig:
    """The first point of a file, as its own words make it the row of a scale."""
    sets = [each for each in shlex.split(own_words(name)[scale]) if each != "--set"]
    space = load_space(PAPER / f"{name}.yaml", sets)
    return space.trial_config(space.first_points[0])


def row_of(config: TrialConfig) -> dict[str, Any]:
    """The entries of a row that a configuration has, weights over that of L_rec."""
    method: Any = config.method
    schedule = config.optimiser.schedule
    assert schedule is not None
    at = schedule.at
    falls = at if isinstance(at, tuple) else [at * n for n in range(1, 10) if at * n < 1]
    pixel = (1.0 - method.alpha) * method.loss_range if method.name == "fakd" else 1.0
    kd = method.alpha * method.loss_range if method.name == "fakd" else method.lambda_kd
    return {
        "method": method.name,
        "lambda_kd": kd / pixel,
        "lambda_dukd": getattr(method, "lambda_dukd", None),
        "affinity": method.w_SA / pixel if method.name == "fakd" else None,
        "n_gt_sub": getattr(method, "n_gt_sub", None),
        "zoom_out": getattr(method, "zoom_out", None),
        "probability": getattr(method, "aug_prob", None),
        "milestones": tuple(round(fall * UPDATES) for fall in falls),
        "gamma": schedule.factor,
        "teacher": Path(str(config.teacher.weights if config.teacher else "")).name,
    }


@pytest.fixture(autouse=True)
def folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("TUNE_SR_DATA", str(tmp_path))  # reading a space opens no file


@pytest.mark.parametrize(("name", "scale"), ROWS)
def test_a_first_point_is_the_row_of_the_release(name: str, scale: int) -> None:
    config, row = config_of(name, scale), ROWS[name, scale]._asdict()
    start = row.pop("started_from")
    assert row_of(config) == row
    assert config.student.scales == (scale,)
    assert config.budget.steps == UPDATES
    assert config.optimiser.name == "adam"
    assert (config.optimiser.lr, config.optimiser.betas) == (1e-4, (0.9, 0.99))
    assert (config.optimiser.weight_decay, config.optimiser.clip) == (0.0, None)
    assert (config.batch.images, config.batch.patch, config.ema) == (16, 48, 0.999)
    found = config.student.start and Path(config.student.start).parts[-4:]
    assert found == (("runs", start, "best", "student.safetensors") if start else None)


def test_a_file_names_the_scales_that_were_released_and_no_other() -> None:
    named = {
        (path.stem, scale)
        for path in PAPER.glob("*.yaml")
        for scale in own_words(path.stem)
        if path.stem.startswith(("kd_", "fakd_", "dukd_"))
    }
    assert named == set(ROWS)


@pytest.mark.parametrize("name", ["dukd_swinir", "kd_swinir"])
def test_swinirs_teacher_is_either_of_the_two_files_that_the_release_names(name: str) -> None:
    space = load_space(PAPER / f"{name}.yaml")
    files = [Path(each).name for each in space.dimensions["teacher.weights"].args]
    assert files == [
        "001_classicalSR_DIV2K_s48w8_SwinIR-M_x{scale}.pth",
        "001_classicalSR_DF2K_s64w8_SwinIR-M_x{scale}.pth",
    ]


def test_the_page_has_the_table() -> None:
    page = (PAPER.parent / "README.md").read_text()
    for (name, scale), row in ROWS.items():
        method, _, network = name.partition("_")
        network = {"swinir": "SwinIR"}.get(network, network.upper())
        (line,) = (
            each
            for each in page.splitlines()
            if each.startswith(f"| {method.upper()} {network} x")
            and f"x{scale}" in each.split("|")[1]
        )
        cells = [cell.strip() for cell in line.split("|")[2:-1]]
        weight = {1.0: "1 : 1", 0.5: "2 : 1", 0.2: "5 : 1"}[row.lambda_kd]
        assert cells[0].split(",")[0] == weight
        assert cells[1] == ("" if row.n_gt_sub is None else str(row.n_gt_sub))
        assert cells[2] == {None: "", True: "on", False: "off"}[row.zoom_out]
        assert cells[3] == ("" if row.probability is None else f"{row.probability:g}")
        assert cells[4].startswith("scratch") == (row.started_from is None)
        falls = ", ".join(f"{each / UPDATES:g}" for each in row.milestones)
        assert cells[5] == f"x {row.gamma:g} at {falls}"
