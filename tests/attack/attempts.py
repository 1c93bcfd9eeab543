"""One attempt on the product, and what it is held to.

A table of attempts is a list of `Attempt`; each row is one attempt:

    Attempt("a FIFO as a teacher", lambda folder: read_weights(fifo(folder)), refused("no such"))

A row that may hang, kill its process or take all memory says `dangerous=True` and runs in a forked
child with a limit on its memory and its time; all others run in the process of the tests. To fork
costs more than most rows, so a child goes on to the next row as long as every row holds.
"""

from __future__ import annotations

import contextlib
import faulthandler
import io
import os
import resource
import signal
import sys
import time
import traceback
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, Pipe
from pathlib import Path
from typing import Any, NoReturn

import torch

SECONDS = 2.0
"""Of CPU time that a refusal may take, all threads together: a busy machine makes it no longer."""

WORK_SECONDS = 6.0
"""Of CPU time for what is not refused: a whole dry run takes more than one second of it."""

BYTES = 2**30
"""Of memory that an attempt may take beside what the process has."""

_WAIT = 20.0
"""Seconds after which a dangerous attempt counts as hanging, and is killed."""

LONGEST_LINE = 1200
"""Characters of a refusal: names that somebody else chose may not fill a terminal."""


@dataclass(frozen=True)
class Ran:
    """What a command did that was run in this process: its exit code and all it wrote."""

    code: int
    out: str = ""
    err: str = ""


@dataclass
class Ended:
    """How an attempt ended.

    Attributes:
        code: the exit code: of a command its own; of a function 2 where it raised a ValueError,
            which every command turns into one line and exit 2, and 0 where it returned.
        value: what a function returned.
        out: what was written to stdout.
        err: what was written to stderr, the line of the refusal and Python's warnings included.
        crash: the traceback of any other exception.
    """

    code: int = 0
    value: Any = None
    out: str = ""
    err: str = ""
    crash: str = ""
    warned: list[str] = field(default_factory=list)


Promise = Callable[[Ended], None]
"""Raises AssertionError where an attempt did not end as it must."""


@dataclass(frozen=True)
class Attempt:
    """One attempt.

    Attributes:
        name: says what is tried; unique in its table.
        act: is given an empty folder, and does it: makes the hostile files there and hands them to
            the product. It returns a `Ran` (see `run_command`) or anything else, or raises.
        promise: what must have happened; see `refused`, `done`, `harmless`.
        dangerous: whether it runs in a forked child, because it could hang or kill its process.
        prepare: makes what is handed over, outside of the limits; `act` is given what it returns.
        seconds: of CPU time, its limit, where it is neither `SECONDS` nor `WORK_SECONDS`.
    """

    name: str
    act: Callable[[Any], object]
    promise: Promise
    dangerous: bool = False
    prepare: Callable[[Path], Any] = lambda folder: folder
    seconds: float | None = None

    def __str__(self) -> str:
        return self.name

    def check(self, folder: Path) -> None:
        """Do it in `folder`; an AssertionError says how it fell."""
        prepared = self.prepare(folder)
        if self.dangerous:
            _in_child(self, prepared)
        else:
            self.check_prepared(prepared)

    def check_prepared(self, prepared: Any) -> None:
        """Do it with what `prepare` returned, within the limits, in this process."""
        before = _memory("VmRSS")
        _forget_peak()
        begin = time.process_time()
        ended = _ended(self.act, prepared)
        seconds = time.process_time() - begin
        taken = _memory("VmHWM") - before
        assert not ended.crash, f"a traceback:\n{ended.crash}"
        self.promise(ended)
        limit = self.seconds or (SECONDS if ended.code == 2 else WORK_SECONDS)
        assert seconds <= limit, f"took {seconds:.1f} s of CPU time"
        assert taken <= BYTES, f"took {taken / 2**20:.0f} MiB"


def refused(*words: str) -> Promise:
    """One printable line on stderr that has these words, nothing on stdout, exit 2."""

    def promise(ended: Ended) -> None:
        assert ended.code == 2, f"exit {ended.code}; {ended.out}{ended.err} -> {ended.value!r:.300}"
        assert ended.out == "", ended.out
        lines = ended.err.splitlines()
        assert len(lines) == 1, f"{len(lines)} lines on stderr: {ended.err!r:.2000}"
        assert len(lines[0]) <= LONGEST_LINE, f"a line of {len(lines[0])} characters"
        assert lines[0].isprintable(), f"control characters: {lines[0]!r}"
        for word in words:
            assert word in lines[0], f"no {word!r} in {lines[0]!r}"

    return promise


def done(check: Callable[[Any], object] = lambda value: True) -> Promise:
    """It succeeds, exit 0, and `check` of what it returned (or of all that it printed) is true."""

    def promise(ended: Ended) -> None:
        assert ended.code == 0, f"exit {ended.code}; {ended.err}"
        assert not [each for each in ended.warned if "Decompression" in each], ended.warned
        shown = ended.out if ended.value is None else ended.value
        assert check(shown), f"{shown!r:.500}"

    return promise


def harmless(*words: str) -> Promise:
    """Either succeeds or is refused as `refused` says: both are sound answers."""
    is_refused, is_done = refused(*words), done()

    def promise(ended: Ended) -> None:
        (is_refused if ended.code else is_done)(ended)

    return promise


