"""Ray's temporary folder: nobody else's to enter, and nobody else's is removed."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import ray
from ray._common.utils import try_to_create_directory

from tune_sr.execution.session import ClusterError, local_ray

ROOT = Path(__file__).parents[3]
NOBODY = 65534
LISTENS, LOOPBACK = "0A", ("0100007F", "0000000000000000FFFF00000100007F", f"{'0' * 24}01000000")
two_users = pytest.mark.skipif(
    os.geteuid() != 0, reason="not root: what another user can do is NOT checked"
)


@pytest.fixture
def temporary(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder such as /tmp: everybody writes to it, and removes what is his own."""
    with tempfile.TemporaryDirectory(prefix="t-", dir="/tmp") as name:
        Path(name).chmod(0o1777)
        monkeypatch.setattr(tempfile, "tempdir", name)
        yield Path(name)


@pytest.fixture
def begun(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """The folders of the Rays that were started; none is, but each opens its folder as Ray does."""
    folders: list[Path] = []

    def init(**flags: Any) -> None:
        folders.append(Path(flags["_temp_dir"]))
        try_to_create_directory(flags["_temp_dir"])
        try_to_create_directory(f"{flags['_temp_dir']}/session/artifacts")

    monkeypatch.setattr(ray, "init", init)
    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    monkeypatch.setattr(ray, "shutdown", lambda: None)
    return folders


def as_nobody(action: Callable[[], object]) -> bool:
    """Whether another user of this machine can do something: it is done in a process of his."""
    child = os.fork()
    if child == 0:
        try:
            os.setgroups([])
            os.setgid(NOBODY)
            os.setuid(NOBODY)
            action()
        except OSError:
            os._exit(1)
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


@two_users
def test_nobody_else_enters_what_ray_opens_to_all(temporary: Path, begun: list[Path]) -> None:
    with local_ray(1):
        (folder,) = begun
        artifacts = folder / "session" / "artifacts"
        assert artifacts.stat().st_mode & 0o777 == 0o777  # the one above it keeps him out
        assert not as_nobody(lambda: (artifacts / "error.pkl").write_bytes(b"his"))
        assert not as_nobody(lambda: artifacts.rename(folder / "session" / "moved"))
        assert not as_nobody(lambda: list(folder.iterdir()))
        assert as_nobody(lambda: (temporary / "his").touch())  # as he may beside it
    assert [path.name for path in temporary.iterdir()] == ["his"]


@two_users
def test_a_folder_that_somebody_made_beforehand_is_not_used(
    temporary: Path, begun: list[Path]
) -> None:
    his = temporary / f"tsr-{os.getpid()}"
    assert as_nobody(his.mkdir)
    with local_ray(1):
        assert his not in (begun[0], *begun[0].parents)
    assert his.exists()


@two_users
def test_another_users_folder_is_left_though_his_process_is_not_seen(
    temporary: Path, begun: list[Path]
) -> None:
    """As where /proc is mounted with hidepid=2: no process of that number is there to be seen."""
    left = temporary / "tsr-4194305"
    left.mkdir()
    left.chmod(0o777)
    (left / "gcs.sock").touch()
    (left / "gcs.sock").chmod(0o666)

    def start() -> None:
        with local_ray(1):
            pass

    assert as_nobody(start)
    assert (left / "gcs.sock").exists()


HOLD = """
import sys, tempfile
tempfile.tempdir = sys.argv[1]
from tune_sr.execution.private_folder import private_folder
with private_folder() as folder:
    (folder / "socket").touch()
    print(folder, flush=True)
    sys.stdin.read()
"""


def test_what_a_living_driver_holds_is_left_and_what_a_killed_one_left_is_removed(
    temporary: Path, begun: list[Path]
) -> None:
    """Whatever is known of processes: two containers that share /tmp see none of each other's."""
    command = [sys.executable, "-c", HOLD, str(temporary)]
    with subprocess.Popen(
        command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as holder:
        assert holder.stdout is not None
        held = Path(holder.stdout.readline().strip())
        with local_ray(1):
            assert (held / "socket").exists()
        assert (held / "socket").exists()
        holder.kill()
        holder.wait()
        assert (held / "socket").exists()
    stranger = temporary / "tsr-notours"
    stranger.mkdir(mode=0o700)
    with local_ray(1):
        assert not held.parent.exists() and stranger.exists()
        assert begun[-1].exists()


@pytest.mark.parametrize("name", ["é", "long" * 10, "shared"])
def test_where_rays_sockets_cannot_lie_safely_tmp_is_used(
    name: str, temporary: Path, begun: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    chosen = temporary / name
    chosen.mkdir()
    chosen.chmod(0o777 if name == "shared" else 0o700)
    monkeypatch.setattr(tempfile, "tempdir", str(chosen))
    with local_ray(1):
        assert begun[0].parent.parent == Path("/tmp")
        assert len(f"{begun[0]}/session_2026-11-28_04-00-00_123456_4194304/sockets/raylet.1") < 107
    assert not begun[0].parent.exists()


def test_a_ray_that_cannot_be_started_is_refused_in_one_line_with_the_limits(
    temporary: Path, begun: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    def init(**_: Any) -> None:
        raise RuntimeError("Failed to start GCS.\n  Last 0 lines of\n error files:")

    monkeypatch.setattr(ray, "init", init)
    with pytest.raises(ClusterError) as refused, local_ray(1):
        pass
    told = str(refused.value)
    assert "cannot be started here: Failed to start GCS. Last 0 lines" in told
    assert "open files" in told and "\n" not in told
    assert list(temporary.iterdir()) == []


@two_users
def test_too_few_processes_are_refused_before_ray_aborts(
    temporary: Path, begun: list[Path]
) -> None:
    refused: list[str] = []

    def start() -> None:
        resource.setrlimit(resource.RLIMIT_NPROC, (100, 100))
        try:
            with local_ray(1):
                pass
        except ClusterError as error:
            refused.append(str(error))
        if not refused or "ulimit -u" not in refused[0]:
            raise OSError("it was not refused")

    assert as_nobody(start)
    assert begun == []


@pytest.mark.ray
@pytest.mark.usefixtures("ray_cluster")
def test_a_local_ray_listens_on_the_loopback_alone() -> None:
    sockets = set()
    for process in [os.getpid(), *children(os.getpid())]:
        for descriptor in Path(f"/proc/{process}/fd").glob("*"):
            with suppress(OSError):  # closed meanwhile
                sockets.add(str(descriptor.readlink()))
    addresses = []
    for table in ("tcp", "tcp6"):
        for line in Path(f"/proc/net/{table}").read_text().splitlines()[1:]:
            local, state, inode = (line.split()[column] for column in (1, 3, 9))
            if state == LISTENS and f"socket:[{inode}]" in sockets:
                addresses.append(local.partition(":")[0])
    assert len(addresses) >= 3  # the GCS, the raylet, this driver
    assert set(addresses) <= set(LOOPBACK)


def children(parent: int) -> list[int]:
    """The processes that a process has started, and those that these have."""
    own = [
        int(each)
        for task in Path(f"/proc/{parent}/task").iterdir()
        for each in (task / "children").read_text().split()
    ]
    return own + [each for child in own for each in children(child)]
