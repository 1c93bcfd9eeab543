"""What is deployed at work: SLURM's script with a Ray of its own, Ray's launcher up to the nodes.

    pytest tests/tune_sr/end_to_end/test_deployed.py -m soak

Stand-ins are srun and scontrol; and what reaches a node, and the nodes' own Ray.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tune_sr.deploy.__main__ import main
from tune_sr.ledger.events import Event
from tune_sr.ledger.ledger import read_events

pytestmark = [pytest.mark.kill, pytest.mark.soak, pytest.mark.timeout(600)]
ROOT = Path(__file__).parents[3]

SRUN = """#!/bin/bash
count=1
while [[ "$1" == --* ]]; do [[ "$1" == --ntasks=* ]] && count=${1#--ntasks=}; shift; done
trap 'kill $(jobs -p) 2>/dev/null; wait; exit' TERM INT
for ((task = 0; task < count; task++)); do "$@" > /dev/null 2>&1 & done
wait
"""
SCONTROL = '#!/bin/bash\necho "scontrol $*"\n'


@pytest.fixture
def job(toy_space: Callable[..., Path], tmp_path: Path) -> Iterator[Callable[[], subprocess.Popen]]:
    """`job()`: the script for two nodes of one CPU, started as SLURM starts it."""
    for name, text in (("srun", SRUN), ("scontrol", SCONTROL)):
        (tmp_path / name).write_text(text)
        (tmp_path / name).chmod(0o755)
    space = toy_space("night", study={"trials": 3, "concurrent": "auto"})
    script, number = tmp_path / "night.sh", str(os.getpid())
    argv = ["slurm", "--space", space, "--storage", tmp_path / "runs", "--output", script]
    argv += ["--workers", 2, "--cpus", 1, "--gpus", 0, "--bin", Path(sys.executable).parent]
    assert main([str(word) for word in argv]) == 0
    environment = {
        **os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}", "PYTHONPATH": str(ROOT),
        "SLURM_JOB_ID": number, "SLURM_JOB_NUM_NODES": "2", "SLURM_CPUS_PER_TASK": "1",
        "SLURMD_NODENAME": "n0",
    }  # fmt: skip

    def start() -> subprocess.Popen[str]:
        return subprocess.Popen(
            ["bash", script], cwd=tmp_path, env=environment, text=True, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )  # fmt: skip

    yield start
    wait_until(lambda: not processes_below(f"/tmp/ray-{number}/"))
    shutil.rmtree(f"/tmp/ray-{number}", ignore_errors=True)


def processes_below(word: str) -> list[int]:
    """The processes whose command line holds `word`, as Ray's name the folder they work in."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                line = (entry / "cmdline").read_bytes().decode(errors="replace")
            except OSError:  # it has just ended
                continue
            found += [int(entry.name)] if word in line else []
    return found


def wait_until(holds: Callable[[], bool]) -> None:
    until = time.monotonic() + 180
    while not holds():
        assert time.monotonic() < until
        time.sleep(0.05)


def of_kind(events: list[Event], kind: str) -> list[Event]:
    return [event for event in events if event["event"] == kind]


def test_a_study_whose_time_is_up_is_queued_again_and_ends(
    job: Callable[[], subprocess.Popen[str]], tmp_path: Path
) -> None:
    folder = tmp_path / "runs" / "night"
    first = job()
    wait_until(lambda: len(of_kind(read_events(folder), "reported")) >= 3)
    first.send_signal(signal.SIGUSR1)
    told = first.communicate(timeout=180)[0]
    assert first.returncode == 143, told
    assert f"scontrol requeue {os.getpid()}" in told
    assert "to go on: python -m tune_sr.search --resume --name night" in told
    assert read_events(folder)[-1]["finished"] is False
    wait_until(lambda: not processes_below(f"/tmp/ray-{os.getpid()}/"))

    second = job()
    told = second.communicate(timeout=300)[0]
    assert second.returncode == 0, told
    events = read_events(folder)
    assert events[-1]["finished"] is True and len(of_kind(events, "driver_started")) == 2
    assert len(of_kind(events, "trial_ended")) == 3


SSH = """#!/bin/bash
while [[ "$1" == -* ]]; do [[ "$1" == -[oipl] ]] && shift; shift; done
shift
cd "$NODE" && HOME=$NODE exec bash --noprofile --norc -c "$*"
"""
RSYNC = """#!/bin/bash
to=${@: -1}
cp "${@: -2:1}" "$NODE/${to#*:~/}"
"""
RAY = """#!/bin/bash
echo "ray $* $RAY_AUTH_MODE $(cat "$RAY_AUTH_TOKEN_PATH" 2>/dev/null | wc -c)" >> "$NODE/asked"
"""


def test_rays_launcher_brings_the_head_up_and_tells_it_all(
    toy_space: Callable[..., Path], tmp_path: Path
) -> None:
    node, bin_, name = tmp_path / "node", tmp_path / "bin", f"tune-sr-test-{os.getpid()}"
    for folder in (node, bin_):
        folder.mkdir()
    for command, text in (("ssh", SSH), ("rsync", RSYNC), ("ray", RAY)):
        (bin_ / command).write_text(text)
        (bin_ / command).chmod(0o755)
    space, given = toy_space("night"), tmp_path / "cluster.yaml"
    argv = ["cluster", "--space", space, "--storage", tmp_path / "runs", "--output", given]
    argv += ["--name", name, "--hosts", "127.0.0.1", "127.0.0.2", "--bin", bin_]
    assert main([str(word) for word in argv]) == 0
    up = subprocess.run(
        [sys.executable, "-m", "ray.scripts.scripts", "up", given, "-y", "--no-config-cache"],
        env={**os.environ, "PATH": f"{bin_}:{os.environ['PATH']}", "NODE": str(node)},
        capture_output=True,
        text=True,
    )
    for left in Path("/tmp/ray").glob(f"cluster-{name}.*"):
        left.unlink()
    assert up.returncode == 0, up.stdout + up.stderr
    stopped, started = (node / "asked").read_text().splitlines()
    assert stopped == "ray stop token 0" and started.endswith("ray_bootstrap_config.yaml token 64")
    assert (node / "ray_bootstrap_config.yaml").is_file()
    assert (node / f"tune_sr-{name}" / "space.yaml").read_text() == space.read_text()
    assert "exec python -m tune_sr.search" in (node / f"tune_sr-{name}" / "study.sh").read_text()
