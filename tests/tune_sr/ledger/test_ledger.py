import json
import logging
import math
import pickle
import threading
from dataclasses import fields

import pytest
from events import (
    added,
    as_read,
    attempt,
    cloned,
    driver_started,
    ended,
    point_asked,
    read,
    reported,
    retried,
    started,
    stop_asked,
    study_ended,
    study_started,
    taken,
)

from tune_sr.ledger.events import FIELDS, KINDS, typed
from tune_sr.ledger.history import History
from tune_sr.ledger.ledger import Ledger
from tune_sr.ledger.reports import Judged, Reported
from tune_sr.ledger.tail import Tail, follow
from tune_sr.tracking.runs import StudyRun


def folded(*events):
    return History.from_events(read(*events))


@pytest.fixture
def ledger(tmp_path):
    return Ledger(tmp_path / "ledger.jsonl")


def test_an_event_is_returned_as_it_is_read(ledger):
    written = [
        ledger.append(driver_started()),
        ledger.append(added(0, {"split": (1, 2), 3: True})),
        ledger.append(reported(0, 4, {"psnr_y_db": math.nan, "lr": 1e-4}, "stop")),
    ]
    assert list(ledger.events()) == written
    assert written[1]["point"] == {"split": [1, 2], "3": True}
    assert written[2]["report"] == {"psnr_y_db": None, "lr": 1e-4}
    assert all(isinstance(event["time"], float) for event in written)


def test_every_line_is_strict_json(ledger):
    ledger.append(reported(0, 1, {"a": math.inf, "b": [math.nan], "c": "two\nlines é"}))
    text = ledger.path.read_text()
    assert text.count("\n") == 1
    json.loads(text, parse_constant=lambda word: pytest.fail(word))


def test_no_file_is_no_event(ledger):
    assert list(ledger.events()) == []
    assert not ledger.path.exists()


def test_a_kill_at_any_byte_loses_that_line_only(ledger, caplog):
    caplog.set_level(logging.CRITICAL)
    kept = ledger.append(added(0, {"a": {"b": [1, "x}"]}}))
    start = ledger.path.stat().st_size
    last = ledger.append(reported(0, 1, {"psnr_y_db": 30.5}, "stop"))
    whole = ledger.path.read_bytes()
    for cut in range(start, len(whole) + 1):
        ledger.path.write_bytes(whole[:cut])
        survivors = [kept, last] if cut >= len(whole) - 1 else [kept]
        assert list(ledger.events()) == survivors
        after = Ledger(ledger.path).append(driver_started(pid=8))
        assert list(ledger.events()) == [*survivors, after]
        assert ledger.path.read_bytes().startswith(whole[:cut]), "append-only"


def test_a_half_written_line_is_named(ledger, caplog):
    ledger.append(driver_started(pid=1))
    with ledger.path.open("ab") as file:
        file.write(b'{"event": "repor')
    assert len(list(ledger.events())) == 1
    assert "ledger.jsonl:2: a half-written line is skipped" in caplog.text


