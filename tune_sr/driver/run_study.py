"""Runs a study from where its ledger stands to its end."""

from __future__ import annotations

import math
import os
import socket
import sys
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from tune_sr.cli.redaction import redacted_words
from tune_sr.cli.signals import Interrupted, end_this_process
from tune_sr.driver.gpu_fraction import resolve_gpus_per_trial
from tune_sr.driver.observers import Observers
from tune_sr.driver.outcome import write_graph, write_outcome
from tune_sr.driver.preflight import Prepared, ReferenceScores, measure_references, prepare
from tune_sr.driver.provenance import record
from tune_sr.driver.signals import LoopSignals
from tune_sr.execution.cluster import connect_ray
from tune_sr.execution.recovery import may_be_retried
from tune_sr.execution.session import ClusterError
from tune_sr.execution.state import StudyState
from tune_sr.execution.steering import Steering
from tune_sr.ledger.events import DriverStarted, StudyEnded, StudyStarted
from tune_sr.ledger.guarded import guarded_ledger
from tune_sr.ledger.history import History
from tune_sr.ledger.ledger import read_events
from tune_sr.objectives.score import Scorer
from tune_sr.storage.disk import write_atomically
from tune_sr.storage.layout import LOCK, SPACE
from tune_sr.storage.lock import DriverLock
from tune_sr.study.config import StudyConfig
from tune_sr.study.confirmation import lacks_repeats
from tune_sr.study.identity import new_digests
from tune_sr.study.requests import RequestFolder
from tune_sr.study.until import is_settled, trials_wanted

if TYPE_CHECKING:
    from tune_sr.execution.resources import ClusterCapacity
    from tune_sr.results.results import Results


def run_study(
    config: StudyConfig,
    prepared: Prepared | None = None,
    *,
    quiet: bool = False,
    on_locked: Callable[[], None] = lambda: None,
) -> Results:
    """Run a study from where its ledger stands to its end, and write its results.

    Every start is a replay: a fresh Tuner in a folder of its own issues the trials that the ledger
    added and did not end, then new ones. A study with nothing left to do starts no process: its
    results are written again, and MLflow gets what it lacks.

    Args:
        config: the study.
        prepared: what `prepare` gave; prepared here if None.
        quiet: nothing is printed but what goes wrong.
        on_locked: called once the study's lock is held, seconds before its first event.

    Raises:
        ValueError: it cannot be started; nothing was written.
        LockedError: another driver works on it, or has taken it over.
        StudyLostError: its lock or ledger is gone or cannot be written; all before that is saved.
        ClusterError: the cluster cannot be joined, or cannot run it.
        EnvironmentFault: trial after trial met a fault of the machine; all is saved, as above.
        Interrupted: by a signal; all is saved, and the same call goes on from there.
    """
    prepared = prepared or prepare(config)
    config = resolve_gpus_per_trial(config, prepared)
    config = replace(config, space=config.space.settled(prepared.run.precision))
    with (
        _study_folder(config.folder),
        DriverLock(config.folder / LOCK, on_lost=end_this_process) as lock,
        LoopSignals() as signals,
    ):
        on_locked()
        seconds = seconds_left(config)
        if seconds is None and not lacks_repeats(config, _history(config)):
            return _finish_again(config, prepared, lock, quiet=quiet)
        with ThreadPoolExecutor(1) as beside:
            references = beside.submit(_references, config, prepared)  # while Ray starts
            with connect_ray(config) as capacity:
                signals.listen()
                live = _open_ledger(config, references.result(), lock, prepared, signals.arrived)
                with _observers(config, references.result(), quiet=quiet) as observers:
                    _append_start(config, live, prepared)
                    finished = _train(config, live, prepared, signals, seconds, capacity)
                    lock.check()
                    live.append(StudyEnded(finished=finished))
                    observers.stop_display()
                    results = write_outcome(config.folder, prepared)
    if signals.number is not None:
        raise Interrupted(signals.number)
    live.breaker.check()
    return replace(results, view=observers.view)


