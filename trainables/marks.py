"""What a student is held against: bicubic from below, its teacher from above."""

from __future__ import annotations

from trainables.metrics.evaluate import evaluate
from trainables.resample import upsample_BCHW
from trainables.run import Run, upscaler


def marks(run: Run) -> dict[str, dict[str, float] | None]:
    """The held-out figures of `bicubic` and of the `teacher`, None where a run has none.

    Both go through the very evaluation that the student's reports go through; keys as in a report:
    `psnr_y_db`, `ssim` and the two per scale.
    """
    return {
        "bicubic": evaluate(upsample_BCHW, run.heldout),
        "teacher": None if run.teacher is None else evaluate(upscaler(run.teacher), run.heldout),
    }
