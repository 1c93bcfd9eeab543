from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from tune_sr import lock
from tune_sr.lock import DriverLock, LockedError


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "driver.lock"


def held_by(path: Path, *, pid: int, age_s: float = 0.0, **elsewhere: str) -> None:
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


@pytest.mark.parametrize("elsewhere", [{"host": "another"}, {"pids": "pid:[1]"}], ids=str)
@pytest.mark.parametrize(("age_s", "free"), [(30.0, False), (90.0, True)])
def test_another_host_or_container_is_judged_by_its_heartbeat(
    path: Path, elsewhere: dict[str, str], age_s: float, free: bool
) -> None:
    held_by(path, pid=gone_pid(), age_s=age_s, **elsewhere)
    if free:
        with DriverLock(path):
            pass
    else:
        with pytest.raises(LockedError, match="another driver works on this study"):
            DriverLock(path).__enter__()


def test_a_file_that_its_owner_could_not_finish_is_free(path: Path) -> None:
    path.write_text('{"host": "an')
    with DriverLock(path):
        pass


def test_the_heartbeat_keeps_it_fresh_and_tells_when_it_is_lost(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lock, "HEARTBEAT_S", 0.02)
    lost = threading.Event()
    with DriverLock(path, on_lost=lost.set) as held:
        os.utime(path, (0, 0))
        deadline = time.monotonic() + 10
        while path.stat().st_mtime == 0 and time.monotonic() < deadline:
            time.sleep(0.01)
        assert path.stat().st_mtime > 0
        held.check()
        held_by(path, host="another", pid=1)
        assert lost.wait(10)
        with pytest.raises(LockedError, match="has taken this study over"):
            held.check()
    assert json.loads(path.read_text())["host"] == "another"  # what is not ours stays


def test_of_many_that_come_at_once_one_gets_it(path: Path) -> None:
    """Processes, since one process is one driver."""
    code = (
        "import sys, time; from pathlib import Path; from tune_sr.lock import *\n"
        "try:\n"
        "    with DriverLock(Path(sys.argv[1])): print('got', flush=True); time.sleep(3)\n"
        "except LockedError: print('refused')\n"
    )
    held_by(path, pid=gone_pid())  # stale, so that all of them try to take it over
    root = Path(__file__).parents[2]
    crowd = [
        subprocess.Popen([sys.executable, "-c", code, path], cwd=root, stdout=-1, text=True)
        for _ in range(4)
    ]
    told = sorted(process.communicate()[0].strip() for process in crowd)
    assert told == ["got", "refused", "refused", "refused"]
