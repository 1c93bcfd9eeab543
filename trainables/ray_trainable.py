"""`Run` behind Ray's verbs; the one file of this package that imports Ray."""

from __future__ import annotations

import difflib
import gc
import logging
import math
import shutil
import socket
from collections.abc import Mapping
from functools import cache, partial
from pathlib import Path
from typing import Any, ClassVar

import torch
from ray import tune
from ray.tune.result import DONE

from trainables.checkpoints import newest_valid, write_checkpoint
from trainables.config import TrialConfig
from trainables.digests import check_weights
from trainables.dotted import leaves, put
from trainables.job import Job
from trainables.marks import costs
from trainables.memory import OUT_OF_MEMORY, lacks_memory
from trainables.methods import METHODS
from trainables.notes import Notes
from trainables.problems import EnvironmentFault, is_fault
from trainables.run import RunImages
from trainables.saved_run import Origin, SavedRun
from trainables.values import ConfigError, Diverged, Report

TRIAL, HEARD, CLONED, MICRO_BATCH = "trial", "heard", "cloned", "micro_batch"
"""Keys of Ray's `config` beside the searched values: the trial's name; the last step of which the
driver has heard; of a copy, the trial and the step that it goes on from; and how many images pass
through a network at a time (all, where it is absent)."""
REPORT, FAILED, FAULT, NOTES = "report", "failed", "fault", "notes"
"""Keys of a result: the report, or else why there is none, with `fault` where that is the machine's
doing or a file's; and what a person should know."""


class DistillTrainable(tune.Trainable):
    """One trial, whatever its method: the method is part of the configuration.

    Nothing a trial does wrong raises into Ray: divergence and errors are results with the key
    `failed`, so that a process which does die is known to have been lost. Every report's checkpoint
    is on disk before Ray sees the report; so where Ray's own checkpoints would lag, a study that
    is killed has lost none.
    """

    _saved: SavedRun | None
    _last: Report | None
    _costs: Report

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
        """One report; or the reason under `failed`.

        As pairs: of every number that Ray sees in a result it keeps statistics, for good.
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
        return {**result, NOTES: notes} if notes else result

    def get_auto_filled_metrics(self, *_: Any, **__: Any) -> dict[str, Any]:
        """Nothing: what the ledger has no use for would cost Ray's loop time at every result."""
        return {}

    def save_checkpoint(self, checkpoint_dir: str) -> None:
        """Write the run as it stands, for a scheduler that pauses or clones trials.

        Writes nothing where there is no report of it as it stands: before the first, and of a trial
        that failed.
        """
        if self._saved is None or self._last is None:
            return
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
        self._heard: int | None = self._point.pop(HEARD, None)
        self._cloned: tuple[str, int] | None = self._point.pop(CLONED, None)
        self._micro_batch: int | None = self._point.pop(MICRO_BATCH, None)
        self._saved = self._last = None  # the trial before this one is let go
        self._has_reported = False
        if torch.cuda.is_initialized():  # type: ignore[no-untyped-call]  # torch's is unannotated
            # Also what it held of a GPU, which others may need.
            gc.collect()
            torch.cuda.empty_cache()

    def _report(self) -> Report:
        if self._saved is None:
            self._saved = self._open()
            self._last = self._saved.unread(self._heard or 0)
            if self._last is not None:
                return self._last | self._costs
        self._last = None  # of the run as it stood before this
        report = self._last = self._saved.advance()
        self._has_reported = True
        return report | self._costs

    def _open(self) -> SavedRun:
        job = self._job
        study = job.trials.parent
        if not study.is_dir():
            raise OSError(f"{study} is not on {socket.gethostname()}: nodes must share it")
        if job.gpu_part and torch.cuda.is_available():  # else it would take its neighbours' memory
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
        check_weights(job.digests, config)  # it may have been replaced before it was read
        self._costs = costs(saved.run, job.costs)
        return saved