def test_threads_never_share_a_line(ledger):
    for number in range(4):
        ledger.append(added(number))

    def write(thread):
        for count in range(20):
            ledger.append(attempt(thread, "x" * 500, count))

    threads = [threading.Thread(target=write, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert ledger.path.read_bytes().count(b"\n") == len(list(ledger.events())) == 84


def test_a_pickled_copy_reads_and_refuses_to_append(ledger):
    event = ledger.append(driver_started(pid=1))
    copy = pickle.loads(pickle.dumps(ledger))
    assert list(copy.events()) == [event]
    with pytest.raises(RuntimeError, match="only the driver"):
        copy.append(driver_started(pid=2))


def test_follow_yields_what_is_written_later_and_ends_with_all_of_it(ledger):
    stop, seen, first = threading.Event(), [], threading.Event()

    def read():
        for event in follow(ledger.path, stop, poll_s=0.01):
            seen.append(event)
            first.set()

    reader = threading.Thread(target=read)
    reader.start()
    written = [ledger.append(driver_started(pid=1))]
    assert first.wait(10)
    with ledger.path.open("ab") as file:
        file.write(b'{"event": "half')
    written.append(ledger.append(study_ended()))
    stop.set()
    reader.join(10)
    assert seen == written


def test_follow_ends_with_a_last_line_that_lacks_only_its_end(ledger):
    event = ledger.append(driver_started(pid=1))
    ledger.path.write_bytes(ledger.path.read_bytes().rstrip(b"\n"))
    stop = threading.Event()
    stop.set()
    assert list(follow(ledger.path, stop)) == [event]


def test_a_reader_holds_a_chunk_at_a_time_and_loses_no_line_between_two(ledger, monkeypatch):
    monkeypatch.setattr("tune_sr.ledger.tail._CHUNK", 64)
    notes = [{"note": "x" * (40 * count)} for count in range(6)]
    written = [ledger.append(driver_started(study=note)) for note in notes]
    tail, rounds = Tail(ledger.path), []
    while events := tail.read():
        rounds.append(events)
    assert [event for events in rounds for event in events] == written and len(rounds) > 3
    assert tail.read() == tail.rest() == []
    written.append(ledger.append(study_ended()))
    assert tail.read() == written[-1:]


def test_the_first_report_of_a_step_counts():
    history = folded(added(0), reported(0, 10, 30.0), reported(0, 10, 99.0, "stop"))
    assert history.trials["0000"].reports[10] == Reported(
        {"step": 10, "psnr_y_db": 30.0}, "continue", 1.0
    )
    assert history.trials["0000"].state is None
    assert history.repeats == 1


@pytest.mark.parametrize(("decision", "state"), [("stop", "stopped"), ("complete", "completed")])
def test_a_final_decision_ends_a_trial_whose_end_was_not_written(decision, state):
    history = folded(added(0), added(1), reported(0, 10, 30.0, decision))
    assert history.trials["0000"].state == state
    assert [record.name for record in history.running()] == ["0001"]


def test_an_explicit_end_wins():
    history = folded(added(0), reported(0, 10, 30.0), ended(0, "failed", "diverged"))
    record = history.trials["0000"]
    assert (record.state, record.reason) == ("failed", "diverged")


def test_a_study_is_finished_until_a_driver_extends_it():
    events = [driver_started(), study_ended()]
    assert folded(*events).finished
    extended = folded(*events, driver_started(2))
    assert not extended.finished
    assert extended.starts == 2


def test_live_and_replayed_histories_agree(ledger):
    live = History()
    for event in (
        added(0, {"x": 1.5}),
        reported(0, 1, math.inf),
        ended(0, "failed", "diverged"),
        added(1),
    ):
        live.apply(ledger.append(event))
    replayed = History.from_events(ledger.events())
    assert repr(replayed) == repr(live)
    assert math.isnan(live.trials["0000"].reports[1].report["psnr_y_db"])


FIT = read(
    study_started({"study": {}}, digests={}),
    driver_started(),
    taken({"lr": 0.1}, 0.5),
    added(0, {"lr": 0.1}),
    attempt(0),
    started(0, gpu="0"),
    reported(0, 10, 30.0, judged=Judged(30.0, 29.0, 1, 2)),
    cloned(0, 0, 10, {}),
    ended(0),
    retried(0),
    stop_asked(0),
    point_asked({"lr": 0.2}),
    study_ended(),
)
"""An event of every kind."""
UNREAD = {
    *(
        "attempt",
        "name",
        "id",
        "seed",
        "host",
        "pid",
        "start",
    ),  # no value of which is computed with
    # Old ledgers have none of these.
    *("reason", "study", "marks", "digests", "caveat", "edition", "starts"),
    *("of", "misfits", "judged", "began"),  # shown, not computed with
}
WRONG = {
    "space": [[], None], "study": [[1]], "marks": ["x"], "trial": [7, None, [], "0007"],
    "number": ["0", -1, 1.5, True, None], "point": [None, []], "step": ["10", None, -1, True],
    "report": [None, [], {"psnr_y_db": "30"}, {"psnr_y_db": [30]}], "decision": ["go", None, []],
    "from": [7, None], "caveat": [7], "state": ["done", None, {}], "finished": ["yes", None],
    "reason": [[]], "digests": [[], None], "node": [7], "gpu": [0, ["0"]], "began": ["now"],
    "judged": [[1.0], {"value": "30"}, {"rank": True}], "trials": [None, [1], {}],
    "edition": ["2", -1, 1.5, True], "starts": [[], {"file": 7}], "request": [7, []],
}  # fmt: skip


def test_every_kind_has_a_line_here_and_its_keys_in_order():
    assert [event["event"] for event in FIT] == list(KINDS)
    for event in FIT:
        kind = KINDS[event["event"]]
        assert typed(event).to_dict(event["time"]) == event
        assert list(typed(event).to_dict(0.0)) == list(event)
        assert {each.name for each in FIELDS[kind.kind]} == {each.name for each in fields(kind)}


def damaged():
    """Every event with a field left out, and with each wrong value of each of its fields."""
    for line, event in enumerate(FIT):
        for key in event:
            if key not in ("event", *UNREAD) or (event["event"], key) == ("cloned", "caveat"):
                yield line, {k: v for k, v in event.items() if k != key}
            yield from ((line, {**event, key: value}) for value in WRONG.get(key, ()))
        yield line, {**event, "time": "noon"}


@pytest.mark.parametrize(("line", "wrong"), list(damaged()))
def test_an_event_that_does_not_fit_is_passed_over_by_all_readers_and_named(
    ledger, caplog, line, wrong
):
    lines = list(FIT)
    lines[line] = wrong
    ledger.path.write_text("".join(json.dumps(each) + "\n" for each in lines))
    events = list(ledger.events())
    assert lines[line] not in events
    # Where the one trial is not added, what speaks of it does not fit either.
    lost = {"trial_added"} & {FIT[line]["event"]}
    assert len(events) == (5 if lost else len(FIT) - 1)
    assert f"ledger.jsonl:{line + 1}: " in caplog.text
    words = caplog.text
    History.from_events(events)
    mirror = StudyRun()
    for event in events:
        mirror.apply(event)
    assert Tail(ledger.path).read() == events == list(Ledger(ledger.path).events())
    assert caplog.text == words, "it is named once"


def test_of_a_trial_that_was_never_added_one_line_is_written(ledger, caplog):
    for number in (0, 2):
        ledger.append(added(number))
    for step in (10, 20, 30):
        ledger.append(reported(1, step, 30.0))
    history = History.from_events(ledger.events())
    assert list(history.trials) == ["0000", "0002"]
    (said,) = caplog.messages
    assert "ledger.jsonl:3: trial 0001 was never added: passed over" in said


def test_the_next_trial_takes_the_lowest_number_that_none_has():
    history = History()
    numbers = [history.free_number()]
    for number in (1, 2, 0, 4):
        history.apply(as_read(added(number)))
        numbers.append(history.free_number())
    assert numbers == [0, 0, 0, 3, 3]


def test_lines_after_what_is_no_json_object_are_read(ledger):
    ledger.append(driver_started())
    with ledger.path.open("ab") as file:
        file.write(b'[1]\n"x"\n{"no": 1}\nnull\n\xff\n' + b"[" * 100_000 + b"\n")
    ledger.append(study_ended())
    assert [event["event"] for event in ledger.events()] == ["driver_started", "study_ended"]


@pytest.mark.parametrize("how", ["removed", "replaced", "moved with its folder"])
def test_a_ledger_that_lost_its_name_says_so_and_is_saved(tmp_path, how):
    folder = tmp_path / "study"
    folder.mkdir()
    ledger = Ledger(folder / "ledger.jsonl")
    assert ledger.displaced() is None
    ledger.append(driver_started(pid=1))
    assert ledger.displaced() is None
    content = ledger.path.read_bytes()
    if how == "removed":
        ledger.path.unlink()
    elif how == "replaced":
        (folder / "new").write_bytes(content)
        (folder / "new").replace(ledger.path)
    else:
        folder.rename(tmp_path / "elsewhere")
    why = ledger.displaced()
    assert f"{ledger.path} was {'replaced' if how == 'replaced' else 'removed or moved'}" in why
    if how == "moved with its folder":
        assert "saved" not in why
    else:
        assert f"all that it held is in {folder / 'ledger.saved.jsonl'}" in why
        assert (folder / "ledger.saved.jsonl").read_bytes() == content
