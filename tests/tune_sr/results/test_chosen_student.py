"""Which student a command line means."""

from __future__ import annotations

from pathlib import Path

import pytest

from tune_sr.results.chosen_student import chosen_student, newest_finished, read_summary, study_of


@pytest.fixture
def study(tmp_path: Path) -> Path:
    folder = tmp_path / "runs" / "toy"
    for inner in ("best", "front/0002"):
        (folder / inner).mkdir(parents=True)
        (folder / inner / "student.safetensors").touch()
    (folder / "ledger.jsonl").touch()
    return folder


def test_a_file_knows_its_study(study: Path, tmp_path: Path) -> None:
    for inner in ("best", "front/0002"):
        found = chosen_student(str(study / inner / "student.safetensors"))
        assert found.study == study
    (tmp_path / "x.pth").touch()
    assert chosen_student(str(tmp_path / "x.pth")).study is None
    assert study_of(Path("/x.pth")) is None


def test_a_folder_is_a_study_or_a_training(study: Path, tmp_path: Path) -> None:
    found = chosen_student(str(study))
    assert (found.file, found.study) == (study / "best" / "student.safetensors", study)
    assert found.described == f"{study} (best)"
    training = tmp_path / "train"
    training.mkdir()
    with pytest.raises(ValueError, match="neither a study nor a training"):
        chosen_student(str(training))
    (training / "student.safetensors").touch()
    assert chosen_student(str(training)).file == training / "student.safetensors"
    (study / "best" / "student.safetensors").unlink()
    with pytest.raises(ValueError, match="no trial of this study has a student yet"):
        chosen_student(str(study))


def test_what_is_no_summary_is_none(study: Path) -> None:
    assert read_summary(study) == {}
    for text in ("[1]", "{", '{"finished": 1}'):
        (study / "summary.json").write_text(text)
        assert newest_finished(study.parent) is None
    (study / "summary.json").write_text('{"finished": true}')
    assert newest_finished(study.parent) == study
    assert chosen_student(None, study.parent).study == study
    assert chosen_student(None, study).file.stem == "vdsr"
