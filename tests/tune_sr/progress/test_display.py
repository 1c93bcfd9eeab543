"""What a person reads while a study runs."""

from __future__ import annotations

import io
import re
import subprocess
import sys
import threading
import time
from dataclasses import replace

import pytest
from events import (
    added,
    as_read,
    attempt,
    driver_started,
    ended,
    read,
    repeat,
    reported,
    study_ended,
    study_started,
)
from rich.console import Console

from tune_sr.ledger.events import TrialReported
from tune_sr.ledger.ledger import Ledger
from tune_sr.ledger.reports import Judged
from tune_sr.progress.display import Progress
from tune_sr.progress.event_lines import event_line, opening_line
from tune_sr.progress.live_table import render
from tune_sr.progress.status import StudyOutline, StudyStatus

FRAME = StudyOutline(
    name="dfsr", trials=4, steps=300, bicubic=27.47, teacher=30.61, rungs=(60, 120)
)


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.fixture
def ledger(tmp_path):
    return Ledger(tmp_path / "ledger.jsonl")


def begin(ledger, start=1):
    if start == 1:
        ledger.append(study_started(name="dfsr"))
    ledger.append(driver_started(start))


def add(ledger, number, **point):
    point = {"method.w_R": 0.123456, "method.P": 2} | point
    ledger.append(added(number, point))


def report(ledger, number, step, psnr, decision="continue"):
    values = {"step": float(step), "psnr_y_db": psnr, "ssim": 0.8}
    ledger.append(reported(number, step, values, decision))


def end(ledger, number, state, reason=None):
    ledger.append(ended(number, state, reason))


def some_study(ledger):
    begin(ledger)
    add(ledger, 0)
    report(ledger, 0, 60, 28.31)
    report(ledger, 0, 300, 28.81, "complete")
    end(ledger, 0, "completed")
    add(ledger, 1)
    report(ledger, 1, 60, 27.0, "stop")
    end(ledger, 1, "stopped")
    add(ledger, 2)
    end(ledger, 2, "failed", "diverged at step 7: loss is not finite")
    add(ledger, 3)
    report(ledger, 3, 120, 28.0)


def told(ledger, outline=FRAME):
    status = StudyStatus(outline)
    lines = (event_line(status, each, repeated=status.apply(each)) for each in ledger.events())
    return [line for line in lines if line]


def test_one_line_per_event(ledger):
    some_study(ledger)
    ledger.append(study_ended())
    assert told(ledger) == [
        "trial 0000 added method.w_R=0.1235 method.P=2",
        "trial 0000 step 60/300 psnr_y_db 28.31 (+0.84 over bicubic) continue",
        "trial 0000 step 300/300 psnr_y_db 28.81 (+1.34 over bicubic) complete",
        "trial 0000 completed, best 28.81 (+1.34 over bicubic)",
        "trial 0001 added method.w_R=0.1235 method.P=2",
        "trial 0001 step 60/300 psnr_y_db 27.00 (-0.47 over bicubic) stop",
        "trial 0001 stopped, best 27.00 (-0.47 over bicubic)",
        "trial 0002 added method.w_R=0.1235 method.P=2",
        "trial 0002 failed: diverged at step 7: loss is not finite, no report",
        "trial 0003 added method.w_R=0.1235 method.P=2",
        "trial 0003 step 120/300 psnr_y_db 28.00 (+0.53 over bicubic) continue",
        "study dfsr finished: 3 of 4 trials ended, best 28.81 (+1.34 over bicubic), trial 0000",
    ]


def test_a_stop_says_what_was_needed(ledger):
    begin(ledger)
    add(ledger, 6)
    ledger.append(reported(6, 60, 31.58, "stop", Judged(31.59, 31.74, 6, 7)))
    assert told(ledger)[-1] == (
        "trial 0006 step 60/300 psnr_y_db 31.58 (+4.11 over bicubic) "
        "stop: 31.59, needed 31.74, 6th of 7"
    )


def test_what_a_resume_tells(ledger):
    some_study(ledger)
    begin(ledger, start=2)
    ledger.append(attempt(3, "the driver was started again"))
    report(ledger, 3, 120, 28.0)
    report(ledger, 3, 180, float("nan"))
    ledger.append(study_ended(finished=False))
    assert told(ledger)[-5:] == [
        "study dfsr resumed (start 2): 3 of 4 trials have ended",
        "trial 0003 attempt 2: the driver was started again",
        "trial 0003 step 120/300 psnr_y_db 28.00 (+0.53 over bicubic) continue (repeated)",
        "trial 0003 step 180/300 psnr_y_db none continue",
        "study dfsr not finished: 3 of 4 trials ended, best 28.81 (+1.34 over bicubic), trial 0000",
    ]


