"""How many updates a second a GPU gives to k runs: on streams, as processes, and under MPS.

    python tests/benchmarks/sharing.py --out FOLDER
    python tests/benchmarks/sharing.py --device cpu --quick --out FOLDER     # a dry run

alone      one run
streams    k runs in one process, which take turns, each on a stream of its own
processes  k processes with one run each, which the GPU serves in turn
mps        the same under NVIDIA's multi-process service, where it is installed: the daemon is
           started for the measurement, on pipes of its own, and stopped after it

Every run is DFSR on half-wide VDSR under the teacher that ships, as `step.py` has it. Writes
sharing.json into --out: the sum of all runs' updates a second, and how many times one run's it is.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from trials import pictures, trial

from trainables.config import TrialConfig
from trainables.run import Run, RunImages

REPORT = 50
"""Updates of each run between two readings of the clock."""


def configured(arguments: argparse.Namespace, seed: int) -> TrialConfig:
    """The configuration of a run."""
    size = "toy" if arguments.quick else "gpu"
    with tempfile.TemporaryDirectory() as folder:
        raw = trial("dfsr", "vdsr", size, Path(folder), images=arguments.images)
        raw |= {"seed": seed, "device": arguments.device, "threads": 1}
        raw |= {"precision": arguments.precision, "graphs": not arguments.eager}
        raw["heldout"] = {"crop": 48}
        config = TrialConfig.parse(raw)
        return config if config.teacher is None or size == "gpu" else _kept(config, raw)


def _kept(config: TrialConfig, raw: dict[str, Any]) -> TrialConfig:
    """A toy's configuration whose teacher stays on disk for as long as the process lives."""
    folder = Path(tempfile.mkdtemp())
    kept = trial("dfsr", "vdsr", "toy", folder, images=config.batch.images)["teacher"]
    return TrialConfig.parse({**raw, "teacher": kept})


def made(arguments: argparse.Namespace, count: int) -> list[Run]:
    """Runs that have recorded what they repeat."""
    images = RunImages(pictures(1, 48))
    runs = [Run(configured(arguments, seed), images=images) for seed in range(count)]
    turns(runs, 4 * REPORT if not arguments.quick else 4)
    return runs


def turns(runs: list[Run], updates: int) -> None:
    """As many updates of each run, one at a time, the device waited for at the end."""
    for _ in range(updates):
        for run in runs:
            with run.replay.here(), run.numerics():
                run.update()
    wait(runs[0].device)


def wait(device: torch.device) -> None:
    """Wait for all streams of the device."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def rate(arguments: argparse.Namespace, count: int) -> float:
    """Updates a second of `count` runs in this process, all together."""
    runs = made(arguments, count)
    done, start = 0, time.perf_counter()
    while time.perf_counter() - start < arguments.seconds:
        turns(runs, REPORT if not arguments.quick else 2)
        done += count * (REPORT if not arguments.quick else 2)
    return done / (time.perf_counter() - start)


def work(arguments: argparse.Namespace) -> None:
    """One process of several: says that it is ready, waits for a line, and prints its rate."""
    runs = made(arguments, 1)
    print("ready", flush=True)
    sys.stdin.readline()
    done, start = 0, time.perf_counter()
    while time.perf_counter() - start < arguments.seconds:
        turns(runs, 10 if not arguments.quick else 2)
        done += 10 if not arguments.quick else 2
    print(done / (time.perf_counter() - start), flush=True)


def processes(arguments: argparse.Namespace, count: int, environment: dict[str, str]) -> float:
    """Updates a second of `count` processes that run at the same time, all together."""
    command = [sys.executable, __file__, "--worker", *sys.argv[1:]]
    workers = [
        subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, **environment},
        )
        for _ in range(count)
    ]
    try:
        for each in workers:
            assert each.stdout is not None
            assert each.stdout.readline() == "ready\n", "a worker has failed"
        for each in workers:
            assert each.stdin is not None
            each.stdin.write("go\n")
            each.stdin.flush()
        return sum(float(each.stdout.readline()) for each in workers if each.stdout is not None)
    finally:
        for each in workers:
            with suppress(subprocess.TimeoutExpired):
                each.communicate(timeout=20)
            each.kill()


def under_mps(arguments: argparse.Namespace, count: int) -> float:
    """As `processes`, with a daemon of NVIDIA's multi-process service."""
    control = shutil.which("nvidia-cuda-mps-control")
    if control is None:
        raise FileNotFoundError("nvidia-cuda-mps-control is not installed")
    with tempfile.TemporaryDirectory() as folder:
        pipes = {"CUDA_MPS_PIPE_DIRECTORY": f"{folder}/pipe", "CUDA_MPS_LOG_DIRECTORY": folder}
        environment = {**os.environ, **pipes}
        (Path(folder) / "pipe").mkdir()
        subprocess.run([control, "-d"], env=environment, check=True, timeout=30)
        try:
            return processes(arguments, count, pipes)
        finally:
            subprocess.run(
                [control], input="quit\n", text=True, env=environment, check=False, timeout=60
            )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--images", type=int, default=4)
    parser.add_argument("--runs", type=int, default=8)
    parser.add_argument("--precision", default="bf16")
    parser.add_argument("--eager", action="store_true", help="no graphs")
    parser.add_argument("--seconds", type=float, default=4.0, help="of every measurement")
    parser.add_argument("--quick", action="store_true", help="toys: a dry run")
    parser.add_argument("--out", type=Path, default=Path())
    parser.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.quick:
        arguments.precision = "fp32"
    if arguments.worker:
        work(arguments)
        return
    arguments.out.mkdir(parents=True, exist_ok=True)
    rows: dict[str, Any] = {"images": arguments.images, "runs": arguments.runs}
    rows |= {"precision": arguments.precision, "graphs": not arguments.eager}
    count = arguments.runs
    # MPS and processes first: with them, this process has no context on the GPU yet.
    ways = {
        "mps": lambda: under_mps(arguments, count),
        "processes": lambda: processes(arguments, count, {}),
        "alone": lambda: rate(arguments, 1),
        "streams": lambda: rate(arguments, count),
    }
    for name, way in ways.items():
        try:
            rows[name] = round(way(), 1)
        except Exception as error:  # one way's failure is a finding, not the end
            rows[name] = f"{type(error).__name__}: {error}"[:300]
        print(name, rows[name], flush=True)
    if isinstance(rows["alone"], float):
        sums = {name: rows[name] for name in ways if isinstance(rows[name], float)}
        rows["times_one_run"] = {n: round(each / rows["alone"], 2) for n, each in sums.items()}
    (arguments.out / f"sharing_{arguments.images}.json").write_text(json.dumps(rows) + "\n")
    print(json.dumps(rows))


if __name__ == "__main__":
    main()
