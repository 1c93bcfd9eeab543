"""A study from its first event to its last."""

from __future__ import annotations

import logging
import os
import socket
import sys
import uuid
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self

from tune_sr.bench import Bench, Marks, measure, prepare
from tune_sr.cluster import ClusterError, usable_cpus, usable_gpus
from tune_sr.guarded import guarded_ledger
from tune_sr.identity import new_digests
from tune_sr.ledger import History
from tune_sr.live import Live
from tune_sr.lock import DriverLock
from tune_sr.nodes import ray_for
from tune_sr.objectives import ALONE, Objective
from tune_sr.places import Node, Share, check_fits
from tune_sr.population import Population
from tune_sr.provenance import record
from tune_sr.redact import redacted_words
from tune_sr.resume import left_to_do, read_events
from tune_sr.room import when_there_is_room
from tune_sr.schedulers import SchedulerConfig
from tune_sr.signals import Interrupted, LoopSignals, end_this_process
from tune_sr.space import SearchSpace
from tune_sr.watchers import Watchers

if TYPE_CHECKING:
    from trainables.config import TrialConfig
    from tune_sr.results import Results


@dataclass(frozen=True, kw_only=True)
class StudyConfig:
    """Everything about a study that is decided before it starts."""

    name: str
    space: SearchSpace
    folder: Path
    """The study's own, absolute: `<storage>/<name>`."""
    searcher: str = "tpe"
    scheduler: SchedulerConfig = field(default_factory=SchedulerConfig)
    objective: Objective = ALONE
    trials: int
    concurrent: int | Literal["auto"] = "auto"
    """Trials at a time; auto: as many as there are CPUs and GPUs for."""
    cpus_per_trial: float = 1.0
    gpus_per_trial: float = 0.0
    """0: trials are placed by CPUs alone; on this machine they share its GPU, if there is one."""
    hours: float | None = None
    """Of drivers' work on it, all starts together; then it is finished as it stands."""
    gpu_hours: float | None = None
    """Of GPUs given to trials, the same."""
    seed: int = 0
    experiment: str
    tracking_uri: str | None = field(default=None, repr=False)
    """MLflow's store, with its secrets; without them in `space`, and in what Ray pickles."""
    address: str | None = None
    """The cluster that it runs on; None: this machine."""
    retry_failed: bool = False
    """Whether this start tries trials again that failed and `may_be_retried`."""

    @classmethod
    def of(cls, space: SearchSpace, name: str, storage: Path, address: str | None = None) -> Self:
        """What a space's `study` section says, for a study called `name` in `storage`.

        Raises:
            ValueError: this machine cannot run it, and no `address` names another.
        """
        study = dict(space.study)
        study["scheduler"] = SchedulerConfig.model_validate(study["scheduler"])
        study["objective"] = Objective.of(study["objective"])
        own = {"name", "space", "folder", "address", "retry_failed"}
        known = {each.name for each in fields(cls)} - own
        auto = study["gpus_per_trial"] == "auto"  # tune_sr/gpu_share.py
        said = {key: value for key, value in study.items() if key in known}
        said["gpus_per_trial"] = 0.0 if auto else study["gpus_per_trial"]
        folder = (storage / name).absolute()
        space = space.without_secrets()
        config = cls(name=name, space=space, folder=folder, address=address, **said)
        if config.gpu_hours is not None and config.gpus_per_trial == 0 and not auto:
            rule = "counts the GPUs that trials are given: say --gpus-per-trial as well"
            raise ValueError(f"--gpu-hours {config.gpu_hours:g}: {rule}")
        if address is None:
            check_fits(config.share, [_this_machine(config.share)])
        return config

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "tracking_uri": self.space.study.get("tracking_uri")}

    @property
    def share(self) -> Share:
        """What each trial is given."""
        return Share(self.cpus_per_trial, self.gpus_per_trial)

    @property
    def most(self) -> int | None:
        """Trials at a time at most; None: as many as fit."""
        return None if self.concurrent == "auto" else self.concurrent

    @property
    def workers(self) -> int:
        """Trials at a time on this machine."""
        if self.concurrent != "auto":
            return self.concurrent
        return max(1, self.share.on(_this_machine(self.share)))

    @property
    def threads(self) -> int:
        """CPU threads of each trial, on which bits depend."""
        return self.space.fixed.get("threads") or max(1, int(self.cpus_per_trial))

    def configure(self, point: Mapping[str, Any]) -> TrialConfig:
        """The whole configuration of a trial.

        Raises:
            ConfigError: the point cannot be trained.
        """
        return self.space.at(point)


