"""Nobody listens, or cannot be told every character: the work is done and nothing of it lost."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from events import added, reported, study_started

from tune_sr.cli import streams
from tune_sr.ledger.ledger import Ledger, read_events
from tune_sr.progress.display import Progress
from tune_sr.progress.status import StudyOutline

ToySpace = Callable[..., Path]
ROOT = Path(__file__).parents[3]
SMALL = {"fixed": {"budget": {"steps": 16, "steps_per_report": 8}}}
ONE = {"study": {"trials": 1, "scheduler": "none"}}


def shell(line: str, **env: str) -> subprocess.CompletedProcess[bytes]:
    """A line of a shell, `tune_sr` in it is `python -m tune_sr`."""
    line = line.replace("tune_sr.", f"{sys.executable} -m tune_sr.")
    environment = {**os.environ, "PYTHONPATH": str(ROOT), **env}
    return subprocess.run(["bash", "-c", line], capture_output=True, env=environment, cwd="/")


def check_whole(folder: Path) -> None:
    """A study that ended as it would have anywhere, each line of its ledger an event."""
    events = read_events(folder)
    assert events[-1]["event"] == "study_ended" and events[-1]["finished"] is True
    assert len((folder / "ledger.jsonl").read_bytes().splitlines()) == len(events)
    assert json.loads((folder / "summary.json").read_text())["trials"]["completed"] == 1
    assert (folder / "best" / "student.safetensors").is_file()


@pytest.mark.kill
@pytest.mark.soak
@pytest.mark.timeout(400)
def test_a_study_whose_three_streams_are_closed(toy_space: ToySpace) -> None:
    space = toy_space(**SMALL, **ONE)
    done = shell(f"tune_sr.search --space {space} <&- >&- 2>&-")
    assert done.returncode == 0
    check_whole(space.parent / "runs" / "toy")


@pytest.mark.kill
@pytest.mark.timeout(400)
def test_a_study_that_head_has_heard_enough_of(toy_space: ToySpace, tmp_path: Path) -> None:
    space = toy_space(**SMALL, **ONE)
    line = f"tune_sr.search --space {space} | head -n 1; exit ${{PIPESTATUS[0]}}"
    done = shell(line, PYTHONIOENCODING="ascii")
    assert (done.returncode, done.stderr) == (0, b"")
    assert done.stdout.decode().startswith("study toy in ")
    check_whole(space.parent / "runs" / "toy")


@pytest.mark.parametrize("command", ["search", "train", "evaluate", "deploy"])
def test_help_and_refusals_where_nobody_listens(command: str) -> None:
    assert shell(f"tune_sr.{command} --help >&- 2>&-").returncode == 0
    assert shell(f"tune_sr.{command} --nonsense >&- 2>&-").returncode == 2
    assert shell(f"tune_sr.{command} --nonsense 2> /dev/full").returncode == 2


@pytest.mark.timeout(180)
def test_a_dry_run_for_a_pipe_that_was_closed_and_a_full_disk(toy_space: ToySpace) -> None:
    space = toy_space()
    for where in ("| true; exit ${PIPESTATUS[0]}", "> /dev/full", ">&-"):
        done = shell(f"tune_sr.search --dry-run --space {space} {where}")
        assert (done.returncode, done.stderr) == (0, b""), done.stderr


def test_what_is_opened_later_does_not_take_the_number_of_a_closed_stream(tmp_path: Path) -> None:
    code = (
        "import os\n"
        "from tune_sr.cli.streams import settle_streams\n"
        "settle_streams()\n"
        f"file = os.open({str(tmp_path / 'ledger')!r}, os.O_WRONLY | os.O_CREAT)\n"
        "print('told'); os.write(2, b'told'); os.system('echo told')\n"
        "raise SystemExit(file)\n"
    )
    (tmp_path / "code.py").write_text(code)
    done = shell(f"{sys.executable} {tmp_path / 'code.py'} <&- >&- 2>&-")
    assert done.returncode > 2
    assert (tmp_path / "ledger").read_bytes() == b""


@pytest.mark.parametrize("encoding", ["ascii", "latin-1"])
def test_a_terminal_without_a_character_is_given_another(
    encoding: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    raw = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(raw, encoding=encoding))
    streams.settle_streams()
    streams.tell("━●─ é ☃")
    shown = raw.getvalue().decode(encoding)
    assert shown == ("=*- \\xe9 \\u2603\n" if encoding == "ascii" else "=*- é \\u2603\n")


class Terminal(io.TextIOWrapper):
    """A terminal of some encoding that goes away when it is told to."""

    gone = False

    def isatty(self) -> bool:
        return True

    def write(self, text: str) -> int:
        if self.gone:
            raise OSError(5, "Input/output error")
        return super().write(text)


@pytest.mark.parametrize("gone", [False, True])
def test_the_live_table_of_a_poor_terminal_and_of_one_that_goes(
    gone: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    raw = io.BytesIO()
    stream = Terminal(raw, encoding="ascii")
    monkeypatch.setattr(sys, "stdout", stream)
    monkeypatch.setattr(threading, "excepthook", lambda told: pytest.fail(str(told)))
    streams.settle_streams()
    ledger = Ledger(tmp_path / "ledger.jsonl")
    ledger.append(study_started())
    frame = StudyOutline(
        name="toy", trials=1, steps=8, objective="psnr_y_db", bicubic=20.0, teacher=30.0, rungs=()
    )
    progress = Progress(ledger.path, frame, stream=stream)
    progress.start()
    ledger.append(added(0, {"method.w_R": 1.0}))
    ledger.append(reported(0, 8, 25.0, "complete"))
    stream.gone = gone
    progress.say("a word — while it runs")
    progress.close()
    assert gone or (b"0000" in raw.getvalue() and b"*" in raw.getvalue())


def test_a_stream_that_fails_is_left_alone() -> None:
    class Failing(io.StringIO):
        def write(self, text: str) -> int:
            raise BrokenPipeError

    assert not streams.say(Failing(), "x")
    assert not streams.say(None, "x")
    closed = io.StringIO()
    closed.close()
    assert not streams.say(closed, "x")
