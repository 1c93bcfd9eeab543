"""`python -m tune_sr.report`: the page, the figures and the tables of a study."""

from __future__ import annotations

import argparse
import json
import sys
import webbrowser
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from tune_sr.cli.parser import DONE, Parser, refuse, refusing
from tune_sr.cli.signals import Interrupted, interruptible
from tune_sr.cli.streams import settle_streams, tell
from tune_sr.storage.layout import FIGURES, LEDGER, PAGE

if TYPE_CHECKING:
    from tune_sr.reporting.section import Section
    from tune_sr.reporting.study_data import StudyData

PROG = "python -m tune_sr.report"


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code: 0 done, 2 refused, 128 + signal."""
    settle_streams()
    arguments = parse_arguments(sys.argv[1:] if argv is None else argv)
    try:
        with interruptible():
            try:
                with refusing():
                    _check_studies([arguments.study, *arguments.compare])
                    return _run(arguments)
            except ValueError as error:
                return refuse(PROG, error)
    except Interrupted as interrupted:
        return interrupted.exit_code


def make_parser() -> Parser:
    """Make the parser of the command line, without importing anything heavy."""
    parser = Parser(
        prog=PROG, description="A study's page, figures and tables; while it runs, too."
    )
    add = parser.add_argument
    add("study", type=Path, metavar="STUDY", help="its folder, as runs/dfsr")
    add("--compare", type=Path, nargs="+", default=[], metavar="STUDY",
        help="other studies to hold beside it")  # fmt: skip
    add("--output", type=Path, metavar="DIR",
        help=f"where {PAGE} and {FIGURES}/ are written; default: the study's folder")  # fmt: skip
    add("--json", action="store_true", help="print all numbers as JSON in place of the summary")
    add("--no-pages", action="store_true", help="write nothing")
    add("--open", action="store_true", help="open the page in a browser")
    return parser


def parse_arguments(argv: Sequence[str]) -> argparse.Namespace:
    """Parse the command line without importing anything heavy."""
    parser = make_parser()
    arguments = parser.parse_args(argv)
    if arguments.open and arguments.no_pages:
        parser.error("--open: --no-pages writes none to open")
    return arguments


def _check_studies(folders: Sequence[Path]) -> None:
    """Refuse what is no study, before the seconds that torch takes.

    Raises:
        ValueError: names the folder.
    """
    for folder in folders:
        if not (folder / LEDGER).is_file():
            raise ValueError(f"{folder}: no study: it has no {LEDGER}; name its folder")


def _run(arguments: argparse.Namespace) -> int:
    from tune_sr.reporting.compare import compare_section
    from tune_sr.reporting.report import draw_missing_pictures, numbers, sections_of
    from tune_sr.reporting.study_data import StudyData

    data = StudyData.load(arguments.study)
    others = [StudyData.load(folder) for folder in arguments.compare]
    more = [compare_section(data, others)] if others else []
    if not arguments.no_pages:
        draw_missing_pictures(data)
    made = sections_of(data)
    made[1:1] = more
    output = arguments.output or arguments.study
    if not arguments.no_pages:
        _write(data, made, output)
    if arguments.json:
        tell(json.dumps(numbers(made), indent=1, allow_nan=False))
    else:
        _tell_summary(data)
        if not arguments.no_pages:
            tell(f"papers:   {output / FIGURES}/")
            if output != arguments.study:
                tell(f"page:     {output / PAGE}")
    if arguments.open:
        webbrowser.open((output / PAGE).absolute().as_uri())
    return DONE


def _write(data: StudyData, made: Sequence[Section], output: Path) -> None:
    from tune_sr.reporting.paper_figures import write_figures
    from tune_sr.reporting.report import write_page, write_tables

    write_page(data, made, output / PAGE)
    write_tables(made, output / FIGURES)
    write_figures(data, output / FIGURES)


def _tell_summary(data: StudyData) -> None:
    """Print what `search` prints at the end."""
    from tune_sr.results.summary_text import summary_text
    from tune_sr.study.config import StudyConfig
    from tune_sr.study.resume import address_again

    settings, folder = data.results.settings, data.results.folder
    again = address_again(settings.tracking_uri, None)
    settings = settings.model_copy(update={"tracking_uri": again or settings.tracking_uri})
    tell(summary_text(StudyConfig(data.results.space, settings, folder), data.results))


if __name__ == "__main__":
    sys.exit(main())
