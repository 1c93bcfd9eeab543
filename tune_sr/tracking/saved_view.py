"""A view of a study in MLflow's pages: curves, parallel coordinates and bars of its trials.

MLflow 3.17 keeps a saved view as one tag of the experiment. That is no published interface: should
another version not read the tag, its pages open as they would without it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import Any
from urllib.parse import quote

from tune_sr.tracking.store import TrackingStore

STUDY, TRIAL = "tune_sr.study", "tune_sr.trial"
"""Tags of every run: its study's name; of a trial's run: the trial's."""
_TAG = "mlflow.sharedViewState."
_LOCAL = "http://127.0.0.1:5000"
"""Where `mlflow ui` answers unless it is given another port."""
_SECTION = "tune_sr-section"
_MOST = 12
"""Most searched quantities with a column and an axis: more do not fit on a screen."""


def view_key(study: str) -> str:
    """The key of a study's view, by which a link names it."""
    return f"tune_sr-{study}"


def view_tag(study: str) -> str:
    """The tag of the experiment that holds a study's view."""
    return f"{_TAG}{view_key(study)}"


def view_link(store: TrackingStore, experiment_id: str, study: str) -> str | None:
    """The address at which MLflow's pages show a study's view; None where they are elsewhere.

    Of a database it is that of `mlflow ui` on this machine.
    """
    if store.shown.startswith(("http://", "https://")):
        server = re.sub("//[^/]*@", "//", store.shown).rstrip("/")
    elif store.artifacts is not None:
        server = _LOCAL
    else:
        return None
    query = "workflowType=machine_learning&compareRunsMode=CHART"
    runs = f"{server}/#/experiments/{experiment_id}/runs"
    return f"{runs}?{query}&viewStateShareKey={quote(view_key(study))}"


def view_state(
    study: str, quantities: Sequence[str], objective: str, *, gains: bool, created_ms: int
) -> str:
    """The value of the tag: what MLflow's pages read.

    Args:
        study: its name.
        quantities: dotted paths of the searched quantities.
        objective: key of the metric whose curves are drawn.
        gains: whether trials have the metric `gain_db`.
        created_ms: when the study began, in ms since 1970.
    """
    shown = list(quantities)[:_MOST]
    bars = "gain_db" if gains else "score_db"
    cards = [
        _card("LINE", objective, metricKey=objective, selectedMetricKeys=[objective], **_LINE),
        _card(
            "PARALLEL",
            "settings and score",
            selectedParams=shown,
            selectedMetrics=["score_db"],
            showAllRuns=True,
        ),
        _card("BAR", bars, metricKey=bars),
    ]
    section = {"uuid": _SECTION, "name": study, "display": True, "isReordered": True}
    columns = [("metrics", "score_db"), *([("metrics", "gain_db")] if gains else [])]
    columns += [("params", path) for path in shown]
    state = {
        "searchFilter": f"tags.`{STUDY}` = '{study}' AND tags.`{TRIAL}` LIKE '%'",
        "orderByKey": _key("metrics", "score_db"),
        "orderByAsc": False,
        "startTime": "ALL",
        "lifecycleFilter": "Active",
        "datasetsFilter": [],
        "modelVersionFilter": "All Runs",
        "selectedColumns": [_key(*each) for each in columns],
        "runsHiddenMode": "FIRST_20_RUNS",
        "compareRunCharts": cards,
        "compareRunSections": [{**section, "columns": 2, "deleted": False, "isGenerated": False}],
        "isAccordionReordered": True,  # else sections that MLflow generates come first
        "hideEmptyCharts": True,
        "groupBy": None,
    }
    envelope = {"name": study, "createdAt": created_ms, "updatedAt": created_ms}
    return json.dumps({**envelope, "state": json.dumps(state, separators=(",", ":"))})


_LINE = {
    "xAxisKey": "step",
    "xAxisScaleType": "linear",
    "scaleType": "linear",
    "yAxisKey": "metric",
    "yAxisExpressions": [],
    "range": {},
    "lineSmoothness": 0,
    "useGlobalXaxisKey": True,
    "useGlobalLineSmoothing": True,
}


def _card(kind: str, title: str, **more: Any) -> dict[str, Any]:
    """One chart of a view."""
    about = {"type": kind, "uuid": f"tune_sr-{kind.lower()}", "displayName": title}
    place = {"metricSectionId": _SECTION, "deleted": False, "isGenerated": False}
    return {**about, **place, "runsCountToCompare": 20, **more}


def _key(kind: str, name: str) -> str:
    return f"{kind}.`{name}`"
