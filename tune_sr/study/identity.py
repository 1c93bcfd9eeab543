"""The identity of a study: its `id`, and the digests of the files that its trials read."""

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
from trainables.errors import ConfigError, EnvironmentFault
from trainables.networks import NETWORKS
from tune_sr.ledger.events import Event
from tune_sr.space.dimension import Dimension, combinations
from tune_sr.space.search_space import SearchSpace

if TYPE_CHECKING:
    from trainables.run import RunImages

_DIGESTS = "digests"
"""Key of the digests in `study_started`, and in a `driver_started` with new ones."""
_PARTS = ("teacher", "data")
_PATHS = (
    *("method.name", "method.vgg19", "method.features"),
    *("student.name", "student.weights", "student.start"),
)
"""Sections and paths of a `TrialConfig` that decide which files a trial reads."""
_LIMIT = 512
"""Combinations of these quantities that are looked at, at most."""
_log = logging.getLogger(__name__)


def owner_of(study: Mapping[str, Any] | None) -> Owner | None:
    """The owner of the checkpoints that a study may use; None for a study without an id.

    A study from before manifests named their study may also use checkpoints that name none.

    Args:
        study: the event `study_started`.
    """
    if study is None or not isinstance(study.get("id"), str):
        return None
    return Owner(study["id"], takes_unnamed=_DIGESTS not in study)


def recorded_digests(events: Iterable[Event]) -> Digests:
    """The digest of each file, as the first event of the ledger that names the file has it."""
    digests: Digests = {}
    for event in events:
        if event["event"] in ("study_started", "driver_started"):
            digests = {**event.get(_DIGESTS, {}), **digests}
    return digests


def configs_of_files(space: SearchSpace) -> list[TrialConfig]:
    """One configuration for each set of files that the trials of a space may read."""

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
        with suppress(ConfigError):  # no trial has it
            configs.append(space.trial_config(point))
    return configs


def found_digests(configs: Sequence[TrialConfig], images: RunImages) -> Digests:
    """Compute the digests of all files that trials of these configurations read.

    Args:
        configs: all have the held-out images of the first one.
        images: decoded images; training images that are not among them are read.

    Raises:
        ValueError: a file cannot be read; names it.
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
    """The field `digests` of `driver_started` with those that `events` lack; empty if none are."""
    recorded = recorded_digests(events)
    new = {key: digest for key, digest in found.items() if key not in recorded}
    return {_DIGESTS: new} if new else {}


def check_digests(folder: Path, events: Sequence[Event], found: Mapping[str, str]) -> None:
    """Refuse to continue a study whose teacher or images have changed since it was begun.

    Args:
        folder: the study's folder, for messages.
        events: the ledger; where it is older than digests, a warning is logged and nothing checked.
        found: digests of the files as they are now, from `found_digests`.

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
    """Each set of training images that `configs` name, once."""
    at_hand = images.train if isinstance(images.train, TrainingSet) else None
    if at_hand is not None:
        yield at_hand
    seen = {at_hand.source} if at_hand is not None else set()
    for config in configs:
        if config.data is not None and config.data not in seen:
            seen.add(config.data)
            colour = NETWORKS[config.student.name].colour
            yield TrainingSet.read(config.data, colour=colour, scales=config.student.scales)
