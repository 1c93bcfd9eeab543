"""How long an update takes: `Run` against a bare loop, the authors' own, and a plain Ray trainable.

    python tests/benchmarks/step.py                                     # every pair, on this device
    python tests/benchmarks/step.py --methods dfsr --networks vdsr --precisions fp32 auto
    python tests/benchmarks/step.py --device cuda --images 4 16 128 --out FOLDER

run           `Run`, a report's worth of updates at a time, its evaluation left out
bare          a plain eager float32 loop of the same mathematics (`bare_loops.py`)
released      DFSR's loop as its authors released it, from their description (DFSR alone: of the
              other methods, `bare` is the authors' mathematics)
ray           the released loop, else the bare one, as a plain `ray.tune.Trainable`, where Ray is at
              hand: its `train`, without a checkpoint

All take turns in one process, and what is compared is the ratio within a turn, so that whatever
else the machine does falls on all of them. On a CPU a turn is measured in process time, on a GPU by
the clock, the device waited for. Writes step.json into --out, and prints a Markdown table of
milliseconds an update and, in brackets, how many times faster than `bare` (median over the turns).
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from bare_loops import LOOPS, Update, released
from trials import STUDENTS, pictures, trial

from trainables.config import TrialConfig
from trainables.errors import ConfigError
from trainables.methods import METHODS
from trainables.networks import NETWORKS
from trainables.run import Run, RunImages

Turn = Callable[[], object]
"""A report's worth of updates."""


def run_turn(config: TrialConfig, images: RunImages) -> Turn:
    """`Run` with everything but its evaluation."""
    run = Run(config, images=images)
    run.evaluate = dict  # type: ignore[method-assign]  # an update is measured, not a report
    return run.advance


def loop_turn(update: Update, updates: int) -> Turn:
    """A loop that reads its losses once, at the end, as `Run` does."""

    def turn() -> float:
        losses = [next(iter(update().values())) for _ in range(updates)]
        return float(torch.stack(losses).mean())

    return turn


def ray_turn(turn: Turn) -> Turn | None:
    """The same as Ray's users write it; None without Ray."""
    try:
        from ray.tune import Trainable
    except ImportError:
        return None

    class Loop(Trainable):
        def step(self) -> dict[str, Any]:
            return {"loss": turn()}

    return Loop({}).train  # type: ignore[no-any-return]  # Ray's own are untyped


def contestants(
    config: TrialConfig, images: RunImages, precisions: list[str]
) -> Iterator[tuple[str, Turn]]:
    """All that can be measured of a configuration, with names."""
    updates = config.budget.steps_per_report
    plain = config.model_copy(update={"precision": "fp32"})
    method = config.method.name
    yield "bare", loop_turn(LOOPS[method](Run(plain, images=images)), updates)
    for precision in precisions:
        chosen = TrialConfig.model_validate({**dict(config), "precision": precision})
        yield f"run {precision}", run_turn(chosen, images)
    loop = LOOPS[method]
    if method == "dfsr":
        loop = released
        yield "released", loop_turn(released(Run(plain, images=images)), updates)
    with_ray = ray_turn(loop_turn(loop(Run(plain, images=images)), updates))
    if with_ray is not None:
        yield "ray", with_ray


def spent(turn: Turn, device: torch.device) -> float:
    """Seconds of a turn."""
    if device.type == "cpu":
        start = time.process_time()
        turn()
        return time.process_time() - start
    torch.cuda.synchronize()
    start = time.perf_counter()
    turn()
    torch.cuda.synchronize()
    return time.perf_counter() - start


