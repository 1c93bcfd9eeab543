"""`python -m tune_sr.search`: starts a study of a search space, or resumes one."""

from __future__ import annotations

import argparse
import json
import shlex
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from tune_sr.cli.parser import DONE, FAILED, Parser, number_or_auto, refuse, refusing
from tune_sr.cli.redaction import lacks_secrets, without_secrets
from tune_sr.cli.signals import Interrupted, interruptible
from tune_sr.cli.streams import settle_streams, tell
from tune_sr.execution.session import address_of, is_job
from tune_sr.storage.layout import LEDGER

if TYPE_CHECKING:
    from tune_sr.driver.preflight import Prepared
    from tune_sr.study.config import StudyConfig

PROG = "python -m tune_sr.search"


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code: 0 done, 1 failed, 2 refused, 128 + signal."""
    settle_streams()
    argv = sys.argv[1:] if argv is None else list(argv)
    arguments = parse_arguments(argv)
    if arguments.schema:
        return _schema()
    config: StudyConfig | None = None
    try:
        with interruptible():
            try:
                with refusing():
                    config = _opened(arguments)
                    if arguments.stop_trial is not None or arguments.add_point is not None:
                        return _ask(config, arguments)
                    config, prepared = _prepared(config)
                    if arguments.dry_run:
                        return _dry_run(config, prepared, arguments.replay)
            except ValueError as error:
                return refuse(PROG, error)
            return _run(config, prepared, quiet=arguments.quiet)
    except Interrupted as interrupted:
        if config is not None and (config.folder / LEDGER).exists():
            tell(f"interrupted; {_resume_command(config)}", error=True)
        return interrupted.exit_code


def make_parser() -> Parser:
    """Make the parser of the command line, without importing anything heavy."""
    parser = Parser(prog=PROG, description="Run a study, or go on with one (--resume).")
    add = parser.add_argument
    add("--space", type=Path, metavar="FILE", help="what to search; a resume knows it already")
    add("--name", help="of the study and its folder; default: the space's, or its file's")
    add("--storage", type=Path, metavar="DIR", help="where studies lie; default: runs")
    add("--resume", action="store_true", help="go on with a study, or extend a finished one")
    add("--retry-failed", action="store_true",
        help="with --resume: try trials again that failed for the machine's sake")  # fmt: skip
    add("--trials", type=int, metavar="N", help="configurations to try, over all starts")
    add("--confirm", type=number_or_auto(int), metavar="K",
        help="new seeds for best and first point: gain or noise? auto: a race")  # fmt: skip
    add("--ablate", action="store_const", const=True,
        help="with --confirm: which of the best point's settings made the gain?")  # fmt: skip
    add("--margin", type=float, metavar="DB",
        help="gains within so many dB are equal; default: 0.02")  # fmt: skip
    add("--hours", type=float, metavar="H", help="time for the search, over all starts")
    add("--gpu-hours", type=float, metavar="H", help="GPU time for the search, the same")
    add("--concurrent", type=number_or_auto(int), metavar="N",
        help="trials at a time, or auto: as many as there are CPUs and GPUs for")  # fmt: skip
    add("--cpus-per-trial", type=float, metavar="N", help="CPUs, and so threads, of a trial")
    add("--gpus-per-trial", type=number_or_auto(float), metavar="N",
        help="GPUs of a trial, or a part of one; auto: the part that a trial needs")  # fmt: skip
    add("--address", metavar="HOST:PORT",
        help="a running Ray cluster's head, or auto: this machine is a node of it")  # fmt: skip
    add("--tracking-uri", metavar="URI", help="MLflow's store; default: STORAGE/mlflow.db")
    add("--seed", type=int, help="of every proposal and every trial")
    add("--set", action="append", default=[], metavar="PATH=VALUE", dest="overrides",
        help="change one value of the space, or study.KEY; repeatable")  # fmt: skip
    add("--stop-trial", metavar="TRIAL",
        help="with --resume: ask the driver to end this trial, and exit")  # fmt: skip
    add("--add-point", type=Path, metavar="FILE",
        help="with --resume: ask it to try this point as one trial more, and exit")  # fmt: skip
    add("--warm-start", type=Path, metavar="STUDY",
        help="folder of a study whose trials the searcher of a new one begins with")  # fmt: skip
    add("--dry-run", action="store_true", help="check everything, show the plan, start nothing")
    add("--replay", type=Path, metavar="STUDY",
        help="with --dry-run: compare searchers and schedulers on a study's curves")  # fmt: skip
    add("--schema", action="store_true", help="print the JSON schema of a space, for editors")
    add("--quiet", action="store_true", help="print the result only")
    return parser


def parse_arguments(argv: Sequence[str]) -> argparse.Namespace:
    """Parse the command line without importing anything heavy."""
    parser = make_parser()
    arguments = parser.parse_args(argv)
    if arguments.schema:
        return arguments
    if arguments.space is None and not (arguments.resume and arguments.name):
        parser.error("say --space FILE; or, to go on with a study, --resume --name NAME")
    if arguments.retry_failed and not arguments.resume:
        parser.error("--retry-failed: goes with --resume")
    for flag in ("stop_trial", "add_point"):
        if getattr(arguments, flag) is not None and not arguments.resume:
            parser.error(f"--{flag.replace('_', '-')}: goes with --resume --name NAME")
    if arguments.warm_start is not None and arguments.resume:
        parser.error("--warm-start: a study takes trials over when it begins; leave --resume out")
    if arguments.replay is not None and not arguments.dry_run:
        parser.error("--replay: goes with --dry-run")
    return arguments


def _schema() -> int:
    """Print the schema of a space's file."""
    from tune_sr.study.schema import space_schema

    tell(json.dumps(space_schema(), indent=1))
    return DONE


