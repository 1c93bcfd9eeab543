"""Scripts that complete a program's commands, flags and files in a shell, made from its parsers.

They hold everything: completing a word starts no Python.
"""

from __future__ import annotations

import argparse
import re
import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

SHELLS = ("bash", "zsh", "fish")
Value = Literal["none", "text", "file", "folder", "choice"]
Parsers = Mapping[str, argparse.ArgumentParser | None]
"""By command; None for the one that takes a shell's name."""

_FOLDERS = {"DIR", "STUDY"}
"""Names of values that are folders."""
_FILES = re.compile(r"FILE|PATH$|IMAGE")
"""Names of values that are files, or folders, where their type does not tell it."""


@dataclass(frozen=True)
class Flag:
    """One flag of a command, or its positional argument, as a shell completes it."""

    names: Sequence[str]
    """`-h`, `--help`; empty for a positional argument."""
    about: str
    value: Value
    choices: Sequence[str] = ()
    several: bool = False
    """Whether it takes more than one value."""


def flags_of(parser: argparse.ArgumentParser) -> list[Flag]:
    """The flags and positional arguments of a parser."""
    return [_flag(parser, action) for action in parser._actions]


def script(shell: str, program: str, parsers: Parsers, shells: Sequence[str] = SHELLS) -> str:
    """Write the script of one shell.

    Args:
        shell: one of `SHELLS`.
        program: the name that is completed.
        parsers: of its commands.
        shells: what the command without a parser takes.
    """
    named = Flag((), "shell", "choice", tuple(shells))
    flags = {
        name: [named] if parser is None else flags_of(parser) for name, parser in parsers.items()
    }
    about = {
        name: _line(parser.description or "") if parser else "completion in a shell"
        for name, parser in parsers.items()
    }
    writer = {"bash": _bash, "zsh": _zsh, "fish": _fish}[shell]
    return "\n".join(writer(program, flags, about))


def _flag(parser: argparse.ArgumentParser, action: argparse.Action) -> Flag:
    about = parser._get_formatter()._expand_help(action) if action.help else ""
    choices = tuple(str(each) for each in action.choices or ())
    several = action.nargs in ("+", "*")
    return Flag(tuple(action.option_strings), _line(about), _value(action), choices, several)


def _value(action: argparse.Action) -> Value:
    shown: Any = action.metavar or ""
    if action.nargs == 0:
        return "none"
    if action.choices:
        return "choice"
    if shown in _FOLDERS:
        return "folder"
    if action.type is Path or _FILES.search(str(shown)):
        return "file" if "=" not in str(shown) else "text"
    return "text"


def _line(text: str) -> str:
    return " ".join(text.split()).rstrip(".")


# --- bash ---------------------------------------------------------------------------------------

_BASH_VALUES = {
    "none": None,
    "text": "return",
    "file": "compopt -o default; return",
    "folder": "compopt -o dirnames; return",
}


def _bash(program: str, flags: Mapping[str, list[Flag]], _: Mapping[str, str]) -> Iterator[str]:
    function = f"_{program.replace('-', '_')}"
    yield f"# {program}: completion in bash"
    yield f"{function}() {{"
    yield '    local word="${COMP_WORDS[COMP_CWORD]}" before="${COMP_WORDS[COMP_CWORD-1]}"'
    yield '    local command="${COMP_WORDS[1]}"'
    yield "    COMPREPLY=()"
    commands = " ".join(flags)
    yield "    if ((COMP_CWORD == 1)); then"
    yield f'        COMPREPLY=($(compgen -W "{commands}" -- "$word")); return'
    yield "    fi"
    yield '    if [[ $word != -* ]]; then case "$command $before" in'
    for command, each in ((name, flag) for name, given in flags.items() for flag in given):
        if each.names and each.value != "none":
            pattern = "|".join(shlex.quote(f"{command} {name}") for name in each.names)
            yield f"        {pattern}) {_bash_value(each)};;"
    yield "    esac; fi"
    yield "    case $command in"
    for command, given in flags.items():
        named = " ".join(name for flag in given for name in flag.names)
        free = next((flag for flag in given if not flag.names), None)
        otherwise = "compopt -o default" if free is None else _bash_value(free)
        listed = f'COMPREPLY=($(compgen -W "{named}" -- "$word"))'
        yield f"        {command}) if [[ $word == -* ]]; then {listed}; else {otherwise}; fi;;"
    yield "    esac"
    yield "}"
    yield f"complete -F {function} {program}"


def _bash_value(flag: Flag) -> str:
    if flag.value == "choice":
        return f'COMPREPLY=($(compgen -W "{" ".join(flag.choices)}" -- "$word")); return'
    return str(_BASH_VALUES[flag.value])


# --- zsh ----------------------------------------------------------------------------------------

_ZSH_VALUES = {"text": " ", "file": "_files", "folder": "_files -/"}


def _zsh(program: str, flags: Mapping[str, list[Flag]], about: Mapping[str, str]) -> Iterator[str]:
    function = f"_{program.replace('-', '_')}"
    yield f"#compdef {program}"
    yield f"{function}() {{"
    described = " ".join(shlex.quote(f"{name}:{about[name]}") for name in flags)
    yield f"    local -a commands=({described})"
    yield "    if (( CURRENT == 2 )); then _describe command commands; return; fi"
    yield "    local command=$words[2]"
    yield "    shift words; (( CURRENT-- ))"
    yield "    case $command in"
    for command, given in flags.items():
        specs = " ".join(shlex.quote(spec) for flag in given for spec in _zsh_specs(flag))
        yield f"        {command}) _arguments -s {specs};;"
    yield "    esac"
    yield "}"
    yield f"compdef {function} {program}"


def _zsh_specs(flag: Flag) -> Iterator[str]:
    value = f"({' '.join(flag.choices)})" if flag.choices else _ZSH_VALUES.get(flag.value, "")
    about = re.sub(r"([\[\]:\\])", r"\\\1", flag.about)
    if not flag.names:
        yield f"*:{about}:{value}"
    for name in flag.names:
        if flag.value == "none":
            yield f"{name}[{about}]"
        else:  # a flag of several values takes them up to the next flag
            yield f"*{name}[{about}]:{'*-*:' if flag.several else ''}value:{value}"


# --- fish ---------------------------------------------------------------------------------------

_FISH_VALUES = {
    "none": "",
    "text": " -x",
    "file": " -r -F",
    "folder": " -x -a '(__fish_complete_directories)'",
}


def _fish(program: str, flags: Mapping[str, list[Flag]], about: Mapping[str, str]) -> Iterator[str]:
    yield f"# {program}: completion in fish"
    for command in flags:
        when = "-n __fish_use_subcommand -f"
        yield f"complete -c {program} {when} -a {command} -d {_fish_quoted(about[command])}"
    for command, given in flags.items():
        when = f"-n '__fish_seen_subcommand_from {command}'"
        for flag in given:
            value = _FISH_VALUES.get(flag.value, "")
            if flag.choices:
                value = f" -x -a {_fish_quoted(' '.join(flag.choices))}"
            names = "".join(f" {_fish_name(name)}" for name in flag.names)
            told = f" -d {_fish_quoted(flag.about)}"
            if flag.names or flag.choices:
                yield f"complete -c {program} {when}{names}{value}{told}"


def _fish_name(name: str) -> str:
    return f"-l {name[2:]}" if name.startswith("--") else f"-s {name[1:]}"


def _fish_quoted(text: str) -> str:
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"
