"""Resolves `gpus_per_trial: auto`: measures the first point's peak memory in a short training."""

from __future__ import annotations

import logging
import math
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING

from trainables.config import BudgetConfig
from trainables.errors import Diverged
from trainables.run import Run
from tune_sr.storage.disk import megabytes
from tune_sr.study.config import StudyConfig

if TYPE_CHECKING:
    from tune_sr.driver.preflight import Prepared

_MARGIN = 1.2
"""Memory reserved for a trial, as a multiple of the probed one's: other points may need more."""
_CONTEXT_BYTES = 600_000_000
"""Approximate GPU memory of a process's CUDA context, beside its tensors."""
_MOST_TRIALS = 16
"""Largest number of trials on one GPU: beyond it they only slow each other down."""
_RAY_UNITS = 10_000
"""Ray's resolution of a GPU: multiples of 1/10000."""
_UPDATES, _REPORTS = 120, 2
"""Budget of the probe run: enough for its student to grow, and for a generator (each 50th update).
"""

_log = logging.getLogger(__name__)


def fraction_of_gpu(peak_bytes: int, free_bytes: int) -> float:
    """Return the share of a GPU to give each trial, so that as many trials as fit run on it.

    Args:
        peak_bytes: peak memory of a trial's tensors.
        free_bytes: free memory of the GPU.

    Returns:
        One over the number of trials that fit (at most 16), rounded down to a multiple of 1/10000;
        1 where no two fit, even if not one does.

    >>> fraction_of_gpu(peak_bytes=20 * 10**9, free_bytes=80 * 10**9)
    0.3333
    """
    fit = int(free_bytes / (_MARGIN * peak_bytes + _CONTEXT_BYTES))
    trials = max(1, min(fit, _MOST_TRIALS))
    return math.floor(_RAY_UNITS / trials) / _RAY_UNITS


def resolve_gpus_per_trial(config: StudyConfig, prepared: Prepared) -> StudyConfig:
    """Replace `gpus_per_trial: auto` in a study's configuration by a number, and log it.

    Args:
        config: returned unchanged if it has a number.
        prepared: the images and the first point's run, whose device is probed.

    Returns:
        The configuration with the measured share; with 0 where trials run on CPUs.

    Raises:
        ValueError: the study runs on a cluster and this machine has no GPU to probe.
    """
    import torch

    if config.settings.gpus_per_trial != "auto":
        return config
    gpus = 0.0
    if torch.cuda.is_available() and prepared.run.device.type == "cuda":
        peak = probe_peak_bytes(prepared)
        free, whole = torch.cuda.mem_get_info()
        gpus = fraction_of_gpu(peak, free)
        measured = f"a trial takes {megabytes(peak)} of a GPU's {megabytes(whole)}"
        _log.warning("--gpus-per-trial auto: %s: %g of one for each", measured, gpus)
    elif config.address is not None:
        rule = "tries one trial on this machine's GPU, and there is none: say a number"
        raise ValueError(f"--gpus-per-trial auto: {rule}")
    else:
        _log.warning("--gpus-per-trial auto: no GPU is used here; trials are placed by CPUs alone")
    settings = config.settings.with_overrides({"gpus_per_trial": gpus}, config.space)
    return replace(config, settings=settings)


def probe_peak_bytes(prepared: Prepared) -> int:
    """Train the study's first point for 120 updates; return the peak bytes of GPU memory reserved.

    If the training diverges or exceeds the memory, the peak until then.
    """
    import torch

    device, config = prepared.run.device, prepared.run.config
    budget = BudgetConfig(steps=_UPDATES, steps_per_report=_UPDATES // _REPORTS)
    torch.cuda.empty_cache()
    held = torch.cuda.memory_reserved(device)
    torch.cuda.reset_peak_memory_stats(device)
    with suppress(Diverged, torch.cuda.OutOfMemoryError):  # the peak until then counts
        for _ in Run(
            config.model_copy(update={"budget": budget}), images=prepared.images
        ).reports():
            pass
    peak = int(torch.cuda.max_memory_reserved(device)) - held
    torch.cuda.empty_cache()
    return peak
