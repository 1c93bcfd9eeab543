"""`python -m tune_sr.search`: a search space -> a study, started or resumed."""

from __future__ import annotations

import argparse
import os
import shlex
import sys
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tune_sr.cluster import address_of, is_job
from tune_sr.commands import DONE, FAILED, Parser, refuse, refusing, settle_streams, tell
from tune_sr.redact import lacks_secrets
from tune_sr.signals import Interrupted, interruptible

if TYPE_CHECKING:
    from tune_sr.bench import Bench
    from tune_sr.results import Results
    from tune_sr.study import StudyConfig

PROG = "python -m tune_sr.search"
_FLAGS = (
    "trials", "hours", "gpu_hours", "concurrent", "cpus_per_trial", "gpus_per_trial",
    "tracking_uri", "seed",
)  # fmt: skip
"""Flags that are keys of a space's `study` section, where they win."""


def main(argv: Sequence[str] | None = None) -> int:
    """Do what `argv` asks for; the exit code of product.md."""
    settle_streams()
    argv = sys.argv[1:] if argv is None else list(argv)
    arguments = parse_arguments(argv)
    config: StudyConfig | None = None
    try:
        with interruptible():
            try:
                with refusing():
                    config = (_resumed if arguments.resume else _new)(arguments)
                    config, bench = _prepared(config)
                    if arguments.dry_run:
                        return _dry_run(config)
            except ValueError as error:
                return refuse(PROG, error)
            return _run(config, bench, quiet=arguments.quiet)
    except Interrupted as interrupted:
        if config is not None and (config.folder / "ledger.jsonl").exists():
            tell(f"interrupted; {_resume_command(config)}", error=True)
        return interrupted.exit_code


def parse_arguments(argv: Sequence[str]) -> argparse.Namespace:
    """The command line, before anything heavy is imported."""
    parser = Parser(prog=PROG, description="Run a study, or go on with one (--resume).")
    add = parser.add_argument
    add("--space", type=Path, metavar="FILE", help="what to search; a resume knows it already")
    add("--name", help="of the study and its folder; default: the space's, or its file's")
    add("--storage", type=Path, metavar="DIR", help="where studies lie; default: runs")
    add("--resume", action="store_true", help="go on with a study, or extend a finished one")
    add("--retry-failed", action="store_true",
        help="with --resume: try trials again that failed for the machine's sake")  # fmt: skip
    add("--trials", type=int, metavar="N", help="configurations to try, over all starts")
    add("--hours", type=float, metavar="H", help="time for the whole study, over all starts")
    add("--gpu-hours", type=float, metavar="H", help="GPU time for the whole study, the same")
    add("--concurrent", type=_or_auto(int), metavar="N",
        help="trials at a time, or auto: as many as there are CPUs and GPUs for")  # fmt: skip
    add("--cpus-per-trial", type=float, metavar="N", help="CPUs, and so threads, of a trial")
    add("--gpus-per-trial", type=_or_auto(float), metavar="N",
        help="GPUs of a trial, or a part of one; auto: the part that a trial needs")  # fmt: skip
    add("--address", metavar="HOST:PORT",
        help="a running Ray cluster's head, or auto: this machine is a node of it")  # fmt: skip
    add("--tracking-uri", metavar="URI", help="MLflow's store; default: STORAGE/mlflow.db")
    add("--seed", type=int, help="of every proposal and every trial")
    add("--set", action="append", default=[], metavar="PATH=VALUE", dest="overrides",
        help="change one value of the space, or study.KEY; repeatable")  # fmt: skip
    add("--dry-run", action="store_true", help="check everything, show the plan, start nothing")
    add("--quiet", action="store_true", help="print the result only")
    arguments = parser.parse_args(argv)
    if arguments.space is None and not (arguments.resume and arguments.name):
        parser.error("say --space FILE; or, to go on with a study, --resume --name NAME")
    if arguments.retry_failed and not arguments.resume:
        parser.error("--retry-failed: goes with --resume")
    return arguments


def _or_auto(kind: Callable[[str], float]) -> Callable[[str], float | str]:
    """Reads a number of its kind, or the word auto."""

    def read(text: str) -> float | str:
        if text == "auto":
            return text
        try:
            return kind(text)
        except ValueError:
            number = "a whole number" if kind is int else "a number"
            raise argparse.ArgumentTypeError(f"takes {number}, or auto; got {text!r}") from None

    return read


