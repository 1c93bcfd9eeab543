"""Whether `precision: auto` costs quality: pairs of trials that differ in their precision alone.

    python tests/benchmarks/precision_pairs.py --out pairs.jsonl
    python tests/benchmarks/precision_pairs.py --pairs 2 --quick --out FILE        # a dry run

A pair is one seed of a laptop space's `first` point, trained whole in `fp32` and in `--precision`
(bf16, which `auto` is wherever that is faster), with a rate that falls to a tenth at 60 % of the
budget and to a hundredth at 85 %, and `ema: 0.99`: at a constant rate, seeds differ by more than
is asked. One line of JSON in --out is one finished trial; a trial that is there with the same
configuration is not repeated, so that a run that was cut short goes on. Prints, for each method,
the mean difference in dB over the pairs, its 95 % interval (Student's t), and whether that lies
within +-`BAR_DB`. Where the processor does not multiply bfloat16, torch emulates it: the figures
are valid then as well, and take several times as long.

Not measured yet: 8 pairs of 3 methods take about 48 trials of 240 updates.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from trainables.config import TrialConfig
from trainables.run import Run, RunImages
from tune_sr.results.paired import paired_difference
from tune_sr.study.space_file import load_space

SPACES = Path(__file__).parents[2] / "search_spaces"
BAR_DB = 0.05
"""The interval is to lie within this distance of zero."""
POINTS = {"dfsr": 0, "dukd": 1, "kd": 1}
"""Number of the `first` point by method: the paper's values, at a rate that suits the budget."""
SETTINGS = ("optimiser.schedule={at: [0.6, 0.85], factor: 0.1}", "ema=0.99", "threads=1")
QUICK = (
    "budget.steps=40",
    "budget.steps_per_report=20",
    "batch.images=1",
    "batch.patch=16",
    "heldout.crop=48",
    "study.scheduler=none",
)

Row = dict[str, Any]


def configured(method: str, seed: int, precision: str, overrides: Sequence[str]) -> TrialConfig:
    """The trial of a method's point with a seed, in a precision."""
    changes = [*SETTINGS, *overrides, f"precision={precision}"]
    space = load_space(SPACES / f"{method}.yaml", changes)
    return space.trial_config(space.first_points[POINTS[method]], seed)


def key_of(config: TrialConfig) -> str:
    """A digest of a whole configuration but for the paths of this machine."""
    written = json.dumps(config.model_dump(mode="json"), sort_keys=True)
    return hashlib.sha256(written.replace(str(Path.cwd()), "").encode()).hexdigest()[:16]


def trained(method: str, seed: int, config: TrialConfig) -> Row:
    """Train a trial to its end, and describe it by its last report."""
    began = time.process_time()
    *_, last = Run(config, images=RunImages.of(config)).reports()
    row = {"key": key_of(config), "method": method, "seed": seed, "precision": config.precision}
    spent = round(time.process_time() - began, 2)
    return {**row, "psnr_y_db": last["psnr_y_db"], "step": last["step"], "cpu_seconds": spent}


def done(path: Path) -> dict[str, Row]:
    """The finished trials of a file by their keys; a last line that was cut off is none."""
    rows: dict[str, Row] = {}
    for line in path.read_text().splitlines() if path.exists() else ():
        with suppress(json.JSONDecodeError):
            row = json.loads(line)
            rows[row["key"]] = row
    return rows


def append(path: Path, row: Row) -> None:
    """Write a finished trial as a line of its own, after one that was cut off as well."""
    cut_off = path.exists() and path.read_text()[-1:] not in ("", "\n")
    with path.open("a") as file:
        file.write(("\n" if cut_off else "") + json.dumps(row) + "\n")
        file.flush()
        os.fsync(file.fileno())


def compared(pairs: Sequence[tuple[Row, Row]]) -> str:
    """What the pairs of a method show, second trial of each against the first, in one line."""
    ours, theirs = ([each[n]["psnr_y_db"] for each in pairs] for n in (1, 0))
    difference = paired_difference(ours, theirs)
    low, high = difference.low, difference.high
    within = "within" if max(-low, high) <= BAR_DB else "not within"
    spent = [sum(each[n]["cpu_seconds"] for each in pairs) for n in (1, 0)]
    return (
        f"{difference.mean:+.4f} dB, 95 % interval {low:+.4f} .. {high:+.4f}, {within} "
        f"+-{BAR_DB:g} dB; {len(pairs)} pairs, sd {difference.sd:.4f}; "
        f"CPU time {spent[0] / spent[1]:.2f} times that of fp32"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--methods", nargs="+", choices=POINTS, default=list(POINTS))
    parser.add_argument("--pairs", type=int, default=8)
    parser.add_argument("--precision", choices=["bf16", "tf32"], default="bf16")
    parser.add_argument("--set", action="append", default=[], dest="overrides")
    parser.add_argument("--quick", action="store_true", help="a dry run")
    parser.add_argument("--out", type=Path, default=Path("precision_pairs.jsonl"))
    arguments = parser.parse_args()
    if arguments.pairs < 2:
        parser.error("--pairs: two at least, else there is no interval")
    overrides = [*(QUICK if arguments.quick else ()), *arguments.overrides]
    rows = done(arguments.out)
    found: dict[str, list[tuple[Row, Row]]] = {method: [] for method in arguments.methods}
    for seed in range(arguments.pairs):  # method by method in turn: what is cut short is balanced
        for method in arguments.methods:
            pair = []
            for precision in ("fp32", arguments.precision):
                config = configured(method, seed, precision, overrides)
                if (key := key_of(config)) not in rows:
                    rows[key] = trained(method, seed, config)
                    append(arguments.out, rows[key])
                    print(f"<!-- {json.dumps(rows[key])} -->", flush=True)
                pair.append(rows[key])
            found[method].append((pair[0], pair[1]))
    for method, pairs in found.items():
        print(f"{method}: {compared(pairs)}")


if __name__ == "__main__":
    main()
