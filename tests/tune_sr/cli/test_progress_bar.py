"""The progress bar shows itself on a terminal, and nowhere else."""

from __future__ import annotations

import io

from tune_sr.cli.progress_bar import bar


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_terminal_sees_what_is_done_and_how_much() -> None:
    stream = Terminal()
    with bar(3, stream) as tick:
        for doing in ("Set5 x2 bicubic", "Set5 x2 [vdsr]", "Set5 x3 bicubic"):
            tick(doing)
    shown = stream.getvalue()
    assert "Set5 x3 bicubic" in shown
    assert "/3" in shown


def test_a_file_stays_clean() -> None:
    stream = io.StringIO()
    with bar(3, stream) as tick:
        tick("Set5 x2 bicubic")
    assert stream.getvalue() == ""
