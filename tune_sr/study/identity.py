"""What makes a study this one: its `id`, and the files that it was begun with."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trainables.checkpoints import Owner
from trainables.config import TrialConfig
from trainables.data.training import TrainingSet
from trainables.digests import Digests, difference, heldout_digests, weights_digests
from trainables.networks import NETWORKS
from trainables.problems import EnvironmentFault
from trainables.values import ConfigError
from tune_sr.ledger.events import Event
from tune_sr.space.dimension import Dimension, combinations
from tune_sr.space.search_space import SearchSpace

if TYPE_CHECKING:
    from trainables.run import RunImages

_DIGESTS = "digests"
"""Key of `study_started`, and of a `driver_started` that found more."""
_PARTS = ("teacher", "data")
_PATHS = ("method.name", "method.vgg19", "method.features", "student.name", "student.weights")
"""What decides which files a trial reads: all of these sections, and these quantities."""
_LIMIT = 512
"""Combinations of them that are looked at."""
_log = logging.getLogger(__name__)


def owner_of(study: Mapping[str, Any] | None) -> Owner | None:
    """Whose checkpoints a study may rely on: its own.

    Of one that was begun before manifests named their study, those too that name none; None for
    one that has no id.

    Args:
        study: its event `study_started`.
    """
    if study is None or not isinstance(study.get("id"), str):
        return None
    return Owner(study["id"], takes_unnamed=_DIGESTS not in study)


def recorded_digests(events: Iterable[Event]) -> Digests:
    """The digests that a ledger has; of each file, those with which the study first met it."""
    digests: Digests = {}
    for event in events:
        if event["event"] in ("study_started", "driver_started"):
            digests = {**event.get(_DIGESTS, {}), **digests}
    return digests


def configs_of_files(space: SearchSpace) -> list[TrialConfig]:
    """A configuration for each combination of searched values that decides which files are read."""

    def values(dimension: Dimension) -> tuple[Any, ...]:
        section = dimension.path.partition(".")[0]
        decides = section in _PARTS or dimension.path in _PATHS
        return (
            dimension.corner_values()
            if decides and dimension.distribution == "choice"
            else dimension.corner_values()[:1]
        )

    configs = []
    points = combinations(tuple(space.dimensions.values()), space.fixed, values)
    for point in islice(points, _LIMIT):
        with suppress(ConfigError):  # no trial can have it
            configs.append(space.trial_config(point))
    return configs


def found_digests(configs: Sequence[TrialConfig], images: RunImages) -> Digests:
    """The digests of all files that trials of these configurations read.

    Args:
        configs: the first one's held-out images are everybody's.
        images: decoded; training images that are not among them are read.

    Raises:
        ValueError: a file cannot be read, by name.
    """
    digests = heldout_digests(configs[0], images.heldout)
    try:
        for config in configs:
            digests |= weights_digests(config)
    except EnvironmentFault as error:
        raise ValueError(str(error)) from None
    for training in _training_sets(configs, images):
        digests |= training.digests
    return digests


def new_digests(events: Iterable[Event], found: Mapping[str, str]) -> dict[str, Digests]:
    """The field `digests` of a start that found what `events` lack; empty where it found none."""
    recorded = recorded_digests(events)
    new = {key: digest for key, digest in found.items() if key not in recorded}
    return {_DIGESTS: new} if new else {}


def check_digests(folder: Path, events: Sequence[Event], found: Mapping[str, str]) -> None:
    """Refuse to go on with a study whose teacher or images are others than it was begun with.

    Args:
        folder: the study's.
        events: its ledger; of a study that was begun before digests were recorded nothing can be
            compared, which a log warning tells.
        found: as `found_digests` gives them.

    Raises:
        ValueError: names the first file or folder that differs, and the ways out.
    """
    if not any(event["event"] == "study_started" for event in events):
        return
    recorded = recorded_digests(events)
    if not recorded and found:
        rule = "was begun before digests were recorded: that teacher and images are still the same"
        _log.warning("%s %s cannot be checked", folder, rule)
    why = difference(recorded, found)
    if why is not None:
        way = "put that back as it was, or begin another study with --name"
        raise ValueError(f"{folder}: {why}: {way}")


def _training_sets(configs: Iterable[TrialConfig], images: RunImages) -> Iterator[TrainingSet]:
    """Every set of training images that `configs` name, each once."""
    at_hand = images.train if isinstance(images.train, TrainingSet) else None
    if at_hand is not None:
        yield at_hand
    seen = {at_hand.source} if at_hand is not None else set()
    for config in configs:
        if config.data is not None and config.data not in seen:
            seen.add(config.data)
            colour = NETWORKS[config.student.name].colour
            yield TrainingSet.read(config.data, colour=colour, scales=config.student.scales)
