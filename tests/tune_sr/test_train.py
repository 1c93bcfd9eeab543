from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from trainables.config import TrialConfig
from trainables.methods.dfsr import DFSR
from trainables.metrics.evaluate import evaluate
from trainables.networks.loading import load_network
from trainables.run import Run, upscaler
from tune_sr import train
from tune_sr.space.yaml_file import read_yaml
from tune_sr.storage.lock import DriverLock

ToySpace = Callable[..., Path]


def test_what_is_kept_is_the_average_that_reports_judged_and_its_caveat_is_told(
    toy_space: ToySpace,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(DFSR, "caveat", classmethod(lambda *_: "a toy: not comparable"))
    words = ["--space", str(toy_space()), "--output", str(tmp_path / "out"), "--quiet"]
    assert train.main([*words, "--set", "threads=1", "--set", "ema=0.9"]) == 0
    closing, footnote = capsys.readouterr().out.splitlines()
    assert footnote == "* a toy: not comparable"
    found = re.match(r"best: step (\d+), psnr_y_db \d+\.\d\d\* ", closing)
    assert found, closing
    step = int(found[1])
    lines = (tmp_path / "out" / "reports.jsonl").read_text().splitlines()
    told = next(each for each in map(json.loads, lines) if each["step"] == step)
    config = TrialConfig.parse(read_yaml(tmp_path / "out" / "config.yaml").content)
    file = tmp_path / "out" / "student.safetensors"
    assert b'"caveat":"a toy: not comparable"' in file.read_bytes()
    kept = load_network(file)
    measured = evaluate(upscaler(kept), Run(config).heldout)
    assert config.ema == 0.9 and measured["psnr_y_db"] == pytest.approx(told["psnr_y_db"], abs=1e-6)


def test_two_trainings_of_one_output_do_not_mix(
    toy_space: ToySpace, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--space", str(toy_space()), "--output", str(tmp_path / "out"), "--quiet"]
    (tmp_path / "out").mkdir()
    with DriverLock(tmp_path / "out" / "driver.lock"):
        assert train.main(words) == 2
    (said,) = capsys.readouterr().err.splitlines()
    assert "another driver works on this study (pid " in said
    assert not (tmp_path / "out" / "reports.jsonl").exists()
