"""The command `python -m tune_sr.upscale`: pictures enlarged by a student."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from tune_sr.cli.parser import DONE, FAILED, REFUSED, Parser, positive, refuse, refusing, threads
from tune_sr.cli.signals import Interrupted, interruptible
from tune_sr.cli.streams import one_line, settle_streams, tell

if TYPE_CHECKING:
    from tune_sr.upscaling.batch import Batch

PROG = "python -m tune_sr.upscale"
_EPILOG = """names: photo.jpg becomes photo_x2.png beside it, a folder becomes FOLDER_x2/ with the
same tree and names. Results that exist are skipped, so an interrupted run continues. Kept are:
colour profile, EXIF (the picture is turned upright), grey, 16 bits, alpha.
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command with the arguments `argv` (None: of the process); return the exit code.

    0: done; 1: out of memory; 2: refused, or some files could not be read; 128 plus a signal's
    number: interrupted, and the same command continues.
    """
    settle_streams()
    arguments = parse_arguments(sys.argv[1:] if argv is None else argv)
    try:
        with interruptible():
            try:
                with refusing():
                    batch = _prepared(arguments)
            except ValueError as error:
                return refuse(PROG, error)
            return _enlarged(batch, arguments)
    except Interrupted as interrupted:
        tell("interrupted; the same command continues", error=True)
        return interrupted.exit_code


def make_parser() -> Parser:
    """Make the parser of the command line, without importing anything heavy."""
    parser = Parser(
        prog=PROG,
        description="Pictures enlarged by a student.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("inputs", nargs="+", metavar="IMAGE|FOLDER", help="pictures, and folders of them")
    add("--network", metavar="FILE|STUDY",
        help="a weights file, a study's folder (its best student), shipped, or shipped:NAME; "
        "default: the newest finished study in runs, else shipped")  # fmt: skip
    add("--output", type=Path, metavar="PATH",
        help="a file for one picture, or a folder; default: beside the inputs")  # fmt: skip
    add("--scale", type=int, choices=(2, 3, 4), metavar="S",
        help="out of 2, 3, 4; default: the largest that the network serves")  # fmt: skip
    add("--tile-pixels", type=positive, default=2**20, metavar="N",
        help="of output, that are computed at a time; larger pictures in tiles; "
        "default: %(default)s")  # fmt: skip
    add("--self-ensemble", action="store_true", help="average eight orientations: 8 times as long")
    add("--overwrite", action="store_true", help="write results that exist again")
    add("--beside", action="store_true",
        help="write NAME_x2_beside.png too: bicubic on the left, "
        "the student on the right")  # fmt: skip
    add("--device", default="auto", help="auto, cpu, cuda or cuda:N; default: %(default)s")
    add("--threads", type=threads, metavar="N", help="CPU threads; default: torch's choice")
    return parser


def parse_arguments(argv: Sequence[str]) -> argparse.Namespace:
    """Parse the command line, without importing torch; a mistake exits with code 2."""
    return make_parser().parse_args(argv)


def _prepared(arguments: argparse.Namespace) -> Batch:
    """Load the network and list the pictures; print the network on the first line.

    Raises:
        ValueError: an input, the network or the output cannot be used.
    """
    from tune_sr.results.chosen_student import chosen_student

    student = chosen_student(arguments.network)  # refuses a missing file without torch's seconds
    from tune_sr.upscaling.batch import prepare

    batch = prepare(arguments, student.file)
    tell(f"network: {student.described}, x{batch.enlarger.scale}")
    return batch


def _enlarged(batch: Batch, arguments: argparse.Namespace) -> int:
    """Enlarge all pictures, and print what became of them; return the exit code."""
    import torch

    from tune_sr.cli.progress_bar import bar
    from tune_sr.upscaling.batch import ffmpeg_lines

    begin = time.perf_counter()
    try:
        with bar(len(batch.jobs)) as tick:
            done = batch.run(tick)
    except (MemoryError, torch.OutOfMemoryError):
        advice = f"give a --tile-pixels below {arguments.tile_pixels}"
        tell(f"{PROG}: out of memory: {advice}", error=True)
        return FAILED
    except OSError as error:
        tell(f"{PROG}: {error.filename}: {(error.strerror or str(error)).lower()}", error=True)
        return FAILED
    for note in done.notes:
        tell(one_line(note))
    if done.with_seams:
        warning = "in tiles, and the network looks further: seams may show; --tile-pixels avoids it"
        tell(f"{PROG}: {done.with_seams} computed {warning}", error=True)
    tell(done.summary(time.perf_counter() - begin))
    for path, reason in done.unreadable.items():
        tell(f"{PROG}: {one_line(f'{path}: {reason}')}", error=True)
    for path in done.animated:
        tell(f"{PROG}: {one_line(str(path))}: animated; enlarge its frames:", error=True)
        tell(ffmpeg_lines(path, batch.enlarger.scale), error=True)
    return REFUSED if done.unreadable or done.animated else DONE


if __name__ == "__main__":
    sys.exit(main())
