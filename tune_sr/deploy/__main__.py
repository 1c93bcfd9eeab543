"""The command `python -m tune_sr.deploy`: writes the file from which a cluster runs a study."""

from __future__ import annotations

import argparse
import io
import re
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from tune_sr.cli.parser import DONE, Parser, refuse
from tune_sr.cli.streams import settle_streams, tell
from tune_sr.deploy.job import make_job
from tune_sr.deploy.targets import TARGETS
from tune_sr.deploy.template import check_plain

PROG = "python -m tune_sr.deploy"
_EPILOG = (
    "Further arguments of the search follow after --, such as "
    "-- --trials 64 --hours 48 --gpus-per-trial 0.5 --tracking-uri http://mlflow:5000"
)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command with the arguments `argv` (None: of the process); return the exit code."""
    settle_streams()
    argv = sys.argv[1:] if argv is None else list(argv)
    end = argv.index("--") if "--" in argv else len(argv)
    arguments = parse_arguments(argv[:end])
    kind = TARGETS[arguments.kind]
    given = {flag: getattr(arguments, flag) for each in TARGETS.values() for flag in each.flags}
    try:
        _check_plain(arguments)
        flags = kind.complete_flags(arguments.kind, given)
        job = make_job(
            arguments.space,
            arguments.storage,
            name=arguments.name,
            words=argv[end + 1 :],
            env=dict(arguments.env),
            cpus=flags["cpus"],
            gpus=flags["gpus"],
        )
        _write(kind.write(job, arguments.space, flags), arguments.output)
    except ValueError as error:
        return refuse(PROG, error)
    return DONE


def make_parser() -> Parser:
    """Make the parser of the command line, without importing anything heavy."""
    description = "Write the file from which a cluster runs a study, and goes on with it."
    parser = Parser(prog=PROG, description=description, epilog=_EPILOG)
    add = parser.add_argument
    add("kind", choices=list(TARGETS),
        help="a manifest for KubeRay, a file for `ray up`, or a script for sbatch")  # fmt: skip
    add("--space", type=Path, metavar="FILE", required=True, help="what to search")
    add("--storage", type=Path, metavar="DIR", required=True,
        help="where studies lie: one folder that every node sees, absolute")  # fmt: skip
    add("--name", help="of the study; default: the space's, or its file's")
    add("--output", type=Path, metavar="FILE", help="where to write; default: to the terminal")
    add("--env", type=_variable, action="append", default=[], metavar="NAME=VALUE",
        help="an environment variable of every node, such as TUNE_SR_DATA; repeatable")  # fmt: skip
    add("--workers", type=_at_least(1), metavar="N",
        help="rayjob, slurm: nodes on which trials run; default: 2")  # fmt: skip
    add("--cpus", type=_at_least(1), metavar="N", help="of a node; default: 8, or all")
    add("--gpus", type=_at_least(0), metavar="N", help="of a node; default: 1, or all")
    add("--memory", type=_at_least(1), metavar="GIB",
        help="rayjob, slurm: of a node; default: 32, or what SLURM gives")  # fmt: skip
    add("--image", type=_word(r"[A-Za-z0-9][\w./:@-]*", "[REGISTRY/]NAME[:TAG]"),
        help="rayjob, cluster: with this project and the same Ray in it")  # fmt: skip
    add("--claim", help="rayjob: the PersistentVolumeClaim that holds --storage")
    add("--hosts", nargs="+", type=_word(r"[A-Za-z0-9_:][\w.:%-]*", "names or IP addresses"),
        metavar="HOST", help="cluster: its machines, the head first")  # fmt: skip
    add("--user", type=_word(r"[A-Za-z0-9_][\w.@+-]*", "the name of a user"),
        help="cluster: the user name for ssh; default: yours on this machine")  # fmt: skip
    add("--time", type=_time, metavar="D-HH:MM:SS", help="slurm: of one job; default: 1-00:00:00")
    add("--bin", type=Path, metavar="DIR",
        help="cluster, slurm: where python and ray are on a node; default: as here")  # fmt: skip
    return parser


def parse_arguments(argv: Sequence[str]) -> argparse.Namespace:
    """Parse the part of the command line before `--`; a mistake exits with code 2."""
    return make_parser().parse_args(argv)


def _check_plain(arguments: argparse.Namespace) -> None:
    """Check all values for characters that the file's readers would interpret.

    Raises:
        ValueError: names the flag and the first such character.
    """
    for flag, given in vars(arguments).items():
        if flag == "output":
            continue
        for each in given if isinstance(given, list) else [given]:
            for word in each if isinstance(each, tuple) else [each]:
                if isinstance(word, str | Path):
                    check_plain(f"--{flag}", str(word))


def _write(text: str, output: Path | None) -> None:
    """Write `text` to a new file that only its owner can read, or to stdout in UTF-8.

    The environment of the nodes, which is in the text, may be secret.

    Raises:
        ValueError: the file exists or cannot be written.
    """
    if output is None:
        if isinstance(sys.stdout, io.TextIOWrapper):
            sys.stdout.reconfigure(encoding="utf-8")
        tell(text.removesuffix("\n"))
        return
    try:
        output.touch(0o600, exist_ok=False)
        output.write_text(text, encoding="utf-8")
    except OSError as error:
        raise ValueError(f"--output {output}: {(error.strerror or str(error)).lower()}") from None


def _word(pattern: str, meaning: str) -> Callable[[str], str]:
    """Make a parser of words that reach a shell unquoted: those that match `pattern` in full."""

    def read(text: str) -> str:
        if not re.fullmatch(pattern, text):
            raise argparse.ArgumentTypeError(f"takes {meaning}; got {text!r}")
        return text

    return read


def _at_least(least: int) -> Callable[[str], int]:
    def number(text: str) -> int:
        if not text.isdigit() or int(text) < least:
            raise argparse.ArgumentTypeError(f"a whole number from {least} on; got {text!r}")
        return int(text)

    return number


def _variable(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals or not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name) or "\n" in value:
        raise argparse.ArgumentTypeError(f"takes NAME=VALUE; got {text!r}")
    return name, value


def _time(text: str) -> str:
    if not re.fullmatch(r"(\d+-)?\d+(:\d\d){0,2}", text):
        raise argparse.ArgumentTypeError(f"takes D-HH:MM:SS; got {text!r}")
    return text


if __name__ == "__main__":
    sys.exit(main())
