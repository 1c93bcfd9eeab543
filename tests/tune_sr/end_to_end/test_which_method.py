"""A study of the method itself: every trial is its own method's, and says nothing of the others."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from ray import tune
from ray.tune.registry import get_trainable_cls

from trainables.config import TrialConfig
from trainables.dotted import leaves
from trainables.methods import METHODS
from trainables.networks import build_network
from trainables.networks.checkpoint import save_network
from trainables.numerics import resolved
from trainables.ray_trainable import DistillTrainable
from tune_sr.driver.run_study import run_study
from tune_sr.ledger.events import Event
from tune_sr.ledger.ledger import read_events
from tune_sr.results.results import load_results
from tune_sr.space.points import read_point
from tune_sr.space.search_space import SearchSpace
from tune_sr.space.yaml_file import dump_yaml
from tune_sr.study.config import StudyConfig
from tune_sr.study.space_file import load_study

GROWN = ["dfsr", "dfsr_cmi"]
GAMES = ["dfad", *GROWN]
QUANTITIES: dict[str, tuple[list[str], list[Any]]] = {
    "method.lambda_kd": (["kd", "dukd"], [0.2, 1.0]),
    "method.mode": (["eco"], ["both", "hr_only"]),
    "method.interval": (["dckd"], [0.5, 1.0]),
    "method.alpha": (["fakd"], [0.5, 0.1]),
    "method.lambda_c": (["csd"], [200.0, 0.0]),
    "method.features": (["csd", "dckd"], ["random"]),
    "method.negatives": (["csd", "dckd", "dfsr_cmi"], [2]),
    "method.aug_prob": (["dukd"], [0.3, 0.0]),
    "method.noise_at": (["noise"], ["lr", "input"]),
    "method.loss": (["scratch", "noise"], ["l1_mean", "mse_sum"]),
    "method.latent": (GAMES, [8]),
    "method.update_ratio": (GAMES, [2]),
    "method.dfad_log": (["dfad"], [True, False]),
    "method.w_R": (GROWN, [1.0, 2.0]),
    "method.W_C": (["dfsr_cmi"], [0.1, 0.01]),
}
"""Searched quantity: the methods that have it, and its values, the first point's first."""


def own(method: str) -> set[str]:
    """The paths of a method's own searched quantities."""
    return {path for path, (methods, _) in QUANTITIES.items() if method in methods}


@pytest.fixture
def space(toy_folder: Path, tmp_path: Path) -> SearchSpace:
    """All methods, each in a first point of its own, around one pair of networks of two widths."""
    student = {"name": "edsr", "features": 8, "blocks": 2, "scale": 2}
    teacher = {**student, "features": 16}
    save_network(tmp_path / "teacher.safetensors", build_network(teacher, seed=7))
    images = str(toy_folder / "images")
    search: dict[str, Any] = {"method.name": {"choice": list(METHODS)}}
    for path, (methods, values) in QUANTITIES.items():
        if known := [method for method in methods if method in METHODS]:
            search[path] = {"choice": values, "when": {"method.name": known}}
    content = {
        "fixed": {
            "student": student,
            "teacher": {**teacher, "weights": str(tmp_path / "teacher.safetensors")},
            "data": {"images": images},
            "heldout": {"images": images, "crop": None},
            "batch": {"images": 2, "patch": 16},
            "budget": {"steps": 2, "steps_per_report": 2},
            "optimiser": {"schedule": None},
            "device": "cpu",
        },
        "search": search,
        "first": [
            {"method.name": method, **{path: QUANTITIES[path][1][0] for path in own(method)}}
            for method in METHODS
        ],
        "study": {
            "trials": len(METHODS),
            "concurrent": 1,
            "scheduler": "none",
            "tracking_uri": f"sqlite:///{toy_folder / 'mlflow.db'}",
        },
    }
    (tmp_path / "which.yaml").write_text(dump_yaml(content))
    return load_study(tmp_path / "which.yaml")[0]


def params_by_trial(store: str, study: str) -> dict[str, Mapping[str, str]]:
    """What MLflow holds of the configuration of each trial."""
    from mlflow import MlflowClient

    client = MlflowClient(store)
    experiment = client.get_experiment_by_name("which")
    runs = client.search_runs([experiment.experiment_id], f"tags.`tune_sr.study` = '{study}'")
    return {
        run.data.tags["tune_sr.trial"]: {**run.data.params, "tag": run.data.tags["method"]}
        for run in runs
        if "tune_sr.trial" in run.data.tags
    }


def of_method(paths: Any) -> set[str]:
    return {path for path in paths if path.startswith("method.")}


def test_no_point_of_the_space_holds_a_quantity_of_another_method(space: SearchSpace) -> None:
    assert set(METHODS) <= {"scratch"}.union(*(methods for methods, _ in QUANTITIES.values()))
    for point in space.first_points:
        method = point["method.name"]
        assert of_method(point) == {"method.name", *own(method)}
        assert read_point(space.dimensions, space.fixed, point, "missing") == point


@pytest.mark.ray
@pytest.mark.timeout(180)
@pytest.mark.usefixtures("ray_cluster")
def test_every_trial_carries_its_own_methods_quantities_alone(
    space: SearchSpace, tmp_path: Path
) -> None:
    for method in METHODS:
        tune.register_trainable(method, DistillTrainable)  # as if another's
    study = StudyConfig(*load_study(space.path), tmp_path / "whose")
    run_study(study, quiet=True)
    assert [get_trainable_cls(method).__name__ for method in METHODS] == [*METHODS]
    events = read_events(tmp_path / "whose")
    ends = [(e["state"], e.get("reason")) for e in events if e["event"] == "trial_ended"]
    assert ends == [("completed", None)] * len(METHODS)
    held = params_by_trial(str(study.settings.tracking_uri), "whose")
    settled = space.settled(resolved("auto", torch.device("cpu")))
    for event, method in zip(events_added(events), METHODS, strict=True):
        assert of_method(event["point"]) == {"method.name", *own(method)}
        config = settled.trial_config(event["point"])
        assert event.get("caveat") == config.caveat
        check_params(held[event["trial"]], config, event["point"], space)
    check_results(tmp_path / "whose", space)


def events_added(events: list[Event]) -> list[Event]:
    return [event for event in events if event["event"] == "trial_added"]


def check_params(
    params: Mapping[str, str], config: TrialConfig, point: Mapping[str, Any], space: SearchSpace
) -> None:
    """The whole configuration without what is searched and does not exist at this point; it has a
    place for this method's quantities and no other's."""
    assert params["tag"] == config.method.name
    inactive = space.dimensions.keys() - point.keys()
    whole = dict(leaves(config.model_dump(mode="json")))
    assert {key: text for key, text in params.items() if key != "tag"} == {
        path: str(value) for path, value in whole.items() if path not in inactive
    }
    fields = {f"method.{name}" for name in type(config.method).model_fields}
    assert of_method(params) == fields - inactive
    assert {path: params[path] for path in point} == {p: str(v) for p, v in point.items()}
    assert params["ema"] == str(config.ema)


def check_results(folder: Path, space: SearchSpace) -> None:
    """The table has every quantity as a column, empty where it does not exist."""
    rows = load_results(folder).rows()
    for row, method in zip(rows, METHODS, strict=True):
        filled = {path for path in space.dimensions if row[path] is not None}
        assert filled == {"method.name", *own(method)}
        assert row["caveat"] == space.trial_config({p: row[p] for p in filled}).caveat
