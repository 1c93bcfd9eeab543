"""Rows of a paper's table at their whole budget, in pieces of minutes, without Ray.

    python tests/benchmarks/paper_rows.py write FOLDER --space FILE [--seeds 0 1] [--set PATH=VALUE]
    python tests/benchmarks/paper_rows.py run FOLDER --seconds 330 [--device cuda]
    python tests/benchmarks/paper_rows.py table FOLDER

`write` needs the project with all its packages: it writes FOLDER/rows.json, each point of `first`
of a space, as search_spaces/paper/dfsr_ablation.yaml, with each seed. `run` needs torch, numpy,
pillow, pydantic, safetensors and scikit-image: it goes on with the first row that has not ended,
from its newest checkpoint, until the seconds are over, then with the next; started again with the
same FOLDER, wherever that lies by then, it goes on. An ended row has FOLDER/<row>/row.json: PSNR
on the held-out photographs and, where TUNE_SR_DATA names the folder of data/Set5, on Set5. `table`
prints what has ended.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from pathlib import Path
from typing import Any

from trainables.checkpoints import best_of, find_checkpoints
from trainables.config import TrialConfig
from trainables.data.images import read_images
from trainables.metrics.evaluate import Heldout, evaluate
from trainables.resample import upsample_BCHW
from trainables.run import Run, upscaler
from trainables.saved_run import SavedRun

ROWS, ROW = "rows.json", "row.json"
DATA = "${TUNE_SR_DATA}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=["write", "run", "table"])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--space", help="write: the file whose first points are the rows")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1], help="write")
    parser.add_argument("--set", action="append", default=[], dest="overrides", help="write")
    parser.add_argument("--seconds", type=float, default=330.0, help="run: of this piece")
    parser.add_argument("--device", default="cuda", help="run")
    arguments = parser.parse_args()
    if arguments.what == "write":
        write(arguments.folder, arguments.space, arguments.seeds, arguments.overrides)
    elif arguments.what == "run":
        run(arguments.folder, time.monotonic() + arguments.seconds, arguments.device)
    table(arguments.folder)


def write(folder: Path, file: str, seeds: list[int], overrides: list[str]) -> None:
    """Write the rows: their names, points and configurations, with `DATA` in place of its value."""
    from tune_sr.study.space_file import load_space

    space = load_space(Path(file), overrides)
    rows = [
        {
            "name": f"{number}-{seed}",
            "point": point,
            "config": space.trial_config(point, seed).model_dump(mode="json"),
        }
        for number, point in enumerate(space.first_points)
        for seed in seeds
    ]
    folder.mkdir(parents=True, exist_ok=True)
    text = json.dumps(rows, indent=1).replace(os.environ.get("TUNE_SR_DATA", DATA), DATA)
    (folder / ROWS).write_text(text, encoding="utf-8")


def run(folder: Path, end: float, device: str) -> None:
    """Train one row after the other until `end` by the monotonic clock."""
    for row in rows_of(folder):
        there = folder / row["name"]
        if (there / ROW).exists():
            continue
        config = TrialConfig.parse({**row["config"], "device": device})
        saved = SavedRun(config, there)
        longest, before = 0.0, time.monotonic()
        while not saved.run.finished and time.monotonic() + longest < end:
            report = saved.advance()
            now = time.monotonic()
            longest, before = max(longest, now - before), now
            print(f"{row['name']} {saved.run.step}/{config.budget.steps}", report["psnr_y_db"])
        if not saved.run.finished:
            return
        (there / ROW).write_text(json.dumps(scores(saved.run, there)), encoding="utf-8")


def rows_of(folder: Path) -> list[dict[str, Any]]:
    text = (folder / ROWS).read_text(encoding="utf-8")
    return list(json.loads(os.path.expandvars(text)))


def scores(run: Run, folder: Path) -> dict[str, float]:
    """PSNR in dB, by data set, of a row's best student by its held-out photographs, and of
    bicubic enlargement and the teacher beside it."""
    best = best_of(find_checkpoints([folder]))
    state = best.state() if best else None
    if state is not None:
        run.load_state_dict(state)
    found = {"step": float(run.step)}
    sets = {"photos": run.heldout}
    data = os.environ.get("TUNE_SR_DATA")
    if data is not None:
        images = read_images(str(Path(data) / "data/Set5/HR"), "heldout")
        colour, scales = run.student.colour, run.student.scales
        protocol = "yfloat" if colour == "y" else "rgb8"
        sets["Set5"] = Heldout(images, colour=colour, scales=scales, protocol=protocol)
    for name, heldout in sets.items():
        found[f"{name} bicubic"] = evaluate(upsample_BCHW, heldout)["psnr_y_db"]
        if run.teacher is not None:
            found[f"{name} teacher"] = evaluate(upscaler(run.teacher), heldout)["psnr_y_db"]
        network = upscaler(run.outcome, run.method.active())
        found[name] = evaluate(network, heldout)["psnr_y_db"]
    return found


def table(folder: Path) -> None:
    """Print the rows as a Markdown table: PSNR in dB, or how far a row has come."""
    print("| row | point | photos | Set5 |\n|---|---|---|---|")
    for row in rows_of(folder):
        there = folder / row["name"]
        point = " ".join(f"{key}={value}" for key, value in row["point"].items())
        if (there / ROW).exists():
            found = json.loads((there / ROW).read_text(encoding="utf-8"))
            photos, set5 = f"{found['photos']:.2f}", f"{found.get('Set5', float('nan')):.2f}"
        else:
            steps = [checkpoint.manifest.step for checkpoint in find_checkpoints([there])]
            photos, set5 = f"at update {max(steps, default=0)}", ""
        print(f"| {row['name']} | {point} | {photos} | {set5} |")


if __name__ == "__main__":
    main()
