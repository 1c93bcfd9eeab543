"""`python -m tune_sr.evaluate`: the papers' numbers through the command, and its refusals."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from trainables.data.images import read_images, write_image
from trainables.metrics.fidelity import PROTOCOLS
from trainables.networks import build_network
from trainables.networks.checkpoint import save_network
from tune_sr import evaluate

Row = dict[str, Any]
Evaluated = Callable[..., list[Row]]


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture
def evaluated(tmp_path: Path) -> Evaluated:
    """`evaluated("--data", ...)`: the rows that the command writes as JSON."""

    def run(*words: object) -> list[Row]:
        file = tmp_path / "rows.json"
        assert evaluate.main([*map(str, words), "--json", str(file)]) == 0
        rows = json.loads(file.read_text())["rows"]
        assert isinstance(rows, list)
        return rows

    return run


@pytest.fixture(scope="session")
def toys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two pictures and their LR files; a luma network at all scales, and an RGB one at x2."""
    folder = tmp_path_factory.mktemp("evaluate")
    rng = np.random.default_rng(0)
    for name, (height, width) in (("a", (48, 40)), ("b", (37, 50))):
        rows, columns = np.mgrid[:height, :width]
        waves = [np.sin(rows / 3 + k) * np.cos(columns / (2 + k)) for k in range(3)]
        noise = rng.normal(0, 5, (height, width, 3))
        pixels = np.clip(128 + 80 * np.stack(waves, 2) + noise, 0, 255).astype(np.uint8)
        write_image(folder / f"Toy/HR/{name}.png", pixels)
        small = pixels[: height // 2 * 2 : 2, : width // 2 * 2 : 2]
        write_image(folder / f"Toy/LR_bicubic/X2/{name}x2.png", small)
    for config in (
        {"name": "vdsr", "features": 4, "blocks": 2},
        {"name": "edsr", "features": 4, "blocks": 2, "scale": 2},
    ):
        network = build_network(config, seed=3)
        network.tail.requires_grad_(False)
        for parameter in network.tail.parameters():
            parameter.mul_(0.1)
        save_network(folder / f"{config['name']}.safetensors", network)
    return folder


def test_the_protocols_are_the_packages() -> None:
    assert set(evaluate.PROTOCOLS) == set(PROTOCOLS)


def test_rows_and_their_figures(toys: Path, evaluated: Evaluated, capsys: Any) -> None:
    luma, rgb = str(toys / "vdsr.safetensors"), str(toys / "edsr.safetensors")
    rows = evaluated("--network", luma, rgb, "--data", toys / "Toy", "--scales", 2, 3)
    assert [(row["network"], row["scale"], row["protocol"]) for row in rows] == [
        ("bicubic", 2, "yfloat"),
        (luma, 2, "yfloat"),
        ("bicubic", 2, "rgb8"),
        (rgb, 2, "rgb8"),
        ("bicubic", 3, "yfloat"),
        (luma, 3, "yfloat"),
        ("bicubic", 3, "rgb8"),
    ]
    for row in rows:
        assert row["data"] == "Toy"
        assert row["images"] == 2
        assert 10 < row["psnr_y_db"] < 60
        assert 0 < row["ssim"] < 1
        assert row["images_per_second"] > 0
        assert row["psnr_to_teacher_db"] is None
        assert (row["params"] is None) == (row["macs"] is None) == (row["network"] == "bicubic")
    assert rows[1]["params"] == 9 * (4 + 2 * 16 + 4)
    assert rows[1]["macs"] == rows[1]["params"] * 512**2
    shown = capsys.readouterr()
    assert shown.err == ""
    tables = shown.out.strip().split("\n\n")
    assert len(tables) == 2
    heads = tables[0].splitlines()[0]
    assert "PSNR, dB (yfloat) | SSIM (yfloat) | params | MACs | images/s |" in heads
    assert f"| Toy | x2 | vdsr.safetensors | {rows[1]['psnr_y_db']:.2f} | " in tables[0]
    lines = [line for table in tables for line in table.splitlines()]
    assert all(line.count("|") == heads.count("|") for line in lines)


def test_without_a_network_there_is_bicubic(toys: Path, evaluated: Evaluated) -> None:
    for protocol in PROTOCOLS:
        rows = evaluated("--data", toys / "Toy/HR", "--protocol", protocol, "--quiet")
        assert [(row["network"], row["scale"]) for row in rows] == [
            ("bicubic", 2),
            ("bicubic", 3),
            ("bicubic", 4),
        ]
        assert {row["protocol"] for row in rows} == {protocol}


def test_agreement_with_a_teacher(toys: Path, evaluated: Evaluated, capsys: Any) -> None:
    luma, rgb = str(toys / "vdsr.safetensors"), str(toys / "edsr.safetensors")
    words = ("--data", toys / "Toy", "--scales", 2, "--teacher", luma, "--network", luma, rgb)
    rows = evaluated(*words, "--protocol", "rgb8")
    assert [row["psnr_to_teacher_db"] for row in rows][1] == 100  # itself
    assert all(10 < row["psnr_to_teacher_db"] < 90 for row in (rows[0], rows[2]))
    assert "| to teacher, dB |" in capsys.readouterr().out


def test_lr_files_are_used_where_they_are_named(toys: Path, evaluated: Evaluated) -> None:
    words = ("--data", toys / "Toy", "--protocol", "rgb8", "--scales", 2)
    (made,) = evaluated(*words)
    (given,) = evaluated(*words, "--lr", toys / "Toy/LR_bicubic")
    assert made["psnr_y_db"] > given["psnr_y_db"] + 0.5  # the toy's LR files have no antialias
    assert evaluated(*words)[0]["psnr_y_db"] == made["psnr_y_db"]


def test_tiles_and_threads_change_nothing(toys: Path, evaluated: Evaluated) -> None:
    words = ("--network", toys / "edsr.safetensors", "--data", toys / "Toy", "--scales", 2)
    whole = evaluated(*words, "--protocol", "yfloat")
    in_tiles = evaluated(*words, "--protocol", "yfloat", "--tile-pixels", 1000, "--threads", 1)
    for one, other in zip(whole, in_tiles, strict=True):
        assert one["psnr_y_db"] == pytest.approx(other["psnr_y_db"], abs=1e-4)


def test_self_ensemble_is_another_result(toys: Path, evaluated: Evaluated, capsys: Any) -> None:
    words = ("--network", toys / "vdsr.safetensors", "--data", toys / "Toy", "--scales", 2)
    plain = evaluated(*words)
    eightfold = evaluated(*words, "--self-ensemble")
    assert plain[0]["psnr_y_db"] == eightfold[0]["psnr_y_db"]
    assert plain[1]["psnr_y_db"] != eightfold[1]["psnr_y_db"]
    assert plain[1]["network"] == eightfold[1]["network"]
    assert "| vdsr.safetensors+ |" in capsys.readouterr().out


def test_images_are_saved(toys: Path, evaluated: Evaluated, tmp_path: Path) -> None:
    luma = toys / "vdsr.safetensors"
    folder = tmp_path / "sr"
    evaluated("--network", luma, "--data", toys / "Toy", "--scales", 2, 3, "--save-images", folder)
    files = sorted(str(path.relative_to(folder)) for path in folder.rglob("*.png"))
    assert len(files) == 8
    assert files[:2] == ["Toy-x2-yfloat/bicubic/a.png", "Toy-x2-yfloat/bicubic/b.png"]
    sizes = [
        array.shape
        for array in read_images(str(folder / "Toy-x3-yfloat/bicubic"), "heldout").arrays
    ]
    assert sizes == [(48, 39, 3), (36, 48, 3)]


def test_networks_by_name_and_by_list(toys: Path, evaluated: Evaluated) -> None:
    file = toys / "vdsr.safetensors"
    spec = f"name=vdsr,features=4,blocks=2,scale=3,weights={file}"
    rows = evaluated("--network", spec, file, "--data", toys / "Toy", "--scales", 3)
    assert [row["network"] for row in rows] == ["bicubic", spec, str(file)]
    assert rows[1]["psnr_y_db"] == rows[2]["psnr_y_db"]
    short = f"weights={file},scale=3"  # the file tells the rest
    (_, row) = evaluated("--network", short, "--data", toys / "Toy", "--scales", 3)
    assert row["psnr_y_db"] == rows[1]["psnr_y_db"]
    served = evaluated("--network", spec, "--data", toys / "Toy")
    assert {row["scale"] for row in served} == {3}


def test_two_sets_of_one_name_are_told_apart(toys: Path, evaluated: Evaluated) -> None:
    first, second = str(toys / "Toy"), str(toys / "Toy/HR")
    rows = evaluated("--data", first, second, "--scales", 2)
    assert [row["data"] for row in rows] == [first, second]


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ("--data nowhere", "nowhere is no folder; name a folder of images, or photos"),
        ("--network gone.pth", "gone.pth"),
        ("--network shipped:best", "nothing of the name best ships; there are"),
        ("--network name=rcan,scale=2,weights=shipped", "no rcan for x2 ships; there are"),
        ("--network name=edsr,scale=2,weights=shipped:vdsr", "vdsr is no edsr for x2; there are"),
        ("--network name=vdsr,features=4", "has no weights=FILE"),
        ("--network name=vdsr,features", "'features' is not KEY=VALUE"),
        ("--network name=gan,weights=x.pth", "x.pth: no such file"),
        ("--network name=gan,weights={toys}/edsr.safetensors", "unknown network 'gan'; known:"),
        ("--network weights={toys}/edsr.safetensors,scale=3", "serves scale 2, not 3"),
        ("--network weights={toys}/edsr.safetensors,features=8", "does not fit this edsr"),
        ("--network {toys}/edsr.safetensors --scales 3", "serves scale 2 and none of --scales 3"),
        ("--teacher {toys}/edsr.safetensors --scales 3", "serves scale 2 and none of --scales 3"),
        ("--network {toys}/edsr.safetensors --protocol y8", "y8 is for luma networks"),
        ("--network {toys}/edsr.safetensors --protocol cmi_legacy", "cmi_legacy is for luma"),
        ("--scales 5", "invalid choice: 5"),
        ("--protocol psnr", "invalid choice: 'psnr'"),
        ("--lr {toys}/Toy/LR_bicubic --protocol yfloat", "yfloat makes its LR from luma"),
        ("--lr {toys}/Toy/LR_bicubic --protocol y8", "y8 makes its LR from luma"),
        ("--lr {toys}/Toy/LR_bicubic --protocol cmi_legacy", "cmi_legacy makes its LR from luma"),
        ("--lr {toys}/Toy/LR_bicubic", "yfloat makes its LR from luma; add --protocol rgb8"),
        ("--lr a b --protocol rgb8", "--lr names 2 folders for 1 of --data"),
        ("--lr {toys}/Toy/HR --protocol rgb8 --scales 2", "the LR image of a.png at x2 is 40x48"),
        ("--lr {toys}/Toy/LR_bicubic --protocol rgb8 --scales 3", "no LR image of a.png at x3"),
        ("--device abacus", "--device abacus: cannot be used here"),
        ("--tile-pixels 0", "--tile-pixels"),
        ("--json {toys}/Toy/HR", "cannot be written"),
        ("--save-images {toys}/Toy/HR/a.png", "cannot be written"),
    ],
)
def test_refusals_are_one_line(toys: Path, words: str, told: str, capfd: Any) -> None:
    argv = words.format(toys=toys).split()
    argv += [] if "--data" in words else ["--data", str(toys / "Toy")]
    try:
        code = evaluate.main(argv)
    except SystemExit as refused:
        code = refused.code  # type: ignore[assignment]  # of argparse
    shown = capfd.readouterr()
    assert code == 2
    assert shown.out == ""
    assert len(shown.err.splitlines()) == 1, shown.err
    assert shown.err.startswith("python -m tune_sr.evaluate: ")
    assert told in shown.err


