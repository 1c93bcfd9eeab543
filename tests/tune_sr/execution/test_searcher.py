from __future__ import annotations

import pickle
from collections.abc import Callable, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from events import study_ended
from ray import cloudpickle
from ray.exceptions import ActorDiedError
from ray.tune.schedulers import TrialScheduler
from ray.tune.search import Searcher

from trainables.config import TrialConfig
from trainables.errors import ConfigError
from trainables.methods.dfsr import DFSR
from tune_sr.execution import watchdog
from tune_sr.execution.circuit_breaker import PAUSES_S, CircuitBreaker
from tune_sr.execution.recovery import ATTEMPTS, Fault, LostProcess
from tune_sr.execution.scheduler import LedgerScheduler
from tune_sr.execution.searcher import LedgerSearcher
from tune_sr.execution.state import StudyState
from tune_sr.execution.stoppers import Tripped
from tune_sr.ledger.events import TrialEnded
from tune_sr.ledger.ledger import Ledger
from tune_sr.study.config import StudyConfig
from tune_sr.study.space_file import load_study

STOP, CONTINUE = TrialScheduler.STOP, TrialScheduler.CONTINUE


@pytest.fixture
def config(toy_space: Callable[..., Path], tmp_path: Path) -> StudyConfig:
    return StudyConfig(*load_study(toy_space(study={"trials": 3})), tmp_path / "toy")


@pytest.fixture
def live(tmp_path: Path) -> StudyState:
    return StudyState(Ledger(tmp_path / "ledger.jsonl"))


def reopened(live: StudyState) -> StudyState:
    return StudyState(Ledger(live.ledger.path))


def kinds(live: StudyState) -> list[str]:
    return [event["event"] for event in live.ledger.events()]


def result(step: int, value: float, **more: Any) -> dict[str, Any]:
    report = {"step": float(step), "psnr_y_db": value, "loss/kd": 1.0}
    return {"report": tuple(report.items()), "time_total_s": 3.0, "step_of_ray": 9.0, **more}


def tell(scheduler: LedgerScheduler, trial: str, told: Mapping[str, Any]) -> str:
    return scheduler.on_trial_result(None, SimpleNamespace(config={"trial": trial}), told)


def ended(searcher: LedgerSearcher, live: StudyState, ray_id: str, trial: str) -> None:
    live.append(TrialEnded(trial=trial, state="completed", reason=None))
    searcher.on_trial_complete(ray_id)


# --- what runs next -----------------------------------------------------------------------------


def test_the_first_point_comes_first_and_is_written_before_it_runs(
    config: StudyConfig, live: StudyState
) -> None:
    given = LedgerSearcher(config, live).suggest("a")
    assert given == {"trial": "0000", "heard": 0, **config.space.first_points[0]}
    (added,) = live.ledger.events()
    assert added["event"] == "trial_added" and added["point"] == config.space.first_points[0]


def test_what_is_known_against_a_result_is_written_with_its_trial(
    config: StudyConfig, live: StudyState, monkeypatch: pytest.MonkeyPatch
) -> None:
    def caveat(_: type[DFSR], method: Any) -> str | None:
        return f"w_R is {method.w_R:g}" if method.w_R == 1.0 else None

    monkeypatch.setattr(DFSR, "caveat", classmethod(caveat))
    searcher = LedgerSearcher(config, live)
    for ray_id in "ab":
        searcher.suggest(ray_id)
    first, second = live.ledger.events()
    assert first["caveat"] == live.history.trials["0000"].caveat == "w_R is 1"
    assert "caveat" not in second and live.history.trials["0001"].caveat is None


def test_it_waits_while_the_last_run_and_finishes_after_them(
    config: StudyConfig, live: StudyState
) -> None:
    searcher = LedgerSearcher(config, live)
    names = [searcher.suggest(ray_id)["trial"] for ray_id in "abc"]
    assert names == ["0000", "0001", "0002"]
    assert searcher.suggest("d") is None
    for ray_id, name in zip("abc", names, strict=True):
        assert searcher.suggest("d") is None
        ended(searcher, live, ray_id, name)
    assert searcher.suggest("d") == Searcher.FINISHED


