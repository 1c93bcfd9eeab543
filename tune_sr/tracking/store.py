"""The address of the store where MLflow keeps its records, checked before a study starts."""

from __future__ import annotations

import fcntl
import os
import re
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote, urlsplit

from tune_sr.cli.redaction import HIDDEN, lacks_secrets, redacted, without_secrets
from tune_sr.storage.disk import check_writable

_DATABASES = ("sqlite", "postgresql", "mysql", "mssql")
_SERVERS = ("http", "https", "databricks")
_ARTIFACTS = "mlartifacts"
_BESIDE = ("", "-journal", "-wal", "-shm")
"""Endings that SQLite appends to a database's name for the files it keeps beside it."""
_VARIABLE = re.compile(r"\$\{([^}]*)\}")
_AGAIN = "is not kept: give the address again, by --tracking-uri or as MLFLOW_TRACKING_URI"


@dataclass(frozen=True)
class TrackingStore:
    """A database or server in which MLflow keeps its records."""

    uri: str = field(repr=False)
    """The address with its secrets: never written to a file, never shown."""
    shown: str
    """The address without its secrets."""
    artifacts: str | None
    """Location of a new experiment's files; None where the server decides."""
    file: Path | None = None
    """The database's file, absolute; None where the store is a server or has no file."""

    @classmethod
    def resolve(cls, uri: str | None, storage: Path) -> TrackingStore:
        """The store named by `uri`, else by MLFLOW_TRACKING_URI, else `mlflow.db` in `storage`.

        Args:
            uri: an address; each `${VARIABLE}` in it is taken from the environment.
            storage: folder of the default database.

        Raises:
            ValueError: MLflow has no such store, a variable is not set, or `***` stands in the
                address for a secret.
        """
        storage = storage.expanduser().absolute()
        filled = _filled_in(uri) if uri else os.environ.get("MLFLOW_TRACKING_URI")
        filled = filled or _sqlite_address(storage / "mlflow.db")
        shown = without_secrets(uri or filled)
        scheme = filled.partition(":")[0].partition("+")[0]
        if scheme not in (*_DATABASES, *_SERVERS):
            rule = "MLflow keeps records in a database or behind a server, not in a folder"
            raise _refused(shown, f"{rule}; say sqlite:///FILE.db or http://HOST:PORT")
        if not filled.isprintable():
            raise _refused(shown, "holds a control character: write it as %XX")
        if lacks_secrets(filled):
            raise _refused(shown, f"{HIDDEN} stands for a secret, which {_AGAIN}")
        if scheme in _SERVERS:
            if scheme != "databricks" and not _host(filled):
                raise _refused(shown, "names no host: say http://HOST:PORT")
            return cls(filled, shown, None)
        if scheme != "sqlite":
            return cls(filled, shown, (storage / _ARTIFACTS).as_uri())
        file = _sqlite_file(filled)
        return cls(filled, shown, (file.parent / _ARTIFACTS).as_uri(), file)

    @property
    def folder(self) -> Path | None:
        """The folder of the database's file; None where there is no such file."""
        return None if self.file is None else self.file.parent

    def check(self, study: Path) -> None:
        """Check that MLflow can open the store; creates nothing, and connects to no server.

        Args:
            study: the study's folder, which must not be one of the store's own files or folders.

        Raises:
            ValueError: MLflow cannot; one line with the address, without secrets, and the reason.
        """
        if self.file is not None:
            self._check_file(self.file, study)
        elif self.artifacts is not None:
            _check_driver(self.uri, self.shown)

    def _check_file(self, file: Path, study: Path) -> None:
        taken = [file.with_name(f"{file.name}{end}") for end in _BESIDE]
        if study in (*taken, file.parent / _ARTIFACTS):
            rule = "MLflow's records lie there: choose another --name, or another --tracking-uri"
            raise ValueError(f"{study}: {rule}")
        if file.is_dir():
            raise _refused(self.shown, f"{file} is a folder, not a database")
        check_writable(file.parent, "choose another --tracking-uri, or another --storage")
        if not file.exists():
            return
        if not os.access(file, os.W_OK):
            raise _refused(self.shown, f"{file} cannot be written to")
        try:
            address = f"file:{quote(str(file))}?mode=ro"
            with closing(sqlite3.connect(address, uri=True, timeout=1.0)) as database:
                database.execute("SELECT count(*) FROM sqlite_master").fetchone()
        except sqlite3.Error as error:
            if "locked" not in str(error):  # another study's driver is at work on it
                raise _refused(self.shown, f"{file} cannot be used ({error})") from None

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Lock the database's folder, for use while MLflow creates or migrates its tables.

        Two processes of this machine that did so at once would break the database. Does nothing
        where the store is no file.
        """
        folder = self.folder
        if folder is None:
            yield
            return
        folder.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)


def short_reason(error: Exception, *addresses: str) -> str:
    """Shorten an exception to a reason of a few words without secrets.

    Args:
        error: raised by MLflow's client.
        *addresses: addresses that its message may quote, whose secrets are removed.

    >>> short_reason(OSError("HTTPConnectionPool(...): ... [Errno 111] Connection refused'))"))
    'Connection refused'
    """
    cause = re.search(r"\[Errno -?\d+\] ([\w ]+)|(Read timed out)", str(error))
    if cause:
        return cause[1] or cause[2]
    lines = redacted(str(error), *addresses).splitlines() or [type(error).__name__]
    return lines[0][:160]


def _refused(uri: str, rule: str) -> ValueError:
    return ValueError(f"tracking uri {without_secrets(uri)}: {rule}")


def _filled_in(uri: str) -> str:
    def value_of(match: re.Match[str]) -> str:
        if match[1] not in os.environ:
            raise _refused(uri, f"{match[0]} is not set in the environment")
        return os.environ[match[1]]

    return _VARIABLE.sub(value_of, uri)


def _host(uri: str) -> str | None:
    try:
        return urlsplit(uri).hostname
    except ValueError:  # of brackets, which are for IPv6
        return None


def _sqlite_address(file: Path) -> str:
    """The SQLAlchemy address of a database file, for any file name that has one.

    Raises:
        ValueError: SQLAlchemy (before 2.1) has no address for this name.
    """
    from sqlalchemy import URL

    plain = f"sqlite:///{file}"
    # Of a plain `sqlite:///` MLflow would also make the folder that it reads there, unquoted.
    url = URL.create("sqlite+pysqlite", database=str(file))
    quoted = url.render_as_string(hide_password=False)
    for address in (plain, quoted):
        if _sqlite_file(address) == file:
            return address
    raise ValueError(f"{file}: no address of sqlite can name it; choose another --storage")


def _sqlite_file(uri: str) -> Path:
    """The absolute path of the file that an SQLite address names.

    Raises:
        ValueError: it is no address of SQLite, or names a database in memory.
    """
    from sqlalchemy import make_url
    from sqlalchemy.exc import ArgumentError

    try:
        database = make_url(uri).database
    except (ArgumentError, ValueError):
        raise _refused(uri, "not an address of sqlite; say sqlite:///FILE.db") from None
    if not database or database.startswith((":memory:", "file:")):
        raise _refused(uri, "names no file, and its records would be gone; say sqlite:///FILE.db")
    return Path(database).absolute()


def _check_driver(uri: str, shown: str) -> None:
    from sqlalchemy import make_url
    from sqlalchemy.exc import ArgumentError, NoSuchModuleError

    try:
        make_url(uri).get_dialect().import_dbapi()
    except ImportError as error:
        rule = f"the Python package of this database is missing ({error.name or 'see its driver'})"
        raise _refused(shown, f"{rule}: install it") from None
    except NoSuchModuleError:
        raise _refused(shown, "SQLAlchemy knows no such database or driver") from None
    except (ArgumentError, ValueError):
        raise _refused(
            shown, "not an address of a database: escape odd characters, as %XX"
        ) from None
