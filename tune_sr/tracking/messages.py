"""Messages between a driver and the process that sends to MLflow: one JSON object a line."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Any, Literal, Self

from tune_sr.objectives.objective import QUALITY
from tune_sr.tracking.store import TrackingStore

Kind = Literal[
    "settings",  # driver -> process, once, first: the fields of TrackingSettings
    "params_wanted",  # process -> driver: the configuration of `point` is needed
    "params",  # driver -> process: the answer, `params` and the update of `last_growth`
    "failed",  # process -> driver: an attempt to send failed, for `reason`; it goes on trying
    "up_to_date",  # process -> driver: MLflow has what the ledger held, first or after a failure
    "close",  # driver -> process: send the rest, close the runs, end
    "closed",  # process -> driver: everything was sent, to be seen at `view`; nothing follows
]


@dataclass(frozen=True)
class TrackingSettings:
    """What is sent, where to, and how often."""

    ledger: Path
    """The study's ledger; the study's files lie in the same folder."""
    store: TrackingStore
    experiment: str
    """Name of the MLflow experiment."""
    tags: Mapping[str, str]
    """Tags of the study's run beside those that its ledger gives."""
    summary_keys: tuple[str, ...]
    """Keys of each result in summary.json that become curves of the study's run."""
    period_s: float = 1.0
    """Seconds between two readings of the ledger."""
    objective: tuple[str, ...] = (QUALITY,)
    """The key of reports to maximise, and the cost to minimise if there is one."""

    def to_dict(self) -> dict[str, Any]:
        """The settings as JSON has them, secrets of the store's address included."""
        store = {**asdict(self.store), "file": self.store.file and str(self.store.file)}
        return {**self.__dict__, "ledger": str(self.ledger.absolute()), "store": store}

    @classmethod
    def from_dict(cls, settings: Mapping[str, Any]) -> Self:
        """The inverse of `to_dict`."""
        store = dict(settings["store"])
        store["file"] = store["file"] and Path(store["file"])
        values = {**settings, "ledger": Path(settings["ledger"]), "store": TrackingStore(**store)}
        lists = ("summary_keys", "objective")
        return cls(**{**values, **{name: tuple(settings[name]) for name in lists}})


class Channel:
    """One end of the two pipes between driver and process.

    Args:
        incoming: the pipe that the other end writes to.
        outgoing: the pipe that the other end reads from.
    """

    def __init__(self, incoming: IO[bytes], outgoing: IO[bytes]) -> None:
        self._incoming, self._outgoing = incoming, outgoing
        self._lock = threading.Lock()

    def send(self, kind: Kind, **fields: Any) -> None:
        """Write one message, from any thread.

        Does nothing where the other end is gone; `receive` ends for the same reason.
        """
        line = json.dumps({"kind": kind, **fields}, default=str).encode() + b"\n"
        with self._lock, suppress(OSError, ValueError):  # ValueError: closed on this side
            self._outgoing.write(line)
            self._outgoing.flush()

    def receive(self) -> Iterator[dict[str, Any]]:
        """Yield the other end's messages until it is gone; half a message at its end is dropped."""
        for line in self._incoming:
            if line.endswith(b"\n"):
                yield json.loads(line)
