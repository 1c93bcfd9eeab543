"""Reference scores of a run (bicubic and the teacher), the student's cost, and a teacher check."""

from __future__ import annotations

from collections.abc import Iterable

import torch

from trainables.errors import ConfigError
from trainables.metrics.cost import COSTS
from trainables.metrics.evaluate import evaluate
from trainables.resample import upsample_BCHW
from trainables.run import Run, upscaler
from trainables.threads import threads

_CHECKED_SIDE = 24
"""Side in pixels of the LR image with which a teacher is checked."""


def marks(run: Run) -> dict[str, dict[str, float] | None]:
    """Score `bicubic` and the `teacher` by the same evaluation as the student's reports.

    Returns:
        Report keys to values by name: `psnr_y_db`, `ssim` and the two per scale. The teacher's are
        None if the run has no teacher, or if the student is scored by agreement with it.
    """
    teacher = None if run.config.heldout is None else run.teacher
    with threads(run.threads):  # a driver calls this outside its main thread
        return {
            "bicubic": evaluate(upsample_BCHW, run.heldout),
            "teacher": None if teacher is None else evaluate(upscaler(teacher), run.heldout),
        }


def costs(run: Run, names: Iterable[str]) -> dict[str, float]:
    """Return the costs of a run's fully grown student at its largest scale.

    Args:
        run: the run of the student.
        names: keys of `COSTS`: `params`, `macs` or `latency_ms`.
    """
    channels, scale = 3 if run.heldout.colour == "rgb" else 1, max(run.config.student.scales)
    return {name: COSTS[name](run.outcome, channels, scale) for name in names}


@torch.no_grad()
def check_teacher(run: Run) -> None:
    """Check on one small image that the teacher's result is finite.

    Raises:
        ConfigError: it is not, so that every student would diverge.
    """
    if run.teacher is None:
        return
    scale = run.config.student.scales[0]
    lr_BCHW = run.heldout.views[scale][0].lr_BCHW[..., :_CHECKED_SIDE, :_CHECKED_SIDE]
    if not bool(torch.isfinite(run.teacher(lr_BCHW, scale=scale)).all()):
        rule = "what it makes of an image is infinite or no number: every student would diverge"
        raise ConfigError("teacher.weights", rule)
