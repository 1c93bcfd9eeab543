"""A process of its own that goes on with saved runs: `python resume_in_new_process.py FOLDER`.

Every `FOLDER/*.job` holds a configuration, decoded images, a saved state and a number of reports;
the reports made from there and the state they lead to are written to `*.done`.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import torch

from trainables.config import TrialConfig
from trainables.data.images import Images
from trainables.run import Run, RunImages


def images(raw: dict[str, torch.Tensor]) -> Images:
    return Images(tuple(raw), tuple(tensor.numpy() for tensor in raw.values()))


def finish(job: dict[str, Any]) -> dict[str, Any]:
    config = TrialConfig.parse(job["config"])
    run = Run(config, images=RunImages(images(job["heldout"]), images(job["train"])))
    run.load_state_dict(job["state"])
    reports = [run.advance() for _ in range(job["reports"])]
    return {"reports": reports, "state": run.state_dict()}


if __name__ == "__main__":
    for path in Path(sys.argv[1]).glob("*.job"):
        done = finish(torch.load(path, weights_only=True))
        torch.save(done, path.with_suffix(".done"))