def test_a_settled_search_proposes_nothing_more_and_resumes_settled(
    toy_space: Callable[..., Path], tmp_path: Path, live: StudyState
) -> None:
    space = toy_space(study={"trials": 9, "until": {"trials": 2, "gain_db": 0.1}})
    config = StudyConfig(*load_study(space), tmp_path / "toy")
    searcher, scheduler = LedgerSearcher(config, live), LedgerScheduler(config, live)
    for number, value in enumerate((30.0, 29.0, 30.1)):
        assert isinstance(searcher.suggest(f"ray {number}"), dict)
        tell(scheduler, f"000{number}", result(config.space.budget.steps, value))
        searcher.on_trial_complete(f"ray {number}")
    assert searcher.suggest("more") == Searcher.FINISHED
    assert LedgerSearcher(config, reopened(live)).suggest("again") == Searcher.FINISHED


def test_a_resume_issues_what_had_not_ended_and_says_what_was_heard(
    config: StudyConfig, live: StudyState
) -> None:
    searcher, scheduler = LedgerSearcher(config, live), LedgerScheduler(config, live)
    for ray_id in "ab":
        searcher.suggest(ray_id)
    tell(scheduler, "0001", result(4, 20.0))
    ended(searcher, live, "a", "0000")

    live = reopened(live)
    resumed = LedgerSearcher(config, live)
    point = live.history.trials["0001"].point
    assert resumed.suggest("x") == {"trial": "0001", "heard": 4, **point}
    assert list(live.ledger.events())[-1]["event"] == "attempt"
    assert list(live.ledger.events())[-1]["attempt"] == 2
    assert resumed.suggest("y")["trial"] == "0002"
    assert resumed.suggest("z") is None


def test_a_lost_process_is_tried_again_from_what_was_heard_but_not_for_ever(
    config: StudyConfig, live: StudyState
) -> None:
    searcher, scheduler = LedgerSearcher(config, live), LedgerScheduler(config, live)
    searcher.suggest("0")
    tell(scheduler, "0000", result(4, 20.0))
    for attempt in range(1, ATTEMPTS):
        searcher.on_trial_complete(str(attempt - 1), error=True)
        again = searcher.suggest(str(attempt))
        assert (again["trial"], again["heard"]) == ("0000", 4)
        event = list(live.ledger.events())[-1]
        assert (event["attempt"], event["reason"]) == (attempt + 1, "its process was lost")
    searcher.on_trial_complete(str(ATTEMPTS - 1), error=True)
    assert live.history.trials["0000"].state == "failed"
    assert "lost 4 times" in live.history.trials["0000"].reason
    assert searcher.suggest("z")["trial"] == "0001"


def test_out_of_memory_a_trial_begins_again_with_half_of_its_batch_at_a_time_and_once(
    config: StudyConfig, live: StudyState
) -> None:
    searcher, scheduler = LedgerSearcher(config, live), LedgerScheduler(config, live)
    point = searcher.suggest("a")
    tell(scheduler, "0000", result(4, 20.0))
    assert tell(scheduler, "0000", {"failed": "out of memory: 2 GiB more"}) == STOP
    searcher.on_trial_complete("a", {})
    assert searcher.suggest("b") == {**point, "heard": 4, "micro_batch": 1}
    attempt = list(live.ledger.events())[-1]
    assert (attempt["attempt"], attempt["micro_batch"]) == (2, 1)
    assert attempt["reason"] == "out of memory: 2 GiB more; again with 1 of 2 images at a time"

    live = reopened(live)  # the driver was killed: what is known of the trial is in the ledger
    searcher, scheduler = LedgerSearcher(config, live), LedgerScheduler(config, live)
    assert searcher.suggest("a")["micro_batch"] == 1
    assert tell(scheduler, "0000", {"failed": "out of memory: 1 GiB more"}) == STOP
    searcher.on_trial_complete("a", {})
    record = live.history.trials["0000"]
    assert (record.state, record.attempts) == ("failed", 2)
    assert record.reason.startswith("out of memory: 1 GiB more; with 1 of 2 images at a time: ")
    assert searcher.suggest("b")["trial"] == "0001"