def measure(
    turns: dict[str, Turn], device: torch.device, updates: int, rounds: int, seconds: float
) -> dict[str, dict[str, float]]:
    """Milliseconds an update, and how many times faster than `bare`, by contestant.

    Args:
        turns: what takes turns.
        device: of all of them.
        updates: in a turn.
        rounds: at most, of which there are three at least.
        seconds: after which no further round begins.
    """
    for turn in turns.values():
        for _ in range(2 if device.type == "cuda" else 1):
            turn()
    took: dict[str, list[float]] = {name: [] for name in turns}
    began = time.perf_counter()
    for number in range(rounds):
        if number >= 3 and time.perf_counter() - began > seconds:
            break
        names = list(turns)
        shift = number % len(names)  # nobody always follows the same one
        for name in (*names[shift:], *names[:shift]):
            took[name].append(spent(turns[name], device))
    rows = {}
    for name, times in took.items():
        ratios = [bare / own for bare, own in zip(took["bare"], times, strict=True)]
        rows[name] = {
            "ms": round(statistics.median(times) / updates * 1e3, 4),
            "faster": round(statistics.median(ratios), 4),
            "least": round(min(ratios), 4),
            "most": round(max(ratios), 4),
            "rounds": len(times),
        }
    return rows


def described(device: torch.device) -> str:
    """What the figures are of."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"cpu, {torch.get_num_threads()} thread of {os.cpu_count()}"


def table(rows: list[dict[str, Any]]) -> str:
    """All rows as Markdown."""
    columns = list(dict.fromkeys(name for row in rows for name in row["took"]))
    lines = ["| method | network | images | " + " | ".join(columns) + " |"]
    lines.append("|---" * (3 + len(columns)) + "|")
    for row in rows:
        cells = [row["method"], row["network"], str(row["images"])]
        for name in columns:
            each = row["took"].get(name)
            cells.append(f"{each['ms']:.2f} ({each['faster']:.2f})" if each else "")
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def measured(arguments: argparse.Namespace, device: torch.device) -> Iterator[dict[str, Any]]:
    """A row for every pair that there is, and a word for every one that there is not."""
    size = "toy" if arguments.quick else "gpu" if device.type == "cuda" else "cpu"
    side = 64 if arguments.quick else 288
    images = RunImages(pictures(1, 256), pictures(4, side))
    updates = arguments.updates or (50 if device.type == "cuda" else 10)
    with tempfile.TemporaryDirectory() as folder:
        for method in arguments.methods:
            for network in arguments.networks:
                for count in arguments.images:
                    budget = {"steps": 1000 * updates, "steps_per_report": updates}
                    sections = {"budget": budget, "device": str(device), "threads": 1}
                    try:
                        raw = trial(method, network, size, Path(folder), images=count, **sections)
                        config = TrialConfig.parse(raw)
                    except ConfigError as refused:
                        print(f"<!-- {method} {network}: {refused} -->")
                        continue
                    turns = dict(contestants(config, images, arguments.precisions))
                    took = measure(turns, device, updates, arguments.rounds, arguments.seconds)
                    key = {"method": method, "network": network, "images": count, "size": size}
                    yield {**key, "device": described(device), "updates": updates, "took": took}
                    turns.clear()
                    gc.collect()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    default = "cuda" if torch.cuda.is_available() else "cpu"
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=list(METHODS))
    parser.add_argument("--networks", nargs="+", choices=NETWORKS, default=list(STUDENTS["cpu"]))
    parser.add_argument("--images", nargs="+", type=int, default=[4])
    parser.add_argument("--precisions", nargs="+", default=["fp32"])
    parser.add_argument("--device", default=default)
    parser.add_argument("--updates", type=int, help="in a turn; 10, on a GPU 50")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--seconds", type=float, default=60.0, help="a row, after three rounds")
    parser.add_argument("--quick", action="store_true", help="toys: a dry run")
    parser.add_argument("--out", type=Path, default=Path())
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(1)
    rows: list[dict[str, Any]] = []
    for row in measured(arguments, torch.device(arguments.device)):
        rows.append(row)
        lines = ",\n".join(json.dumps(each) for each in rows)
        (arguments.out / "step.json").write_text(f"[\n{lines}\n]\n")
        print(f"<!-- {json.dumps(row)} -->", flush=True)
    print(table(rows))


if __name__ == "__main__":
    main()
