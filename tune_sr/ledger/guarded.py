"""The ledger of a running study, which checks the study's lock before each event."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from tune_sr.ledger.events import TrialAttempt, TrialEnded, TrialReported, TrialStarted
from tune_sr.ledger.ledger import Ledger
from tune_sr.storage.layout import LEDGER
from tune_sr.storage.lock import DriverLock, StudyLostError

_FREQUENT = {TrialStarted.kind, TrialReported.kind, TrialEnded.kind, TrialAttempt.kind}
"""Kinds for which it is enough that the lock was touched some seconds ago."""


def guarded_ledger(folder: Path, lock: DriverLock) -> Ledger:
    """Open the ledger in `folder` and check `lock` before each event that is appended.

    The driver ends when an event cannot be written, because what depends on the event must not
    happen; and when the ledger was removed or replaced, which each heartbeat of the lock checks.

    Args:
        folder: the study's folder.
        lock: the study's lock, held by this driver.
    """
    path = folder / LEDGER
    ledger = Ledger(path, before=partial(_check, lock), failed=partial(_lose, lock, path))
    lock.watch(ledger.displaced)
    return ledger


def _check(lock: DriverLock, event: str) -> None:
    lock.check(lately=event in _FREQUENT)


def _lose(lock: DriverLock, path: Path, error: OSError) -> None:
    lock.lose(StudyLostError(f"{path} cannot be written: {error.strerror or error}"))
