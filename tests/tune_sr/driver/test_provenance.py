"""A study knows the machine that it was made on, and a person learns when that is another."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from tune_sr.driver.provenance import record

Start = Callable[..., list[str]]


@pytest.fixture
def start(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> Start:
    """`start(threads)`: what a driver that starts the study is warned of."""

    def warned(threads: int = 2) -> list[str]:
        caplog.clear()
        record(tmp_path, ["search", "--resume"], threads, study="night", seed=3)
        return [each.getMessage() for each in caplog.records]

    return warned


@pytest.fixture
def change(tmp_path: Path) -> Callable[..., None]:
    """Make the last start that of another machine."""

    def edit(section: str = "devices", **values: Any) -> None:
        path = tmp_path / "study.json"
        made_by = json.loads(path.read_text())
        made_by[section].update(values)
        path.write_text(json.dumps(made_by))

    return edit


def test_the_file_holds_processor_instruction_set_and_threads(start: Start, tmp_path: Path) -> None:
    assert start(threads=3) == []
    made_by = json.loads((tmp_path / "study.json").read_text())
    assert (made_by["study"], made_by["seed"]) == ("night", 3)
    devices = made_by["devices"]
    assert devices["instruction_set"] == torch.backends.cpu.get_cpu_capability()
    assert (devices["threads"], devices["cpus"]) == (3, os.cpu_count())
    assert devices["processor"]
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists() and "model name" in cpuinfo.read_text():
        assert f": {devices['processor']}\n" in cpuinfo.read_text()


def test_on_the_same_machine_nothing_is_said(start: Start, change: Callable[..., None]) -> None:
    assert start() == start() == []
    change(cpus=1, cpu="another word for it")  # on which no bit of a result depends
    change("packages", ray="2.0")
    assert start() == []


@pytest.mark.parametrize(
    ("section", "values", "told"),
    [
        ("devices", {"processor": "Intel Xeon"}, "was Intel Xeon"),
        ("devices", {"instruction_set": "AVX512"}, "instruction set "),
        ("devices", {"threads": 8}, "threads 2, was 8"),
        ("devices", {"gpus": ["H100", "H100"]}, "gpus none, was H100, H100"),
        ("packages", {"torch": "2.11.0"}, ", was 2.11.0"),
    ],
)
def test_on_another_kind_of_machine_one_line_says_that_bits_may_differ(
    start: Start, change: Callable[..., None], section: str, values: dict[str, Any], told: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setattr("torch.cuda.device_count", lambda: 0)
    start()
    change(section, **values)
    (line,) = start()
    assert line.startswith("another machine than the last start's (") and told in line
    assert line.endswith("): bits may differ from here on") and "\n" not in line
    assert start() == [], "the last start was here"


def test_all_that_changed_stands_in_one_line(start: Start, change: Callable[..., None]) -> None:
    start()
    change(processor="Intel Xeon", instruction_set="AVX512", threads=8)
    (line,) = start()
    assert line.index("processor") < line.index("; instruction set") < line.index("; threads")


@pytest.mark.parametrize(
    "text", ["", "[]", "{", '{"devices": {"cpus": 4, "gpus": []}, "packages": {}}', "{}"]
)
def test_a_file_of_an_older_version_or_a_damaged_one_is_written_anew(
    start: Start, tmp_path: Path, text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("torch.cuda.device_count", lambda: 0)
    (tmp_path / "study.json").write_text(text)
    assert start() == []
    assert "processor" in json.loads((tmp_path / "study.json").read_text())["devices"]