def _opened(arguments: argparse.Namespace) -> StudyConfig:
    """Configure the study to start or to resume.

    Raises:
        ValueError: its flags or its space cannot be used.
    """
    from tune_sr.space.yaml_file import read_yaml

    if arguments.space is not None:
        read_yaml(arguments.space)  # refuses a missing file without the seconds that torch takes
    from tune_sr.study.opening import new_study, resumed_study

    where = address_of(arguments.address), is_job()
    return (resumed_study if arguments.resume else new_study)(arguments, *where)


def _ask(config: StudyConfig, arguments: argparse.Namespace) -> int:
    """Leave a request for the study's driver: of a trial's end, or of one more point.

    Raises:
        ValueError: the study cannot do it.
    """
    from tune_sr.ledger.history import History
    from tune_sr.ledger.ledger import read_events
    from tune_sr.space.yaml_file import read_yaml
    from tune_sr.study.requests import Request, check_request, write_request

    history = History.from_events(read_events(config.folder))
    asked = []
    if arguments.stop_trial is not None:
        asked.append(Request(stop_trial=arguments.stop_trial))
    if arguments.add_point is not None:
        asked.append(Request(add_point=read_yaml(arguments.add_point).content))
    for request in asked:
        check_request(config, history, request)
    for request in asked:
        write_request(config.folder, (history.study or {}).get("id"), request)
    tell(f"asked for: a driver of {config.name} takes it within seconds, else the next start does")
    return DONE


def _prepared(config: StudyConfig) -> tuple[StudyConfig, Prepared]:
    """Check and load images and weights, and resolve `gpus_per_trial: auto`.

    Raises:
        ValueError: an image, a file of weights or a folder cannot be used.
    """
    from tune_sr.driver.gpu_fraction import resolve_gpus_per_trial
    from tune_sr.driver.preflight import prepare

    prepared = prepare(config)
    return resolve_gpus_per_trial(config, prepared), prepared


def _dry_run(config: StudyConfig, prepared: Prepared, recorded: Path | None) -> int:
    """Print the plan, or, with `recorded`, what searchers and schedulers lose on its curves."""
    from tune_sr.driver.preflight import seconds_of_report
    from tune_sr.execution.cluster import max_concurrent
    from tune_sr.study.dry_run import dry_run_text

    if recorded is not None:
        from tune_sr.cli.progress_bar import bar
        from tune_sr.replay.text import SEEDS, contenders, replay_text

        concurrent = max_concurrent(config)
        with bar(SEEDS * len(contenders(config, concurrent))) as tick:
            text = replay_text(config, recorded, concurrent, tick)
        tell(text)
        return DONE
    tell(dry_run_text(config, max_concurrent(config)))
    seconds = seconds_of_report(prepared)
    if seconds is not None and seconds < 1:
        told = f"a report comes after {seconds:.2g} s of training on this machine"
        tell(f"\nwarning: {told}, less than it costs: raise budget.steps_per_report")
    return DONE


def _run(config: StudyConfig, prepared: Prepared, *, quiet: bool) -> int:
    from trainables.errors import EnvironmentFault
    from tune_sr.driver.run_study import run_study
    from tune_sr.execution.session import ClusterError
    from tune_sr.results.summary_text import summary_text
    from tune_sr.storage.lock import StudyLostError
    from tune_sr.storage.lock_file import LockedError
    from tune_sr.study.warm_start import taken_line

    def on_locked() -> None:
        if not quiet:
            tell(f"study {config.name} in {config.folder}: starting")
            tell(f"should it be cut short, {_resume_command(config)}")
            if config.taken is not None:
                tell(taken_line(config.taken))

    try:
        results = run_study(config, prepared, quiet=quiet, on_locked=on_locked)
    except (LockedError, ClusterError) as error:
        return refuse(PROG, error)
    except (StudyLostError, EnvironmentFault) as error:
        tell(f"{PROG}: the study stopped: {error}; {_resume_command(config)}", error=True)
        return FAILED
    except Exception as error:
        failed = f"{PROG}: the study failed: {error}; {_resume_command(config)}"
        tell(f"{traceback.format_exc()}{failed}", error=True)
        return FAILED
    tell(summary_text(config, results))
    return DONE if results.best is not None else FAILED


def _resume_command(config: StudyConfig) -> str:
    storage = shlex.quote(config.settings.storage)
    address = "" if config.address is None else f" --address {config.address}"
    if lacks_secrets(uri := without_secrets(config.settings.tracking_uri or "")):
        address += f" --tracking-uri {shlex.quote(uri)}"
    return f"to go on: {PROG} --resume --name {config.name} --storage {storage}{address}"


if __name__ == "__main__":
    sys.exit(main())