def test_without_marks_nothing_is_compared(ledger):
    some_study(ledger)
    lines = told(ledger, StudyOutline(name="kd", trials=4, steps=300))
    assert lines[1] == "trial 0000 step 60/300 psnr_y_db 28.31 continue"
    assert opening_line(StudyStatus(FRAME)) == (
        "study dfsr: 4 trials of 300 steps, bicubic 27.47 dB, teacher 30.61 dB"
    )


def study_with_caveats(ledger):
    begin(ledger)
    for number, caveat in enumerate((None, "one thing", "another", "one thing")):
        ledger.append(added(number, caveat=caveat))
    report(ledger, 2, 60, 28.31)
    report(ledger, 3, 300, 28.81, "complete")
    end(ledger, 3, "completed")


def test_a_caveat_is_told_once_and_marks_every_figure_that_it_is_about(ledger):
    study_with_caveats(ledger)
    begin(ledger, start=2)
    ledger.append(study_ended(finished=False))
    *lines, last = told(ledger)
    assert last.endswith("best 28.81* (+1.34 over bicubic), trial 0003")
    assert lines == [
        "trial 0000 added",
        "trial 0001 added\n* one thing",
        "trial 0002 added\n** another",
        "trial 0003 added",
        "trial 0002 step 60/300 psnr_y_db 28.31** (+0.84 over bicubic) continue",
        "trial 0003 step 300/300 psnr_y_db 28.81* (+1.34 over bicubic) complete",
        "trial 0003 completed, best 28.81* (+1.34 over bicubic)",
        "study dfsr resumed (start 2): 1 of 4 trials have ended\n* one thing\n** another",
    ]


def test_the_table_has_its_caveats_below(ledger):
    study_with_caveats(ledger)
    _, _, best, _, _, *rows = screen(ledger)
    assert best.startswith("best 28.81* dB (+1.34 over bicubic), trial 0003")
    assert [row.split()[0] for row in rows[:4]] == ["0000", "0001", "0002", "0003"]
    assert "28.31**" in rows[2] and "28.81*" in rows[3]
    assert [row.strip() for row in rows[4:]] == ["* one thing", "** another"]
    lines = screen(ledger, rows=5)
    assert [line.strip() for line in lines[-3:]] == ["and 1 more", "* one thing", "** another"]


def screen(ledger, width=140, rows=20, later=100.0, outline=FRAME):
    status = StudyStatus(outline)
    for event in ledger.events():
        status.apply(event)
    console = Console(width=width, file=io.StringIO(), force_terminal=False)
    console.print(render(status, status.began + later, rows=rows, width=width))
    return console.file.getvalue().splitlines()


def test_the_table_has_the_running_trials_first_then_the_best(ledger):
    some_study(ledger)
    title, marks, best, blank, head, *rows = screen(ledger)
    assert title.startswith("dfsr  3 of 4 trials  1:40 gone, 0:")
    assert "1 running  1 completed  1 stopped  1 failed" in title
    assert marks.startswith("bicubic 27.47 ━")
    assert marks.rstrip().endswith("30.61 teacher")
    assert best.startswith("best 28.81 dB (+1.34 over bicubic), trial 0000")
    assert blank.strip() == ""
    assert head.split() == [
        *("trial", "state", "steps", "rung", "decision", "last", "best", "dB", "gain", "w_R", "P")
    ]
    assert [row.split()[0] for row in rows] == ["0003", "0000", "0001", "0002"]
    running, completed, stopped, failed = (" ".join(row.split()) for row in rows)
    assert running.startswith("0003 running")
    assert running.endswith("120/300 1/2 continue 28.00 28.00 +0.53 0.1235 2")
    assert completed.endswith("300/300 1/2 complete 28.81 28.81 +1.34 0.1235 2")
    assert stopped.endswith("60/300 1/2 stop 27.00 27.00 -0.47 0.1235 2")
    assert failed.startswith("0002 diverged at step 7")


def test_where_cost_is_an_objective_the_table_marks_the_trials_that_none_beats(ledger):
    outline = StudyOutline(name="sizes", trials=4, steps=300, bicubic=27.47, cost="params")
    begin(ledger)
    figures = [(28.0, 9000.0), (28.5, 1.5e6), (28.0, 9500.0), (29.0, 10.0)]
    for number, (psnr, params) in enumerate(figures):
        add(ledger, number)
        values = {"step": 300.0, "psnr_y_db": psnr, "params": params}
        ledger.append(reported(number, 300, values, "complete"))
        end(ledger, number, "completed" if number < 3 else "failed")
    ledger.append(study_ended())
    _, best, _, head, *rows = screen(ledger, outline=outline)
    assert best.startswith("best 28.50 dB (+1.03 over bicubic), trial 0001")
    assert head.split()[-4:] == ["gain", "params", "w_R", "P"]
    assert [row.split("  ")[-3].strip() for row in rows] == ["1.50 M ●", "9.0 K ●", "9.5 K", "10"]
    assert told(ledger, outline)[-1].endswith(
        "best 28.50 (+1.03 over bicubic), trial 0001; a front of 2"
    )


