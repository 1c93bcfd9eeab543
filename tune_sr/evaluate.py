"""The command `python -m tune_sr.evaluate`: networks on benchmark folders, the papers' table."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from trainables.paths import expanded, is_folder, why_no_file
from tune_sr.cli.parser import DONE, FAILED, Parser, positive, refuse, refusing, threads
from tune_sr.cli.signals import Interrupted, interruptible
from tune_sr.cli.streams import settle_streams, tell

if TYPE_CHECKING:
    from tune_sr.evaluation.row import Row
    from tune_sr.evaluation.table import Evaluation

PROG = "python -m tune_sr.evaluate"
METRICS = ("lpips", "dists")
PROTOCOLS = ("yfloat", "y8", "rgb8", "rgb8_matlab", "cmi_legacy")
_TAKE_LR = ("rgb8", "rgb8_matlab")
_EPILOG = """protocols (numbers of two protocols never compare):
  yfloat       luma, nothing rounded: DFSR, pytorch-vdsr, and the default of luma networks
  rgb8         8-bit RGB, unrounded luma: BasicSR, EDSR, DUKD, and the default of RGB networks
  rgb8_matlab  as rgb8, luma rounded: RCAN's evaluation
  y8           luma rounded: the classic MATLAB tables
  cmi_legacy   yfloat, cumulative crop, old scikit-image SSIM: DFSR+CMI
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command with the arguments `argv` (None: of the process); return the exit code.

    0: done; 1: out of memory; 2: refused; 128 plus a signal's number: interrupted.
    """
    settle_streams()
    arguments = parse_arguments(sys.argv[1:] if argv is None else argv)

    from tune_sr.evaluation.markdown import markdown
    from tune_sr.evaluation.prepare import prepare

    try:
        with interruptible():
            try:
                with refusing():
                    _check_paths(arguments)
                    evaluation = prepare(arguments)
                _check_writable(arguments)
                table = _evaluated(evaluation, arguments)
            except ValueError as error:
                return refuse(PROG, error)
    except Interrupted as interrupted:
        return interrupted.exit_code
    if table is None:
        return FAILED
    if not arguments.quiet:
        tell(markdown(table, mark="+" if arguments.self_ensemble else ""))
    return DONE


def make_parser() -> Parser:
    """Make the parser of the command line, without importing anything heavy."""
    parser = Parser(
        prog=PROG,
        description="Networks on benchmark folders: the papers' table. Bicubic is always a row.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--network", nargs="+", default=[], metavar="N",
        help="a file, shipped (the VDSR that comes with this), shipped:NAME, or "
        "name=edsr,features=64,...,weights=FILE")  # fmt: skip
    add("--data", nargs="+", default=["photos"], metavar="DIR",
        help="folders of HR images, of DIV2K's, Set5's or Urban100's layout; "
        "default: photos, four photographs that come with scikit-image")  # fmt: skip
    add("--scales", nargs="+", type=int, choices=(2, 3, 4), metavar="S",
        help="out of 2, 3, 4; default: all that the networks serve")  # fmt: skip
    add("--protocol", choices=PROTOCOLS, metavar="P",
        help=f"{', '.join(PROTOCOLS)}; default: each network's own")  # fmt: skip
    add("--lr", nargs="+", type=Path, metavar="DIR",
        help="LR images to use instead of making them, a folder for each --data; "
        f"with {' and '.join(_TAKE_LR)} only")  # fmt: skip
    add("--teacher", metavar="N", help="adds the PSNR between each result and this network's")
    add("--iqa", nargs="+", default=[], choices=METRICS, metavar="M",
        help="lpips, dists or both, of RGB bytes, from weights on disk; "
        "pip install -e '.[iqa]'")  # fmt: skip
    add("--self-ensemble", action="store_true", help="average eight orientations (EDSR+)")
    add("--tile-pixels", type=positive, default=2**20, metavar="N",
        help="of output, that are computed at a time; larger images in tiles; "
        "default: %(default)s")  # fmt: skip
    add("--device", default="auto", help="auto, cpu, cuda or cuda:N; default: %(default)s")
    add("--threads", type=threads, metavar="N", help="CPU threads; default: torch's choice")
    add("--json", type=Path, metavar="FILE", help="write the rows there")
    add("--save-images", type=Path, metavar="DIR", help="write every result there, as PNG")
    add("--quiet", action="store_true", help="no table on screen")
    return parser


def parse_arguments(argv: Sequence[str]) -> argparse.Namespace:
    """Parse the command line, without importing torch; a mistake exits with code 2."""
    parser = make_parser()
    arguments = parser.parse_args(argv)
    if arguments.lr is not None and len(arguments.lr) != len(arguments.data):
        parser.error(f"--lr names {len(arguments.lr)} folders for {len(arguments.data)} of --data")
    if arguments.lr is not None and arguments.protocol not in (None, *_TAKE_LR):
        parser.error(
            f"--lr goes with {' or '.join(_TAKE_LR)}: {arguments.protocol} makes its LR from luma"
        )
    return arguments


def _check_paths(arguments: argparse.Namespace) -> None:
    """Check that named files and folders exist, before torch is imported.

    Raises:
        ValueError: one does not.
    """
    for spec in (*arguments.network, *filter(None, [arguments.teacher])):
        described = "=" in spec or spec.partition(":")[0] == "shipped"
        reason = None if described else why_no_file(expanded(spec))
        if reason is not None:
            raise ValueError(f"--network {spec}: {reason}; or say shipped, or name=...")
    for source in (*arguments.data, *(arguments.lr or [])):
        if source != "photos" and not is_folder(expanded(source)):
            raise ValueError(f"{source} is no folder; name a folder of images, or photos")


def _check_writable(arguments: argparse.Namespace) -> None:
    try:
        if arguments.json is not None:
            arguments.json.parent.mkdir(parents=True, exist_ok=True)
            arguments.json.open("a").close()
        if arguments.save_images is not None:
            arguments.save_images.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ValueError(f"{error.filename} cannot be written ({error.strerror})") from None


def _evaluated(evaluation: Evaluation, arguments: argparse.Namespace) -> list[Row] | None:
    """Compute the rows, and write them to `--json`; None if the device ran out of memory."""
    import torch

    from tune_sr.cli.progress_bar import bar
    from tune_sr.evaluation.row import as_json
    from tune_sr.evaluation.table import evaluate_rows

    try:
        with bar(evaluation.passes()) as tick:
            table = list(evaluate_rows(evaluation, tick))
    except torch.OutOfMemoryError:
        advice = f"give a --tile-pixels below {arguments.tile_pixels}"
        tell(f"{PROG}: out of memory: {advice}", error=True)
        return None
    for each in evaluation.networks_with_seams(arguments.tile_pixels):
        warning = f"{each} looks further than its tiles: seams differ; --tile-pixels avoids it"
        tell(f"{PROG}: {warning}", error=True)
    if arguments.json is not None:
        about = {
            "device": str(evaluation.device),
            "threads": torch.get_num_threads(),
            "self_ensemble": arguments.self_ensemble,
        }
        text = json.dumps(as_json(table, **about), indent=1)
        arguments.json.write_text(f"{text}\n", encoding="utf-8")
    return table


if __name__ == "__main__":
    sys.exit(main())
