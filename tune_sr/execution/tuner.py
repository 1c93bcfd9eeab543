"""Builds the `Tuner` of one start of a study's driver."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from ray import tune
from ray.tune.stopper import CombinedStopper, Stopper

from trainables.job import Job
from trainables.ray_trainable import DistillTrainable, register_trainables
from tune_sr.execution.resources import ClusterCapacity, local_workers, trial_resources
from tune_sr.execution.scheduler import LedgerScheduler
from tune_sr.execution.searcher import LedgerSearcher, RepeatSearcher
from tune_sr.execution.steering import Steering
from tune_sr.execution.stoppers import GpuHoursStopper, OnFirstStep, Tripped
from tune_sr.schedulers.pbt import exploit_steps
from tune_sr.schedulers.rules import SchedulerConfig
from tune_sr.storage.layout import TRIALS
from tune_sr.study.config import StudyConfig
from tune_sr.study.confirmation import missing_repeats
from tune_sr.study.identity import owner_of
from tune_sr.study.racing import CHALLENGERS

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
    """Build a Tuner in a new folder; it issues the trials that have not ended, then new ones.

    Args:
        config: the study.
        live: its ledger, with the `driver_started` of this start.
        images: decoded once, and shared by its trials.
        seconds: how long it may still take; infinite without a limit.
        places: the capacity of a cluster; None: this machine.
        begun: called once Ray's loop has begun, in its thread.
    """
    settings = config.settings
    searcher = LedgerSearcher(config, live, places)
    stoppers: list[Stopper] = [OnFirstStep(begun), Tripped(live)]
    if settings.gpu_hours is not None:
        stoppers.append(GpuHoursStopper(live, settings.gpu_hours))
    start = f"start-{live.history.starts:03d}"
    scheduler = LedgerScheduler(config, live, Steering(config, live))
    return _tuner(config, live, images, searcher, scheduler, stoppers, start, seconds, places)


def build_confirmation(
    config: StudyConfig,
    live: StudyState,
    images: RunImages,
    places: ClusterCapacity | None,
    begun: Callable[[], None],
) -> tune.Tuner:
    """Build a Tuner that repeats trials with other seeds: each whole, whatever the scheduler.

    The arguments are those of `build_tuner`. Limits of time are the search's.
    """
    missing = partial(missing_repeats, config, live.history)
    start = f"start-{live.history.starts:03d}-confirm"
    live = live.of_confirmation()
    left = max(CHALLENGERS + 1, len(missing()) + len(live.history.running()))
    settings = {"scheduler": SchedulerConfig(name="none"), "trials": left}
    config = replace(config, settings=config.settings.model_copy(update=settings))
    searcher = RepeatSearcher(config, live, missing, places)
    stoppers: list[Stopper] = [OnFirstStep(begun), Tripped(live)]
    scheduler = LedgerScheduler(config, live)  # requests wait for the next start
    return _tuner(config, live, images, searcher, scheduler, stoppers, start, math.inf, places)


def _tuner(
    config: StudyConfig,
    live: StudyState,
    images: RunImages,
    searcher: LedgerSearcher,
    scheduler: LedgerScheduler,
    stoppers: Sequence[Stopper],
    start: str,
    seconds: float,
    places: ClusterCapacity | None,
) -> tune.Tuner:
    settings = config.settings
    job = Job(
        configure=config.trial_config,
        trials=config.folder / TRIALS,
        start=start,
        threads=config.threads,
        gpu_part=config.gpus_per_trial % 1,
        images=images,
        keep=exploit_steps(settings.scheduler, config.space.budget),
        costs=settings.objective.costs,
        owner=owner_of(live.history.study),
        digests=images.digests,
    )
    register_trainables()  # other drivers of this Ray find the methods by their names
    trainable = tune.with_parameters(DistillTrainable, job=job)
    return tune.Tuner(
        tune.with_resources(trainable, trial_resources(config).resources()),
        tune_config=tune.TuneConfig(
            search_alg=searcher,
            scheduler=scheduler,
            num_samples=-1,  # the searcher ends the study
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
            # Every report has its checkpoint before Ray gets it (trainables/saved_run.py).
            checkpoint_config=tune.CheckpointConfig(checkpoint_at_end=False),
            failure_config=tune.FailureConfig(max_failures=0),  # tune_sr/execution/recovery.py
            stop=CombinedStopper(*stoppers),
        ),
    )


def _name_of(trial: Trial) -> str:
    return str(trial.config["trial"])
