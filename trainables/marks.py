"""What a student is held against: bicubic from below, its teacher from above."""

from __future__ import annotations

from trainables.config import TrialConfig
from trainables.metrics.evaluate import evaluate
from trainables.resample import upsample_BCHW
from trainables.run import RunImages, chosen_device, load_teacher, make_heldout, upscaler


def marks(config: TrialConfig, images: RunImages) -> dict[str, dict[str, float] | None]:
    """The held-out figures of `bicubic` and of the `teacher`, None where `config` has none.

    Both go through the very evaluation that a student's reports go through; keys as in a report:
    `psnr_y_db`, `ssim` and the two per scale.
    """
    device = chosen_device(config.device)
    heldout = make_heldout(config, images, device)
    teacher = load_teacher(config, device)
    return {
        "bicubic": evaluate(upsample_BCHW, heldout),
        "teacher": None if teacher is None else evaluate(upscaler(teacher), heldout),
    }
