"""A password of MLflow's address is in no file and no output; a resume asks for it again."""

from __future__ import annotations

import json
import pickle
import re
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from events import driver_started, study_started

from tune_sr import search
from tune_sr.driver import observers
from tune_sr.driver.preflight import prepare
from tune_sr.driver.run_study import _append_start, _open_ledger
from tune_sr.execution.searcher import LedgerSearcher
from tune_sr.ledger.ledger import Ledger, read_events
from tune_sr.storage.lock import DriverLock
from tune_sr.study import opening
from tune_sr.study.config import StudyConfig
from tune_sr.study.space_file import load_study

ToySpace = Callable[..., Path]
Capture = pytest.CaptureFixture[str]

PW = "hunter2"
ADDRESS = f"http://me:{PW}@127.0.0.1:1"  # where nothing answers
KEPT = "http://***@127.0.0.1:1"


@pytest.fixture(autouse=True)
def _no_address_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)


def files_with(word: str, folder: Path) -> list[str]:
    return [
        str(path.relative_to(folder))
        for path in sorted(folder.rglob("*"))
        if path.is_file() and word.encode() in path.read_bytes()
    ]


def run(capsys: Capture, *words: object) -> tuple[int, str]:
    capsys.readouterr()
    code = search.main([str(word) for word in words])
    told = capsys.readouterr()
    return code, told.out + told.err


def config_of(space: Path, **flags: str) -> StudyConfig:
    loaded, settings = load_study(space)
    settings = settings.with_overrides(flags, loaded)
    return StudyConfig(loaded, settings, space.parent / "runs" / "toy")