def run_study(
    config: StudyConfig,
    bench: Bench | None = None,
    *,
    quiet: bool = False,
    taken: Callable[[], None] = lambda: None,
) -> Results:
    """Run a study from where its ledger stands to its end, and write its results.

    Every start is a replay: a fresh Tuner in a folder of its own issues the trials that the ledger
    added and did not end, then new ones. A study that has nothing left to do starts no process; it
    writes its results again and sends MLflow what that lacks.

    Args:
        config: the study.
        bench: what `prepare` gave; prepared here if None.
        quiet: nothing is printed but what goes wrong.
        taken: called when the study is this driver's, some seconds before there is more to tell.

    Raises:
        ValueError: it cannot be started; nothing was written.
        LockedError: another driver works on it, or has taken it over.
        StudyLostError: its lock or ledger is gone or cannot be written; all before that is saved.
        ClusterError: the cluster cannot be joined, or cannot run it.
        EnvironmentFault: trial after trial met a fault of the machine; all is saved, as above.
        Interrupted: by a signal; all is saved, and the same call goes on from there.
    """
    from tune_sr.gpu_share import placed

    bench = bench or prepare(config)
    config = placed(config, bench)
    config = replace(config, space=config.space.settled(bench.run.precision))
    with (
        _made(config.folder),
        DriverLock(config.folder / "driver.lock", on_lost=end_this_process) as lock,
        LoopSignals() as signals,
    ):
        taken()
        seconds = left_to_do(config)
        if seconds is None:
            return _finish_again(config, bench, lock, quiet=quiet)
        with ThreadPoolExecutor(1) as beside:
            # While Ray starts, which is mostly waiting.
            marks = beside.submit(_marks, config, bench)
            with ray_for(config) as places:
                from tune_sr.tuner import tuner_for

                signals.listen()
                live = _begin(config, marks.result(), lock, bench, signals.arrived)
                with Watchers(config, marks.result(), quiet=quiet) as watchers:
                    _append_start(config, live, bench)
                    signals.await_loop()
                    tuner_for(config, live, bench, seconds, places, signals.overhear).fit()
                    lock.check()
                    live.append("study_ended", finished=_finished(config, live, signals))
                    watchers.quieten()
                    results = _write(config, bench)
    if signals.number is not None:
        raise Interrupted(signals.number)
    live.breaker.check()
    return results


@contextmanager
def _made(folder: Path) -> Iterator[None]:
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


def _this_machine(share: Share) -> Node:
    return Node("", "this machine", usable_cpus(), usable_gpus() if share.gpus else 0)


def _finish_again(config: StudyConfig, bench: Bench, lock: DriverLock, *, quiet: bool) -> Results:
    """What is left of a study whose trials have all ended: results, and MLflow's share of them."""
    live = Live(guarded_ledger(config.folder, lock), config.objective.keys)
    with Watchers(config, _marks(config, bench), quiet=quiet):
        if not live.history.finished:  # its driver died after the last trial's end
            _append_start(config, live, bench)
            live.append("study_ended", finished=True)
        return _write(config, bench)


def _marks(config: StudyConfig, bench: Bench) -> Marks:
    """Bicubic's and the teacher's figures: those that the study's first driver found, if it did."""
    started = History.of(read_events(config.folder)).study
    return dict(started["marks"]) if started and "marks" in started else measure(bench)


def _begin(
    config: StudyConfig, marks: Marks, lock: DriverLock, bench: Bench, ending: Callable[[], bool]
) -> Live:
    """The ledger, with its first line; and `space.yaml`, the space as this start has it."""
    from tune_sr.results import replace_text

    live = Live(guarded_ledger(config.folder, lock), config.objective.keys)
    live.ending = ending
    if live.history.study is None:
        live.append(
            "study_started",
            name=config.name,
            id=uuid.uuid4().hex,
            space=config.space.resolved(),
            seed=config.seed,
            marks=marks,
            digests=bench.digests,
        )
    replace_text(config.folder / "space.yaml", config.space.to_yaml())
    return live


def _append_start(config: StudyConfig, live: Live, bench: Bench) -> None:
    live.make_up(Population.of(config))
    argv = redacted_words(sys.argv)
    record(config.folder, argv, config.threads, study=config.name, seed=config.seed)
    live.append(
        "driver_started",
        host=socket.gethostname(),
        pid=os.getpid(),
        start=live.history.starts + 1,
        study=config.space.resolved()["study"],
        **new_digests(live.ledger.events(), bench.digests),
    )
    live.settle()
    if config.retry_failed:
        live.retry_failed()


def _finished(config: StudyConfig, live: Live, signals: LoopSignals) -> bool:
    """Whether there is nothing left to do; by then time is up where trials are left.

    Raises:
        RuntimeError: Ray has given up though nobody told it to.
    """
    if signals.number is not None or live.breaker.given_up is not None:
        return False
    left = config.trials - sum(each.state is not None for each in live.history.trials.values())
    if left > 0 and config.hours is None and config.gpu_hours is None:
        raise RuntimeError(f"Ray ended with {left} trials left; --resume goes on")
    return True


def _write(config: StudyConfig, bench: Bench) -> Results:
    """`results.csv`, `summary.json` and `best/`; of two objectives `front/` as well."""
    from tune_sr.best import write_best
    from tune_sr.results import write_results

    folder = config.folder
    results = when_there_is_room(folder, lambda: write_results(folder))
    try:
        when_there_is_room(folder, lambda: write_best(results, bench.images))
    except ValueError as error:
        logging.getLogger(__name__).warning("not every student was written: %s", error)
    return results
