"""The names of the files in a study's folder, and in a training's."""

from __future__ import annotations

LEDGER, LOCK = "ledger.jsonl", "driver.lock"
"""Of a study: its events; the lock of the driver that works on it."""
SPACE, PROVENANCE = "space.yaml", "study.json"
"""Of a study: its space, resolved; versions, machine and commit of its latest driver."""
TRIALS = "trials"
"""Of a study: the folder of its trials' checkpoints, with one folder for each start of a driver."""

BEST, FRONT = "best", "front"
"""Of a study: the folder of its best student; the folder of those on the front, by trial."""
STUDENT, CONFIG, PANEL = "student.safetensors", "config.yaml", "panel.png"
"""Of a student, in `best/`, in `front/<trial>/` and in a training's folder."""

CHECKPOINTS = "checkpoints"
"""Of a training without a search: the folder of its checkpoints."""
SUMMARY, TABLE = "summary.json", "results.csv"
"""Of a study: what it found, and a row for each trial."""
STUDY_FILES = ("space.yaml", "study.json", "summary.json", "results.csv", "best/panel.png")
"""Sent to MLflow with the study's run."""
BEST_FILES = ("panel.png", "config.yaml", "student.safetensors")
"""Sent to MLflow with the run of a trial whose student is kept."""
REPORTS = "reports.jsonl"
"""Of a training without a search: one report a line."""
