"""Where MLflow keeps its records: an address, checked before anything is started."""

from __future__ import annotations

import fcntl
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

_DATABASES = ("sqlite", "postgresql", "mysql", "mssql")
_SERVERS = ("http", "https", "databricks")


@dataclass(frozen=True)
class Store:
    """Where MLflow keeps its records."""

    uri: str
    artifacts: str | None
    """Where a new experiment's files go: beside the database; None leaves it to the server."""
    folder: Path | None = None
    """Where the database is a file: the folder that it lies in."""

    @classmethod
    def of(cls, uri: str | None, storage: Path) -> Store:
        """The store that `uri` names, else MLFLOW_TRACKING_URI, else a database in `storage`.

        Raises:
            ValueError: MLflow has no such store.
        """
        storage = storage.expanduser().absolute()
        uri = uri or os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{storage / 'mlflow.db'}"
        scheme = uri.partition(":")[0].partition("+")[0]
        if scheme not in (*_DATABASES, *_SERVERS):
            rule = "MLflow keeps records in a database or behind a server, not in a folder"
            way_out = "say sqlite:///FILE.db or http://HOST:PORT"
            raise ValueError(f"tracking uri {without_password(uri)}: {rule}; {way_out}")
        if scheme in _SERVERS:
            return cls(uri, None)
        file = uri.partition(":///")[2] if scheme == "sqlite" else ""
        home = Path(file).absolute().parent if file else storage
        return cls(uri, (home / "mlartifacts").as_uri(), home if file else None)

    @contextmanager
    def being_opened(self) -> Iterator[None]:
        """Keeps this machine's other drivers out: two that make one database break each other."""
        if self.folder is None:
            yield
            return
        self.folder.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(self.folder, os.O_RDONLY)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)


def without_password(text: str) -> str:
    """`text` with what stands between `//` and `@` of an address taken out.

    >>> without_password("postgresql://me:secret@host/db")
    'postgresql://***@host/db'
    """
    return re.sub(r"//[^/@\s]*@", "//***@", text)


def reason_of(error: Exception) -> str:
    """Why a store did not take something, in a few words and without a password.

    >>> reason_of(OSError("HTTPConnectionPool(...): ... [Errno 111] Connection refused'))"))
    'Connection refused'
    """
    cause = re.search(r"\[Errno -?\d+\] ([\w ]+)|(Read timed out)", str(error))
    if cause:
        return cause[1] or cause[2]
    lines = str(error).splitlines() or [type(error).__name__]
    return without_password(lines[0])[:160]
