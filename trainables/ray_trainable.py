"""`Run` behind Ray's verbs; the one file of this package that imports Ray."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from ray import tune

from trainables.checkpoints import newest_valid, write_checkpoint
from trainables.config import TrialConfig
from trainables.run import RunImages
from trainables.saved_run import SavedRun
from trainables.values import Diverged, Report

TRIAL, HEARD = "trial", "heard"
"""Keys of Ray's `config` beside the searched values: the trial's name, and the last step of which
the driver has heard."""
REPORTED, FAILED, NOTES = "reported", "failed", "notes"
"""Keys of a result beside the report's own: which those are, among all that Ray adds; or else why
there is no report; and what a person should know."""


@dataclass(frozen=True)
class Job:
    """What all trials of one start of a study share; handed over once, apart from Ray's config."""

    configure: Callable[[Mapping[str, Any]], TrialConfig]
    """A point, dotted path to value, as a whole configuration."""
    trials: Path
    """The study's folder of starts: checkpoints lie in `trials/<start>/<trial>/`."""
    start: str
    """This start's folder name."""
    threads: int
    """CPU threads where the configuration names none: the CPUs that a trial is given."""
    images: RunImages | None = None


class DistillTrainable(tune.Trainable):
    """One trial, whatever its method: the method is part of the configuration.

    Nothing a trial does wrong raises into Ray: divergence and errors are results with the key
    `failed`, so that a process which does die is known to have been lost. Every report's checkpoint
    is on disk before Ray sees the report; so where Ray's own checkpoints would lag, a study that
    is killed has lost none.
    """

    _saved: SavedRun | None
    _last: Report | None

    def setup(self, config: dict[str, Any], job: Job | None = None) -> None:
        """Remember what to train; the work begins with the first `step`, where it can be told."""
        assert job is not None
        self._job = job
        self._begin(config)

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """Become another trial in the same process."""
        self._begin(new_config)
        return True

    def step(self) -> dict[str, Any]:
        """One report with its keys under `reported`; or the reason under `failed`."""
        with _Notes() as notes:
            try:
                report = self._report()
                result: dict[str, Any] = {**report, REPORTED: list(report)}
            except Diverged as error:
                result = {FAILED: str(error)}
            except torch.cuda.OutOfMemoryError as error:
                result = {FAILED: f"out of memory: {_first_line(error)}"}
            except Exception as error:
                logging.getLogger(__name__).exception("trial %s failed", self._trial)
                result = {FAILED: f"{type(error).__name__}: {_first_line(error)}"}
        return {**result, NOTES: notes} if notes else result

    def save_checkpoint(self, checkpoint_dir: str) -> None:
        """Write the run as it stands, for a scheduler that pauses or clones trials."""
        assert self._saved is not None and self._last is not None, "nothing has been reported yet"
        state = self._saved.run.state_dict()
        write_checkpoint(Path(checkpoint_dir), state, self._last, eligible=False)

    def load_checkpoint(self, checkpoint: Any) -> None:
        """Go on from what `save_checkpoint` wrote."""
        found = newest_valid([Path(checkpoint)])
        if found is None:
            raise ValueError(f"{checkpoint}: holds no checkpoint that can be relied on")
        self._saved = self._saved or self._open()
        self._saved.run.load_state_dict(found[1])
        self._last = found[0].manifest.report

    def _begin(self, config: Mapping[str, Any]) -> None:
        self._point = dict(config)
        self._trial: str = self._point.pop(TRIAL)
        self._heard: int = self._point.pop(HEARD, 0)
        self._saved = None  # the trial before this one is let go
        self._last = None

    def _report(self) -> Report:
        if self._saved is None:
            self._saved = self._open()
            self._last = self._saved.unread(self._heard)
            if self._last is not None:
                return self._last
        report = self._last = self._saved.advance()
        return report

    def _open(self) -> SavedRun:
        job = self._job
        config = job.configure(self._point)
        config = config.model_copy(update={"threads": config.threads or job.threads})
        own = job.trials / job.start / self._trial
        earlier = sorted({*job.trials.glob(f"*/{self._trial}")} - {own})
        images = job.images
        if images is not None and config.data is not None and images.train is None:
            images = None  # the method is searched, and the first trial's needed none
        return SavedRun(config, own, earlier=earlier, images=images)


class _Notes(logging.Handler):
    """Gathers this package's log warnings, which in a worker process nobody would read."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self._gathered: list[str] = []

    def __enter__(self) -> list[str]:
        logging.getLogger("trainables").addHandler(self)
        return self._gathered

    def __exit__(self, *_: object) -> None:
        logging.getLogger("trainables").removeHandler(self)

    def emit(self, record: logging.LogRecord) -> None:
        """Keep the message; an error's own report already says what went wrong."""
        if record.levelno == logging.WARNING:
            self._gathered.append(record.getMessage())


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or ["no message"])[0][:300]
