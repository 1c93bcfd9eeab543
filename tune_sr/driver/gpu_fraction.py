"""The part of a GPU that each trial is given where nobody has said it: what one trial needs."""

from __future__ import annotations

import logging
import math
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING

from trainables.config import BudgetConfig
from trainables.run import Run
from trainables.values import Diverged
from tune_sr.storage.disk import megabytes
from tune_sr.study.config import StudyConfig

if TYPE_CHECKING:
    from tune_sr.driver.preflight import Prepared

_MARGIN = 1.2
"""How much more than the one that was tried a trial may need: points differ."""
_CONTEXT_BYTES = 600_000_000
"""About what CUDA takes of a GPU for each process that uses it, beside its tensors."""
_MOST = 16
"""Trials on one GPU: more would only wait for each other."""
_FINEST = 10_000
"""Ray counts GPUs in parts of so many."""
_UPDATES, _REPORTS = 120, 2
"""Of a trial that is only tried: its student grows, and a generator (each 50th update) as well."""

_log = logging.getLogger(__name__)


def fraction_of_gpu(peak_bytes: int, free_bytes: int) -> float:
    """The part of a GPU for each trial, so that as many whole ones as fit share it.

    Args:
        peak_bytes: that the tensors of a trial take at most.
        free_bytes: of the GPU.

    Returns:
        One over their number, rounded down to what Ray can count; 1 where no two fit, also for a
        trial that will not fit alone.

    >>> fraction_of_gpu(peak_bytes=20 * 10**9, free_bytes=80 * 10**9)
    0.3333
    """
    fit = int(free_bytes / (_MARGIN * peak_bytes + _CONTEXT_BYTES))
    trials = max(1, min(fit, _MOST))
    return math.floor(_FINEST / trials) / _FINEST


def resolve_gpus_per_trial(config: StudyConfig, prepared: Prepared) -> StudyConfig:
    """The same study with a number where it says `gpus_per_trial: auto`.

    Raises:
        ValueError: a cluster's study is started where there is no GPU to try a trial on.
    """
    import torch

    if config.settings.gpus_per_trial != "auto":
        return config
    gpus = 0.0
    if torch.cuda.is_available() and prepared.run.device.type == "cuda":
        peak = probe_peak_bytes(prepared)
        free, whole = torch.cuda.mem_get_info()
        gpus = fraction_of_gpu(peak, free)
        told = f"a trial takes {megabytes(peak)} of a GPU's {megabytes(whole)}"
        _log.warning("--gpus-per-trial auto: %s: %g of one for each", told, gpus)
    elif config.address is not None:
        rule = "tries one trial on this machine's GPU, and there is none: say a number"
        raise ValueError(f"--gpus-per-trial auto: {rule}")
    else:
        _log.warning("--gpus-per-trial auto: no GPU is used here; trials are placed by CPUs alone")
    settings = config.settings.with_overrides({"gpus_per_trial": gpus}, config.space)
    return replace(config, settings=settings)


def probe_peak_bytes(prepared: Prepared) -> int:
    """The GPU memory that tensors take at most in a short trial of the study's first point."""
    import torch

    device, config = prepared.run.device, prepared.run.config
    budget = BudgetConfig(steps=_UPDATES, steps_per_report=_UPDATES // _REPORTS)
    torch.cuda.empty_cache()
    held = torch.cuda.memory_reserved(device)
    torch.cuda.reset_peak_memory_stats(device)
    with suppress(Diverged, torch.cuda.OutOfMemoryError):  # what it took until then counts
        for _ in Run(
            config.model_copy(update={"budget": budget}), images=prepared.images
        ).reports():
            pass
    peak = int(torch.cuda.max_memory_reserved(device)) - held
    torch.cuda.empty_cache()
    return peak