@pytest.mark.parametrize("width", [40, 80, 100, 200])
def test_no_line_is_wider_than_the_terminal_and_none_wraps(ledger, width):
    some_study(ledger)
    lines = screen(ledger, width=width)
    assert max(map(len, lines)) <= width
    if width >= 80:
        assert "w_R" in lines[4] and len(lines) == 9
    else:
        assert [line.rstrip() for line in lines[9:]] == ["also searched: w_R 0.1235, P 2 (0000)"]


def test_more_trials_than_lines(ledger):
    begin(ledger)
    for number in range(30):
        add(ledger, number)
    lines = screen(ledger, rows=5)
    assert len(lines) == 4 + 5 + 1
    assert lines[-1].strip() == "and 25 more"


def test_conditional_quantities_leave_gaps(ledger):
    begin(ledger)
    ledger.append(added(0, {"method.P": 1}))
    add(ledger, 1)
    lines = screen(ledger)
    assert lines[-2].split()[-1] == "1"
    assert lines[-1].split()[-2:] == ["2", "0.1235"]


def status_at(*timed):
    """The status after events, each at its time in seconds."""
    status = StudyStatus(replace(FRAME, expected_steps=200.0))
    for when, event in timed:
        status.apply(as_read(event, when))
    return status


def test_what_is_left_follows_the_pace_of_this_start_alone():
    told = [(0.0, driver_started()), (30.0, added(0))]
    assert status_at(*told).seconds_left(40.0) is None, "nothing is done yet"
    told.append((90.0, reported(0, 60, 28.0)))
    # a second an update since the first trial; 0000 is to make 240 (2/3 + 1/15) more, three are new
    left = 240 * (2 / 3 + 1 / 15) + 3 * 200
    assert status_at(*told).seconds_left(90.0) == pytest.approx(left)
    assert status_at(*told).seconds_left(100.0) == pytest.approx(left - 10), "time passes"
    assert status_at(*told).seconds_left(5000.0) == 0.0
    told += [(5000.0, driver_started(2)), (5010.0, attempt(0))]
    assert status_at(*told).seconds_left(5020.0) is None
    told.append((5040.0, reported(0, 120, 28.0)))  # half a second an update
    left = 180 * (2 / 3 + 2 / 15) + 3 * 200
    assert status_at(*told).seconds_left(5040.0) == pytest.approx(left / 2)


def test_stopped_trials_tell_what_a_trial_costs():
    told = [(0.0, driver_started())]
    for number in range(3):
        told += [(0.0, added(number)), (60.0, reported(number, 60, 28.0, "stop"))]
    mean = (4 * 200 + 3 * 60) / 7  # the one trial that is left, three at a time so far
    assert status_at(*told).seconds_left(60.0) == pytest.approx(mean / 3)
    assert status_at(*told, (60.0, study_ended())).seconds_left(60.0) is None


def test_a_stopped_row_says_what_it_needed(ledger):
    begin(ledger)
    add(ledger, 0)
    ledger.append(reported(0, 60, 28.0, "stop", Judged(28.0, 28.4, 3, 3)))
    end(ledger, 0, "stopped")
    assert "stopped" in screen(ledger)[5] and "needed 28.40, 3rd of 3" in screen(ledger)[5]
    assert "needed 28.40" in screen(ledger, width=80)[5]


def test_the_bar_reads_without_colour_and_the_last_value_beside_the_best(ledger):
    begin(ledger)
    add(ledger, 0)
    report(ledger, 0, 60, 28.5)
    report(ledger, 0, 150, 28.1)
    row = screen(ledger, width=80)[5]
    assert "████░░░░" in row and row.split()[4:6] == ["28.10", "28.50"]


def test_what_has_no_column_is_named_with_the_best_trials_value(ledger):
    begin(ledger)
    for number, (w_R, P) in enumerate([(0.1, 1), (2.9, 2)]):
        rates = {"optimiser.lr": 0.01 + 0.001 * number, "method.generator_lr": 10.0**-number}
        ledger.append(added(number, {"method.w_R": w_R, "method.P": P, **rates}))
    report(ledger, 1, 60, 28.0)
    lines = screen(ledger, width=66)
    assert lines[4].split()[-2:] == ["w_R", "P"]
    assert lines[7].rstrip() == "also searched: lr 0.011, generator_lr 0.1 (0001)"
    wide = screen(ledger, width=140)
    assert wide[4].split()[-4:] == ["w_R", "P", "lr", "gen_lr"]
    assert not any("also" in line for line in wide)


