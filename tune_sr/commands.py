"""What the command modules share: one-line refusals and the exit codes."""

from __future__ import annotations

import argparse
import sys
from typing import NoReturn

DONE, FAILED, REFUSED = 0, 1, 2
"""Beside these: 130, 143, 138 after SIGINT, SIGTERM, SIGUSR1, the work saved and resumable."""


class Parser(argparse.ArgumentParser):
    """Refuses in one line, as every refusal of these commands is one line."""

    def error(self, message: str) -> NoReturn:
        """Name the mistake and where to read on; exit code 2."""
        self.exit(REFUSED, f"{self.prog}: {message} (--help lists what there is)\n")


def refuse(prog: str, error: ValueError) -> int:
    """Tell the user's mistake in one line; the exit code."""
    sys.stderr.write(f"{prog}: {' '.join(str(error).split())}\n")
    return REFUSED
