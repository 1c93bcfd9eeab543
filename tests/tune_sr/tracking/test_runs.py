"""The runs that MLflow should hold, folded from a ledger's events."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tune_sr.tracking.runs import MetricPoint, StudyRun, TrialRun, read_summary, summary_points


def event(kind: str, time: float, **fields: Any) -> dict[str, Any]:
    return {"event": kind, "time": time, **fields}


def added(trial: str, time: float = 2.0, **fields: Any) -> dict[str, Any]:
    return event("trial_added", time, trial=trial, number=int(trial), point={"a": 1.5}, **fields)


def reported(trial: str, step: int, time: float, decision: str = "continue", **report: Any) -> Any:
    values = {"step": float(step), "psnr_y_db": 20.0 + step, **report}
    return event("reported", time, trial=trial, step=step, report=values, decision=decision)


def begun(event: dict[str, Any]) -> StudyRun:
    study_run = StudyRun()
    study_run.apply(event)
    return study_run


def folded(*events: dict[str, Any]) -> StudyRun:
    study_run = begun(event("study_started", 1.0, name="night", space={}))
    for each in events:
        study_run.apply(each)
    return study_run


def ended(trial: str, state: str, time: float, reason: str | None = None) -> dict[str, Any]:
    return event("trial_ended", time, trial=trial, state=state, reason=reason)


def take(trial: TrialRun) -> None:
    """What a client does with a run: all that it has, and its end, is sent."""
    trial.run_id, trial.sent = "id", len(trial.reports)
    if trial.state is not None:
        trial.complete, trial.reports = True, {}


def test_a_trial_is_its_reports_and_its_end() -> None:
    study_run = folded(
        added("0000", 2.0), reported("0000", 10, 3.5, ssim=0.5), ended("0000", "completed", 4.25)
    )
    trial = study_run.trials["0000"]
    assert (trial.point, trial.added_ms, trial.ended_ms) == ({"a": 1.5}, 2000, 4250)
    assert (trial.state, trial.reason, trial.complete) == ("completed", None, False)
    points = [MetricPoint("psnr_y_db", 30.0, 3500, 10), MetricPoint("ssim", 0.5, 3500, 10)]
    assert trial.unsent(1000) == (points, 1)
    assert study_run.last_ms == 4250


def test_what_is_no_number_is_no_metric() -> None:
    study_run = folded(added("0000"), reported("0000", 10, 3.0, ssim=None))
    points, _ = study_run.trials["0000"].unsent(1000)
    assert [point.key for point in points] == ["psnr_y_db"]


def test_of_two_reports_of_a_step_the_first_counts() -> None:
    events = (reported("0000", 10, 3.0), reported("0000", 10, 9.0, psnr_y_db=99.0))
    (point,), _ = folded(added("0000"), *events).trials["0000"].unsent(1000)
    assert (point.value, point.timestamp_ms) == (30.0, 3000)


@pytest.mark.parametrize(("decision", "state"), [("stop", "stopped"), ("complete", "completed")])
def test_a_last_decision_is_an_end_which_the_event_of_the_end_does_not_move(
    decision: str, state: Any
) -> None:
    study_run = folded(added("0000"), reported("0000", 10, 3.0, decision))
    trial = study_run.trials["0000"]
    assert (trial.state, trial.ended_ms) == (state, 3000)
    take(trial)
    study_run.apply(ended("0000", state, 5.0))
    assert (trial.ended_ms, trial.complete) == (3000, True)


def test_another_end_than_the_one_sent_is_to_be_sent() -> None:
    study_run = folded(added("0000"), ended("0000", "failed", 3.0, "diverged"))
    take(study_run.trials["0000"])
    study_run.apply(ended("0000", "failed", 5.0, "out of memory"))
    assert [each.reason for each in study_run.unsettled()] == ["out of memory"]


def test_tags_are_what_a_trial_has_of_caveat_copies_and_micro_batch() -> None:
    study_run = folded(added("0000"))
    trial = study_run.trials["0000"]
    assert trial.tags == {}
    study_run.apply(event("attempt", 3.0, trial="0000", reason="out of memory", micro_batch=4))
    study_run.apply(event("attempt", 4.0, trial="0000", reason="lost"))
    assert trial.tags == {"micro_batch": "4"}
    clone = {"trial": "0000", "step": 20, "point": {"a": 2.5, "b": 3}, "caveat": "a copy"}
    study_run.apply(event("cloned", 5.0, **{"from": "0001"}, **clone))
    study_run.apply(event("cloned", 6.0, **{"from": "0002"}, **{**clone, "step": 40}))
    cloned = "from 0002 at step 40; from 0001 at step 20"
    assert trial.tags == {"caveat": "a copy", "cloned": cloned, "micro_batch": "4"}
    study_run.apply(reported("0000", 50, 7.0))
    points, _ = trial.unsent(1000)
    assert points[1:] == [MetricPoint("point/a", 2.5, 7000, 50)]  # b is no float
    assert trial.point == {"a": 1.5}  # the parameters, which cannot change


def test_a_caveat_of_a_trial_comes_with_it() -> None:
    assert folded(added("0000", caveat="random")).trials["0000"].tags == {"caveat": "random"}


@pytest.mark.parametrize(("most", "counts"), [(1, [1, 1, 1]), (4, [2, 1]), (5, [2, 1]), (6, [3])])
def test_batches_are_whole_reports_and_hold_every_point_once(most: int, counts: list[int]) -> None:
    events = [reported("0000", step, 3.0 + step, ssim=0.5) for step in (10, 20, 30)]
    trial = folded(added("0000"), *events).trials["0000"]
    batches = []
    while trial.sent < len(trial.reports):
        points, taken = trial.unsent(most)
        assert len(points) == 2 * taken
        batches.append((points, taken))
        trial.sent += taken
    assert [taken for _, taken in batches] == counts
    sent = [point for points, _ in batches for point in points]
    assert trial.unsent(most) == ([], 0)
    trial.sent = 0
    assert sent == trial.unsent(1000)[0]


def test_what_is_forgotten_is_sent_again_but_for_what_is_complete() -> None:
    study_run = folded(
        added("0000"),
        added("0001"),
        reported("0000", 10, 3.0, "stop"),
        reported("0001", 10, 4.0),
    )
    for trial in study_run.trials.values():
        take(trial)
    assert [trial.name for trial in study_run.unsettled()] == ["0001"]
    study_run.forget()
    stopped, running = study_run.trials.values()
    assert (stopped.run_id, running.run_id, running.sent) == ("id", None, 0)
    assert running.unsent(1000)[1] == 1


def test_a_complete_run_is_sent_no_more_reports() -> None:
    study_run = folded(added("0000"), reported("0000", 10, 3.0, "stop"))
    take(study_run.trials["0000"])
    study_run.apply(reported("0000", 20, 4.0))
    assert list(study_run.unsettled()) == []


def test_a_retried_trial_loses_its_end_and_its_run_is_opened_again() -> None:
    study_run = folded(
        added("0000"), reported("0000", 10, 3.0), ended("0000", "failed", 4.0, "lost")
    )
    trial = study_run.trials["0000"]
    take(trial)
    study_run.apply(event("retried", 5.0, trial="0000", reason="lost"))
    assert (trial.state, trial.reason, trial.complete, trial.reopened) == (None, None, False, True)
    study_run.apply(reported("0000", 20, 6.0))
    assert trial.unsent(1000) == ([MetricPoint("psnr_y_db", 40.0, 6000, 20)], 1)


def test_whether_a_study_is_finished_is_known_between_two_drivers() -> None:
    study_run = folded()
    assert not study_run.finished
    study_run.apply(event("study_ended", 2.0, finished=False))
    assert study_run.finished is False
    study_run.apply(event("driver_started", 3.0))
    assert not study_run.finished
    study_run.apply(event("study_ended", 4.0, finished=True))
    assert study_run.finished is True


def test_a_study_has_failed_when_every_trial_has() -> None:
    assert not folded().failed
    study_run = folded(added("0000"), added("0001"), ended("0000", "failed", 3.0, "diverged"))
    assert not study_run.failed
    study_run.apply(ended("0001", "failed", 4.0, "diverged"))
    assert study_run.failed


def test_a_studys_identity_stays_with_its_ledger() -> None:
    started = event("study_started", 1.0, name="night", space={}, seed=0)
    old, again = begun(started).identity, begun(dict(reversed(started.items()))).identity
    assert old == again and len(old) == 32
    assert begun({**started, "time": 2.0}).identity != old  # ledgers of earlier versions
    assert begun({**started, "id": "a" * 32}).identity == "a" * 32


def test_a_label_of_the_study_holds_for_all_of_its_trials() -> None:
    labels = {"method": "dfsr", "student": "vdsr 6x8", "teacher": "vdsr"}
    cases: tuple[tuple[dict[str, Any], set[str]], ...] = (
        ({"method.w_R": {}}, {"method", "student", "teacher"}),
        ({"method.name": {}, "method.w_R": {}}, {"student", "teacher"}),
        ({"student.width_mult": {}}, {"method", "teacher"}),
    )
    for search, common in cases:
        study = event("study_started", 1.0, space={"search": search})
        assert set(begun(study).study_labels(labels)) == common


def test_kept_students_are_those_of_best_and_front_as_far_as_their_runs_are_known() -> None:
    study_run = folded(added("0000"), added("0001"), added("0002"))
    for name in ("0000", "0001"):
        study_run.trials[name].run_id = f"run of {name}"
    summary = {"best": {"trial": "0001"}, "front": [{"trial": each} for each in ("0000", "0001")]}
    students = dict(study_run.students({**summary, "first": {"trial": "0002"}}))
    assert students == {"run of 0000": "front/0000", "run of 0001": "best"}
    assert list(study_run.students({"best": {"trial": "0002"}})) == []
    assert list(study_run.students({"best": None})) == []


def test_a_summary_gives_the_studys_own_curves(tmp_path: Path) -> None:
    assert read_summary(tmp_path) == {}
    summary = {
        "best": {"trial": "0000", "psnr_y_db": 28, "ssim": None, "params": 5},
        "bicubic": {"psnr_y_db": 26.0, "ssim": 0.7},
        "teacher": None,
        "student_steps": 40,
    }
    (tmp_path / "summary.json").write_text(json.dumps(summary))
    points = summary_points(read_summary(tmp_path), ("psnr_y_db", "ssim"), 9)
    assert points == [
        MetricPoint("best/psnr_y_db", 28.0, 9, 40),
        MetricPoint("bicubic/psnr_y_db", 26.0, 9, 40),
        MetricPoint("bicubic/ssim", 0.7, 9, 40),
    ]
    assert summary_points({}, ("psnr_y_db",), 9) == []
