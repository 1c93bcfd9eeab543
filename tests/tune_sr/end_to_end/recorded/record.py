"""Records a study that is killed in its middle, and the same one that is not.

    git worktree add --detach /tmp/at-3cb7bf0 3cb7bf0
    cd /tmp/at-3cb7bf0 && python /path/to/record.py

made `study-3cb7bf0.tar.gz` beside this file: `runs/killed`, less study.json, Ray's own files and
the checkpoints of ended trials that nothing needs; as `never-killed.jsonl` the ledger of
`runs/whole`; images and teacher.
"""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
from PIL import Image

from trainables.networks import build_network
from trainables.networks.checkpoint import save_network

HERE = Path("/tmp/recorded")
REPORTS = 15
"""After as many the driver is killed."""
SPACE = f"""
fixed:
  method: {{name: kd}}
  student: {{name: vdsr, features: 4, blocks: 3, scales: [2]}}
  teacher: {{name: vdsr, features: 4, blocks: 3, scales: [2], weights: {HERE}/teacher.safetensors}}
  batch: {{images: 2, patch: 16}}
  data: {{images: {HERE}/images}}
  heldout: {{images: {HERE}/images, crop: null}}
  budget: {{steps: 24, steps_per_report: 4}}
  optimiser: {{schedule: null}}
  device: cpu
search:
  optimiser.lr: {{loguniform: [0.00001, 0.001]}}
study: {{trials: 4, concurrent: 1, searcher: random, scheduler: none, storage: {HERE}/runs}}
"""


def make_files() -> None:
    (HERE / "images").mkdir(parents=True)
    rng = np.random.default_rng(0)
    for name in ("a.png", "b.png"):
        coarse = Image.fromarray(rng.integers(0, 256, (6, 6, 3), dtype=np.uint8))
        coarse.resize((32, 32), Image.Resampling.BICUBIC).save(HERE / "images" / name)
    teacher = build_network({"name": "vdsr", "features": 4, "blocks": 3, "scales": [2]}, seed=7)
    for parameter in teacher.tail.parameters():
        parameter.data.mul_(0.05)
    save_network(HERE / "teacher.safetensors", teacher)
    (HERE / "space.yaml").write_text(SPACE)


def start(name: str) -> subprocess.Popen[bytes]:
    words = ["--space", str(HERE / "space.yaml"), "--name", name, "--quiet"]
    return subprocess.Popen([sys.executable, "-m", "tune_sr.search", *words])


def main() -> None:
    make_files()
    assert start("whole").wait() == 0
    driver, ledger = start("killed"), HERE / "runs" / "killed" / "ledger.jsonl"
    while not ledger.exists() or ledger.read_text().count('"reported"') < REPORTS:
        time.sleep(0.002)
    driver.send_signal(signal.SIGKILL)
    driver.wait()


if __name__ == "__main__":
    main()