class MethodTrainable(DistillTrainable):
    """One trial in a Tuner of one's own: its configuration is Ray's `config`, less the method."""

    method: ClassVar[str]
    """The method's name, which is the name of the class as well."""

    def setup(  # type: ignore[override]  # what a study shares, a Tuner of one's own has not
        self, config: dict[str, Any], images: RunImages | None = None
    ) -> None:
        """Check what to train.

        Args:
            config: a `TrialConfig` in nested mappings, dotted paths or both, `method.name` left out
                or given. A relative path starts at the trial's own folder, where Ray has put it.
            images: decoded images that trials share, as `tune.with_parameters` hands them over;
                None: each trial reads its own.

        Raises:
            ConfigError: the dotted path of the first problem, its rule, and the known keys.
        """
        self._images = images
        self.reset_config(config)

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """Become another trial in the same process."""
        configure = partial(_configured, self.method)
        config = configure(new_config)
        self._scales = config.student.scales
        self._keys = (config.quality, *(["ssim"] if config.heldout else []))
        job = Job(configure, Path(self.logdir), "checkpoints", self._threads(), self._images)
        super().setup({TRIAL: self.trial_name, **new_config}, job)
        return True

    def step(self) -> dict[str, Any]:
        """One report, and with the last one `done`; of a failed trial the reason and no figures.

        A figure that there is not is NaN: Ray's schedulers and searchers insist on a value, and
        none of them takes this one for a good one.
        """
        result = super().step()
        run = self._saved.run if self._saved else None
        if (report := result.pop(REPORT, None)) is not None:
            return {**dict(report), **result, DONE: run is None or run.finished}
        of = ("", *(f"_x{scale}" for scale in self._scales))
        missing = {f"{key}{each}": math.nan for key in self._keys for each in of}
        return {"step": float(run.step if run else 0), **missing, **result, DONE: True}

    get_auto_filled_metrics = tune.Trainable.get_auto_filled_metrics

    def load_checkpoint(self, checkpoint: Any) -> None:
        """Go on from what `save_checkpoint` wrote."""
        super().load_checkpoint(checkpoint)
        # Later ones of its own, or another trial's, are no longer what this trial did.
        shutil.rmtree(self._job.trials / self._job.start, ignore_errors=True)

    def _threads(self) -> int:
        """As many as Ray has given the trial CPUs."""
        given = self.trial_resources
        return max(1, int(given.required_resources.get("CPU", 1))) if given else 1


@cache
def trainable_for(name: str) -> type[MethodTrainable]:
    """A method as a class of its name, for a `tune.Tuner` of one's own.

    Ray's `param_space` is a `TrialConfig` with distributions in it, results are reports, `step` is
    their time. Every report is on disk before Ray sees it, and a trial that Ray starts again goes
    on from there; divergence ends a trial with its reason under `failed`:

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
        ValueError: no method has this name; names those that there are.
    """
    if name not in METHODS:
        match = difflib.get_close_matches(name, METHODS, n=1)
        hint = f"did you mean {match[0]}? " if match else ""
        raise ValueError(f"unknown method {name!r}; {hint}known: {', '.join(METHODS)}")
    about = {"method": name, "__module__": __name__, "__doc__": METHODS[name].__doc__}
    return type(name, (MethodTrainable,), about)


def register_trainables() -> None:
    """Make every method known to Ray by its name, so that `tune.Tuner("fakd", ...)` finds it."""
    for name in METHODS:
        tune.register_trainable(name, trainable_for(name))


def _configured(method: str, given: Mapping[str, Any]) -> TrialConfig:
    """The configuration that Ray's `config` means to the trainable of a method."""
    nested: dict[str, Any] = {}
    try:
        for path, value in leaves(given):
            put(nested, path, value)
    except ValueError as error:
        raise ConfigError("", str(error)) from None
    section = nested.setdefault("method", {})
    if not isinstance(section, dict):
        raise ConfigError("method", f"takes a mapping; got {section!r}")
    name = section.setdefault("name", method)
    if name != method:
        raise ConfigError("method.name", f"{name!r}, and this is the trainable of {method}")
    return TrialConfig.parse(nested)


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or ["no message"])[0][:300]
