"""Fills in the templates of `templates/`, and quotes text for YAML and shells."""

from __future__ import annotations

import json
import re
import shlex
import unicodedata
from collections.abc import Mapping
from importlib.resources import files

_BLOCK = re.compile(r"(?P<indent> *)@\{(?P<name>\w+)\}")
_REFUSED = {"Cc", "Cs", "Zl", "Zp"}
"""Unicode categories refused in text: control, surrogate, line and paragraph separator."""
_PLACE = re.compile(r"@\{(\w+)\}")


def fill_in(name: str, values: Mapping[str, str]) -> str:
    """Read the template called `name` and replace every `@{place}` by its value; see `fill`."""
    template = files("tune_sr.deploy") / "templates" / name
    return fill(template.read_text(encoding="utf-8"), values)


def fill(text: str, values: Mapping[str, str]) -> str:
    r"""Replace every `@{place}` of `text` by its value.

    A place alone on its line takes a value of any number of lines, each indented like the place; an
    empty value removes the line. A `@{place}` within a value is left as it is.

    >>> fill("env:\n  @{env}\nname: @{name}\n", {"env": "A: 1\nB: 2", "name": "night"})
    'env:\n  A: 1\n  B: 2\nname: night\n'
    >>> fill("env:\n  @{env}\n", {"env": ""})
    'env:\n'
    """
    lines = []
    for line in text.splitlines():
        block = _BLOCK.fullmatch(line)
        if block is None:
            lines.append(_PLACE.sub(lambda match: values[match[1]], line))
        elif values[block["name"]]:
            lines.append(_indented(values[block["name"]].rstrip("\n"), block["indent"]))
    return "\n".join(lines) + "\n"


def quoted(text: str) -> str:
    r"""Quote any `text` as a YAML string.

    >>> print(quoted('a "b": c'))
    "a \"b\": c"
    """
    return json.dumps(text, ensure_ascii=False)


def written_to(path: str, text: str) -> str:
    r"""Return a POSIX shell command that writes any `text` to a file that only its owner can read.

    Unlike a here-document it has no end mark that could occur in the text.

    Args:
        path: the file, as shell source: already quoted where it needs to be.
        text: the exact content of the file.

    >>> print(written_to("~/a", "it's\nEND\n"))
    umask 077; rm -f ~/a; printf %s 'it'"'"'s
    END
    ' > ~/a
    """
    return f"umask 077; rm -f {path}; printf %s {shlex.quote(text)} > {path}"


def check_plain(what: str, text: str, *, lines: bool = False) -> str:
    """Return `text` if it has no character that YAML, a shell or a terminal would interpret.

    Args:
        what: the text's name, for the refusal.
        text: anything that goes into a deployed file.
        lines: whether line ends and tabs are allowed.

    Raises:
        ValueError: names the first control character, line separator, or undecodable byte.

    >>> check_plain("--bin", "/opt/é b")
    '/opt/é b'
    """
    for number, line in enumerate(text.split("\n") if lines else [text], start=1):
        for each in line:
            refused = unicodedata.category(each) in _REFUSED or each in "\ufeff\ufffe\uffff"
            if refused and not (lines and each in "\t\r"):
                where = f"{what}, line {number}" if lines else what
                raise ValueError(f"{where}: holds the control character U+{ord(each):04X}")
    return text


def _indented(text: str, indent: str) -> str:
    """Indent every line that is not empty; lines of blanks alone too, which count in quotes."""
    return "\n".join(indent + line if line else line for line in text.split("\n"))
