"""What a study is worked on with, found out to be sound before anything is started."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch

from trainables.checkpoint_size import largest_checkpoint
from trainables.marks import check_teacher, marks
from trainables.run import Run, RunImages
from trainables.values import ConfigError
from tune_sr.execution.resources import check_this_machine
from tune_sr.ledger.history import History
from tune_sr.ledger.ledger import read_events
from tune_sr.searchers.propose import propose
from tune_sr.space.yaml_file import SpaceError, read_yaml
from tune_sr.storage.disk import check_room, check_writable
from tune_sr.study.config import StudyConfig
from tune_sr.study.identity import check_digests, configs_of_files, found_digests
from tune_sr.study.resume import check_nothing_lost
from tune_sr.tracking.store import TrackingStore

ReferenceScores = dict[str, dict[str, float] | None]
"""The held-out figures of `bicubic` and of the `teacher`."""


@dataclass(frozen=True)
class Prepared:
    """What a study is worked on with."""

    images: RunImages
    """Decoded once; every trial shares them."""
    run: Run
    """That of the first point, never advanced: held-out set and teacher, ready."""
    digests: Mapping[str, str] = field(default_factory=dict)
    """Of all files that trials read, as `trainables.digests` has them."""

    def shared(self) -> RunImages:
        """The images for the trials, with the digests of all files that they read."""
        return replace(self.images, digests=self.digests)


def prepare(config: StudyConfig) -> Prepared:
    """Find out what can be found out before anything is started: images, weights, sizes, room.

    Raises:
        ValueError: names, in one line, what cannot be used, or what is no longer what a study
            that exists was begun with.
    """
    check_this_machine(config)
    check_writable(config.folder)
    events = read_events(config.folder)
    check_nothing_lost(config.folder, events)
    TrackingStore.resolve(config.settings.tracking_uri, config.folder.parent).check(config.folder)
    settings = config.settings
    point = propose(
        settings.searcher, config.space, settings.seed, History(), 0, settings.objective
    )
    try:
        first = config.trial_config(point)
        others = [
            *map(config.trial_config, config.space.first_points),
            *configs_of_files(config.space),
        ]
        images = RunImages.of(first, *others)
        run = Run(first, images=images)  # its refusals tell more of a file than a digest does
        check_teacher(run)
        prepared = Prepared(images, run, found_digests([first, *others], images))
        check_digests(config.folder, events, prepared.digests)
        check_room(config.folder, largest_checkpoint([first]))
        return prepared
    except ConfigError as error:
        raise _located(config.space.path, error) from None


def measure_references(prepared: Prepared) -> ReferenceScores:
    """What the students will be held against; takes seconds for a large teacher."""
    return marks(prepared.run)


def _located(space: Path, error: ConfigError) -> SpaceError:
    """The refusal with the line of the space that it is about."""
    keys = tuple(error.path.split("."))
    return read_yaml(space).error(("fixed", *keys), error.path, error.rule)


def seconds_of_report(prepared: Prepared) -> float | None:
    """Seconds that a trial of `prepared` trains from one report to the next, on this machine.

    That of the fastest of a few updates. None where a CPU takes more than a second beyond doubt:
    that is known from the multiplications of the student's convolutions, without an update.
    """
    config, student = prepared.run.config, prepared.run.student
    updates = config.budget.steps_per_report
    pixels = config.batch.images * config.batch.patch**2
    least = 6 * sum(each.numel() for each in student.parameters()) * pixels * updates
    cpu = prepared.run.device.type == "cpu"
    if cpu and least > _A_SECOND_OF_A_THREAD * torch.get_num_threads():
        return None
    run = Run(config, images=prepared.images)
    with run.replay.here(), run.numerics():
        # A GPU repeats what it recorded from the fourth on.
        return min(_timed(run) for _ in range(4 if cpu else 8)) * updates


def _timed(run: Run) -> float:
    """Seconds of the next update."""
    began = time.perf_counter()
    for loss in run.update().values():
        loss.item()
    return time.perf_counter() - began


_A_SECOND_OF_A_THREAD = 2e11
"""More floating-point operations than one thread of a CPU does in a second."""
