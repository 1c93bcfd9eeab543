"""`python -m tune_sr.train`: one configuration, trained without Ray, resumable at every report."""

from __future__ import annotations

import argparse
import shlex
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from tune_sr.cli.parser import DONE, FAILED, Parser, refuse, refusing
from tune_sr.cli.redaction import redacted_words
from tune_sr.cli.signals import Interrupted, end_this_process, interruptible
from tune_sr.cli.streams import settle_streams, tell
from tune_sr.storage.layout import CONFIG, LOCK

if TYPE_CHECKING:
    from trainables.config import TrialConfig
    from trainables.saved_run import SavedRun

PROG = "python -m tune_sr.train"


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code: 0 done, 1 failed, 2 refused, 128 + signal."""
    settle_streams()
    argv = sys.argv[1:] if argv is None else list(argv)
    arguments = parse_arguments(argv)
    output: Path = arguments.output or Path("runs") / f"train-{arguments.space.stem}"
    try:
        with interruptible():
            try:
                with refusing():
                    _check_output(output, resume=arguments.resume)
                    config = _configured(arguments)
                    _check_same(output, config)
            except ValueError as error:
                return refuse(PROG, error)
            return _train_alone(config, output, quiet=arguments.quiet)
    except Interrupted as interrupted:
        if (output / CONFIG).exists():
            words = argv if arguments.resume else [*argv, "--resume"]
            again = shlex.join(redacted_words(words))
            tell(f"\ninterrupted; to go on: {PROG} {again}", error=True)
        return interrupted.exit_code


def make_parser() -> Parser:
    """Make the parser of the command line, without importing anything heavy."""
    parser = Parser(prog=PROG, description=__doc__.partition(": ")[2])
    add = parser.add_argument
    add("--space", type=Path, required=True, metavar="FILE", help="a search space")
    add("--point", type=Path, metavar="FILE",
        help="values of the searched quantities, or a whole best/config.yaml; "
        "default: the space's first point")  # fmt: skip
    add("--set", action="append", default=[], metavar="PATH=VALUE", dest="overrides",
        help="change one value of the space; repeatable")  # fmt: skip
    add("--seed", type=int, help="seed of the training; default: the space's")
    add("--output", type=Path, metavar="DIR", help="default: runs/train-<name of the space>")
    add("--resume", action="store_true", help="go on from the newest checkpoint in the output")
    add("--quiet", action="store_true", help="print the result only")
    return parser


def parse_arguments(argv: Sequence[str]) -> argparse.Namespace:
    """Parse the command line without importing anything heavy."""
    return make_parser().parse_args(argv)


def _check_output(output: Path, *, resume: bool) -> None:
    if (output / CONFIG).exists() and not resume:
        raise ValueError(f"{output} holds a training: add --resume, or name another --output")
    if resume and not (output / CONFIG).exists():
        raise ValueError(f"{output} holds no training to resume: leave --resume out")


def _configured(arguments: argparse.Namespace) -> TrialConfig:
    """The configuration of the point to train.

    Raises:
        ValueError: the space or the point cannot be used.
    """
    from tune_sr.space.yaml_file import read_yaml

    read_yaml(arguments.space)  # refuses a missing file without the seconds that torch takes
    from trainables.config import TrialConfig
    from tune_sr.space.points import whole_point
    from tune_sr.study.space_file import load_study

    space, settings = load_study(arguments.space, arguments.overrides)
    seed = {} if arguments.seed is None else {"seed": arguments.seed}
    if arguments.point is None:
        if not space.first_points and space.dimensions:
            raise ValueError(f"{arguments.space}: has no first point: name one with --point")
        first = space.first_points[0] if space.first_points else {}
        return space.trial_config({**first, **seed}, settings.seed)
    content = read_yaml(arguments.point).content
    if "method" not in content:  # dotted paths
        point = whole_point(space, content, arguments.point)
        return space.trial_config({**point, **seed}, settings.seed)
    if arguments.overrides:
        rule = "is a whole configuration, which --set does not change: edit it, or leave --set out"
        raise ValueError(f"{arguments.point}: {rule}")
    return TrialConfig.parse({**content, **seed})


def _check_same(output: Path, config: TrialConfig) -> None:
    from trainables.dotted import leaves
    from tune_sr.space.yaml_file import read_yaml
    from tune_sr.study.resume import changed_paths

    if not (output / CONFIG).exists():
        return
    before = dict(leaves(read_yaml(output / CONFIG).content))
    now = dict(leaves(config.model_dump(mode="json")))
    for path in sorted(changed_paths(before, now)):
        rule = f"was begun with {path} {before.get(path)!r}, and now it is {now.get(path)!r}"
        raise ValueError(f"{output} {rule}: undo that, or name another --output")


def _train_alone(config: TrialConfig, output: Path, *, quiet: bool) -> int:
    """Train under the lock of `output`; return the exit code."""
    from tune_sr.driver.train_one import build_run
    from tune_sr.storage.lock import DriverLock, StudyLostError
    from tune_sr.storage.lock_file import LockedError

    new = not output.exists()
    try:
        with refusing():
            output.mkdir(parents=True, exist_ok=True)
    except ValueError as error:
        return refuse(PROG, error)
    problem: ValueError
    try:
        with DriverLock(output / LOCK, on_lost=end_this_process):
            try:
                with refusing():
                    saved = build_run(config, output)
            except ValueError as error:
                problem = error
            else:
                return _run(saved, output, quiet=quiet)
    except LockedError as error:
        problem = error
    except StudyLostError as error:
        tell(f"{PROG}: the training stopped: {error}", error=True)
        return FAILED
    if new:
        with suppress(OSError):
            output.rmdir()
    return refuse(PROG, problem)


def _run(saved: SavedRun, output: Path, *, quiet: bool) -> int:
    from trainables.errors import Diverged
    from tune_sr.driver.train_one import train_one

    try:
        tell(train_one(saved, output, quiet=quiet))
    except Diverged as error:
        tell(f"{PROG}: {error}", error=True)
        return FAILED
    return DONE


if __name__ == "__main__":
    sys.exit(main())
