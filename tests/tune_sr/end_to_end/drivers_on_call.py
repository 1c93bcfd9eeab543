"""Starts drivers of studies without their seconds of imports: it has imported all, and forks.

Each line of stdin is what follows `python -m tune_sr.search`. The answer is the new driver's pid
and, once that has ended, its exit code. What drivers print goes to the file of the one argument.
"""

from __future__ import annotations

import os
import shlex
import sys
from pathlib import Path

import mlflow
import optuna
from ray import tune

import tune_sr.execution.tuner
import tune_sr.searchers.optuna_trials
import tune_sr.tracking.tracker
from trainables.run import Run
from tune_sr.search import main

IMPORTED = (mlflow, optuna, tune, Run, tune_sr)


def serve(log: str) -> None:
    with Path(log).open("ab") as told:
        for line in sys.stdin:
            pid = os.fork()
            if pid == 0:
                os.dup2(told.fileno(), 1)
                os.dup2(told.fileno(), 2)
                sys.exit(main(shlex.split(line)))
            print(pid, flush=True)
            print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), flush=True)


if __name__ == "__main__":
    serve(sys.argv[1])
