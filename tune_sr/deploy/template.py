"""Text with places to fill in, as the files in `templates/` have them."""

from __future__ import annotations

import json
import re
import textwrap
from collections.abc import Mapping
from importlib.resources import files

_BLOCK = re.compile(r"(?P<indent> *)@\{(?P<name>\w+)\}")
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
            lines.append(textwrap.indent(values[block["name"]].rstrip("\n"), block["indent"]))
    return "\n".join(lines) + "\n"


def quoted(text: str) -> str:
    r"""`text` as a string of YAML, whatever is in it.

    >>> print(quoted('a "b": c'))
    "a \"b\": c"
    """
    return json.dumps(text, ensure_ascii=False)
