"""A study's ledger as the driver that holds its lock writes it, and nobody else."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from tune_sr.ledger.ledger import Ledger
from tune_sr.storage.layout import LEDGER
from tune_sr.storage.lock import DriverLock, StudyLostError

_FOLLOWS = {"reported", "trial_ended", "attempt"}
"""Events so frequent that a touch of the lock some seconds ago is enough."""


def guarded_ledger(folder: Path, lock: DriverLock) -> Ledger:
    """The ledger in `folder`; before each event the lock is looked at.

    An event that cannot be written ends the driver: what follows from it must not happen. So does
    a ledger that was removed or replaced, which each heartbeat of the lock finds out.

    Args:
        folder: the study's.
        lock: held by this driver.
    """
    path = folder / LEDGER
    ledger = Ledger(path, before=partial(_check, lock), failed=partial(_lose, lock, path))
    lock.watch(ledger.displaced)
    return ledger


def _check(lock: DriverLock, event: str) -> None:
    lock.check(lately=event in _FOLLOWS)


def _lose(lock: DriverLock, path: Path, error: OSError) -> None:
    lock.lose(StudyLostError(f"{path} cannot be written: {error.strerror or error}"))
