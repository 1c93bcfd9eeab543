"""Ray Tune trainables of a `Run`; the only file of this package that imports Ray."""

from __future__ import annotations

import difflib
import gc
import logging
import math
import shutil
import socket
import time
from collections.abc import Mapping
from functools import cache, partial
from pathlib import Path
from typing import Any, ClassVar

import ray
import torch
from ray import tune
from ray.tune.result import DONE

from trainables.checkpoints import newest_valid, write_checkpoint
from trainables.digests import check_weights
from trainables.errors import Diverged, EnvironmentFault
from trainables.job import Job, configured
from trainables.marks import costs
from trainables.memory import OUT_OF_MEMORY, lacks_memory
from trainables.methods import METHODS
from trainables.notes import Notes
from trainables.problems import is_fault
from trainables.run import RunImages
from trainables.saved_run import Origin, SavedRun
from trainables.values import Report

TRIAL, HEARD, CLONED, MICRO_BATCH = "trial", "heard", "cloned", "micro_batch"
"""Keys of Ray's `config` beside the searched values: the trial's name; the last step whose report
the driver has recorded; for a copy, the source trial and the step it is copied at; and how many
images pass through a network at a time (all, if absent)."""
REPORT, FAILED, FAULT, NOTES, PLACE = "report", "failed", "fault", "notes", "place"
"""Keys of a result: the report; or the reason of a failure, with `fault` if the machine or a file
is to blame; log warnings for the user; and in a trial's first result where it runs: the machine's
name, the numbers of its GPUs (None: none) and when it began, in seconds since 1970."""


class DistillTrainable(tune.Trainable):
    """One trial of a study, with any method: the method is part of the configuration.

    Divergence and errors are not raised but returned as results with the key `failed`, so that a
    process that dies is known to have been lost. Every report's checkpoint is on disk before Ray
    gets the report, so a killed study loses no report, as it would with Ray's own checkpoints.
    """

    _saved: SavedRun | None
    _last: Report | None
    _costs: Report
    _place: tuple[str, str | None, float] | None

    def setup(self, config: dict[str, Any], job: Job | None = None) -> None:
        """Store what to train; the run is built in the first `step`, which can return a failure."""
        assert job is not None
        self._job = job
        self._begin(config)

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """Switch to another trial in the same process."""
        self._begin(new_config)
        return True

    def step(self) -> dict[str, Any]:
        """Train to the next report and return it; or the reason of a failure under `failed`.

        The report is a tuple of pairs, because Ray keeps statistics of every number in a result.
        """
        with Notes() as notes:
            try:
                result: dict[str, Any] = {REPORT: tuple(self._report().items())}
            except Diverged as error:
                result = {FAILED: str(error)}
            except Exception as error:
                if lacks_memory(error):
                    result = {FAILED: f"{OUT_OF_MEMORY}: {_first_line(error)}"}
                else:
                    logging.getLogger(__name__).exception("trial %s failed", self._trial)
                    result = {FAILED: f"{type(error).__name__}: {_first_line(error)}"}
                    early = not self._has_reported and is_fault(error, self._point)
                    result |= {FAULT: True} if early or isinstance(error, EnvironmentFault) else {}
        if self._place is not None:
            result[PLACE], self._place = self._place, None
        return {**result, NOTES: notes} if notes else result

    def get_auto_filled_metrics(self, *_: Any, **__: Any) -> dict[str, Any]:
        """Return no metrics: the ledger uses none of Ray's, and each costs time per result."""
        return {}

    def save_checkpoint(self, checkpoint_dir: str) -> None:
        """Write the run's current state, for schedulers that pause or clone trials.

        Writes nothing where that state has no report: before the first one, and after a failure.
        """
        if self._saved is None or self._last is None:
            return
        state = self._saved.run.state_dict()
        write_checkpoint(Path(checkpoint_dir), state, self._last, eligible=False)

    def load_checkpoint(self, checkpoint: Any) -> None:
        """Restore a state that `save_checkpoint` wrote.

        Raises:
            ValueError: the folder holds no intact checkpoint.
        """
        found = newest_valid([Path(checkpoint)])
        if found is None:
            raise ValueError(f"{checkpoint}: holds no checkpoint that can be relied on")
        self._saved = self._saved or self._open()
        self._saved.run.load_state_dict(found[1])
        self._last = found[0].manifest.report

    def _begin(self, config: Mapping[str, Any]) -> None:
        self._point = dict(config)
        self._trial: str = self._point.pop(TRIAL)
        self._heard: int | None = self._point.pop(HEARD, None)
        self._cloned: tuple[str, int] | None = self._point.pop(CLONED, None)
        self._micro_batch: int | None = self._point.pop(MICRO_BATCH, None)
        self._saved = self._last = None  # frees the trial before this one
        self._has_reported = False
        self._place = socket.gethostname(), _gpus(), time.time()
        if torch.cuda.is_initialized():  # type: ignore[no-untyped-call]  # torch's is unannotated
            # Also frees its GPU memory, which other trials may need.
            gc.collect()
            torch.cuda.empty_cache()

    def _report(self) -> Report:
        if self._saved is None:
            self._saved = self._open()
            self._last = self._saved.unread(self._heard or 0)
            if self._last is not None:
                return self._last | self._costs
        self._last = None  # the report of an earlier state
        report = self._last = self._saved.advance()
        self._has_reported = True
        return report | self._costs

    def _open(self) -> SavedRun:
        job = self._job
        study = job.trials.parent
        if not study.is_dir():
            raise OSError(f"{study} is not on {socket.gethostname()}: nodes must share it")
        if job.gpu_part and torch.cuda.is_available():  # else it could use other trials' memory
            torch.cuda.set_per_process_memory_fraction(job.gpu_part)
        config = job.configure(self._point)
        check_weights(job.digests, config)
        config = config.model_copy(update={"threads": config.threads or job.threads})
        own = job.trials / job.start / self._trial
        earlier = sorted({*job.trials.glob(f"*/{self._trial}")} - {own})
        origin = None
        if self._cloned is not None:
            source, step = self._cloned
            origin = Origin(sorted(job.trials.glob(f"*/{source}")), step)
        saved = SavedRun(
            config,
            own,
            earlier=earlier,
            images=job.images,
            micro_batch=self._micro_batch,
            origin=origin,
            keep=job.keep,
            heard=self._heard,
            owner=job.owner and job.owner.at(self._point),
        )
        check_weights(job.digests, config)  # again: replaced before it was read?
        self._costs = costs(saved.run, job.costs)
        return saved