def _new(arguments: argparse.Namespace) -> StudyConfig:
    """The study to begin.

    Raises:
        ValueError: the space cannot be used, or the name is taken.
    """
    from tune_sr.resume import check_nothing_lost, exists, read_events
    from tune_sr.space import SearchSpace
    from tune_sr.study import StudyConfig

    space = SearchSpace.load(arguments.space, arguments.overrides)
    name = arguments.name or space.study["name"] or arguments.space.stem
    storage = _storage(arguments, space.study)
    flags = {key: getattr(arguments, key) for key in _FLAGS}
    space = space.with_flags({**flags, "name": name, "storage": str(storage)})
    config = StudyConfig.of(space, name, storage, address_of(arguments.address))
    events = read_events(config.folder)
    if exists(events):
        rule = "a study of this name exists: go on with it by --resume, or choose another --name"
        raise ValueError(f"{config.folder}: {rule}")
    check_nothing_lost(config.folder, events)
    return config


def _resumed(arguments: argparse.Namespace) -> StudyConfig:
    """The study to go on with.

    Raises:
        ValueError: there is none, or what is asked is another one.
    """
    from tune_sr.resume import (
        address_again,
        check_extends,
        check_unchanged,
        read_events,
        stored_space,
    )
    from tune_sr.space import SearchSpace
    from tune_sr.study import StudyConfig

    given: SearchSpace | None = None
    if arguments.space is not None:
        given = SearchSpace.load(arguments.space, arguments.overrides)
    elif arguments.overrides:
        raise ValueError("--set: a resume takes it with --space only")
    of_space: Mapping[str, Any] = given.study if given else {}
    name = arguments.name or of_space.get("name") or arguments.space.stem
    storage = _storage(arguments, of_space)
    folder = (storage / name).absolute()
    # A study of before there was a choice computed in float32.
    stored = stored_space(folder, read_events(folder)).settled("fp32")
    given = given and given.settled(stored.fixed["precision"])
    flags = {key: getattr(arguments, key) for key in _FLAGS}
    if given is not None:
        for override in arguments.overrides:  # study.KEY=VALUE is a flag in other words
            key = override.partition("=")[0].removeprefix("study.")
            if key in _FLAGS and flags[key] is None and override.startswith("study."):
                flags[key] = given.study[key]
        check_unchanged(folder, stored, given.with_flags({"seed": arguments.seed}))
    flags["tracking_uri"] = flags["tracking_uri"] or address_again(
        stored.study["tracking_uri"], given
    )
    check_extends(stored, flags)
    resumed = stored.with_flags({**flags, "name": name, "storage": str(storage)})
    check_unchanged(folder, stored, resumed)
    config = StudyConfig.of(resumed, name, storage, address_of(arguments.address))
    return replace(config, retry_failed=arguments.retry_failed)


def _storage(arguments: argparse.Namespace, of_space: Mapping[str, Any]) -> Path:
    """Where studies lie.

    Raises:
        ValueError: it would go with the folder of a job.
    """
    said = arguments.storage or of_space.get("storage", "runs")
    storage = Path(os.path.expanduser(said))  # noqa: PTH111  # Path's own fails for an unknown ~user
    if is_job() and not storage.is_absolute():
        rule = "not absolute; a job's own folder goes with it: say one that every node sees"
        raise ValueError(f"--storage {storage}: {rule}")
    return storage


def _prepared(config: StudyConfig) -> tuple[StudyConfig, Bench]:
    """The study with nothing left open, and what it is worked on with.

    Raises:
        ValueError: something that it needs cannot be used.
    """
    from tune_sr.bench import prepare
    from tune_sr.gpu_share import placed

    bench = prepare(config)
    return placed(config, bench), bench


def _dry_run(config: StudyConfig) -> int:
    from tune_sr.nodes import at_a_time
    from tune_sr.plan import plan_text

    tell(plan_text(config.space, at_a_time(config)))
    return DONE


