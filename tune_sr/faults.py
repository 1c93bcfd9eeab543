"""What becomes of a trial that failed or whose process was lost: it begins again, or ends."""

from __future__ import annotations

import pickle
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from trainables.memory import OUT_OF_MEMORY
from tune_sr.ledger import TrialRecord

ATTEMPTS = 4
"""How often a trial's own process may be lost within one start of the driver, and once more for
every node lost: a process that dies each time, as one does that needs more memory than there is,
would otherwise be tried for ever."""

_NODE_LOST, _NODE_FULL = "its node has died", "running low on memory"
"""What Ray says where a process went with its node, or where it ended it to save the node."""


class Again(NamedTuple):
    """A trial begins again, from its newest checkpoint."""

    reason: str | None
    """Why, for the ledger; None: it goes on as what the ledger says already."""
    micro_batch: int | None = None
    """Images that pass through a network at a time from now on; None: as many as before."""


class Loss(NamedTuple):
    """Why a trial's process is no more."""

    reason: str
    counts: bool = True
    """Whether it may be the trial's own doing; a node that leaves is nobody's failure."""
    memory: bool = False
    """Whether its node had no memory left."""


def after_failure(record: TrialRecord, reason: str, images: int) -> Again | str:
    """What follows when a trial says why it cannot go on: how it begins again, or why it ends.

    Out of memory it is tried once more, half of its batch at a time: what it learns is the same.

    Args:
        record: the trial as the ledger has it.
        reason: what it says.
        images: of its batch.

    >>> record = TrialRecord("0000", 0, {})
    >>> after_failure(record, "out of memory: 2 GiB more", images=16)
    Again(reason='out of memory: 2 GiB more; again with 8 of 16 images at a time', micro_batch=8)
    >>> record.micro_batch = 8
    >>> after_failure(record, "out of memory: 2 GiB more", images=16)
    'out of memory: 2 GiB more; with 8 of 16 images at a time: batch.images 4 may fit'
    """
    if not reason.startswith(OUT_OF_MEMORY):
        return reason
    if images == 1:
        return f"{reason}; with a single image: a smaller batch.patch may fit"
    if record.micro_batch is None:
        half = _half(images)
        return Again(f"{reason}; again with {half} of {images} images at a time", half)
    now = record.micro_batch
    fits = f"batch.images {now // 2}" if now > 1 else "a smaller batch.patch"
    return f"{reason}; with {now} of {images} images at a time: {fits} may fit"


def after_loss(
    record: TrialRecord, loss: Loss, images: int, losses: int, allowed: int
) -> Again | str:
    """What follows when a trial's process is lost: how it begins again, or why it ends.

    Args:
        record: the trial as the ledger has it.
        loss: what Ray says of it.
        images: of its batch.
        losses: how many have counted in this start of the driver, this one included.
        allowed: with how many it ends.
    """
    if loss.counts and losses >= allowed:
        detailed = ": " in loss.reason
        return f"{loss.reason} ({losses} times)" if detailed else f"{loss.reason} {losses} times"
    if loss.memory and record.micro_batch is None and images > 1:
        half = _half(images)
        return Again(f"{loss.reason}; again with {half} of {images} images at a time", half)
    return Again(loss.reason)


def read_error(pickled: str | None, text: str | None) -> BaseException | None:
    """What Ray wrote down with the driver when a process was lost; None where that is nothing.

    Its own `get_pickled_error` looks where a study's files go, to which it has not copied these.

    Args:
        pickled: the file of the error itself; not all kinds have one.
        text: the file of what it says.
    """
    with suppress(Exception):  # an error may be of any kind, and of a module that is not here
        if pickled is not None:
            error = pickle.loads(Path(pickled).read_bytes())
            return error if isinstance(error, BaseException) else None
    with suppress(OSError):
        return None if text is None else RuntimeError(Path(text).read_text(errors="replace"))
    return None


def why_lost(error: BaseException | None) -> Loss:
    """What Ray's error says of a process that is no more.

    >>> why_lost(RuntimeError("The actor died because its node has died. Node Id: 0a")).counts
    False
    """
    said = str(error)
    if getattr(error, "preempted", False):
        return Loss("its node was preempted", counts=False)
    if _NODE_LOST in said:
        return Loss("its node was lost", counts=False)
    if _NODE_FULL in said:
        return Loss(f"{OUT_OF_MEMORY}: Ray ended its process, its node had none left", memory=True)
    if getattr(error, "actor_init_failed", False):
        return Loss(f"its process could not begin: {said.rstrip().splitlines()[-1]}")
    return Loss("its process was lost")


def _half(images: int) -> int:
    return (images + 1) // 2
