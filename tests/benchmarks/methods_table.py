"""Methods at one budget, over several seeds, on held-out photographs and on Set5.

    python tests/benchmarks/methods_table.py --steps 240 --seeds 0 1 2
    python tests/benchmarks/methods_table.py --methods scratch kd fakd csd dukd --point 1 \\
        --steps 160 --set batch.images=8

Each method is trained at one of its laptop space's `first` points (0: the paper's values of the
searched quantities; 1, for methods that learn from images: the same at a rate that suits a
laptop's budget), with equal student updates. Set5 needs TUNE_SR_DATA, the folder that holds
data/Set5. Prints a Markdown table: mean, gain over bicubic, lowest and highest gain.
"""

from __future__ import annotations

import argparse
import os
import statistics
from collections.abc import Callable
from pathlib import Path

from torch import Tensor

from trainables.data.images import read_images
from trainables.metrics.evaluate import Heldout, evaluate
from trainables.resample import upsample_BCHW
from trainables.run import Run, RunImages, upscaler
from tune_sr.study.space_file import load_space

SPACES = Path(__file__).parents[2] / "search_spaces"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--methods", nargs="+", default=["noise", "dfad", "dfsr", "dfsr_cmi"])
    parser.add_argument("--point", type=int, default=0)
    parser.add_argument("--steps", type=int, default=240)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--set", action="append", default=[], dest="overrides")
    arguments = parser.parse_args()
    changes = [
        f"budget.steps={arguments.steps}",
        f"budget.steps_per_report={arguments.steps}",
        "study.scheduler=none",
        *arguments.overrides,
    ]
    rows: dict[str, list[dict[str, float]]] = {}
    for method in arguments.methods:
        space = load_space(SPACES / f"{method}.yaml", changes)
        for seed in arguments.seeds:
            config = space.trial_config(space.first_points[arguments.point], seed)
            run = Run(config, images=RunImages.of(config))
            sets = {"photos": run.heldout} | _set5(run)
            rows.setdefault("bicubic", [_scores(upsample_BCHW, sets)])
            if run.teacher is not None:
                rows.setdefault("teacher", [_scores(upscaler(run.teacher), sets)])
            *_, last = run.reports()
            scores = _scores(upscaler(run.outcome, run.method.active()), sets)
            assert abs(scores["photos"] - last["psnr_y_db"]) < 1e-9
            rows.setdefault(method, []).append(scores)
            print(f"<!-- {method} seed {seed}: {scores} -->", flush=True)
    _print_table(rows)


def _set5(run: Run) -> dict[str, Heldout]:
    root = os.environ.get("TUNE_SR_DATA")
    if root is None:
        return {}
    images = read_images(str(Path(root) / "data/Set5/HR"), "heldout")
    colour = run.student.colour
    protocol = "yfloat" if colour == "y" else "rgb8"
    scales = run.student.scales
    return {"Set5": Heldout(images, colour=colour, scales=scales, protocol=protocol)}


def _scores(upscale: Callable[[Tensor, int], Tensor], sets: dict[str, Heldout]) -> dict[str, float]:
    return {name: evaluate(upscale, heldout)["psnr_y_db"] for name, heldout in sets.items()}


def _print_table(rows: dict[str, list[dict[str, float]]]) -> None:
    sets = list(rows["bicubic"][0])
    print("| | " + " | ".join(f"{name}, dB | gain | lowest, highest" for name in sets) + " |")
    print("|---" * (1 + 3 * len(sets)) + "|")
    for label, runs in rows.items():
        cells = [label]
        for name in sets:
            bicubic = rows["bicubic"][0][name]
            gains = [run[name] - bicubic for run in runs]
            mean = statistics.fmean(gains)
            cells += [f"{bicubic + mean:.2f}", f"{mean:+.2f}"]
            cells += [f"{min(gains):+.2f}, {max(gains):+.2f}" if len(gains) > 1 else ""]
        print("| " + " | ".join(cells) + " |")


if __name__ == "__main__":
    main()