class MethodTrainable(DistillTrainable):
    """One trial of one method in a user's own Tuner, configured by Ray's `config`."""

    method: ClassVar[str]
    """The method's name, which is also the name of the class."""

    def setup(  # type: ignore[override]  # a user's own Tuner has no shared job
        self, config: dict[str, Any], images: RunImages | None = None
    ) -> None:
        """Read and check the configuration.

        Args:
            config: a `TrialConfig` as nested mappings, dotted paths or both; `method.name` may be
                left out. Relative paths start at the trial's own folder, Ray's working directory.
            images: decoded images that trials share, as passed by `tune.with_parameters`; None:
                each trial reads its own.

        Raises:
            ConfigError: names the first problem's dotted path, the rule, and the known keys.
        """
        self._images = images
        self.reset_config(config)

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """Switch to another trial in the same process; raises as `setup`."""
        configure = partial(configured, self.method)
        config = configure(new_config)
        self._scales = config.student.scales
        self._keys = (config.quality, *(["ssim"] if config.heldout else []))
        job = Job(configure, Path(self.logdir), "checkpoints", self._threads(), self._images)
        super().setup({TRIAL: self.trial_name, **new_config}, job)
        return True

    def step(self) -> dict[str, Any]:
        """Return the next report, with `done` in the last one; or a failed trial's reason.

        A failed trial's scores are NaN: Ray's schedulers and searchers need a value, and none of
        them prefers NaN.
        """
        result = super().step()
        result.pop(PLACE, None)
        run = self._saved.run if self._saved else None
        if (report := result.pop(REPORT, None)) is not None:
            return {**dict(report), **result, DONE: run is None or run.finished}
        of = ("", *(f"_x{scale}" for scale in self._scales))
        missing = {f"{key}{each}": math.nan for key in self._keys for each in of}
        return {"step": float(run.step if run else 0), **missing, **result, DONE: True}

    get_auto_filled_metrics = tune.Trainable.get_auto_filled_metrics

    def load_checkpoint(self, checkpoint: Any) -> None:
        """Restore a state that `save_checkpoint` wrote, and delete this trial's own checkpoints.

        Raises:
            ValueError: the folder holds no intact checkpoint.
        """
        super().load_checkpoint(checkpoint)
        # They are later ones, or another trial's, and no longer belong to this trial's history.
        shutil.rmtree(self._job.trials / self._job.start, ignore_errors=True)

    def _threads(self) -> int:
        """Return the number of CPUs that Ray has assigned to the trial, at least 1."""
        given = self.trial_resources
        return max(1, int(given.required_resources.get("CPU", 1))) if given else 1


@cache
def trainable_for(name: str) -> type[MethodTrainable]:
    """Return a method's trainable class, for your own `tune.Tuner`.

    Ray's `param_space` is a `TrialConfig` that contains distributions; results are reports, and
    `step` is their time attribute. Every report is on disk before Ray gets it, and a trial that Ray
    restarts continues from there. Divergence ends a trial with its reason under `failed`. Example:

        from ray import tune
        from trainables import trainable_for

        space = {
            "method.w_R": tune.uniform(0.0, 3.0),
            "student": {"name": "vdsr", "features": 32, "scales": [2]},
            "teacher": {"name": "vdsr", "weights": "shipped"},
            "budget": {"steps": 300, "steps_per_report": 60},
        }
        tuner = tune.Tuner(trainable_for("dfsr"), param_space=space)
        best = tuner.fit().get_best_result("psnr_y_db", "max", scope="all")

    Raises:
        ValueError: no method has this name; lists the known ones.
    """
    if name not in METHODS:
        match = difflib.get_close_matches(name, METHODS, n=1)
        hint = f"did you mean {match[0]}? " if match else ""
        raise ValueError(f"unknown method {name!r}; {hint}known: {', '.join(METHODS)}")
    about = {"method": name, "__module__": __name__, "__doc__": METHODS[name].__doc__}
    return type(name, (MethodTrainable,), about)


def register_trainables() -> None:
    """Register every method with Ray by its name, so that `tune.Tuner("fakd", ...)` works."""
    for name in METHODS:
        tune.register_trainable(name, trainable_for(name))


def _gpus() -> str | None:
    """Return the numbers of the GPUs that Ray has given this process, as `0,1`; None: none."""
    if not ray.is_initialized():
        return None
    return ",".join(ray.get_runtime_context().get_accelerator_ids().get("GPU", ())) or None


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or ["no message"])[0][:300]
