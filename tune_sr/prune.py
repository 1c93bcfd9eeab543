"""`python -m tune_sr.prune`: the checkpoints of a finished study that it needs no more."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from tune_sr.cli.parser import DONE, FAILED, Parser, refuse, refusing
from tune_sr.cli.signals import Interrupted, interruptible
from tune_sr.cli.streams import settle_streams, tell
from tune_sr.storage.disk import megabytes
from tune_sr.storage.layout import LEDGER, LOCK
from tune_sr.storage.lock import DriverLock, StudyLostError

if TYPE_CHECKING:
    from tune_sr.results.prunable import TrialCheckpoints

PROG = "python -m tune_sr.prune"
_EPILOG = """Only checkpoints can go: never ledger, results, best/, front/, pictures or report.
Those of the best trial, of the first point's and of the front are kept, so that the study resumes
(with more trials, too), reports and exports as before. Once the others are deleted, a stopped trial
cannot be continued from its checkpoint, and a failed one that is retried begins at update 0."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command with the arguments `argv` (None: of the process); return the exit code.

    0: done; 1: a checkpoint could not be deleted; 2: refused; 128 plus a signal's number:
    interrupted, and the same command goes on.
    """
    settle_streams()
    arguments = parse_arguments(sys.argv[1:] if argv is None else argv)
    try:
        with interruptible():
            try:
                with refusing():
                    _check_study(arguments.study)
                with DriverLock(arguments.study / LOCK) as lock:
                    return _run(arguments, lock)
            except ValueError as error:
                return refuse(PROG, error)
            except (OSError, StudyLostError) as error:
                tell(f"{PROG}: not everything was deleted: {error}", error=True)
                return FAILED
    except Interrupted as interrupted:
        return interrupted.exit_code


def make_parser() -> Parser:
    """Make the parser of the command line, without importing anything heavy."""
    parser = Parser(
        prog=PROG,
        description="List the checkpoints of a finished study that can go, and delete them.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("study", type=Path, metavar="STUDY", help="its folder, as runs/dfsr")
    parser.add_argument("--yes", action="store_true", help="delete them; else nothing is deleted")
    return parser


def parse_arguments(argv: Sequence[str]) -> argparse.Namespace:
    """Parse the command line, without importing torch; a mistake exits with code 2."""
    return make_parser().parse_args(argv)


def _check_study(folder: Path) -> None:
    """Refuse what is no study, before the seconds that torch takes.

    Raises:
        ValueError: names the folder.
    """
    if not (folder / LEDGER).is_file():
        raise ValueError(f"{folder}: no study: it has no {LEDGER}; name its folder")


def _run(arguments: argparse.Namespace, lock: DriverLock) -> int:
    from tune_sr.results.prunable import checkpoints_of, freed, prune_table
    from tune_sr.results.results import Results

    with refusing():
        results = Results.load(arguments.study)
        if not results.history.finished:
            rule = "not finished, so that its checkpoints are needed: let it end (--resume) first"
            raise ValueError(f"{arguments.study}: {rule}")
        found = checkpoints_of(results)
    total, free = megabytes(sum(each.size for each in found)), megabytes(freed(found))
    tell(f"study {arguments.study.absolute().name}: {total} of checkpoints")
    if found:
        tell("\n".join(prune_table(found)))
    going = [each for each in found if not each.kept]
    if not going:
        tell("nothing can go")
    elif arguments.yes:
        _delete(going, lock)
        tell(f"deleted: {free}; a stopped trial can no longer be continued from its checkpoint")
    else:
        tell(f"--yes deletes {free}; a stopped trial can then not be continued from its checkpoint")
    return DONE


def _delete(going: Sequence[TrialCheckpoints], lock: DriverLock) -> None:
    """Delete checkpoints, trial by trial, while no driver can begin to work on the study."""
    from tune_sr.results.prunable import delete

    for each in going:
        lock.check(lately=True)
        delete(each)


if __name__ == "__main__":
    sys.exit(main())
