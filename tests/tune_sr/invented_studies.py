"""Studies that never ran: a ledger of invented curves, judged by the real schedulers."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import events
import numpy as np

from tune_sr.ledger.events import NewEvent, json_line
from tune_sr.ledger.history import History
from tune_sr.schedulers.decide import Decider
from tune_sr.searchers.propose import propose
from tune_sr.study.space_file import load_study, to_resolved

MARKS = {"bicubic": {"psnr_y_db": 27.0, "ssim": 0.75}, "teacher": {"psnr_y_db": 31.0, "ssim": 0.9}}
Value = Callable[[Mapping[str, Any], float], float]
"""A point and the share of its budget that is spent -> the objective in dB."""


def gains_by_w_r(point: Mapping[str, Any], spent: float) -> float:
    """Curves whose height depends on w_R, best near 1, and on nothing else."""
    height = 3.0 - 0.5 * (float(point.get("method.w_R", 1.0)) - 1.0) ** 2
    return 27.0 + height * (1 - math.exp(-4 * spent)) / (1 - math.exp(-4))


class InventedStudy:
    """Writes the ledger of a study line by line; times are seconds apart, from 1000 on."""

    def __init__(self, folder: Path, space: Path, marks: Mapping[str, Any] = MARKS) -> None:
        self.folder, self.time, self.history = folder, 1000.0, History()
        self.space, self.settings = load_study(space)
        folder.mkdir(parents=True, exist_ok=True)
        self._lines: list[str] = []
        resolved = to_resolved(self.space, self.settings)
        self.write(events.study_started(resolved, name=folder.name, marks=marks, digests={}))
        self.write(events.driver_started(study=self.settings.to_dict()))
        self._decider = Decider(self.settings.scheduler, self.space.budget, self.history,
                                self.settings.objective, self.settings.seed)  # fmt: skip

    def write(self, event: NewEvent, seconds: float = 1.0) -> None:
        """Append an event, `seconds` after the one before."""
        self.time += seconds
        line = event.to_dict(self.time)
        self.history.apply(line)
        self._lines.append(json_line(line))

    def save(self) -> Path:
        """Write the ledger; returns the study's folder."""
        (self.folder / "ledger.jsonl").write_text("\n".join(self._lines) + "\n")
        return self.folder

    def add(self, number: int) -> Mapping[str, Any]:
        """Add trial `number` at the point that a random search proposes."""
        settings = self.settings
        point = propose("random", self.space, settings.seed, self.history, number,
                        settings.objective)  # fmt: skip
        self.write(events.added(number, point))
        return point

    def run(self, trials: int, value: Value = gains_by_w_r, noise: float = 0.03) -> InventedStudy:
        """Add trials one after the other, each until the scheduler ends it."""
        rng = np.random.default_rng(trials)
        budget, keys = self.space.budget, self.settings.objective
        first = len(self.history.trials)
        for number in range(first, first + trials):
            point = self.add(number)
            for step in range(budget.steps_per_report, budget.steps + 1, budget.steps_per_report):
                quality = value(point, step / budget.steps) + noise * rng.standard_normal()
                report = {"step": step, keys.value: quality, "ssim": 0.8, "loss/kd": 40 - quality,
                          "generator_change": 0.02 * step / budget.steps}  # fmt: skip
                if keys.cost:
                    report[keys.cost] = 100.0 * 2 ** (number % 6)
                name = self.history.trials[f"{number:04d}"].name
                decision = self._decider.decide(name, step, report)
                self.write(events.reported(number, step, report, decision))
                if decision != "continue":
                    state = {"stop": "stopped", "complete": "completed"}[decision]
                    self.write(events.ended(number, state))
                    break
        return self


def imagine(folder: Path, trial: str, steps: tuple[int, ...]) -> None:
    """Write the pictures of a trial's generator."""
    from PIL import Image

    pictures = folder / "trials" / "start-001" / trial / "imagined"
    pictures.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(0)
    for step in steps:
        sheet = rng.integers(0, 256, (99, 99), dtype=np.uint8)
        Image.fromarray(sheet).save(pictures / f"step-{step:06d}.png")


EVIL = '</script><img src=x onerror="alert(1)"> & "quoted" ${PW} {x}'
"""A reason that would run as a program where it is not escaped."""
SIZES = {
    "search": {"student.features": {"choice": [2, 4, 8]}, "optimiser.lr": {"uniform": [0.1, 1.0]}},
    "fixed": {"student": {"name": "vdsr", "blocks": 6, "scales": [2]}},
    "first": [],
    "study": {"objective": ["psnr_y_db", "params"]},
}
WITHOUT_IMAGES: dict[str, Any] = {
    "fixed": {"heldout": None},
    "study": {"objective": "teacher_agreement", "scheduler": "none"},
}


def whole(study: InventedStudy) -> InventedStudy:
    study.run(24).write(events.study_ended())
    return study


def running(study: InventedStudy) -> InventedStudy:
    study.run(3)
    study.add(3)
    study.write(events.reported(3, 4, 28.0))
    study.write(events.attempt(3))
    study.time += 3600  # killed, and resumed an hour later
    study.write(events.driver_started(2, study.settings.to_dict()))
    study.add(4)
    return study


def one_trial(study: InventedStudy) -> InventedStudy:
    study.run(1).write(events.study_ended())
    return study


def all_failed(study: InventedStudy) -> InventedStudy:
    for number in range(3):
        study.add(number)
        if number == 1:
            study.write(events.reported(1, 4, math.nan))
        study.write(events.ended(number, "failed", EVIL if number < 2 else "diverged"))
    study.write(events.study_ended())
    return study


def population(study: InventedStudy) -> InventedStudy:
    for number in range(6):
        study.add(number)
    for step in (8, 16, 24, 32):
        for number in range(6):
            study.write(events.reported(number, step, 27 + number / 10 + step / 20))
        if step == 24:
            point = dict(study.history.trials["0005"].point)
            study.write(events.cloned(0, 5, step, {**point, "optimiser.lr": 0.002}))
    for number in range(6):
        study.write(events.ended(number))
    study.write(events.study_ended())
    return study


KINDS: dict[str, tuple[dict[str, Any], Callable[[InventedStudy], InventedStudy]]] = {
    "whole": ({}, whole),
    "two objectives": (SIZES, whole),
    "without images": (WITHOUT_IMAGES, whole),
    "population": ({"study": {"scheduler": {"name": "pbt", "grace_period": 3}}}, population),
    "running": ({}, running),
    "one trial": ({}, one_trial),
    "all failed": ({}, all_failed),
    "not begun": ({}, lambda study: study),
}
