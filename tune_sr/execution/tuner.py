"""What Ray is given of a study: the Tuner of one start of its driver."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from ray import tune
from ray.tune.stopper import CombinedStopper

from trainables.job import Job
from trainables.ray_trainable import DistillTrainable, register_trainables
from tune_sr.execution.resources import ClusterCapacity, local_workers, trial_resources
from tune_sr.execution.scheduler import LedgerScheduler
from tune_sr.execution.searcher import LedgerSearcher
from tune_sr.execution.stoppers import GpuHoursStopper, Tripped
from tune_sr.schedulers.pbt import exploit_steps
from tune_sr.storage.layout import TRIALS
from tune_sr.study.config import StudyConfig
from tune_sr.study.identity import owner_of

if TYPE_CHECKING:
    from ray.tune.experiment import Trial

    from trainables.run import RunImages
    from tune_sr.execution.state import StudyState


def build_tuner(
    config: StudyConfig,
    live: StudyState,
    images: RunImages,
    seconds: float,
    places: ClusterCapacity | None,
    begun: Callable[[], None],
) -> tune.Tuner:
    """A fresh Tuner in a folder of its own: it issues what the ledger left, then new trials.

    Args:
        config: the study.
        live: its ledger, which has the line of this start.
        images: decoded once, and shared by its trials.
        seconds: that it may still take.
        places: of a cluster; None: this machine.
        begun: called once Ray's loop has begun, in its thread.
    """
    settings = config.settings
    job = Job(
        configure=config.trial_config,
        trials=config.folder / TRIALS,
        start=f"start-{live.history.starts:03d}",
        threads=config.threads,
        gpu_part=config.gpus_per_trial % 1,
        images=images,
        keep=exploit_steps(settings.scheduler, config.space.budget),
        costs=() if settings.objective.cost is None else (settings.objective.cost,),
        owner=owner_of(live.history.study),
        digests=images.digests,
    )
    stoppers = [Tripped(live)]
    if settings.gpu_hours is not None:
        stoppers.append(GpuHoursStopper(live, settings.gpu_hours))
    register_trainables()  # whoever else drives this Ray finds the methods by their names
    trainable = tune.with_parameters(DistillTrainable, job=job)
    return tune.Tuner(
        tune.with_resources(trainable, trial_resources(config).resources()),
        tune_config=tune.TuneConfig(
            search_alg=LedgerSearcher(config, live, places),
            scheduler=LedgerScheduler(config, live),
            num_samples=-1,  # the searcher knows when it is done
            max_concurrent_trials=local_workers(config) if places is None else settings.trials,
            reuse_actors=True,
            time_budget_s=None if math.isinf(seconds) else seconds,
            trial_name_creator=_name_of,
            trial_dirname_creator=_name_of,
        ),
        run_config=tune.RunConfig(
            name=job.start,
            storage_path=str(job.trials),
            verbose=0,
            # Every report has its checkpoint before Ray hears of it (trainables/saved_run.py).
            checkpoint_config=tune.CheckpointConfig(checkpoint_at_end=False),
            failure_config=tune.FailureConfig(max_failures=0),  # tune_sr/execution/recovery.py
            callbacks=[_OnFirstStep(begun)],
            stop=CombinedStopper(*stoppers),
        ),
    )


class _OnFirstStep(tune.Callback):  # type: ignore[misc]  # Ray's classes are untyped
    """Tells once that Ray's loop has begun."""

    def __init__(self, tell: Callable[[], None]) -> None:
        self._tell: Callable[[], None] | None = tell

    def on_step_begin(self, iteration: int, trials: list[Trial], **info: Any) -> None:
        """Tell, if it is not told yet."""
        if self._tell is not None:
            self._tell()
        self._tell = None


def _name_of(trial: Trial) -> str:
    return str(trial.config["trial"])