@pytest.mark.ray
@pytest.mark.timeout(180)
def test_a_study_leaves_it_nowhere_and_a_resume_asks_for_it_again(
    toy_space: ToySpace,
    capsys: Capture,
    ray_cluster: None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(observers, "_CLOSE_S", 1.0)
    budget = {"steps": 16, "steps_per_report": 8}
    space = toy_space(fixed={"budget": budget}, study={"trials": 1, "scheduler": "none"})
    words = ["--space", str(space), "--tracking-uri", ADDRESS]
    monkeypatch.setattr(sys, "argv", ["search.py", *words])
    code, told = run(capsys, *words)
    assert code == 0, told
    assert PW not in told and KEPT in told
    folder = space.parent / "runs" / "toy"
    assert list(folder.rglob("tuner.pkl"))  # which Ray wrote, with all that a searcher holds
    assert files_with(PW, folder) == []
    kept = [event["study"]["tracking_uri"] for event in read_events(folder) if "study" in event]
    assert kept == [KEPT]
    argv = json.loads((folder / "study.json").read_text())["argv"]
    assert argv == [word.replace(ADDRESS, KEPT) for word in sys.argv]

    again = ["--resume", "--name", "toy", "--storage", folder.parent, "--dry-run"]
    code, told = run(capsys, *again)
    assert code == 2 and told.count("\n") == 1
    assert f"tracking uri {KEPT}: " in told and "give the address again, by --tracking-uri" in told
    assert run(capsys, *again, "--tracking-uri", ADDRESS)[0] == 0


def test_a_dry_run_does_not_show_it(toy_space: ToySpace, capsys: Capture) -> None:
    code, told = run(capsys, "--space", toy_space(), "--dry-run", "--tracking-uri", ADDRESS)
    assert code == 0 and PW not in told and f"tracking_uri: {KEPT}" in told


def test_no_copy_and_no_picture_of_a_study_has_it(toy_space: ToySpace) -> None:
    config = config_of(toy_space(), tracking_uri=ADDRESS)
    assert config.settings.tracking_uri == ADDRESS
    assert PW not in repr(config)
    assert PW.encode() not in pickle.dumps(config)
    assert PW.encode() not in pickle.dumps(config.trial_config)
    assert pickle.loads(pickle.dumps(config)).settings.tracking_uri == KEPT


def test_a_variable_is_written_down_as_it_stands_and_filled_in_at_every_start(
    toy_space: ToySpace, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = "http://me:${TUNE_SR_PW}@127.0.0.1:1"
    space = toy_space(study={"tracking_uri": said})
    code, told = run(capsys, "--space", space, "--dry-run")
    assert code == 2 and re.search(r"toy\.yaml:\d+: .*\$\{TUNE_SR_PW\} is not set", told)
    for words in ([], ["--tracking-uri", said], ["--set", f"study.tracking_uri={said}"]):
        monkeypatch.setenv("TUNE_SR_PW", PW)
        code, told = run(capsys, "--space", space, "--dry-run", *words)
        assert code == 0 and PW not in told and said in told
        monkeypatch.delenv("TUNE_SR_PW")
        assert run(capsys, "--space", space, "--dry-run", *words)[0] == 2
    monkeypatch.setenv("TUNE_SR_PW", PW)
    config = config_of(space)
    assert config.settings.tracking_uri == config.settings.to_dict()["tracking_uri"] == said


def begun_at_3cb7bf0(space: Path) -> Path:
    """A study as that version wrote it down: its address with all that it holds."""
    loaded, settings = load_study(space)
    settings = settings.with_overrides({"name": "toy", "storage": str(space.parent)}, loaded)
    resolved = {**loaded.to_dict(), "study": settings.model_dump()}
    ledger = Ledger(space.parent / "runs" / "toy" / "ledger.jsonl")
    ledger.path.parent.mkdir(parents=True)
    marks = {"bicubic": {"psnr_y_db": 30.0, "ssim": 0.9}, "teacher": None}
    ledger.append(study_started(resolved, identity="1", marks=marks))
    ledger.append(driver_started(study=resolved["study"]))
    return ledger.path.parent


def begun(config: StudyConfig, marks: dict[str, Any]) -> Any:
    lock = DriverLock(config.folder / "driver.lock").__enter__()  # held as long as the test lasts
    return _open_ledger(config, marks, lock, prepare(config), bool)  # nobody asks it to end


def resumed(*words: object) -> StudyConfig:
    known = ["--resume", "--name", "toy", *map(str, words)]
    return search._prepared(opening.resumed_study(search.parse_arguments(known), None, False))[0]


def test_a_study_from_before_goes_on_and_keeps_it_no_more(toy_space: ToySpace) -> None:
    folder = begun_at_3cb7bf0(toy_space(study={"tracking_uri": ADDRESS}))
    config = resumed("--storage", folder.parent)
    assert config.settings.tracking_uri == ADDRESS
    live = begun(config, {"bicubic": None, "teacher": None})
    searcher = LedgerSearcher(config, live)
    _append_start(config, live, prepare(config))
    assert PW.encode() not in pickle.dumps(searcher)
    assert live.history.study is not None and live.history.study["id"] == "1"
    assert files_with(PW, folder) == ["ledger.jsonl"]  # its first lines, which nobody rewrites
    assert read_events(folder)[2]["study"]["tracking_uri"] == KEPT


def test_a_study_whose_address_has_no_secret_is_asked_nothing(toy_space: ToySpace) -> None:
    for uri in ("http://127.0.0.1:1", "sqlite:///${HOME}/mlflow.db"):
        space = toy_space(study={"tracking_uri": uri})
        folder = begun_at_3cb7bf0(space)
        assert resumed("--storage", folder.parent).settings.tracking_uri == uri
        shutil.rmtree(folder)


def test_where_a_resume_looks_for_it(toy_space: ToySpace, monkeypatch: pytest.MonkeyPatch) -> None:
    space = toy_space(study={"tracking_uri": ADDRESS})
    folder = begun_at_3cb7bf0(space)
    words = ["--storage", folder.parent]
    first = resumed(*words)
    _append_start(first, begun(first, {"bicubic": None, "teacher": None}), prepare(first))
    with pytest.raises(ValueError, match="give the address again"):
        resumed(*words)
    with pytest.raises(ValueError, match="give the address again"):
        resumed(*words, "--tracking-uri", KEPT)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://me:other@elsewhere")
    with pytest.raises(ValueError, match="give the address again"):
        resumed(*words)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", ADDRESS)
    assert resumed(*words).settings.tracking_uri == ADDRESS
    monkeypatch.delenv("MLFLOW_TRACKING_URI")
    assert resumed(*words, "--space", space).settings.tracking_uri == ADDRESS
    other = resumed(*words, "--tracking-uri", "http://127.0.0.1:2")
    kept = other.settings.to_dict()["tracking_uri"]
    assert other.settings.tracking_uri == kept == "http://127.0.0.1:2"


@pytest.mark.parametrize("way", ["override", "space"])
def test_nothing_of_a_study_has_it_however_it_was_given(
    way: str, toy_space: ToySpace, monkeypatch: pytest.MonkeyPatch
) -> None:
    space = toy_space(study={"tracking_uri": ADDRESS} if way == "space" else {})
    words = ["--space", str(space)]
    words += ["--set", f"study.tracking_uri={ADDRESS}"] if way == "override" else []
    monkeypatch.setattr(sys, "argv", ["search.py", *words])
    config, _ = search._prepared(opening.new_study(search.parse_arguments(words), None, False))
    assert config.settings.tracking_uri == ADDRESS
    config.folder.mkdir(parents=True)
    live = begun(config, {"bicubic": None, "teacher": None})
    _append_start(config, live, prepare(config))
    assert files_with(PW, config.folder) == []
    assert PW.encode() not in pickle.dumps(LedgerSearcher(config, live))


@pytest.mark.parametrize("words", [["--nonsense", ADDRESS], [f"--track={ADDRESS}"], [ADDRESS]])
def test_a_refusal_does_not_repeat_it(
    words: list[str], toy_space: ToySpace, capsys: Capture
) -> None:
    with pytest.raises(SystemExit) as left:
        search.main(["--space", str(toy_space()), *words])
    told = capsys.readouterr().err
    assert left.value.code == 2 and PW not in told and KEPT in told


@pytest.mark.parametrize(
    "said",
    [
        f"[{ADDRESS}]",
        f"{{a: '{ADDRESS}'}}",
        f"http://me:{PW}@",
        f"ftp://me:{PW}@h",
        f"me:{PW}@host",
    ],
)
def test_nor_does_that_of_an_address(said: str, toy_space: ToySpace, capsys: Capture) -> None:
    words = ["--space", toy_space(), "--dry-run", "--set", f"study.tracking_uri={said}"]
    code, told = run(capsys, *words)
    assert code == 2 and told.count("\n") == 1 and PW not in told, told


def test_how_to_go_on_says_that_it_must_be_given_again(toy_space: ToySpace) -> None:
    told = search._resume_command(config_of(toy_space(), tracking_uri=ADDRESS))
    assert told.endswith(f" --tracking-uri '{KEPT}'")
    assert "--tracking-uri" not in search._resume_command(config_of(toy_space()))