def test_help_is_quick() -> None:
    begin = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "tune_sr.evaluate", "--help"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert "cmi_legacy" in done.stdout
    imported = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}
    assert not {"torch", "numpy", "rich", "ray"} & imported
    assert time.monotonic() - begin < 30


# --- the papers' numbers, through the command ----------------------------------------------------


@pytest.fixture(scope="session")
def teacher(shared_folder: Path) -> str:
    return str(shared_folder / "weights" / "vdsr_20x64_pytorch-vdsr_epoch50.pth")


def by_scale(rows: list[Row], network: str, key: str) -> list[float]:
    return [row[key] for row in rows if row["network"] == network]


def at_each_scale(default: int, figures: dict[int, Any]) -> pytest.MarkDecorator:
    """One scale takes a quarter of a minute: the others are for `-m soak`."""
    soak = pytest.mark.soak
    return pytest.mark.parametrize(
        ("scale", "figure"),
        [pytest.param(s, f, marks=() if s == default else soak) for s, f in figures.items()],
    )


@pytest.mark.timeout(600)
@at_each_scale(2, {2: 37.6526, 3: 33.7733, 4: 31.4530})
def test_the_public_vdsr_on_set5(
    scale: int, figure: float, shared_folder: Path, teacher: str, evaluated: Evaluated
) -> None:
    words = ("--network", teacher, "--data", shared_folder / "data/Set5", "--scales", scale)
    rows = evaluated(*words, "--protocol", "yfloat")
    assert by_scale(rows, teacher, "psnr_y_db") == pytest.approx([figure], abs=0.005)
    assert {row["params"] for row in rows} == {None, 664_704}
    assert {row["data"] for row in rows} == {"Set5"}


