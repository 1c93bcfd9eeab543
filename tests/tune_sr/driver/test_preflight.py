"""What can be found out before a study starts is found out, for all of its first points."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from trainables.data.training import TrainingSet
from tune_sr import search
from tune_sr.driver.preflight import prepare, seconds_of_report
from tune_sr.study.config import StudyConfig
from tune_sr.study.space_file import load_study

ToySpace = Callable[..., Path]
DFSR = {"method.w_R": 1.0, "method.P": 1, "optimiser.lr": 0.01}


@pytest.fixture
def searched_method(toy_space: ToySpace, toy_folder: Path) -> Callable[..., StudyConfig]:
    """A study of DFSR, which sees no image, and Scratch, which does."""

    def make(*first: dict[str, Any], **data: str) -> StudyConfig:
        dfsr = {"when": {"method.name": "dfsr"}}
        search = {
            "method.name": {"choice": ["dfsr", "scratch"]},
            "method.w_R": {"uniform": [0.0, 3.0], **dfsr},
            "method.P": {"choice": [1, 2], **dfsr},
        }
        fixed = {"method": {}, "data": data or {"images": str(toy_folder / "images")}}
        path = toy_space(fixed=fixed, search=search, first=list(first))
        return StudyConfig(*load_study(path), toy_folder / "runs" / "prepared")

    return make


def test_images_that_only_a_later_trial_needs_are_shared(
    searched_method: Callable[..., StudyConfig],
) -> None:
    free = {"method.name": "dfsr", **DFSR}
    taught = {"method.name": "scratch", "optimiser.lr": 0.01}
    for first in ([free, taught], [taught, free], [free]):  # scratch is searched in each
        train = prepare(searched_method(*first)).images.train
        assert isinstance(train, TrainingSet)
        assert tuple(train.photographs) == (2,)


def test_pairs_are_checked_before_anything_starts(
    searched_method: Callable[..., StudyConfig], toy_folder: Path
) -> None:
    same = str(toy_folder / "images")
    config = searched_method({"method.name": "scratch", "optimiser.lr": 0.01}, lr=same, hr=same)
    with pytest.raises(ValueError, match=r"images: a\.png is 32x32 and a\.png is 32x32, which is"):
        prepare(config)
    assert not config.folder.exists()


def test_a_dry_run_warns_of_reports_that_cost_more_than_the_training_between(
    toy_space: ToySpace, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    threads = {"threads": 1}  # more would wait for each other where other tests run beside
    short = toy_space("short", fixed={"budget": {"steps": 16, "steps_per_report": 2}, **threads})
    assert search.main(["--space", str(short), "--dry-run"]) == 0
    assert "less than it costs: raise budget.steps_per_report" in capsys.readouterr().out
    budget = {"steps": 8_000_000, "steps_per_report": 1_000_000}
    long = toy_space("long", fixed={"budget": budget, **threads})
    prepared = prepare(StudyConfig(*load_study(long), tmp_path / "runs" / "prepared"))
    assert seconds_of_report(prepared) is None  # nor is an update made to find out
    assert search.main(["--space", str(long), "--dry-run"]) == 0
    assert "warning" not in capsys.readouterr().out


def test_what_students_start_from_is_named_before_anything_starts(
    toy_space: ToySpace, toy_folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    file = toy_folder / "teacher.safetensors"

    def study(features: int) -> StudyConfig:
        student = {"name": "vdsr", "features": features, "blocks": 6, "scales": [2]}
        path = toy_space(fixed={"student": {**student, "start": str(file)}})
        return StudyConfig(*load_study(path), toy_folder / "runs" / "prepared")

    with pytest.raises(ValueError, match=r"student\.start: .*none of its tensors has the name"):
        prepare(study(features=4))
    prepared = prepare(study(features=8))
    assert set(prepared.starts) == {f"student.start={file}"} <= set(prepared.digests)
    (words,) = prepared.starts.values()
    assert words == "teacher.safetensors: 8 of 8 tensors taken"
    assert f"student.start: {words}" in caplog.text
