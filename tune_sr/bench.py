"""What a study is worked on with, found out to be sound before anything is started."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from trainables.values import ConfigError
from tune_sr.ledger import History
from tune_sr.room import check_room, check_writable
from tune_sr.store import Store
from tune_sr.yaml_lines import SpaceError, read_yaml

if TYPE_CHECKING:
    from trainables.run import Run, RunImages
    from tune_sr.study import StudyConfig

Marks = dict[str, dict[str, float] | None]
"""The held-out figures of `bicubic` and of the `teacher`."""


@dataclass(frozen=True)
class Bench:
    """What a study is worked on with."""

    images: RunImages
    """Decoded once; every trial shares them."""
    run: Run
    """That of the first point, never advanced: held-out set and teacher, ready."""
    digests: Mapping[str, str] = field(default_factory=dict)
    """Of all files that trials read, as `trainables.digests` has them."""


def prepare(config: StudyConfig) -> Bench:
    """Find out what can be found out before anything is started: images, weights, sizes, room.

    Raises:
        ValueError: names, in one line, what cannot be used, or what is no longer what a study
            that exists was begun with.
    """
    from trainables.run import Run, RunImages, check_teacher
    from tune_sr.identity import check_digests, configs_of_files, found_digests
    from tune_sr.plan import largest_checkpoint
    from tune_sr.resume import check_nothing_lost, read_events
    from tune_sr.searchers import propose

    check_writable(config.folder)
    events = read_events(config.folder)
    check_nothing_lost(config.folder, events)
    Store.of(config.tracking_uri, config.folder.parent).check(config.folder)
    point = propose(config.searcher, config.space, config.seed, History(), 0, config.objective)
    try:
        first = config.configure(point)
        others = [*map(config.configure, config.space.first), *configs_of_files(config.space)]
        images = RunImages.of(first, *others)
        run = Run(first, images=images)  # its refusals tell more of a file than a digest does
        check_teacher(run)
        bench = Bench(images, run, found_digests([first, *others], images))
        check_digests(config.folder, events, bench.digests)
        check_room(config.folder, largest_checkpoint([first]))
        return bench
    except ConfigError as error:
        raise _located(config.space.path, error) from None


def measure(bench: Bench) -> Marks:
    """What the students will be held against; takes seconds for a large teacher."""
    from trainables.marks import marks

    return marks(bench.run)


def _located(space: Path, error: ConfigError) -> SpaceError:
    """The refusal with the line of the space that it is about."""
    keys = tuple(error.path.split("."))
    return read_yaml(space).error(("fixed", *keys), error.path, error.rule)
