from __future__ import annotations

import errno
import json
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tune_sr.storage import lock
from tune_sr.storage.lock import DriverLock, StudyLostError
from tune_sr.storage.lock_file import LockedError, process_of, whereabouts


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "driver.lock"


def held_by(path: Path, *, pid: int, age_s: float = 0.0, **elsewhere: str) -> None:
    """A lock file as the driver `pid` of this machine writes it, but for what `elsewhere` names."""
    process = process_of(pid)
    mine = {**whereabouts(), "pid": pid, "began": process.began if process else "1", "since": 0.0}
    path.write_text(json.dumps({**mine, **elsewhere, "beats": 7}).ljust(400))
    then = time.time() - age_s
    os.utime(path, (then, then))


def held_by_an_older_driver(path: Path, *, pid: int, age_s: float = 0.0, **elsewhere: str) -> None:
    """The same as 3cb7bf0 wrote it: neither boot nor count, a heartbeat changes the date alone."""
    pids = str(Path("/proc/self/ns/pid").readlink())
    where = {"host": socket.gethostname(), "pids": pids, **elsewhere}
    path.write_text(json.dumps({**where, "pid": pid, "since": 0.0}))
    then = time.time() - age_s
    os.utime(path, (then, then))


def gone_pid() -> int:
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def test_the_second_is_refused_by_host_and_pid_of_the_first(path: Path) -> None:
    with DriverLock(path), pytest.raises(LockedError, match=f"pid {os.getpid()} on ") as refused:
        DriverLock(path).__enter__()
    assert socket.gethostname() in str(refused.value) and "\n" not in str(refused.value)


def test_it_is_free_again_afterwards_and_leaves_no_file(path: Path) -> None:
    for _ in range(2):
        with DriverLock(path):
            assert path.exists()
        assert not path.exists()


def test_a_dead_process_of_this_host_holds_nothing(path: Path) -> None:
    held_by(path, pid=gone_pid())
    with DriverLock(path):
        pass


def test_a_killed_process_that_nobody_has_waited_for_holds_nothing(path: Path) -> None:
    process = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    held_by(path, pid=process.pid)
    with pytest.raises(LockedError):
        DriverLock(path).__enter__()
    process.kill()
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
    with DriverLock(path):
        pass
    process.wait()


ELSEWHERE = pytest.mark.parametrize(
    "elsewhere", [{"host": "another"}, {"pids": "pid:[1]"}, {"boot": "another"}], ids=str
)
DATES = pytest.mark.parametrize("age_s", [0.0, 90.0, -1e6], ids=["now", "old", "to come"])


