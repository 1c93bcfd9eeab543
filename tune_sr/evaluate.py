"""`python -m tune_sr.evaluate`: networks on benchmark folders, the papers' table."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Collection, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from trainables.limits import THREADS
from trainables.paths import expanded, is_folder, why_no_file
from tune_sr.commands import (
    DONE,
    FAILED,
    Parser,
    one_line,
    refuse,
    refusing,
    settle_streams,
    tell,
)
from tune_sr.signals import Interrupted, interruptible

if TYPE_CHECKING:
    import torch

    from trainables.data.benchmarks import Benchmark
    from tune_sr.contestants import Contestant
    from tune_sr.rows import Contest, Row

PROG = "python -m tune_sr.evaluate"
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
    """Evaluate what `argv` asks for; the exit code of product.md."""
    settle_streams()
    arguments = parse_arguments(sys.argv[1:] if argv is None else argv)
    try:
        with interruptible():
            try:
                with refusing():
                    _check_paths(arguments)
                    contest = _prepared(arguments)
                table = _compared(contest, arguments)
            except ValueError as error:
                return refuse(PROG, error)
    except Interrupted as interrupted:
        return interrupted.exit_code
    if table is None:
        return FAILED
    if not arguments.quiet:
        tell(markdown(table, mark="+" if arguments.self_ensemble else ""))
    return DONE


def parse_arguments(argv: Sequence[str]) -> argparse.Namespace:
    """The command line, before anything heavy is imported."""
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
    add("--self-ensemble", action="store_true", help="average eight orientations (EDSR+)")
    add("--tile-pixels", type=_positive, default=2**20, metavar="N",
        help="of output, that are computed at a time; larger images in tiles; "
        "default: %(default)s")  # fmt: skip
    add("--device", default="auto", help="auto, cpu, cuda or cuda:N; default: %(default)s")
    add("--threads", type=_threads, metavar="N", help="CPU threads; default: torch's choice")
    add("--json", type=Path, metavar="FILE", help="write the rows there")
    add("--save-images", type=Path, metavar="DIR", help="write every result there, as PNG")
    add("--quiet", action="store_true", help="no table on screen")
    arguments = parser.parse_args(argv)
    if arguments.lr is not None and len(arguments.lr) != len(arguments.data):
        parser.error(f"--lr names {len(arguments.lr)} folders for {len(arguments.data)} of --data")
    if arguments.lr is not None and arguments.protocol not in (None, *_TAKE_LR):
        parser.error(
            f"--lr goes with {' or '.join(_TAKE_LR)}: {arguments.protocol} makes its LR from luma"
        )
    return arguments


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise ValueError
    return number


def _threads(text: str) -> int:
    if not 1 <= int(text) <= THREADS:
        raise argparse.ArgumentTypeError(f"takes 1 to {THREADS:,}; got {text}")
    return int(text)


def _prepared(arguments: argparse.Namespace) -> Contest:
    """What to compare, with everything found out that can be before the first image.

    Raises:
        ValueError: a network, a folder, an image or a combination cannot be used.
    """
    import torch

    from tune_sr.contestants import contestant
    from tune_sr.rows import Contest

    if arguments.threads is not None:
        torch.set_num_threads(arguments.threads)
    device = _device(arguments.device)

    def ready(spec: str) -> Contestant:
        return contestant(
            spec,
            device=device,
            tile_pixels=arguments.tile_pixels,
            eightfold=arguments.self_ensemble,
        )

    networks = [ready(spec) for spec in arguments.network]
    served = sorted({scale for each in networks for scale in each.scales or ()})
    scales = arguments.scales or served or [2, 3, 4]
    teacher = ready(arguments.teacher) if arguments.teacher else None
    for each in (*networks, *([teacher] if teacher else [])):
        if not any(each.serves(scale) for scale in scales):
            asked, serves = (", ".join(map(str, some)) for some in (scales, each.scales or ()))
            raise ValueError(f"{each.label} serves scale {serves} and none of --scales {asked}")
    contest = Contest(
        networks=networks,
        benchmarks=(),
        scales=scales,
        protocol=arguments.protocol,
        teacher=teacher,
        device=device,
        pictures=arguments.save_images,
    )
    for protocol in contest.protocols():
        if arguments.lr is not None and protocol not in _TAKE_LR:
            raise ValueError(f"--lr: {protocol} makes its LR from luma; add --protocol rgb8")
    contest = replace(contest, benchmarks=_benchmarks(arguments, scales))
    _check_writable(arguments)
    return contest


def _check_paths(arguments: argparse.Namespace) -> None:
    """Refuse a mistyped path at once, before torch is imported."""
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


def _device(name: str) -> torch.device:
    from trainables.run import chosen_device
    from trainables.values import ConfigError

    try:
        return chosen_device(name)
    except ConfigError as error:
        raise ValueError(f"--device {error.rule}") from None


def _benchmarks(arguments: argparse.Namespace, scales: Sequence[int]) -> list[Benchmark]:
    from trainables.data.benchmarks import Benchmark

    folders = arguments.lr or [None] * len(arguments.data)
    pairs = list(zip(arguments.data, folders, strict=True))
    sets = [Benchmark.read(source, scales, lr) for source, lr in pairs]
    names = [each.name for each in sets]
    return [
        each if names.count(each.name) == 1 else replace(each, name=source)
        for each, (source, _) in zip(sets, pairs, strict=True)
    ]


def _compared(contest: Contest, arguments: argparse.Namespace) -> list[Row] | None:
    """The rows, written where `arguments` say; None where the device has too little memory."""
    import torch

    from tune_sr.bar import bar
    from tune_sr.rows import as_json, rows

    try:
        with bar(contest.passes()) as tick:
            table = list(rows(contest, tick))
    except torch.OutOfMemoryError:
        told = f"out of memory: give a --tile-pixels below {arguments.tile_pixels}"
        tell(f"{PROG}: {told}", error=True)
        return None
    for each in contest.approximate(arguments.tile_pixels):
        told = f"{each} looks further than its tiles: seams differ; --tile-pixels avoids it"
        tell(f"{PROG}: {told}", error=True)
    if arguments.json is not None:
        about = {
            "device": str(contest.device),
            "threads": torch.get_num_threads(),
            "self_ensemble": arguments.self_ensemble,
        }
        text = json.dumps(as_json(table, **about), indent=1)
        arguments.json.write_text(f"{text}\n", encoding="utf-8")
    return table


def markdown(table: Sequence[Row], mark: str = "") -> str:
    """The rows as Markdown, one table for each protocol; `mark` follows a network's name.

    So does that of a caveat, whose footnote stands below the tables.
    """
    from tune_sr.board import footnote_marks

    names = _short({row.network for row in table})
    caveats = footnote_marks(row.caveat for row in table)
    taught = any(row.psnr_to_teacher_db is not None for row in table)
    parts = []
    for protocol in dict.fromkeys(row.protocol for row in table):
        heads = ["data", "scale", "network", f"PSNR, dB ({protocol})", f"SSIM ({protocol})"]
        heads += ["params", "MACs", "images/s", *(["to teacher, dB"] if taught else [])]
        lines = [heads, ["---"] * 3 + ["--:"] * (len(heads) - 3)]
        for row in (row for row in table if row.protocol == protocol):
            name = row.network if row.params is None else names[row.network] + mark
            name += caveats.get(row.caveat or "", "")
            cells = [row.data, f"x{row.scale}", name, _figure(row.psnr_y_db, ".2f")]
            cells += [_figure(row.ssim, ".4f"), _count(row.params), _count(row.macs)]
            cells += [_figure(row.images_per_second, ".3g")]
            lines.append(cells + ([_figure(row.psnr_to_teacher_db, ".2f")] if taught else []))
        parts.append("\n".join(f"| {' | '.join(map(_cell, cells))} |" for cells in lines))
    if caveats:
        shown = (f"{star} {one_line(caveat)}" for caveat, star in caveats.items())
        parts.append("\n".join(shown))
    return "\n\n".join(parts)


def _cell(text: str) -> str:
    """A cell of a table, whatever a file or folder is called."""
    return one_line(text).replace("|", "\\|")


def _short(labels: Collection[str]) -> dict[str, str]:
    """Files by their name alone, where that tells them apart."""
    names = {label: Path(label).name for label in labels}
    shown = list(names.values())
    return {label: name if shown.count(name) == 1 else label for label, name in names.items()}


def _figure(value: float | None, form: str) -> str:
    return "" if value is None else format(value, form)


def _count(number: int | None) -> str:
    from tune_sr.objectives import count_shown

    return "" if number is None else count_shown(number)


if __name__ == "__main__":
    sys.exit(main())
