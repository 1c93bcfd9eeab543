"""HTML in which everything is escaped: names, reasons and settings come from files."""

from __future__ import annotations

import html
import json
from typing import Any

_EMPTY = ("img", "input", "meta")


class Markup(str):
    """Text that is HTML already; any other text is escaped where it becomes a part of a tag."""

    __slots__ = ()


def tag(name: str, /, *children: object, **attributes: object) -> Markup:
    """An element; children that are no `Markup` are escaped, attributes that are None left out.

    A trailing `_` of an attribute's name is dropped, and other `_` become `-`.

    >>> tag("p", "1 < 2", tag("b", "!"), class_="note")
    '<p class="note">1 &lt; 2<b>!</b></p>'
    """
    shown = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{html.escape(str(value))}"'
        for key, value in attributes.items()
        if value is not None
    )
    return Markup(f"<{name}{shown}>" + ("" if name in _EMPTY else f"{joined(*children)}</{name}>"))


def joined(*children: object) -> Markup:
    """Children one behind the other, escaped where they are no `Markup`; None is nothing."""
    return Markup(
        "".join(
            child if isinstance(child, Markup) else html.escape(str(child))
            for child in children
            if child is not None
        )
    )


def json_script(element: str, value: Any) -> Markup:
    r"""A `<script>` of JSON that no text in it can close.

    >>> json_script("a", {"name": "</script>"})
    '<script type="application/json" id="a">{"name":"<\\/script>"}</script>'
    """
    text = json.dumps(value, allow_nan=False, separators=(",", ":"), ensure_ascii=True)
    text = text.replace("</", "<\\/").replace("<!--", "<\\u0021--")
    return Markup(f'<script type="application/json" id="{html.escape(element)}">{text}</script>')
