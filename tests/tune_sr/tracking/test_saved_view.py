"""The tag that MLflow's pages read as a saved view, and the link that opens it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tune_sr.tracking.saved_view import view_key, view_link, view_state, view_tag
from tune_sr.tracking.store import TrackingStore

PATHS = ["method.w_R", "optimiser.lr"]


def state(paths: list[str], *, gains: bool = True) -> tuple[dict[str, Any], dict[str, Any]]:
    envelope = json.loads(view_state("dfsr", paths, "psnr_y_db", gains=gains, created_ms=7))
    return envelope, json.loads(envelope.pop("state"))


def test_a_view_has_curves_settings_and_bars_of_the_studys_trials_sorted_by_score() -> None:
    envelope, found = state(PATHS)
    assert envelope == {"name": "dfsr", "createdAt": 7, "updatedAt": 7}
    assert (
        found["searchFilter"] == "tags.`tune_sr.study` = 'dfsr' AND tags.`tune_sr.trial` LIKE '%'"
    )
    assert (found["orderByKey"], found["orderByAsc"]) == ("metrics.`score_db`", False)
    line, parallel, bars = found["compareRunCharts"]
    assert (line["type"], line["metricKey"]) == ("LINE", "psnr_y_db")
    assert (parallel["type"], parallel["selectedParams"]) == ("PARALLEL", PATHS)
    assert (bars["type"], bars["metricKey"]) == ("BAR", "gain_db")
    (section,) = found["compareRunSections"]
    assert {card["metricSectionId"] for card in found["compareRunCharts"]} == {section["uuid"]}
    assert found["selectedColumns"][-2:] == ["params.`method.w_R`", "params.`optimiser.lr`"]


def test_without_photographs_the_bars_are_scores() -> None:
    _, found = state(PATHS, gains=False)
    assert found["compareRunCharts"][-1]["metricKey"] == "score_db"
    assert "metrics.`gain_db`" not in found["selectedColumns"]


def test_a_view_of_many_quantities_fits_a_tag() -> None:
    paths = [f"method.{'long_name' * 10}_{number}" for number in range(64)]
    text = view_state("s" * 128, paths, "psnr_y_db", gains=True, created_ms=7)
    assert len(text) < 20_000 and len(view_tag("s" * 128)) < 250


@pytest.mark.parametrize(
    ("uri", "server"),
    [
        (None, "http://127.0.0.1:5000"),
        ("http://me:hunter2@host:5001/", "http://host:5001"),
        ("https://host/mlflow", "https://host/mlflow"),
    ],
)
def test_the_link_opens_the_chart_page_with_the_view(
    uri: str | None, server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    link = view_link(TrackingStore.resolve(uri, tmp_path), "3", "dfsr")
    assert link == (
        f"{server}/#/experiments/3/runs?workflowType=machine_learning&compareRunsMode=CHART"
        "&viewStateShareKey=tune_sr-dfsr"
    )
    assert view_key("dfsr") in link and "hunter2" not in link


def test_of_databricks_no_link_is_known() -> None:
    assert view_link(TrackingStore("databricks", "databricks", None), "3", "dfsr") is None
