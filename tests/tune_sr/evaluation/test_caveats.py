"""What must be known to hold a student against its paper stands in its file, and in the table."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from trainables.networks import build_network
from trainables.networks.checkpoint import read_caveat, save_network
from tune_sr import evaluate

CAVEATS = {"plain": None, "random": "random features", "again": "random features", "wide": "wide"}


def test_the_table_says_of_every_student_what_its_file_says(
    toy_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    network = build_network({"name": "vdsr", "features": 4, "blocks": 2, "scale": 2})
    for name, caveat in CAVEATS.items():
        path = tmp_path / f"{name}.safetensors"
        save_network(path, network, {"caveat": caveat} if caveat else {})
        assert read_caveat(path) == caveat
    files = [str(tmp_path / f"{name}.safetensors") for name in CAVEATS]
    words = ["--network", *files, "--data", str(toy_folder / "images"), "--threads", "1"]
    assert evaluate.main([*words, "--json", str(tmp_path / "rows.json")]) == 0
    *rows, blank, first, second = capsys.readouterr().out.splitlines()
    assert [row.split(" | ")[2] for row in rows[2:]] == [
        *("bicubic", "plain.safetensors", "random.safetensors*", "again.safetensors*"),
        "wide.safetensors**",
    ]
    assert (blank, first, second) == ("", "* random features", "** wide")
    told = json.loads((tmp_path / "rows.json").read_text())["rows"]
    assert [row["caveat"] for row in told] == [None, *CAVEATS.values()]


def test_a_file_that_is_not_ours_has_none(toy_folder: Path, tmp_path: Path) -> None:
    assert read_caveat(toy_folder / "teacher.safetensors") is None
    assert read_caveat(tmp_path / "of_another_code.pth") is None
