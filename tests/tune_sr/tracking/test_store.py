"""A store that MLflow cannot open is refused before anything is started, not at the end."""

from __future__ import annotations

import shutil
import sqlite3
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from tune_sr import search
from tune_sr.tracking.store import TrackingStore, short_reason

ToySpace = Callable[..., Path]

ODD = (
    "a?b",
    "a%20b",
    "a#b",
    "a%3Fb",
    "a b",
    "é",
    "a@b",
    "a;b",
    "a%b",
    "a[b]",
    "a&b=c",
    "a:b",
    "***",
)


@pytest.fixture(autouse=True)
def _no_address_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)


@pytest.mark.parametrize("name", ODD)
def test_the_database_lies_in_the_storage_whatever_that_is_called(
    name: str, tmp_path: Path
) -> None:
    """As SQLAlchemy opens it, and so MLflow."""
    from sqlalchemy import create_engine, text

    storage = tmp_path / name
    storage.mkdir()
    store = TrackingStore.resolve(None, storage)
    assert store.file == storage / "mlflow.db"
    store.check(storage / "toy")
    with create_engine(store.uri).connect() as connection:
        connection.execute(text("CREATE TABLE a (b)"))
    assert [path.name for path in storage.iterdir()] == ["mlflow.db"]
    assert [path.name for path in tmp_path.iterdir()] == [name]
    store.check(storage / "toy")