@contextmanager
def _study_folder(folder: Path) -> Iterator[None]:
    """A folder that is there; where a cluster refuses a new study, it does not stay."""
    new = [each for each in (folder, *folder.parents) if not each.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    try:
        yield
    except ClusterError:
        with suppress(OSError):  # something else was put there meanwhile
            for each in new:
                each.rmdir()
        raise


def _finish_again(
    config: StudyConfig, prepared: Prepared, lock: DriverLock, *, quiet: bool
) -> Results:
    """What is left of a study whose trials have all ended: results, and MLflow's share of them."""
    live = StudyState(guarded_ledger(config.folder, lock), config.settings.objective.keys)
    with _observers(config, _references(config, prepared), quiet=quiet) as observers:
        if not live.history.finished:  # its driver died after the last trial's end
            _append_start(config, live, prepared)
            live.append(StudyEnded(finished=True))
        results = write_outcome(config.folder, prepared)
    return replace(results, view=observers.view)


def _observers(config: StudyConfig, marks: ReferenceScores, *, quiet: bool) -> Observers:
    return Observers(config, marks, quiet=quiet, complete=partial(write_graph, config.folder))


def _references(config: StudyConfig, prepared: Prepared) -> ReferenceScores:
    """Bicubic's and the teacher's figures: those that the study's first driver found, if it did."""
    started = History.from_events(read_events(config.folder)).study
    return (
        dict(started["marks"]) if started and "marks" in started else measure_references(prepared)
    )


def _open_ledger(
    config: StudyConfig,
    marks: ReferenceScores,
    lock: DriverLock,
    prepared: Prepared,
    ending: Callable[[], bool],
) -> StudyState:
    """The ledger, with its first line; and `space.yaml`, the space as this start has it."""
    live = StudyState(guarded_ledger(config.folder, lock), config.settings.objective.keys)
    live.ending = ending
    if live.history.study is None:
        started = StudyStarted(
            name=config.name,
            id=uuid.uuid4().hex,
            space=config.to_dict(),
            seed=config.settings.seed,
            marks=marks,
            digests=prepared.digests,
            starts=prepared.starts or None,
            edition=config.space.edition,
        )
        live.append(started)
        if config.taken is not None:
            live.append(config.taken)
    write_atomically(config.folder / SPACE, config.to_yaml())
    return live


def _append_start(config: StudyConfig, live: StudyState, prepared: Prepared) -> None:
    live.write_missing_clone(config.population())
    argv = redacted_words(sys.argv)
    record(config.folder, argv, config.threads, study=config.name, seed=config.settings.seed)
    started = DriverStarted(
        host=socket.gethostname(),
        pid=os.getpid(),
        start=live.history.starts + 1,
        study=config.settings.to_dict(),
        **new_digests(live.ledger.events(), prepared.digests),
    )
    live.append(started)
    live.write_missing_ends()
    if config.retry_failed:
        live.retry_failed()
    steering = Steering(config, live)
    steering.take()
    steering.end_what_was_asked()


def _train(
    config: StudyConfig,
    live: StudyState,
    prepared: Prepared,
    signals: LoopSignals,
    seconds: float | None,
    capacity: ClusterCapacity | None,
) -> bool:
    """Search for `seconds`, if any are left, then confirm; returns whether nothing is left to do.

    Raises:
        RuntimeError: Ray has given up though it was not asked to.
    """
    # Late, because Ray reads its environment as it is imported.
    from tune_sr.execution.tuner import build_confirmation, build_tuner

    settings, history = config.settings, live.history
    shared, wrap = prepared.shared(), signals.wrap_ray_handler
    if seconds is not None:
        signals.await_loop()
        build_tuner(config, live, shared, seconds, capacity, wrap).fit()
        if signals.arrived() or live.breaker.given_up is not None:
            return False
        ended = sum(each.state is not None for each in history.trials.values())
        left = trials_wanted(settings.trials, history) - len(history.asked.unanswered()) - ended
        settled = _is_settled(config, history) and not history.running()
        if left > 0 and not settled and settings.hours is None and settings.gpu_hours is None:
            raise RuntimeError(f"Ray ended with {left} trials left; --resume goes on")
    if lacks_repeats(config, history):
        signals.await_loop()
        build_confirmation(config, live, shared, capacity, wrap).fit()
        if signals.arrived() or live.breaker.given_up is not None:
            return False
        if lacks_repeats(config, history):
            raise RuntimeError("Ray ended before the confirmation did; --resume goes on")
    return not history.asked.unanswered()  # those that came too late for this start


def _history(config: StudyConfig) -> History:
    return History.from_events(read_events(config.folder))


def _is_settled(config: StudyConfig, history: History) -> bool:
    scorer = Scorer(config.settings.objective, config.trial_config)
    return is_settled(config.settings.until, history, scorer)


def seconds_left(config: StudyConfig) -> float | None:
    """Seconds that a search may still take, infinite without a limit; None where it is over.

    A limit of GPU time is none of these seconds: whether any of it is left is what counts here.
    """
    settings = config.settings
    history = _history(config)
    retried = config.retry_failed and any(map(may_be_retried, history.trials.values()))
    added = len(history.trials) >= trials_wanted(settings.trials, history)
    added = added or (_is_settled(config, history) and not history.asked.unanswered())
    requests = RequestFolder(config.folder).pending(config, history)
    added = added and not any(event is not None for _, event in requests)
    if added and not history.running() and not retried:
        return None
    gpu_hours = history.usage.gpu_seconds() / 3600
    if settings.gpu_hours is not None and gpu_hours >= settings.gpu_hours:
        return None
    if settings.hours is None:
        return math.inf
    left = 3600 * settings.hours - history.usage.driver_seconds()
    return left if left > 0 else None
