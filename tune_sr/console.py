"""The program `tune-sr`: every command by its name, and their completion in a shell."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib import import_module
from typing import Any

from tune_sr.cli.completion import SHELLS, script
from tune_sr.cli.parser import DONE, REFUSED
from tune_sr.cli.streams import settle_streams, tell

COMMANDS = {
    "search": ("tune_sr.search", "run a study, or go on with one"),
    "train": ("tune_sr.train", "train one student, without a search"),
    "evaluate": ("tune_sr.evaluate", "networks on benchmark folders: the papers' table"),
    "report": ("tune_sr.report", "a study's page, figures and tables"),
    "export": ("tune_sr.export", "a student, or a whole study, for other programs"),
    "upscale": ("tune_sr.upscale", "pictures enlarged by a student"),
    "prune": ("tune_sr.prune", "delete the checkpoints that a finished study needs no more"),
    "deploy": ("tune_sr.deploy.__main__", "the file from which a cluster runs a study"),
}
"""By name: its module, which has `main(argv)` and `make_parser()`, and what it is for."""
COMPLETION = "completion"
_PROG = "tune-sr"


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command that `argv` names (None: of the process) and return its exit code."""
    words = list(sys.argv[1:] if argv is None else argv)
    name = words[0] if words else "--help"
    if name in COMMANDS:
        code: int = import_module(COMMANDS[name][0]).main(words[1:])
        return code
    settle_streams()
    if name == COMPLETION:
        return _completion(words[1:])
    if name in ("-h", "--help"):
        tell(_help())
        return DONE
    tell(f"{_PROG}: {name}: no command; there are {', '.join([*COMMANDS, COMPLETION])}", error=True)
    return REFUSED


def _help() -> str:
    summaries = {name: summary for name, (_, summary) in COMMANDS.items()}
    summaries[COMPLETION] = f"a script that completes all of this in {', '.join(SHELLS)}"
    wide = max(map(len, summaries))
    lines = [f"  {name:{wide}}  {summary}" for name, summary in summaries.items()]
    usage = f"usage: {_PROG} COMMAND ...; {_PROG} COMMAND --help has what a command takes"
    return "\n".join([usage, "", *lines])


def _completion(words: Sequence[str]) -> int:
    if len(words) == 1 and words[0] in SHELLS:
        tell(script(words[0], _PROG, {**_parsers(), COMPLETION: None}, SHELLS))
        return DONE
    uses = {
        "bash": f'eval "$({_PROG} {COMPLETION} bash)" in ~/.bashrc',
        "zsh": f'eval "$({_PROG} {COMPLETION} zsh)" in ~/.zshrc, after compinit',
        "fish": f"{_PROG} {COMPLETION} fish > ~/.config/fish/completions/{_PROG}.fish",
    }
    lines = [f"  {shell}  {use}" for shell, use in uses.items()]
    asked = list(words) in (["-h"], ["--help"])
    tell("\n".join([f"usage: {_PROG} {COMPLETION} SHELL", "", *lines]), error=not asked)
    return DONE if asked else REFUSED


def _parsers() -> dict[str, Any]:
    return {name: import_module(module).make_parser() for name, (module, _) in COMMANDS.items()}


if __name__ == "__main__":
    sys.exit(main())
