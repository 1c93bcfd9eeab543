"""A limit as an objective: what is beyond it is neither proposed nor trained."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from events import added, as_read, driver_started, ended, read, reported, study_ended, study_started

from trainables.marks import costs
from trainables.metrics.cost import COSTS
from trainables.run import Run
from trainables.student_cost import COUNTED, student_cost
from tune_sr import search
from tune_sr.ledger.history import History
from tune_sr.objectives.limit import LIMITED, Limit
from tune_sr.objectives.objective import Objective
from tune_sr.results.results import Results
from tune_sr.results.summary_text import summary_text
from tune_sr.study.config import StudyConfig
from tune_sr.study.limited import LimitError
from tune_sr.study.space_file import load_study

ToySpace = Callable[..., Path]
LIMIT = {"psnr_y_db": "max", "params": {"at_most": 4000}}
STUDENT = {"student": {"name": "vdsr", "blocks": 6, "scales": [2]}}
FIRST: dict[str, Any] = {
    "method.w_R": 1.0, "method.P": 1, "optimiser.lr": 0.01, "student.features": 8,
}  # fmt: skip
"""3,600 parameters; with 12 features some 8,000."""


def limited(toy_space: ToySpace, objective: Any = LIMIT, **study: Any) -> StudyConfig:
    path = toy_space(
        fixed=STUDENT,
        search={"student.features": {"randint": [4, 17]}},
        study={"objective": objective, "scheduler": "none", **study},
        first=[FIRST],
    )
    return StudyConfig(*load_study(path), path.parent / "runs" / "toy")


def test_an_objective_with_a_limit_is_read_back() -> None:
    assert set(LIMITED) == set(COUNTED) < set(COSTS)
    for raw in (LIMIT, {"teacher_agreement": "max", "macs": {"at_least": 1e6}}):
        objective = Objective.parse(raw)
        assert Objective.parse(objective.to_yaml()) == objective and objective.cost is None
    assert Objective.parse(LIMIT) == Objective("psnr_y_db", None, Limit("params", "at_most", 4000))
    assert (Objective.parse(LIMIT).keys, Objective.parse(LIMIT).costs) == (
        ("psnr_y_db",),
        ("params",),
    )
    limit = Limit("macs", "at_least", 200)
    assert limit.problem(200) is None and limit.problem(300) is None
    assert limit.problem(100) == "macs are 100, 50 % beyond the limit of at least 200"


@pytest.mark.parametrize(
    ("raw", "rule"),
    [
        ({"psnr_y_db": "max"}, "a mapping has"),
        ({"psnr_y_db": "min", "params": {"at_most": 1}}, "a mapping has"),
        ({"params": {"at_most": 1}, "psnr_y_db": "max"}, "a mapping has"),
        ({"psnr_y_db": "max", "latency_ms": {"at_most": 1}}, "params and macs can be limited"),
        ({"psnr_y_db": "max", "params": {"below": 1}}, r"takes \{at_most: N\} or"),
        ({"psnr_y_db": "max", "params": {"at_most": 1, "at_least": 1}}, r"takes \{at_most"),
        ({"psnr_y_db": "max", "params": {"at_most": True}}, "a number above 0"),
        ({"psnr_y_db": "max", "params": {"at_most": float("nan")}}, "a number above 0"),
        ({"psnr_y_db": "max", "params": 5}, r"takes \{at_most"),
    ],
)
def test_what_is_no_limit_is_refused_in_one_line(raw: Any, rule: str) -> None:
    with pytest.raises(ValueError, match=rf"^[^\n]*{rule}[^\n]*$"):
        Objective.parse(raw)


@pytest.mark.parametrize("searcher", ["tpe", "auto", "nsga2", "random"])
def test_no_searcher_proposes_a_point_beyond_the_limit(searcher: str, toy_space: ToySpace) -> None:
    study = limited(toy_space, searcher=searcher)
    events = [added(0, FIRST), reported(0, 32, 30.0, "complete"), ended(0)]
    for number in range(1, 12):
        point = study.propose(History.from_events(read(*events)), number)
        assert student_cost(study.trial_config(point), "params") <= 4000
        # Larger is better, so that every model asks for what is beyond.
        value = 30.0 + point["student.features"] / 10
        events += [added(number, point), reported(number, 32, value, "complete"), ended(number)]
    again = study.propose(History.from_events(read(*events)), 12)
    assert again == study.propose(History.from_events(read(*events)), 12)


def test_a_point_beyond_the_limit_cannot_be_trained(toy_space: ToySpace) -> None:
    study = limited(toy_space)
    config = study.trial_config(FIRST)
    for key in COUNTED:
        assert student_cost(config, key) == costs(Run(config), [key])[key]
    params = student_cost(study.space.trial_config({**FIRST, "student.features": 12}), "params")
    with pytest.raises(
        LimitError, match=rf"params are {params:,.0f}, [\d.]+ % beyond the limit of at"
    ):
        study.trial_config({**FIRST, "student.features": 12})


def test_the_closing_block_names_the_limit_and_the_cost(
    toy_space: ToySpace, tmp_path: Path
) -> None:
    study = limited(toy_space)
    reason = "invalid: study.objective: params are 5,000, 67 % beyond the limit of at most 4,000"
    report = {"psnr_y_db": 28.0, "ssim": 0.8, "params": 2500.0}
    events = [
        *(study_started(), driver_started()),
        *(added(0, FIRST), reported(0, 32, report, "complete"), ended(0)),
        *(added(1, {**FIRST, "student.features": 12}), ended(1, "failed", reason), study_ended()),
    ]
    history = History.from_events(as_read(each, float(n)) for n, each in enumerate(events))
    results = Results(tmp_path, study.space, study.settings, history)
    lines = summary_text(study, results).splitlines()
    assert "limit: params at most 4,000; 1 points beyond it were not trained" in lines
    assert results.summary()["objective"] == LIMIT
    assert results.rows()[0]["params"] == 2500.0
    head = next(line for line in lines if line.lstrip().startswith("trial "))
    assert "params" in head
    assert results.best is not None and results.best.name == "0000"


@pytest.mark.parametrize(
    ("changes", "rule"),
    [
        ({"search": {}}, "params are the same for all trials"),
        ({"study": {"scheduler": "pbt"}}, "pbt changes a trial's point while it trains"),
        ({"first": [{**FIRST, "student.features": 16}]}, "beyond the limit of at most 4,000: give"),
    ],
)
def test_a_limit_that_cannot_be_kept_is_refused(
    changes: dict[str, Any],
    rule: str,
    toy_space: ToySpace,
    capsys: pytest.CaptureFixture[str],
) -> None:
    sections: dict[str, Any] = {
        "search": {"student.features": {"randint": [4, 17]}},
        "study": {"objective": LIMIT},
        "first": [FIRST],
    }
    for section, values in changes.items():
        merged = {**sections[section], **values} if values and section == "study" else values
        sections[section] = merged
    if sections["search"]:
        sections["fixed"] = STUDENT
    else:
        sections["first"] = []
    assert search.main(["--space", str(toy_space(**sections)), "--dry-run"]) == 2
    said = capsys.readouterr().err
    assert rule in said and said.count("\n") == 1