def run_command(main: Callable[[Sequence[str]], int], *words: object) -> Ran:
    """A command of ours in this process: `run_command(tune_sr.search.main, "--space", path)`."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            code: object = main([str(word) for word in words])
        except SystemExit as ended:
            code = ended.code
    assert isinstance(code, int)
    return Ran(code, out.getvalue(), err.getvalue())


def _ended(act: Callable[[Any], object], prepared: Any) -> Ended:
    """Do it, and take down how it ended."""
    from tune_sr.cli.parser import refuse

    ended, out, err = Ended(), io.StringIO(), io.StringIO()
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            try:
                ended.value = act(prepared)
            except ValueError as error:
                ended.code = refuse("attack", error)
            except Exception:
                ended.crash = traceback.format_exc(limit=-8)
    ended.out, ended.err = out.getvalue(), err.getvalue()
    ended.warned = [str(each.message) for each in warned]
    if isinstance(ended.value, Ran):
        ran, ended.value = ended.value, None
        ended.code, ended.out, ended.err = ran.code, ended.out + ran.out, ended.err + ran.err
    if ended.code:  # beside a refusal a warning is a second line
        ended.err = "\n".join(filter(None, (ended.err.rstrip("\n"), *ended.warned)))
        if "Traceback" in ended.err:
            ended.crash = ended.err
    return ended


_rows: dict[int, Attempt] = {}
"""All rows by identity, which a forked child shares: a function cannot be sent to it."""


class _Child:
    """A forked child that does dangerous rows, one after the other."""

    def __init__(self) -> None:
        self.pipe, own_end = Pipe()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # other threads may hold locks
            self.pid = os.fork()
        if self.pid == 0:
            self.pipe.close()
            _serve(own_end)
        own_end.close()

    def end(self) -> int:
        """Its status: how it ended by itself, or that it was killed now."""
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGKILL)
        self.pipe.close()
        return os.waitpid(self.pid, 0)[1]


_child: _Child | None = None


def end_child() -> int:
    """End the child that waits for rows, if there is one; its status."""
    global _child
    child, _child = _child, None
    return child.end() if child else 0


def _in_child(attempt: Attempt, prepared: Any) -> None:
    """Check a row in a forked child; raises its AssertionError, or what became of the child."""
    global _child
    if id(attempt) not in _rows:
        _rows[id(attempt)] = attempt
        end_child()  # which does not know it
    _child = _child or _Child()
    _child.pipe.send((id(attempt), prepared))
    if not _child.pipe.poll(_WAIT):
        end_child()
        raise AssertionError(f"hangs: no end within {_WAIT:.0f} s")
    try:
        told, last = _child.pipe.recv()
    except EOFError:
        _, status = os.waitpid(_child.pid, 0)
        _child = None
        assert not os.WIFSIGNALED(status), f"killed its process: signal {os.WTERMSIG(status)}"
        raise AssertionError(f"ended its process: {os.waitstatus_to_exitcode(status)}") from None
    if last:
        end_child()
    assert told == "", told


def _serve(pipe: Connection) -> NoReturn:
    """In the child: row after row until one falls or leaves a mark on the process.

    Memory that it holds would hide what later rows take; as another user they cannot do their work.
    """
    try:
        faulthandler.disable()  # what became of the child is the parent's to say
        # The parent's threads are not here: a parallel region would wait for them.
        torch.set_num_threads(1)
        torch.set_num_threads = lambda count: None
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        os.dup2(os.open(os.devnull, os.O_WRONLY), 2)  # what libraries of C write there
        begun, user = _memory("VmRSS"), os.geteuid()
        _, hard = resource.getrlimit(resource.RLIMIT_AS)
        while True:
            row, prepared = pipe.recv()
            told = ""
            try:
                resource.setrlimit(resource.RLIMIT_AS, (_memory("VmSize") + 2 * BYTES, hard))
                _rows[row].check_prepared(prepared)
            except BaseException as error:
                told = f"{type(error).__name__}: {error}"[:60_000]
            resource.setrlimit(resource.RLIMIT_AS, (hard, hard))
            marked = _memory("VmRSS") > begun + BYTES // 16 or os.geteuid() != user
            pipe.send((told, bool(told) or marked))
    finally:
        os._exit(0)


def _memory(word: str) -> int:
    """Bytes of this process that Linux calls so; 0 where there is no /proc."""
    try:
        text = Path("/proc/self/status").read_text()
    except OSError:
        return 0
    return next(int(line.split()[1]) * 1024 for line in text.splitlines() if line.startswith(word))


def _forget_peak() -> None:
    """Let the peak of memory begin anew from what is in use."""
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


def fifo(path: Path) -> Path:
    """A FIFO that nobody writes into: whoever opens it waits."""
    os.mkfifo(path)
    return path


def unique(attempts: Sequence[Attempt]) -> list[Attempt]:
    """The table, whose names differ; a child forked from now on knows its rows."""
    names = [attempt.name for attempt in attempts]
    double = sorted({name for name in names if names.count(name) > 1})
    if double:
        sys.exit(f"attempts of one name: {double}")
    _rows.update((id(attempt), attempt) for attempt in attempts)
    return list(attempts)
