"""Text with places to fill in, as the files in `templates/` have them."""

from __future__ import annotations

import json
import re
import shlex
import unicodedata
from collections.abc import Mapping
from importlib.resources import files

_BLOCK = re.compile(r"(?P<indent> *)@\{(?P<name>\w+)\}")
_ODD = {"Cc", "Cs", "Zl", "Zp"}
"""Categories of characters that are refused."""
_PLACE = re.compile(r"@\{(\w+)\}")


def fill_in(name: str, values: Mapping[str, str]) -> str:
    """The template called `name` with every `@{place}` replaced by its value."""
    template = files("tune_sr.deploy") / "templates" / name
    return fill(template.read_text(encoding="utf-8"), values)


def fill(text: str, values: Mapping[str, str]) -> str:
    r"""`text` with every `@{place}` replaced by its value.

    A place that has a line to itself takes any number of lines, each indented as it is; none
    leaves no line. What looks like a place in a value is left as it is.

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
    r"""`text` as a string of YAML, whatever is in it.

    >>> print(quoted('a "b": c'))
    "a \"b\": c"
    """
    return json.dumps(text, ensure_ascii=False)


def written_to(path: str, text: str) -> str:
    r"""A command of a POSIX shell that writes `text`, whatever is in it, to a file.

    Nobody but the file's owner can read it. There is no line of the text at which it could end.

    Args:
        path: of the file, as the shell is to read it.
        text: exactly what the file will hold.

    >>> print(written_to("~/a", "it's\nEND\n"))
    umask 077; rm -f ~/a; printf %s 'it'"'"'s
    END
    ' > ~/a
    """
    return f"umask 077; rm -f {path}; printf %s {shlex.quote(text)} > {path}"


def check_plain(what: str, text: str, *, lines: bool = False) -> str:
    """`text`, which holds no character that YAML, a shell or a terminal takes for something else.

    Args:
        what: it is, for the refusal.
        text: anything that goes into a deployed file.
        lines: whether it may have lines and tabs.

    Raises:
        ValueError: names the first control character, separator of lines, or undecodable byte.

    >>> check_plain("--bin", "/opt/é b")
    '/opt/é b'
    """
    for number, line in enumerate(text.split("\n") if lines else [text], start=1):
        for each in line:
            odd = unicodedata.category(each) in _ODD or each in "\ufeff\ufffe\uffff"
            if odd and not (lines and each in "\t\r"):
                where = f"{what}, line {number}" if lines else what
                raise ValueError(f"{where}: holds the control character U+{ord(each):04X}")
    return text


def _indented(text: str, indent: str) -> str:
    """Every line after `indent`, those of blanks alone too: in a shell's quotes they count."""
    return "\n".join(indent + line if line else line for line in text.split("\n"))
