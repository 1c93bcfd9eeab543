"""A migrated database of MLflow's, and a ledger beside it."""

from __future__ import annotations

import shutil

import pytest

from tune_sr.ledger.ledger import Ledger


@pytest.fixture(scope="session")
def empty_database(tmp_path_factory):
    """A migrated database: MLflow takes seconds to make one."""
    from mlflow import MlflowClient

    path = tmp_path_factory.mktemp("mlflow") / "mlflow.db"
    MlflowClient(f"sqlite:///{path}").search_experiments()
    return path


@pytest.fixture
def storage(tmp_path, empty_database, monkeypatch):
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    folder = tmp_path / "runs, größer"
    (folder / "dfsr").mkdir(parents=True)
    shutil.copy(empty_database, folder / "mlflow.db")
    return folder


@pytest.fixture
def ledger(storage):
    return Ledger(storage / "dfsr" / "ledger.jsonl")