def _run(config: StudyConfig, bench: Bench, *, quiet: bool) -> int:
    from trainables.problems import EnvironmentFault
    from tune_sr.cluster import ClusterError
    from tune_sr.lock import LockedError, StudyLostError
    from tune_sr.study import run_study

    def taken() -> None:
        if not quiet:
            tell(f"study {config.name} in {config.folder}: starting")
            tell(f"should it be cut short, {_resume_command(config)}")

    try:
        results = run_study(config, bench, quiet=quiet, taken=taken)
    except (LockedError, ClusterError) as error:
        return refuse(PROG, error)
    except (StudyLostError, EnvironmentFault) as error:
        tell(f"{PROG}: the study stopped: {error}; {_resume_command(config)}", error=True)
        return FAILED
    except Exception as error:
        failed = f"{PROG}: the study failed: {error}; {_resume_command(config)}"
        tell(f"{traceback.format_exc()}{failed}", error=True)
        return FAILED
    tell(_told(config, results))
    return DONE if results.best is not None else FAILED


def _resume_command(config: StudyConfig) -> str:
    storage = shlex.quote(str(config.space.study["storage"]))
    address = "" if config.address is None else f" --address {config.address}"
    if lacks_secrets(uri := config.space.study["tracking_uri"] or ""):
        address += f" --tracking-uri {shlex.quote(uri)}"
    return f"to go on: {PROG} --resume --name {config.name} --storage {storage}{address}"


def _told(config: StudyConfig, results: Results) -> str:
    """What the study found, and where it lies."""
    from tune_sr.board import short
    from tune_sr.store import Store

    summary = results.summary()
    store = Store.of(config.tracking_uri, config.folder.parent)
    rows = [
        ("bicubic", _figures(summary["bicubic"])),
        ("teacher", _figures(summary["teacher"], summary)),
        ("first point", _figures(summary["first"], summary)),
        ("best trial", _figures(summary["best"], summary)),
    ]
    counts = summary["trials"]
    parts = [f"{counts[state]} {state}" for state in ("completed", "stopped", "failed")]
    lines = [f"{counts['total']} trials: {', '.join(parts)}; {summary['seconds']:.0f} s"]
    lines += [f"  {name:<12}{figures}" for name, figures in rows if figures]
    best = summary["best"]
    lines += [f"  {mark} {caveat}" for caveat, mark in _marks(summary).items()]
    if best is not None:
        lines += [f"trial {best['trial']}, step {best['step']}:"]
        lines += [f"  {path} = {short(value)}" for path, value in best["config"].items()]
    lines += _front_told(summary)
    lines += [
        f"results: {config.folder}",
        f"curves:  mlflow ui --workers 1 --backend-store-uri {store.shown}",
    ]
    return "\n".join(lines)


def _front_told(summary: Mapping[str, Any]) -> list[str]:
    """The trials that none beats at their cost, where cost was an objective."""
    if "front" not in summary:
        return []
    from tune_sr.objectives import cost_shown

    value, cost = summary["objective"]
    rows = [
        f"  trial {each['trial']}  {each[value]:.2f} dB  {cost_shown(cost, each[cost])}"
        for each in summary["front"]
    ]
    return [f"front of {value} against {cost}, cheapest first (in front/):", *rows]


def _marks(summary: Mapping[str, Any]) -> dict[str, str]:
    """The caveats of the trials that are told, each with the mark of its footnote."""
    from tune_sr.board import footnote_marks

    return footnote_marks((summary[which] or {}).get("caveat") for which in ("first", "best"))


def _figures(figures: Mapping[str, Any] | None, summary: Mapping[str, Any] | None = None) -> str:
    """`28.92 dB  ssim 0.8811  +0.55 dB over bicubic, 38 % of the teacher's gain`."""
    from trainables.values import QUALITIES

    key = next((each for each in QUALITIES if each in (figures or {})), None)
    if figures is None or key is None or figures[key] is None:
        return ""
    mark = _marks(summary).get(figures.get("caveat") or "", "") if summary else ""
    text = f"{figures[key]:.2f}{mark} dB"
    text += f"  ssim {figures['ssim']:.4f}" if "ssim" in figures else " to the teacher"
    if summary is None or summary["bicubic"] is None:
        return text
    gain = figures[key] - summary["bicubic"][key]
    text += f"  {gain:+.2f} dB over bicubic"
    teacher = summary["teacher"]
    if teacher is None or teacher is figures:
        return text
    whole = teacher[key] - summary["bicubic"][key]
    return f"{text}, {100 * gain / whole:.0f} % of the teacher's gain" if whole > 0 else text


if __name__ == "__main__":
    sys.exit(main())
