"""What a student is held against: bicubic from below, its teacher from above, its own cost."""

from __future__ import annotations

from collections.abc import Iterable

import torch

from trainables.metrics.cost import COSTS
from trainables.metrics.evaluate import evaluate
from trainables.resample import upsample_BCHW
from trainables.run import Run, upscaler
from trainables.threads import threads
from trainables.values import ConfigError

_LOOKED_AT = 24
"""Side of the LR image by which a teacher is tried."""


def marks(run: Run) -> dict[str, dict[str, float] | None]:
    """The held-out figures of `bicubic` and of the `teacher`, None where a run has none.

    Both go through the very evaluation that the student's reports go through; keys as in a report:
    `psnr_y_db`, `ssim` and the two per scale. Where a student is judged by its teacher, the teacher
    has none: it agrees with itself.
    """
    judge = None if run.config.heldout is None else run.teacher
    with threads(run.threads):  # a driver calls this beside its main thread
        return {
            "bicubic": evaluate(upsample_BCHW, run.heldout),
            "teacher": None if judge is None else evaluate(upscaler(judge), run.heldout),
        }


def costs(run: Run, names: Iterable[str]) -> dict[str, float]:
    """What the student of a run costs when it is fully grown, at its largest scale.

    Args:
        run: whose student it is.
        names: of what is asked, keys of `COSTS`.
    """
    channels, scale = 3 if run.heldout.colour == "rgb" else 1, max(run.config.student.scales)
    return {name: COSTS[name](run.outcome, channels, scale) for name in names}


@torch.no_grad()
def check_teacher(run: Run) -> None:
    """Ask the teacher for one small image: what it makes of it must be numbers.

    Raises:
        ConfigError: it is not, so that every student would diverge.
    """
    if run.teacher is None:
        return
    scale = run.config.student.scales[0]
    lr_BCHW = run.heldout.views[scale][0].lr_BCHW[..., :_LOOKED_AT, :_LOOKED_AT]
    if not bool(torch.isfinite(run.teacher(lr_BCHW, scale=scale)).all()):
        rule = "what it makes of an image is infinite or no number: every student would diverge"
        raise ConfigError("teacher.weights", rule)
