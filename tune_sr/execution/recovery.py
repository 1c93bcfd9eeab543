"""Decides whether a trial that failed, or whose process was lost, begins again or ends."""

from __future__ import annotations

import os
import pickletools
import stat
from contextlib import suppress
from typing import NamedTuple

from trainables.memory import OUT_OF_MEMORY
from tune_sr.ledger.history import TrialRecord

ATTEMPTS = 4
"""How often a trial's process may be lost within one start of the driver before the trial ends, and
once more for every node lost. Without a limit, a trial that needs more memory than there is would
be tried for ever."""

_PREEMPTED, _NODE_LOST = "the actor's node was preempted", "its node has died"
"""Parts of Ray's errors about a process that was lost with its node."""
_NODE_FULL, _NOT_CREATED = "running low on memory", "raised in its creation task"
"""The same, of a process that Ray ended to save its node's memory, and one that never began."""
_NOT_BEGUN, _LOST = "its process could not begin", "its process was lost"
_LARGEST_ERROR = 1 << 20
"""Bytes read of a file in which Ray stored an error."""
_BLAMES_THE_POINT = ("diverged", "invalid: ", OUT_OF_MEMORY, "no report for ")
"""Beginnings of the reasons of failures that would repeat on any machine like this one."""


class Retry(NamedTuple):
    """A trial begins again, from its newest checkpoint."""

    reason: str | None
    """Why, for the ledger; None: the ledger has it already, as a `cloned` event."""
    micro_batch: int | None = None
    """Images that pass through a network at a time from now on; None: as many as before."""


class LostProcess(NamedTuple):
    """Why a trial's process was lost."""

    reason: str
    counts: bool = True
    """Whether it counts towards `ATTEMPTS`; a node that left is no fault of the trial."""
    memory: bool = False
    """Whether its node had no memory left."""


class Fault(NamedTuple):
    """A trial met a fault of the machine or of its files before its first report."""

    reason: str


def retry_or_fail_reported(record: TrialRecord, reason: str, images: int) -> Retry | str:
    """Decide on a trial that reported a failure: how it begins again, or why it ends.

    Out of memory it is tried once more with half of its batch at a time, which gives the same
    gradients.

    Args:
        record: the trial as the ledger has it.
        reason: the failure that it reported.
        images: size of its batch.

    >>> record = TrialRecord("0000", 0, {})
    >>> retry_or_fail_reported(record, "out of memory: 2 GiB more", images=16)
    Retry(reason='out of memory: 2 GiB more; again with 8 of 16 images at a time', micro_batch=8)
    >>> record.micro_batch = 8
    >>> retry_or_fail_reported(record, "out of memory: 2 GiB more", images=16)
    'out of memory: 2 GiB more; with 8 of 16 images at a time: batch.images 4 may fit'
    """
    if not reason.startswith(OUT_OF_MEMORY):
        return reason
    if images == 1:
        return f"{reason}; with a single image: a smaller batch.patch may fit"
    if record.micro_batch is None:
        half = _half(images)
        return Retry(f"{reason}; again with {half} of {images} images at a time", half)
    now = record.micro_batch
    fits = f"batch.images {now // 2}" if now > 1 else "a smaller batch.patch"
    return f"{reason}; with {now} of {images} images at a time: {fits} may fit"


def retry_or_fail_lost(
    record: TrialRecord, loss: LostProcess, images: int, losses: int, allowed: int
) -> Retry | str:
    """Decide on a trial whose process was lost: how it begins again, or why it ends.

    Args:
        record: the trial as the ledger has it.
        loss: why, by Ray's error.
        images: size of its batch.
        losses: how many have counted in this start of the driver, this one included.
        allowed: at how many it ends.
    """
    if loss.counts and losses >= allowed:
        detailed = ": " in loss.reason
        return f"{loss.reason} ({losses} times)" if detailed else f"{loss.reason} {losses} times"
    if loss.memory and record.micro_batch is None and images > 1:
        half = _half(images)
        return Retry(f"{loss.reason}; again with {half} of {images} images at a time", half)
    return Retry(loss.reason)


def read_error(file: str | None) -> str:
    """The text of the error that Ray stored when a process was lost; "" where there is none.

    Ray stores a pickle of the error as well, which is not read: on a cluster whose temporary folder
    is open to all, it would let others run code as the user of this process.

    Args:
        file: `error.txt` of one of Ray's trials.
    """
    if file is None:
        return ""
    with suppress(OSError):
        descriptor = os.open(file, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
        with open(descriptor, "rb") as opened:  # noqa: PTH123  # a descriptor
            if stat.S_ISREG(os.fstat(descriptor).st_mode):
                return opened.read(_LARGEST_ERROR).decode(errors="replace")
    return ""


def says_preempted(file: str | None) -> bool:
    """Whether the error that Ray stored as a pickle is marked as that of a preempted node.

    The pickle's instructions are read one by one, and none is carried out: whoever can write to
    Ray's folder on a cluster could otherwise run code as the user of this process.

    Args:
        file: `error.pkl` of one of Ray's trials.
    """
    if file is None:
        return False
    marked = False
    with suppress(OSError, ValueError):
        descriptor = os.open(file, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
        with open(descriptor, "rb") as opened:  # noqa: PTH123  # a descriptor
            content = (
                opened.read(_LARGEST_ERROR) if stat.S_ISREG(os.fstat(descriptor).st_mode) else b""
            )
        for instruction, argument, _ in pickletools.genops(content):
            if marked and instruction.name != "MEMOIZE":
                return instruction.name == "NEWTRUE"
            marked = marked or argument == "_preempted"
    return False


def classify_loss(
    error: str, *, begun: bool = True, preempted: bool = False
) -> LostProcess | Fault:
    """Find out from Ray's error why a process was lost.

    Args:
        error: the error's text; "" where it is not known.
        begun: whether Ray had started the process.
        preempted: whether Ray holds the loss against a node that was taken away: its text does not
            name that where the process is found lost before the node is.

    >>> classify_loss("The actor died because its node has died. Node Id: 0a").counts
    False
    >>> classify_loss("", begun=False)
    Fault(reason='its process could not begin')
    """
    if preempted or _PREEMPTED in error:
        return LostProcess("its node was preempted", counts=False)
    if _NODE_LOST in error:
        return LostProcess("its node was lost", counts=False)
    if _NODE_FULL in error:
        return LostProcess(
            f"{OUT_OF_MEMORY}: Ray ended its process, its node had none left", memory=True
        )
    if _NOT_CREATED in error:
        return Fault(f"{_NOT_BEGUN}: {error.rstrip().splitlines()[-1]}")
    return LostProcess(_LOST) if begun else Fault(_NOT_BEGUN)


def may_be_retried(record: TrialRecord) -> bool:
    """Whether a trial failed for a reason that may lie in the machine or a file, not its point.

    Such are lost processes, and errors before the first report other than divergence, lack of
    memory, an invalid point and a missing report.

    >>> may_be_retried(TrialRecord("0000", 0, {}, state="failed", reason="OSError: gone"))
    True
    """
    reason = record.reason or ""
    if record.state != "failed" or reason.startswith(_BLAMES_THE_POINT):
        return False
    return reason.startswith((_NOT_BEGUN, _LOST)) or not record.reports


def _half(images: int) -> int:
    return (images + 1) // 2
