"""What a student is held against: bicubic from below, its teacher from above, its own cost."""

from __future__ import annotations

from collections.abc import Iterable

from trainables.metrics.cost import COSTS
from trainables.metrics.evaluate import evaluate
from trainables.resample import upsample_BCHW
from trainables.run import Run, upscaler
from trainables.threads import threads


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
