"""Whether trials notice that MLflow is away: their rate beside a study whose MLflow is not.

    python tests/benchmarks/mlflow_outages.py

For each course two studies of the same toy trials run side by side, each with a driver, a Ray and a
server of its own, so that whatever else the machine does it does to both. The one's server is
sound, the other's

* down at the start: it comes when a third of the trials have ended;
* killed in the middle: away from a third to two thirds;
* answers after 5 s: every request.

Prints a Markdown table: results a second of both while both run, their ratio, and how many of the
ledger's trials and values MLflow lacks once the study is resumed with a sound server.

Measured twice: 1.000, 0.991, 0.993 and 1.000, 0.997, 1.000 times the rate beside it; nothing
missing.
"""

from __future__ import annotations

import argparse
import os
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

from toys import run, study

from tune_sr.driver.run_study import run_study
from tune_sr.execution.session import local_ray
from tune_sr.ledger.history import History
from tune_sr.ledger.ledger import read_events
from tune_sr.study.config import StudyConfig

_SERVES = """
import sys, time
from mlflow.server import app, handlers
from werkzeug.serving import run_simple

folder, port, delay = sys.argv[1], int(sys.argv[2]), float(sys.argv[3])
handlers.initialize_backend_stores(
    f"sqlite:///{folder}/mlflow.db", default_artifact_root=f"{folder}/served"
)

def slow(environ, start_response):
    time.sleep(delay)
    return app(environ, start_response)

run_simple("127.0.0.1", port, slow, threaded=True)
"""


class Server:
    """MLflow's server in a process of its own."""

    def __init__(self, folder: Path, delay: float = 0.0, port: int | None = None) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        with socket.create_server(("127.0.0.1", port or 0)) as listening:
            self.port: int = listening.getsockname()[1]
        self.folder, self._delay = folder, delay
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        words = [str(self.folder), str(self.port), str(self._delay)]
        self._process = subprocess.Popen(
            [sys.executable, "-c", _SERVES, *words],
            stderr=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            env={**os.environ, "MLFLOW_DISABLE_TELEMETRY": "true"},
        )

    def wait(self) -> None:
        """Until it listens."""
        for _ in range(600):
            try:
                socket.create_connection(("127.0.0.1", self.port), timeout=1).close()
            except OSError:
                time.sleep(0.2)
            else:
                return
        raise TimeoutError(f"no server at port {self.port}")

    def stop(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--trials", type=int, default=6)
    parser.add_argument("--workers", type=int, default=1, help="trials at a time of each study")
    parser.add_argument("--seconds", type=float, default=0.1, help="that a report takes a trial")
    parser.add_argument("--drive", nargs=2, metavar=("FOLDER", "URI"), help="one study alone")
    arguments = parser.parse_args()
    if arguments.drive:
        folder, uri = arguments.drive
        config = study(Path(folder), arguments.trials, arguments.workers, uri)
        with local_ray(arguments.workers):
            run(config, seconds=arguments.seconds)
        return
    print("| MLflow | sound, results/s | results/s | ratio | trials missing | values missing |")
    print("|---" * 6 + "|")
    for name, course in COURSES.items():
        with tempfile.TemporaryDirectory() as folder:
            cells = compared(Path(folder), name, course, arguments)
        print(f"| {name} | {' | '.join(cells)} |", flush=True)


def compared(
    folder: Path, name: str, course: Callable[[Server, StudyConfig], None], said: argparse.Namespace
) -> list[str]:
    """The cells of one course."""
    slow = Server(folder / "other", delay=5.0 if "5 s" in name else 0.0)
    servers = [Server(folder / "sound"), slow]
    for server in servers:
        if server is not slow or "down" not in name:
            server.start()
            server.wait()
    words = [f"--{key}={getattr(said, key)}" for key in ("trials", "workers", "seconds")]
    uris = [f"http://127.0.0.1:{server.port}" for server in servers]
    drivers = [
        subprocess.Popen([sys.executable, __file__, *words, "--drive", str(server.folder), uri])
        for server, uri in zip(servers, uris, strict=True)
    ]
    configs = [
        study(server.folder, said.trials, said.workers, uri)
        for server, uri in zip(servers, uris, strict=True)
    ]
    threading.Thread(target=course, args=(slow, configs[1]), daemon=True).start()
    assert [driver.wait() for driver in drivers] == [0, 0]
    for server in servers:
        server.stop()
    moments = [
        [event["time"] for event in read_events(config.folder) if event["event"] == "reported"]
        for config in configs
    ]
    begin, end = max(each[0] for each in moments), min(each[-1] for each in moments)
    rates = [sum(begin <= t <= end for t in each) / (end - begin) for each in moments]
    ratio = rates[1] / rates[0]
    lacks = map(str, missing(slow, configs[1]))
    return [f"{rates[0]:.1f}", f"{rates[1]:.1f}", f"{ratio:.3f}", *lacks]


def missing(server: Server, config: StudyConfig) -> tuple[int, int]:
    """Trials and values of the ledger that MLflow has not, after what a person is told to do."""
    from mlflow import MlflowClient

    sound = Server(server.folder, port=server.port)
    sound.start()
    sound.wait()
    run_study(config, quiet=True)  # as --resume: nothing is left to do but to send
    client = MlflowClient(f"http://127.0.0.1:{server.port}")
    experiment = client.get_experiment_by_name(config.settings.experiment)
    runs = {
        run.data.tags.get("tune_sr.trial"): run
        for run in client.search_runs([experiment.experiment_id], max_results=5000)
    }
    trials = values = 0
    for record in History.from_events(read_events(config.folder)).trials.values():
        run = runs.get(record.name)
        end = "FAILED" if record.state == "failed" else "FINISHED"
        trials += run is None or run.info.status != end
        history = client.get_metric_history(run.info.run_id, "psnr_y_db") if run else ()
        values += len(record.reports) - len({point.step for point in history})
    sound.stop()
    return trials, values


def wait_for(config: StudyConfig, share: float) -> None:
    """Until so many of the trials have ended."""
    while True:
        events = read_events(config.folder)
        if sum(e["event"] == "trial_ended" for e in events) >= share * config.settings.trials:
            return
        time.sleep(0.2)


def nothing(server: Server, config: StudyConfig) -> None:
    """It stays as it is."""


def late(server: Server, config: StudyConfig) -> None:
    wait_for(config, 1 / 3)
    server.start()


def killed(server: Server, config: StudyConfig) -> None:
    wait_for(config, 1 / 3)
    server.stop()
    wait_for(config, 2 / 3)
    server.start()


COURSES: dict[str, Callable[[Server, StudyConfig], None]] = {
    "down at the start": late,
    "killed in the middle": killed,
    "answers after 5 s": nothing,
}


if __name__ == "__main__":
    main()
