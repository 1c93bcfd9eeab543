"""Checks images, weights, sizes and disk space before Ray starts, and keeps what it loaded."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch

from trainables.checkpoint_size import largest_checkpoint
from trainables.config import TrialConfig
from trainables.errors import ConfigError
from trainables.marks import check_teacher, marks
from trainables.networks import start_of
from trainables.run import Run, RunImages
from tune_sr.execution.resources import check_this_machine
from tune_sr.ledger.history import History
from tune_sr.ledger.ledger import read_events
from tune_sr.space.yaml_file import SpaceError, read_yaml
from tune_sr.storage.disk import check_room, check_writable
from tune_sr.study.config import StudyConfig
from tune_sr.study.identity import check_digests, configs_of_files, found_digests
from tune_sr.study.resume import check_nothing_lost
from tune_sr.tracking.store import TrackingStore

_log = logging.getLogger(__name__)

ReferenceScores = dict[str, dict[str, float] | None]
"""Scores on the held-out images of `bicubic` and of the `teacher` (None without one)."""


@dataclass(frozen=True)
class Prepared:
    """What the checks before a study have loaded."""

    images: RunImages
    """The decoded images, shared by all trials."""
    run: Run
    """The `Run` of the first point, untrained: it holds the held-out set and the loaded teacher."""
    digests: Mapping[str, str] = field(default_factory=dict)
    """Digests of all files that trials read, by file; see `trainables.digests`."""
    starts: Mapping[str, str] = field(default_factory=dict)
    """What of each `student.start` is taken and left out, by `student.start=FILE`."""

    def shared(self) -> RunImages:
        """Return the images to share with trials, with the digests of all files that they read."""
        return replace(self.images, digests=self.digests)


def prepare(config: StudyConfig) -> Prepared:
    """Check everything that can be checked before Ray starts, and load images and the first run.

    Checked are this machine's CPUs and GPUs, the study's folder and its disk space, MLflow's store,
    images, weights, sizes and, for a study that exists, that its files have not changed.

    Raises:
        ValueError: one of them cannot be used or has changed; one line that names it.
    """
    check_this_machine(config)
    check_writable(config.folder)
    events = read_events(config.folder)
    check_nothing_lost(config.folder, events)
    TrackingStore.resolve(config.settings.tracking_uri, config.folder.parent).check(config.folder)
    point = config.propose(History(), 0)
    try:
        first = config.trial_config(point)
        others = [
            *map(config.trial_config, config.space.first_points),
            *configs_of_files(config.space),
        ]
        images = RunImages.of(first, *others)
        run = Run(first, images=images)  # first: its refusals explain more than a changed digest
        check_teacher(run)
        digests = found_digests([first, *others], images)
        prepared = Prepared(images, run, digests, _starts([first, *others]))
        check_digests(config.folder, events, prepared.digests)
        check_room(config.folder, largest_checkpoint([first]))
        return prepared
    except ConfigError as error:
        raise _located(config.space.path, error) from None


def _starts(configs: Sequence[TrialConfig]) -> dict[str, str]:
    """Summarise each file that students start from, by the first student that does.

    Raises:
        ConfigError: such a file cannot be used.
    """
    found: dict[str, str] = {}
    for student in (config.student for config in configs):
        key = f"student.start={student.start}"
        if student.start is not None and key not in found:
            try:
                found[key] = start_of(student)
            except ConfigError as error:
                raise ConfigError(f"student.{error.path}", error.rule) from None
            _log.warning("student.start: %s", found[key])
    return found


def measure_references(prepared: Prepared) -> ReferenceScores:
    """Score bicubic and the teacher on the held-out images; takes seconds for a large teacher."""
    return marks(prepared.run)


def _located(space: Path, error: ConfigError) -> SpaceError:
    """Add to a refusal the line of the space's file that it is about."""
    keys = tuple(error.path.split("."))
    return read_yaml(space).error(("fixed", *keys), error.path, error.rule)


def seconds_of_report(prepared: Prepared) -> float | None:
    """Measure how many seconds a trial trains between two reports on this machine.

    The fastest of a few updates, times the updates between two reports. None where a CPU certainly
    needs more than a second: that follows from the number of multiplications, without an update.
    """
    config, student = prepared.run.config, prepared.run.student
    updates = config.budget.steps_per_report
    pixels = config.batch.images * config.batch.patch**2
    least = 6 * sum(each.numel() for each in student.parameters()) * pixels * updates
    cpu = prepared.run.device.type == "cpu"
    if cpu and least > _FLOPS_OF_A_THREAD * torch.get_num_threads():
        return None
    run = Run(config, images=prepared.images)
    with run.replay.here(), run.numerics():
        # On a GPU updates are replayed from a recorded graph from the fourth on.
        return min(_timed(run) for _ in range(4 if cpu else 8)) * updates


def _timed(run: Run) -> float:
    """Do the next update and return its duration in seconds."""
    began = time.perf_counter()
    for loss in run.update().values():
        loss.item()
    return time.perf_counter() - began


_FLOPS_OF_A_THREAD = 2e11
"""Upper bound of the floating-point operations that one CPU thread does in a second."""