def followed(ledger, stream, events, **settings):
    progress = Progress(ledger.path, FRAME, stream=stream, **settings)
    progress.start()
    events()
    progress.close()
    return stream.getvalue()


def test_without_a_terminal_it_writes_plain_lines(ledger):
    text = followed(ledger, io.StringIO(), lambda: some_study(ledger))
    assert text.splitlines() == [opening_line(StudyStatus(FRAME)), *told(ledger)]


def test_a_resume_does_not_tell_the_past_again(ledger):
    some_study(ledger)
    time.sleep(0.01)
    lines = followed(ledger, io.StringIO(), lambda: begin(ledger, start=2)).splitlines()
    assert lines[1:] == ["study dfsr resumed (start 2): 3 of 4 trials have ended"]


def test_on_a_terminal_the_last_table_stays(ledger):
    text = followed(ledger, Terminal(), lambda: some_study(ledger))
    assert "best 28.81 dB" in text.rsplit("dfsr", 1)[-1]


def test_no_colour_is_shown_to_who_asks_for_none(ledger, monkeypatch):
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.delenv("NO_COLOR", raising=False)
    some_study(ledger)
    colour = re.compile(r"\x1b\[[0-9;]*(3[0-7]|9[0-7])[;m]")
    assert colour.search(followed(ledger, Terminal(), lambda: None))
    monkeypatch.setenv("NO_COLOR", "1")
    plain = followed(ledger, Terminal(), lambda: None)
    assert not colour.search(plain) and "████" in plain


def test_quiet_tells_nothing_but_what_is_wrong(ledger, capsys):
    stream = Terminal()
    progress = Progress(ledger.path, FRAME, stream=stream, quiet=True)
    progress.start()
    some_study(ledger)
    progress.say("MLflow does not answer")
    progress.close()
    assert stream.getvalue() == ""
    assert capsys.readouterr() == ("", "MLflow does not answer\n")


@pytest.mark.parametrize("stream", [io.StringIO, Terminal], ids=["plain", "terminal"])
def test_a_word_in_between_is_shown_as_it_is(ledger, stream):
    progress = Progress(ledger.path, FRAME, stream=stream())
    progress.start()
    progress.say("sqlite:///[red]a.db: locked")
    progress.close()
    assert "sqlite:///[red]a.db: locked" in progress._stream.getvalue()


def test_a_listener_who_leaves_does_not_end_the_study(ledger):
    class Gone(io.StringIO):
        def write(self, text):
            raise BrokenPipeError

    failures = []
    before, threading.excepthook = threading.excepthook, failures.append
    try:
        followed(ledger, Gone(), lambda: some_study(ledger))
    finally:
        threading.excepthook = before
    assert failures == []


def test_an_interruption_before_the_start_can_be_closed(ledger):
    Progress(ledger.path, FRAME, stream=io.StringIO()).close()


def test_rich_is_imported_only_for_a_terminal():
    script = "import sys, tune_sr.progress.display\n"
    script += "assert not {'rich', 'torch', 'ray'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", script], check=True)


def test_repeats_of_a_confirmation_are_shown_beside_the_trials_and_counted_apart():
    status = StudyStatus(replace(FRAME, trials=2, repeats=4))
    made = TrialReported(trial="0001.s1", step=60, report={"psnr_y_db": 28.4}, decision="continue")
    lines = []
    for event in read(
        *(study_started(name="dfsr"), driver_started()),
        *(added(0), reported(0, 300, 28.0, "complete"), ended(0)),
        *(added(1), reported(1, 300, 28.5, "complete"), ended(1)),
        *(repeat(1, 1), made),
    ):
        status.apply(event)
        lines.append(event_line(status, event))
    assert lines[-2] == "trial 0001.s1 added: 0001 with seed 1"
    assert lines[-1] == "trial 0001.s1 step 60/300 psnr_y_db 28.40 (+0.93 over bicubic) continue"
    assert status.ended() == 2
    assert status.best()[0].name == "0001"
    # 660 updates took from the first trial, at 2 s, to the report at 9 s; two seconds have passed
    assert status.seconds_left(now=11.0) == pytest.approx((4 * 300 - 60) * 7 / 660 - 2)
    console = Console(width=140, file=io.StringIO())
    console.print(render(status, 11.0, rows=10, width=140))
    shown = console.file.getvalue()
    assert "2 of 2 trials, 0 of 4 repeats" in shown and "0001.s1" in shown
