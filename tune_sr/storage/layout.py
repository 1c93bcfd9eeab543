"""Names of the files and folders that `search` writes for a study and `train` for one training."""

from __future__ import annotations

LEDGER, LOCK = "ledger.jsonl", "driver.lock"
"""In a study's folder: the events, and the lock of the driver that works on it."""
SPACE, PROVENANCE = "space.yaml", "study.json"
"""In a study's folder: its resolved space; versions, machine and commit of its latest driver."""
TRIALS = "trials"
"""In a study's folder: the trials' checkpoints, in one subfolder for each start of a driver."""

REQUESTS = "requests"
"""In a study's folder: what a person asks of its driver, one file for each request."""

BEST, FRONT = "best", "front"
"""In a study's folder: the best student's folder, and that of the students on the Pareto front, one
subfolder for each trial."""
GRAPH = "student.pt2"
"""In `best/` of a finished study that MLflow follows: the student as a graph for torch alone."""
STUDENT, CONFIG, PANEL = "student.safetensors", "config.yaml", "panel.png"
"""A student's files: weights, configuration and picture, in `best/`, in `front/<trial>/` and in a
training's folder."""

PICTURES = "pictures"
"""In a study's folder: what its page shows of the first point's student and of the best."""
PAGE, FIGURES = "report.html", "report"
"""In a study's folder: its page; figures and tables for papers."""

CHECKPOINTS = "checkpoints"
"""In the folder of a training without a search: the folder of its checkpoints."""
SUMMARY, TABLE = "summary.json", "results.csv"
"""In a study's folder: the outcome, and a table with one row for each trial."""
STUDY_FILES = ("space.yaml", "study.json", "summary.json", "results.csv", "best/panel.png")
"""Files logged as artifacts of the study's MLflow run; paths in the study's folder."""
BEST_FILES = ("panel.png", "config.yaml", "student.safetensors")
"""Files logged as artifacts of the MLflow run of each trial whose student is kept."""
REPORTS = "reports.jsonl"
"""In the folder of a training without a search: one report on each line, as JSON."""