@pytest.mark.timeout(600)
@at_each_scale(4, {2: (None, 0.9046), 3: (None, 0.8221), 4: (31.4650, 0.7404)})
def test_the_teacher_column_of_dfsr_cmi(
    scale: int,
    figure: tuple[float | None, float],
    shared_folder: Path,
    teacher: str,
    evaluated: Evaluated,
) -> None:
    words = ("--network", teacher, "--data", shared_folder / "data/Set5", "--scales", scale)
    rows = evaluated(*words, "--protocol", "cmi_legacy")
    psnr, ssim = figure
    if psnr is not None:
        assert by_scale(rows, teacher, "psnr_y_db") == pytest.approx([psnr], abs=0.005)
    assert by_scale(rows, teacher, "ssim") == pytest.approx([ssim], abs=0.001)


def test_bicubic_rows_on_set5(shared_folder: Path, evaluated: Evaluated) -> None:
    printed = {
        "yfloat": ["33.69/0.9308", "30.41/0.8692", "28.43/0.8114"],
        "y8": ["33.66/0.9299", "30.39/0.8682", "28.42/0.8104"],
        "cmi_legacy": ["33.69/0.8475", "30.41/0.7337", "28.41/0.6323"],
        "rgb8": ["33.68/0.9304", "30.40/0.8690", "28.43/0.8113"],
        "rgb8_matlab": ["33.64/0.9293", "30.39/0.8678", "28.42/0.8102"],
    }
    folder = shared_folder / "data/Set5"
    for protocol, cells in printed.items():
        rows = evaluated("--data", folder, "--protocol", protocol, "--quiet")
        assert [f"{row['psnr_y_db']:.2f}/{row['ssim']:.4f}" for row in rows] == cells
        if protocol.startswith("rgb8"):  # the published LR files are what is made
            words = ("--data", folder, "--protocol", protocol, "--lr", folder / "LR_bicubic")
            named = evaluated(*words, "--quiet")
            assert [row["psnr_y_db"] for row in named] == [row["psnr_y_db"] for row in rows]
            assert [row["ssim"] for row in named] == [row["ssim"] for row in rows]