def test_mlflow_keeps_its_records_in_such_a_storage(tmp_path: Path, empty_database: Path) -> None:
    from mlflow import MlflowClient

    storage = tmp_path / "a?b %20"
    storage.mkdir()
    shutil.copy(empty_database, storage / "mlflow.db")
    store = TrackingStore.resolve(None, storage)
    client = MlflowClient(tracking_uri=store.uri)
    experiment = client.create_experiment("x", artifact_location=store.artifacts)
    run = client.create_run(experiment).info.run_id
    (tmp_path / "file").write_text("1")
    client.log_artifact(run, str(tmp_path / "file"))
    assert [path.name for path in storage.rglob("file")] == ["file"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a?b %20", "file"]


def test_an_ordinary_address_is_as_one_would_write_it(tmp_path: Path) -> None:
    for name in ("runs", "my runs", "été"):
        assert (
            TrackingStore.resolve(None, tmp_path / name).uri
            == f"sqlite:///{tmp_path / name}/mlflow.db"
        )


@pytest.mark.parametrize(
    ("uri", "rule"),
    [
        ("sqlite:///{here}/folder", "folder is a folder, not a database"),
        ("sqlite:///{here}/text", r"text cannot be used \(file is not a database\)"),
        ("sqlite:///{here}/text/x.db", "nothing can be written to .*text: not a directory"),
        (
            "sqlite:////proc/x.db",
            "nothing can be written to /proc: .*choose another --tracking-uri",
        ),
        ("sqlite://", "names no file"),
        ("sqlite:///:memory:", "names no file"),
        ("sqlite:x.db", "not an address of sqlite"),
        ("postgresql://host/db", r"package of this database is missing \(psycopg2?\): install it"),
        ("mysql+nonsense://host/db", "knows no such database or driver"),
        ("postgresql://host:port/db", "not an address of a database"),
        ("http://", "names no host"),
        ("http://[host", "names no host"),
        ("http://ho\x1bst", "holds a control character"),
        ("http://${TUNE_SR_ABSENT}", r"\$\{TUNE_SR_ABSENT\} is not set in the environment"),
    ],
)
def test_a_store_that_cannot_be_opened_is_refused_in_one_line(
    uri: str, rule: str, toy_space: ToySpace, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "text").write_text("no database, and longer than its header" * 9)
    space = toy_space()
    before = sorted(tmp_path.rglob("*"))
    uri = uri.replace("{here}", str(tmp_path))
    assert search.main(["--space", str(space), "--dry-run", "--tracking-uri", uri]) == 2
    told = capsys.readouterr().err
    assert told.count("\n") == 1 and told.strip().isprintable()
    with pytest.raises(ValueError, match=rule):
        TrackingStore.resolve(uri, tmp_path).check(tmp_path / "toy")
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize("name", ["mlflow.db", "mlflow.db-journal", "mlartifacts"])
def test_a_study_does_not_lie_where_the_records_lie(
    name: str, toy_space: ToySpace, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    space = toy_space(study={"tracking_uri": None})
    argv = ["--space", str(space), "--name", name, "--dry-run"]
    assert search.main(argv) == 2
    told = capsys.readouterr().err
    assert f"{tmp_path}/runs/{name}: MLflow's records lie there: choose another --name" in told
    assert search.main([*argv, "--tracking-uri", f"sqlite:///{tmp_path}/other.db"]) == 0


def test_a_database_that_another_driver_writes_to_is_no_reason_to_refuse(tmp_path: Path) -> None:
    store = TrackingStore.resolve(None, tmp_path)
    with sqlite3.connect(tmp_path / "mlflow.db") as database:
        database.execute("CREATE TABLE a (b)")
        database.commit()
        database.execute("BEGIN EXCLUSIVE")
        store.check(tmp_path / "toy")
        database.rollback()


def test_a_database_that_nobody_may_write_to(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = TrackingStore.resolve(None, tmp_path)
    with sqlite3.connect(tmp_path / "mlflow.db") as database:
        database.execute("CREATE TABLE a (b)")
    monkeypatch.setattr("os.access", lambda path, mode: False)  # root may write to all
    with pytest.raises(ValueError, match=r"mlflow\.db cannot be written to"):
        store.check(tmp_path / "toy")


@pytest.mark.parametrize("uri", ["./mlruns", "/somewhere/mlruns", "file:///mlruns", "ftp://x"])
def test_a_store_that_mlflow_does_not_have_is_refused(uri: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"say sqlite:///FILE\.db or http://HOST:PORT"):
        TrackingStore.resolve(uri, tmp_path)


def test_the_address_given_comes_before_the_environments(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    default = TrackingStore.resolve(None, tmp_path)
    assert default.uri == f"sqlite:///{tmp_path}/mlflow.db"
    assert default.artifacts == f"file://{tmp_path}/mlartifacts"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://there:5000")
    assert TrackingStore.resolve(None, tmp_path) == TrackingStore(
        "http://there:5000", "http://there:5000", None
    )
    other = TrackingStore.resolve(f"sqlite:///{tmp_path}/other/db.sqlite", tmp_path)
    assert other.artifacts == f"file://{tmp_path}/other/mlartifacts"


def test_secrets_are_in_the_address_and_not_in_what_is_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PW", "hunter2")
    for given, shown in (
        ("http://me:hunter2@host:5000", "http://***@host:5000"),
        ("http://me:${PW}@host:5000", "http://me:${PW}@host:5000"),
    ):
        store = TrackingStore.resolve(given, tmp_path)
        assert (store.uri, store.shown) == ("http://me:hunter2@host:5000", shown)
        assert "hunter2" not in repr(store)


def test_one_at_a_time_makes_a_databases_tables(tmp_path: Path) -> None:
    store = TrackingStore.resolve(None, tmp_path / "not yet there")
    inside, left = threading.Event(), threading.Event()

    def other() -> None:
        with store.locked():
            inside.set()
        left.set()

    with store.locked():
        thread = threading.Thread(target=other)
        thread.start()
        assert not inside.wait(0.2)
    assert left.wait(10)
    thread.join()
    with TrackingStore.resolve("http://host", tmp_path).locked():  # nothing of it lies here
        pass
    assert [path.name for path in tmp_path.iterdir()] == ["not yet there"]


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (
            ConnectionError("Max ... [Errno 111] Connection refused'))"),
            "Connection refused",
        ),
        (ConnectionError("[Errno -2] Name or service not known"), "Name or service not known"),
        (TimeoutError("HTTPConnectionPool: Read timed out. (read timeout=10)"), "Read timed out"),
        (RuntimeError("API request to http://me:hunter2@host failed\nmore"), None),
        (ValueError("x" * 1000), "x" * 160),
        (KeyError(), "KeyError"),
    ],
)
def test_a_reason_is_one_short_line_without_secrets(error: Exception, reason: str | None) -> None:
    shortened = short_reason(error, "http://me:hunter2@host")
    assert shortened == (reason or "API request to http://***@host failed")
