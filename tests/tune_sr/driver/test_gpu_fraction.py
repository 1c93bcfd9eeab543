"""How many trials share a GPU where nobody has said it."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from tune_sr.driver import gpu_fraction
from tune_sr.driver.gpu_fraction import fraction_of_gpu, resolve_gpus_per_trial
from tune_sr.driver.preflight import prepare
from tune_sr.study.config import StudyConfig
from tune_sr.study.space_file import load_study

GB = 10**9


@pytest.fixture
def config(toy_space: Callable[..., Path], tmp_path: Path) -> StudyConfig:
    study = load_study(toy_space(study={"gpus_per_trial": "auto", "tracking_uri": None}))
    return StudyConfig(*study, tmp_path / "toy")


@pytest.mark.parametrize("free", [8 * GB, 24 * GB, 80 * GB])
@pytest.mark.parametrize("peak", [GB // 100, GB, 3 * GB, 7 * GB, 20 * GB, 39 * GB, 200 * GB])
def test_whole_trials_fit_and_what_each_needs_lies_below_its_cap(free: int, peak: int) -> None:
    part = fraction_of_gpu(peak, free)
    assert 0 < part <= 1 and part == round(part, 4), "Ray counts no finer"
    trials = int(1 / part)
    assert trials * part <= 1 and trials <= 16
    if trials > 1:
        assert trials * (1.2 * peak + 0.6 * GB) <= free
        assert peak < part * free
    if trials < 16:
        assert (trials + 1) * (1.2 * peak + 0.6 * GB) > free, "no room is wasted"


def test_without_a_gpu_it_is_said_in_one_line_and_nothing_else(
    config: StudyConfig, caplog: pytest.LogCaptureFixture
) -> None:
    assert config.gpus_per_trial == 0
    with caplog.at_level(logging.WARNING, "tune_sr"):
        found = resolve_gpus_per_trial(replace(config, retry_failed=True), prepare(config))
    (said,) = caplog.messages
    assert said == "--gpus-per-trial auto: no GPU is used here; trials are placed by CPUs alone"
    assert found.settings.gpus_per_trial == found.gpus_per_trial == 0
    assert found.retry_failed, "what the start decided beside it stays"
    assert resolve_gpus_per_trial(found, prepare(found)) is found


def test_a_clusters_driver_without_a_gpu_is_told_to_say_a_number(config: StudyConfig) -> None:
    object.__setattr__(config, "address", "auto")
    with pytest.raises(ValueError, match=r"^--gpus-per-trial auto: tries one .*: say a number$"):
        resolve_gpus_per_trial(config, prepare(config))


def test_what_a_trial_is_found_to_take_is_what_each_is_given(
    config: StudyConfig, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    prepared = SimpleNamespace(run=SimpleNamespace(device=torch.device("cuda")))
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda: (79 * GB, 80 * GB))
    monkeypatch.setattr(gpu_fraction, "probe_peak_bytes", lambda _: 20 * GB)
    found = resolve_gpus_per_trial(config, prepared)  # type: ignore[arg-type]  # all that is asked of it
    assert found.gpus_per_trial == found.settings.gpus_per_trial == 0.3333
    assert "20,000.0 MB of a GPU's 80,000.0 MB: 0.3333 of one for each" in caplog.text


def test_a_trial_of_its_own_is_tried(config: StudyConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    figures = {"empty_cache": None, "memory_reserved": 5, "max_memory_reserved": 12}
    for name, value in (*figures.items(), ("reset_peak_memory_stats", None)):
        monkeypatch.setattr(torch.cuda, name, lambda *_, value=value: value)
    monkeypatch.setattr(gpu_fraction, "_UPDATES", 4)
    prepared = prepare(config)
    assert gpu_fraction.probe_peak_bytes(prepared) == 7
    assert prepared.run.step == 0, "the study's own run is left as it was"