@pytest.mark.parametrize(
    ("said", "reason", "counts"),
    [
        ("The actor died because its node has died. Node Id: 0a", "its node was lost", False),
        ("Task was killed due to the node running low on memory.", "out of memory: ", True),
        ("Worker unexpectedly exits with a connection error", "its process was lost", True),
    ],
)
def test_what_ray_says_of_a_lost_process_decides_whether_it_counts(
    said: str, reason: str, counts: bool, config: StudyConfig, live: StudyState, tmp_path: Path
) -> None:
    searcher, scheduler = LedgerSearcher(config, live), LedgerScheduler(config, live)
    text = tmp_path / "error.txt"
    text.write_text(f"Failure # 1 (occurred at 2026-11-21_12-00-00)\n{said}\n")
    trial = SimpleNamespace(config={"trial": "0000"}, error_file=str(text), pickled_error_file=None)
    for attempt in range(2 * ATTEMPTS):
        if searcher.suggest(str(attempt))["trial"] != "0000":
            break
        scheduler.on_trial_error(None, trial)
        searcher.on_trial_complete(str(attempt), error=True)
    record = live.history.trials["0000"]
    attempts = [event for event in live.ledger.events() if event["event"] == "attempt"]
    assert all(event["reason"].startswith(reason) for event in attempts)
    assert (record.state == "failed", len(attempts)) == (counts, 3 if counts else 7)
    assert record.micro_batch == (1 if reason.startswith("out of memory") else None)


def never_began(searcher: LedgerSearcher, scheduler: LedgerScheduler, ray_id: str) -> str | None:
    """The next trial, which meets a fault of the machine; None where there is none now."""
    given = searcher.suggest(ray_id)
    if not isinstance(given, dict):
        return given
    told = {"failed": "FileNotFoundError: teacher.safetensors", "fault": True}
    assert tell(scheduler, given["trial"], told) == STOP
    searcher.on_trial_complete(ray_id, {})
    return str(given["trial"])