@ELSEWHERE
@DATES
@pytest.mark.parametrize("write", [held_by, held_by_an_older_driver])
def test_another_machine_or_container_that_gives_no_sign_for_a_minute_holds_nothing(
    path: Path,
    write: Callable[..., None],
    age_s: float,
    elsewhere: dict[str, str],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A minute of this machine's own, whatever date the file has."""
    monkeypatch.setattr(lock, "STALE_S", 0.1)
    monkeypatch.setattr(lock, "LOOK_S", 0.02)
    write(path, pid=os.getpid(), age_s=age_s, **elsewhere)
    begin = time.monotonic()
    with DriverLock(path):
        assert time.monotonic() - begin >= 0.1
    (said,) = caplog.messages
    assert f"pid {os.getpid()} on " in said and "is watched for up to 0 s" in said


@ELSEWHERE
@DATES
@pytest.mark.parametrize("sign", ["number", "date"])
def test_another_machine_or_container_that_gives_a_sign_is_alive(
    path: Path,
    sign: str,
    age_s: float,
    elsewhere: dict[str, str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The same host name on two machines, a clock that is wrong: none of them takes a lock."""
    monkeypatch.setattr(lock, "LOOK_S", 0.02)
    (held_by if sign == "number" else held_by_an_older_driver)(
        path, pid=gone_pid(), age_s=age_s, **elsewhere
    )

    def beat() -> None:
        status = path.stat()
        if sign == "number":
            path.write_text(path.read_text().replace('"beats": 7', '"beats": 8'))
        else:
            os.utime(path, (status.st_atime + 10, status.st_mtime + 10))

    heart = threading.Timer(0.1, beat)
    heart.start()
    with pytest.raises(LockedError, match="another driver works on this study"):
        DriverLock(path).__enter__()
    heart.join()


def test_another_process_with_the_number_of_one_that_died_holds_nothing(path: Path) -> None:
    held_by(path, pid=os.getpid(), began="1")
    with DriverLock(path):
        pass


def test_a_file_that_its_owner_could_not_finish_is_free(path: Path) -> None:
    path.write_text('{"host": "an')
    with DriverLock(path):
        pass


def test_the_heartbeat_keeps_it_fresh_and_finds_that_it_is_lost(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lock, "HEARTBEAT_S", 0.02)
    lost = threading.Event()
    taken = pytest.raises(LockedError, match=r"has taken this study over \(pid 1 on another\)")
    with taken, DriverLock(path, on_lost=lost.set) as held:
        os.utime(path, (0, 0))
        assert soon(lambda: path.stat().st_mtime > 0)
        held.check()
        held_by(path, host="another", pid=1)
        assert lost.wait(10)
        with pytest.raises(LockedError, match="has taken this study over"):
            held.check()
    assert json.loads(path.read_text())["host"] == "another"  # what is not ours stays


def soon(holds: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + 10
    while not holds() and time.monotonic() < deadline:
        time.sleep(0.01)
    return holds()


@contextmanager
def unreadable(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The file system fails whoever opens a lock file, as NFS does with ESTALE."""

    def fails(*_: Any, **__: Any) -> Any:
        raise OSError(errno.ESTALE, "Stale file handle")

    with monkeypatch.context() as patched:
        # At 3cb7bf0 it was called otherwise.
        patched.setattr(lock, "guarded" if hasattr(lock, "guarded") else "_guarded", fails)
        yield


def test_the_heartbeat_outlives_an_error_of_the_file_system(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lock, "HEARTBEAT_S", 0.02)
    with DriverLock(path) as held:
        with unreadable(monkeypatch):
            time.sleep(0.3)
            held.check()  # not yet long enough
        os.utime(path, (0, 0))
        assert soon(lambda: path.stat().st_mtime > 0), "the heartbeat has ended"
        held.check()


def test_a_driver_that_cannot_touch_its_lock_any_more_stops(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lock, "HEARTBEAT_S", 0.02)
    monkeypatch.setattr(lock, "UNTOUCHED_S", 0.3)
    lost = threading.Event()
    stops = pytest.raises(StudyLostError, match=r"not be touched for .* s \(Stale file handle\)")
    with stops, DriverLock(path, on_lost=lost.set), unreadable(monkeypatch):
        assert lost.wait(10)


def test_check_looks_at_the_file_itself(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A driver that was suspended writes nothing before its heartbeat has run again."""
    with pytest.raises(LockedError), DriverLock(path) as held:  # the first heartbeat is far away
        held.check(lately=True)
        held_by(path, host="another", pid=1)
        held.check(lately=True)  # this moment's word is good enough for a report
        with monkeypatch.context() as later:
            later.setattr(lock, "HEARTBEAT_S", 0.0)
            with pytest.raises(LockedError):
                held.check(lately=True)
        held.check()


def test_a_disk_that_is_full_takes_the_date_in_place_of_the_number(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    with DriverLock(path) as held:
        before = path.read_text()
        with monkeypatch.context() as patched:
            patched.setattr(os, "pwrite", full)
            os.utime(path, (0, 0))
            held.check()
        assert path.stat().st_mtime > 0 and path.read_text() == before


@pytest.mark.parametrize("moved", ["lock", "folder"])
def test_a_lock_that_is_gone_is_called_gone(tmp_path: Path, moved: str) -> None:
    folder = tmp_path / "study"
    folder.mkdir()
    gone = pytest.raises(StudyLostError, match=r"driver.lock is gone .* removed or moved")
    with gone, DriverLock(folder / "driver.lock") as held:
        if moved == "lock":
            (folder / "driver.lock").unlink()
        else:
            folder.rename(tmp_path / "elsewhere")
        held.check()
    assert not (folder / "driver.lock").exists(), "nothing is made again"


def test_what_is_watched_beside_the_lock_ends_it_too(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lock, "HEARTBEAT_S", 0.02)
    lost, gone = threading.Event(), threading.Event()
    stops = pytest.raises(StudyLostError, match="the ledger is gone")
    with stops, DriverLock(path, on_lost=lost.set) as held:
        held.watch(lambda: "the ledger is gone" if gone.is_set() else None)
        assert not lost.wait(0.2)
        gone.set()
        assert lost.wait(10)


ODD = ("[" * 4000, "[1]", "5", "null", "{}", "hello", '{"host": "a", "pid": "b"}', "\x1b[2J")


def link_to_a_file(path: Path) -> None:
    (path.parent / "precious").write_text("precious")
    path.symlink_to("precious")


@pytest.mark.parametrize(
    ("odd", "rule"),
    [
        pytest.param(Path.mkdir, "is a folder: remove it", id="folder"),
        pytest.param(link_to_a_file, "is a symbolic link", id="link"),
        pytest.param(os.mkfifo, "is no regular file", id="pipe"),
        *(
            pytest.param(partial(Path.write_text, data=text), "that a driver", id=text[:9])
            for text in ODD
        ),
        pytest.param(lambda path: path.write_bytes(b"\xff\xfe"), "that a driver", id="bytes"),
    ],
)
def test_what_is_no_lock_file_is_refused_in_one_line(
    path: Path, odd: Callable[[Path], Any], rule: str
) -> None:
    odd(path)
    with pytest.raises(LockedError, match=rule) as refused:
        DriverLock(path).__enter__()
    assert str(path) in str(refused.value) and "\n" not in str(refused.value)
    if path.is_symlink():
        assert path.read_text() == "precious"


def test_a_file_system_without_locks_is_named(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_flock(*_: Any) -> None:
        raise OSError(errno.ENOSYS, "Function not implemented")

    monkeypatch.setattr("fcntl.flock", no_flock)
    with pytest.raises(LockedError, match=r"has no locks .* or choose another --storage"):
        DriverLock(path).__enter__()


def test_of_many_that_come_at_once_one_gets_it(path: Path) -> None:
    """Processes, since one process is one driver."""
    code = (
        "import sys, time; from pathlib import Path; from tune_sr.storage.lock import *\n"
        "try:\n"
        "    with DriverLock(Path(sys.argv[1])): print('got', flush=True); time.sleep(3)\n"
        "except LockedError: print('refused')\n"
    )
    held_by(path, pid=gone_pid())  # stale, so that all of them try to take it over
    root = Path(__file__).parents[3]
    crowd = [
        subprocess.Popen([sys.executable, "-c", code, path], cwd=root, stdout=-1, text=True)
        for _ in range(4)
    ]
    told = sorted(process.communicate()[0].strip() for process in crowd)
    assert told == ["got", "refused", "refused", "refused"]
