"""The command `python -m tune_sr.export`: a student, or a whole study, for other programs."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from tune_sr.cli.parser import DONE, FAILED, Parser, refuse, refusing
from tune_sr.cli.signals import Interrupted, interruptible
from tune_sr.cli.streams import settle_streams, tell

if TYPE_CHECKING:
    from tune_sr.exporting.subject import Subject
    from tune_sr.results.chosen_student import ChosenStudent

PROG = "python -m tune_sr.export"
FORMATS = ("safetensors", "pt2", "onnx", "optuna-journal")
NAMES = ("own", "basicsr", "spandrel")
_EPILOG = """formats:
  safetensors     the weights, with architecture and facts in the metadata
  pt2             torch.export's; torch.export.load(FILE).module()(image) needs torch alone
  onnx            for onnxruntime, TensorRT, OpenVINO, ncnn; pip install 'tune-sr[export]'
  optuna-journal  all trials of a study, for optuna-dashboard and Optuna

pt2 and onnx take `image`, float32 RGB in 0..1, N 3 H W with H and W from 3 on, and give `upscaled`,
clipped; a luma network does its colour inside. A model card, README.md, is written beside it.
To continue from onnx, with programs that this project does not test:
  pnnx student.onnx inputshape=[1,3,128,128] inputshape2=[1,3,96,160]
  trtexec --onnx=student.onnx --fp16 --minShapes=image:1x3x16x16 \\
      --optShapes=image:1x3x540x960 --maxShapes=image:1x3x1080x1920
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command with the arguments `argv` (None: of the process); return the exit code.

    0: done; 1: the file failed its check, or cannot be written; 2: refused; 128 plus a signal's
    number: interrupted.
    """
    settle_streams()
    arguments = parse_arguments(sys.argv[1:] if argv is None else argv)
    try:
        with interruptible():
            if arguments.format == "optuna-journal":
                return _journal(arguments)
            return _student(arguments)
    except Interrupted as interrupted:
        return interrupted.exit_code


def make_parser() -> Parser:
    """Make the parser of the command line, without importing anything heavy."""
    parser = Parser(
        prog=PROG,
        description="A student, or a whole study, for other programs.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("source", metavar="STUDY|FILE",
        help="a study's folder (its best student), a weights file, shipped, "
        "or shipped:NAME")  # fmt: skip
    add("--format", choices=FORMATS, required=True, help="see below")
    add("--output", type=Path, metavar="FILE",
        help="default: NAME_x2.SUFFIX in STUDY/export, or in the folder export")  # fmt: skip
    add("--scale", type=int, choices=(2, 3, 4), metavar="S",
        help="out of 2, 3, 4; default: the largest that the network serves")  # fmt: skip
    add("--names", choices=NAMES, default="own",
        help="key names of safetensors: this project's, BasicSR's, or those that spandrel knows "
        "(chaiNNer, ComfyUI); default: %(default)s")  # fmt: skip
    add("--luma", action="store_true", help="pt2, onnx: N 1 H W, the bare luma network")
    add("--half", action="store_true", help="onnx: the network in float16; input and output stay")
    add("--openmodeldb", metavar="AUTHOR", help="write an entry of OpenModelDB too")
    add("--overwrite", action="store_true", help="replace a file that exists")
    return parser


def parse_arguments(argv: Sequence[str]) -> argparse.Namespace:
    """Parse the command line, without importing torch; a mistake exits with code 2."""
    parser = make_parser()
    arguments = parser.parse_args(argv)
    for flag, formats in (("luma", ("pt2", "onnx")), ("half", ("onnx",))):
        if getattr(arguments, flag) and arguments.format not in formats:
            parser.error(f"--{flag} goes with --format {' or '.join(formats)}")
    if arguments.names != "own" and arguments.format != "safetensors":
        parser.error("--names goes with --format safetensors")
    if arguments.openmodeldb is not None and arguments.format not in ("safetensors", "onnx"):
        parser.error("--openmodeldb goes with --format safetensors or onnx")
    if arguments.format == "optuna-journal" and arguments.scale is not None:
        parser.error("--scale goes with a student, not with --format optuna-journal")
    return arguments


def _student(arguments: argparse.Namespace) -> int:
    from tune_sr.results.chosen_student import chosen_student

    try:
        with refusing():
            student = chosen_student(arguments.source)
            _check_free(arguments.output, arguments)  # before the seconds that torch takes
            from tune_sr.exporting.subject import load_subject
            from tune_sr.exporting.write import check_request

            subject = load_subject(student, arguments.scale)
            check_request(subject, arguments)
            path = _target(subject, student, arguments)
    except ValueError as error:
        return refuse(PROG, error)
    from tune_sr.exporting.graphs import NotTheSameError
    from tune_sr.exporting.write import write_student

    tell(f"{student.described}: {subject.kind} x{subject.scale}")
    try:
        tell(write_student(subject, arguments, path))
    except (NotTheSameError, OSError) as error:
        tell(f"{PROG}: {path} was not written: {error}", error=True)
        return FAILED
    return DONE


def _target(subject: Subject, student: ChosenStudent, arguments: argparse.Namespace) -> Path:
    """Return the file to write.

    Raises:
        ValueError: it exists, or its suffix is not the format's.
    """
    from tune_sr.exporting.card import LUMA
    from tune_sr.exporting.write import SUFFIXES

    suffix = SUFFIXES[arguments.format]
    path: Path | None = arguments.output
    if path is None:
        marks = f"_{arguments.names}" if arguments.names != "own" else ""
        marks += LUMA * arguments.luma + "_half" * arguments.half
        folder = (student.study or Path()) / "export"
        path = folder / f"{subject.name}_x{subject.scale}{marks}{suffix}"
    if path.suffix != suffix:
        raise ValueError(f"--output {path}: a file of {arguments.format} ends in {suffix}")
    if path.resolve() == student.file.resolve():
        raise ValueError(f"--output {path}: is the student itself; name another file")
    _check_free(path, arguments)
    return path


def _check_free(path: Path | None, arguments: argparse.Namespace) -> None:
    if path is None:
        return
    if path.is_dir():
        raise ValueError(f"--output {path}: is a folder; name a file in it")
    if path.exists() and not arguments.overwrite:
        raise ValueError(f"{path} exists: add --overwrite, or name another --output")


def _journal(arguments: argparse.Namespace) -> int:
    from tune_sr.results.results import load_results

    try:
        with refusing():
            folder = Path(arguments.source)
            results = load_results(folder)
            path = arguments.output or folder / "export" / "optuna-journal.log"
            _check_free(path, arguments)
            path.parent.mkdir(parents=True, exist_ok=True)
    except ValueError as error:
        return refuse(PROG, error)
    from tune_sr.exporting.optuna_journal import write_journal

    path.unlink(missing_ok=True)
    count = write_journal(path, results)
    tell(f"{path}: {count} trials; optuna-dashboard {path}")
    return DONE


if __name__ == "__main__":
    sys.exit(main())