def test_a_fault_of_the_machine_pauses_a_trial_and_counts_against_none(
    config: StudyConfig, live: StudyState, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = [0.0]
    monkeypatch.setattr(live, "breaker", CircuitBreaker(lambda: clock[0]))
    searcher, scheduler = LedgerSearcher(config, live), LedgerScheduler(config, live)
    assert never_began(searcher, scheduler, "a") == "0000"
    for pause in PAUSES_S[:2]:
        assert searcher.suggest("b") is None  # nor does a new trial take its place
        clock[0] += pause
        assert never_began(searcher, scheduler, "b") == "0000"
    clock[0] += PAUSES_S[2]
    assert searcher.suggest("c")["trial"] == "0000"
    assert tell(scheduler, "0000", result(4, 20.0)) == CONTINUE
    attempts = [event for event in live.ledger.events() if event["event"] == "attempt"]
    assert [event["attempt"] for event in attempts] == [2, 3, 4]
    assert {event["reason"] for event in attempts} == {"FileNotFoundError: teacher.safetensors"}
    assert "trial_ended" not in kinds(live)
    assert searcher.suggest("d")["trial"] == "0001"


def test_three_trials_in_a_row_that_cannot_begin_stop_the_study(
    config: StudyConfig, live: StudyState, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = [0.0]
    monkeypatch.setattr(live, "breaker", CircuitBreaker(lambda: clock[0]))
    searcher, scheduler = LedgerSearcher(config, live), LedgerScheduler(config, live)
    tried = []
    while not live.breaker.tripped:
        tried.append(never_began(searcher, scheduler, "a"))
        clock[0] += max(PAUSES_S)
    each = len(PAUSES_S) + 1
    assert tried == ["0000"] * each + ["0001"] * each + ["0002"] * each
    assert searcher.suggest("b") == Searcher.FINISHED and Tripped(live).stop_all()
    assert "trial 0000, 0001, 0002 could not begin" in str(live.breaker.given_up)
    assert "trial_ended" not in kinds(live)
    assert [each.name for each in reopened(live).history.running()] == ["0000", "0001", "0002"]


def test_a_process_that_never_ran_is_the_machines_fault_and_one_that_ran_may_be_its_trials(
    config: StudyConfig, live: StudyState
) -> None:
    scheduler = LedgerScheduler(config, live)
    trial = SimpleNamespace(
        config={"trial": "0000"}, error_file=None, pickled_error_file=None,
        status="PENDING", PENDING="PENDING", RUNNING="R",
    )  # fmt: skip
    scheduler.on_trial_add(None, trial)
    assert scheduler.choose_trial_to_run(SimpleNamespace(get_trials=list)) is trial
    scheduler.on_trial_error(None, trial)
    assert live.pending_retries.pop("0000") == Fault("its process could not begin")
    scheduler.on_trial_add(None, trial)
    trial.status = "R"
    scheduler.choose_trial_to_run(SimpleNamespace(get_trials=list))
    scheduler.on_trial_error(None, trial)
    assert live.pending_retries.pop("0000") == LostProcess("its process was lost")


@pytest.mark.parametrize("preempted", [True, False])
def test_a_preempted_node_is_read_off_rays_error_without_carrying_it_out(
    preempted: bool, config: StudyConfig, live: StudyState, tmp_path: Path
) -> None:
    error = ActorDiedError()  # its text does not name the node where the process is lost first
    error._preempted = preempted
    (tmp_path / "error.pkl").write_bytes(cloudpickle.dumps(error))
    files = {"error_file": None, "pickled_error_file": str(tmp_path / "error.pkl")}
    trial = SimpleNamespace(config={"trial": "0000"}, **files)
    LedgerScheduler(config, live).on_trial_error(None, trial)
    found = live.pending_retries.pop("0000")
    assert isinstance(found, LostProcess)
    assert found.reason == ("its node was preempted" if preempted else "its process was lost")
    assert found.counts is not preempted


def test_failed_trials_are_tried_again_where_that_is_asked_and_their_ends_are_written(
    config: StudyConfig, live: StudyState
) -> None:
    searcher, scheduler = LedgerSearcher(config, live), LedgerScheduler(config, live)
    for ray_id, reason in (("a", "OSError: gone"), ("b", "diverged at step 3: loss/kd")):
        name = searcher.suggest(ray_id)["trial"]
        assert tell(scheduler, name, {"failed": reason}) == STOP
        searcher.on_trial_complete(ray_id, {})
    live = reopened(live)
    live.retry_failed()
    live.retry_failed()
    assert kinds(live).count("retried") == 1
    searcher, scheduler = LedgerSearcher(config, live), LedgerScheduler(config, live)
    assert searcher.suggest("a")["trial"] == "0000"
    tell(scheduler, "0000", result(32, 20.0))
    lines = live.ledger.path.read_bytes().splitlines(keepends=True)
    live.ledger.path.write_bytes(b"".join(lines[:-1]))  # killed between decision and end
    live = reopened(live)
    live.write_missing_ends()
    assert list(live.ledger.events())[-1]["event"] == "trial_ended"
    states = [record.state for record in reopened(live).history.trials.values()]
    assert states == ["completed", "failed"]


class Capacity:
    """A cluster's places as a test has them."""

    def __init__(self, count: int = 1) -> None:
        self.now, self.gone = count, 0

    def slots(self) -> int:
        return self.now

    def nodes_lost(self) -> int:
        return self.gone


def test_as_many_run_as_the_nodes_take_and_none_is_waited_for_after_the_last(
    config: StudyConfig, live: StudyState
) -> None:
    capacity = Capacity()
    searcher = LedgerSearcher(config, live, capacity)
    assert searcher.suggest("a")["trial"] == "0000"
    assert searcher.suggest("b") is None and len(live.history.trials) == 1
    capacity.now = 2
    assert searcher.suggest("b")["trial"] == "0001"
    capacity.now = 0  # both their nodes are lost
    for ray_id in ("a", "b"):
        searcher.on_trial_complete(ray_id, error=True)
    assert searcher.suggest("c") is None
    capacity.now = 3
    for ray_id, trial in zip("def", ("0000", "0001", "0002"), strict=True):
        assert searcher.suggest(ray_id)["trial"] == trial
        ended(searcher, live, ray_id, trial)
    capacity.now = 0
    assert searcher.suggest("g") == Searcher.FINISHED


def test_a_lost_node_is_not_held_against_its_trials(config: StudyConfig, live: StudyState) -> None:
    capacity = Capacity()
    searcher = LedgerSearcher(config, live, capacity)
    for attempt in range(ATTEMPTS + 2):
        assert searcher.suggest(str(attempt))["trial"] == "0000"
        capacity.gone = min(2, attempt)
        searcher.on_trial_complete(str(attempt), error=True)
    record = live.history.trials["0000"]
    assert (record.state, record.reason) == ("failed", "its process was lost 6 times")


def test_a_trial_that_waits_for_a_place_does_not_hang(
    config: StudyConfig, live: StudyState, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watchdog, "FIRST_S", 0.0)
    monkeypatch.setattr(watchdog, "_LOOK_S", 0.0)
    LedgerSearcher(config, live).suggest("a")
    killed: list[Any] = []
    monkeypatch.setattr("ray.kill", killed.append)
    scheduler = LedgerScheduler(config, live)
    state = SimpleNamespace(ray_actor="actor")
    says = {"PENDING": "PENDING", "RUNNING": "RUNNING", "temporary_state": state}
    trial: Any = SimpleNamespace(config={"trial": "0000"}, status="PENDING", **says)
    controller: Any = SimpleNamespace(get_trials=lambda: [trial])
    scheduler.on_trial_add(controller, trial)
    assert scheduler.choose_trial_to_run(controller) is trial
    assert not killed and live.history.trials["0000"].state is None
    trial.status = "RUNNING"
    assert scheduler.choose_trial_to_run(controller) is None
    assert killed == ["actor"] and live.history.trials["0000"].state == "failed"


def test_a_process_lost_after_the_last_word_is_not_missed(
    config: StudyConfig, live: StudyState
) -> None:
    searcher, scheduler = LedgerSearcher(config, live), LedgerScheduler(config, live)
    searcher.suggest("0")
    assert tell(scheduler, "0000", result(32, 20.0)) == STOP
    searcher.on_trial_complete("0", error=True)
    assert searcher.suggest("1")["trial"] == "0001"


def test_a_point_that_cannot_be_configured_fails_and_the_next_is_proposed(
    config: StudyConfig, live: StudyState, monkeypatch: pytest.MonkeyPatch
) -> None:
    def configure(self: StudyConfig, point: Mapping[str, Any]) -> TrialConfig:
        if point == config.space.first_points[0]:
            raise ConfigError("method.P", "not on a Monday")
        return config.space.trial_config(point)

    monkeypatch.setattr(StudyConfig, "trial_config", configure)
    assert LedgerSearcher(config, live).suggest("a")["trial"] == "0001"
    assert live.history.trials["0000"].state == "failed"
    assert live.history.trials["0000"].reason == "invalid: method.P: not on a Monday"
    assert kinds(live) == ["trial_added", "trial_ended", "trial_added"]


# --- what goes on -------------------------------------------------------------------------------


def test_a_report_is_written_with_its_decision_and_nothing_of_rays(
    config: StudyConfig, live: StudyState
) -> None:
    LedgerSearcher(config, live).suggest("a")
    scheduler = LedgerScheduler(config, live)
    assert tell(scheduler, "0000", result(4, 20.0)) == CONTINUE
    event = list(live.ledger.events())[-1]
    assert event["report"] == {"step": 4.0, "psnr_y_db": 20.0, "loss/kd": 1.0}
    assert (event["step"], event["decision"]) == (4, "continue")
    assert tell(scheduler, "0000", result(32, 20.0)) == STOP
    assert [each["event"] for each in live.ledger.events()][-2:] == ["reported", "trial_ended"]
    assert live.history.trials["0000"].state == "completed"


def test_the_worse_of_two_stops_at_the_rung(config: StudyConfig, live: StudyState) -> None:
    searcher, scheduler = LedgerSearcher(config, live), LedgerScheduler(config, live)
    searcher.suggest("a"), searcher.suggest("b")
    assert tell(scheduler, "0000", result(12, 21.0)) == CONTINUE
    assert tell(scheduler, "0001", result(12, 20.0)) == STOP
    assert live.history.trials["0001"].state == "stopped"


def test_how_it_stood_is_written_where_a_rung_was_asked(
    config: StudyConfig, live: StudyState
) -> None:
    searcher, scheduler = LedgerSearcher(config, live), LedgerScheduler(config, live)
    searcher.suggest("a"), searcher.suggest("b")
    for trial, step, value in (("0000", 4, 22.0), ("0000", 12, 21.0), ("0001", 12, 20.0)):
        tell(scheduler, trial, result(step, value))
    before, first, second = [e for e in live.ledger.events() if e["event"] == "reported"]
    assert "judged" not in before
    assert first["judged"] == {"value": 22.0, "needed": None, "rank": 1, "of": 1}
    assert second["judged"] == {"value": 20.0, "needed": 22.0, "rank": 2, "of": 2}


def test_where_an_attempt_runs_is_written_once_and_before_its_first_report(
    config: StudyConfig, live: StudyState
) -> None:
    searcher, scheduler = LedgerSearcher(config, live), LedgerScheduler(config, live)
    searcher.suggest("a")
    tell(scheduler, "0000", result(4, 20.0, place=("node-7", "1", 1000.5)))
    tell(scheduler, "0000", result(8, 20.0))
    assert kinds(live) == ["trial_added", "trial_started", "reported", "reported"]
    live = reopened(live)  # and another driver goes on, on another node
    LedgerSearcher(config, live).suggest("b")
    tell(LedgerScheduler(config, live), "0000", {"failed": "diverged", "place": ("b", None, 2.0)})
    assert live.history.trials["0000"].places == [(1, "node-7", "1", 1000.5), (2, "b", None, 2.0)]
    assert live.history.trials["0000"].state == "failed"


def test_a_report_made_twice_gets_the_decision_it_had_and_counts_once(
    config: StudyConfig, live: StudyState
) -> None:
    searcher = LedgerSearcher(config, live)
    searcher.suggest("a"), searcher.suggest("b")
    tell(LedgerScheduler(config, live), "0000", result(12, 20.0))
    tell(LedgerScheduler(config, live), "0001", result(12, 30.0))
    live = reopened(live)
    # Asked anew, the rung would now stop it: another trial has come by and was better.
    assert tell(LedgerScheduler(config, live), "0000", result(12, 20.0)) == CONTINUE
    assert kinds(live).count("reported") == 3 and live.history.repeats == 1


def test_an_end_that_was_decided_and_not_written_is_written_by_the_next_driver(
    config: StudyConfig, live: StudyState
) -> None:
    LedgerSearcher(config, live).suggest("a")
    tell(LedgerScheduler(config, live), "0000", result(32, 20.0))
    lines = live.ledger.path.read_bytes().splitlines(keepends=True)
    live.ledger.path.write_bytes(b"".join(lines[:-1]))  # as a kill between the two lines leaves it
    live = reopened(live)
    live.write_missing_ends(), live.write_missing_ends()
    assert kinds(live) == ["trial_added", "reported", "trial_ended"]
    assert list(live.ledger.events())[-1]["state"] == "completed"


def test_a_failure_ends_the_trial_with_its_reason(config: StudyConfig, live: StudyState) -> None:
    LedgerSearcher(config, live).suggest("a")
    told = {"failed": "diverged at step 7: loss/kd is not finite", "notes": ["mind the gap"]}
    assert tell(LedgerScheduler(config, live), "0000", told) == STOP
    assert live.history.trials["0000"].state == "failed"
    assert live.history.trials["0000"].reason == told["failed"]


def test_both_can_be_pickled_and_their_copies_write_nothing(
    config: StudyConfig, live: StudyState
) -> None:
    for adapter in (LedgerSearcher(config, live), LedgerScheduler(config, live)):
        copy = pickle.loads(pickle.dumps(adapter))
        with pytest.raises(RuntimeError, match="only the driver"):
            copy._live.append(study_ended())
    assert kinds(live) == []
