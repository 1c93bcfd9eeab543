"""Writes a report's page: one HTML file that fetches nothing and opens with the network off.

Its content security policy forbids every request. The script of plotly lies in it, compressed, and
is unpacked by the browser.
"""

from __future__ import annotations

import base64
import gzip
import json
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib.resources import files
from typing import Any

import plotly.graph_objects as go
from plotly.offline import get_plotlyjs

from tune_sr.cli.formatting import format_duration
from tune_sr.reporting.markup import Markup, joined, json_script, tag
from tune_sr.reporting.plots.style import DARK, LIGHT
from tune_sr.reporting.section import Section
from tune_sr.reporting.study_data import StudyData

POLICY = "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; img-src data:"


def page(title: str, about: object, sections: Sequence[Section]) -> str:
    """The whole page.

    Args:
        title: its heading.
        about: what stands below it.
        sections: in their order.
    """
    figures = {name: plain_figure(made) for each in sections for name, made in each.figures.items()}
    themes = {LIGHT[name]: DARK[name] for name in LIGHT}
    links = [tag("a", each.short, href=f"#{each.anchor}") for each in sections]
    head = tag(
        "head",
        tag("meta", charset="utf-8"),
        tag("meta", http_equiv="Content-Security-Policy", content=POLICY),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("title", title),
        tag("style", Markup(_asset("page.css"))),
    )
    body = tag(
        "body",
        tag("header", tag("h1", title), tag("p", about, class_="lead")),
        tag("nav", *links),
        tag("main", *(each.to_html() for each in sections)),
        json_script("figures", figures),
        json_script("themes", themes),
        tag("script", Markup(packed_plotly()), type="text/plain", id="plotly"),
        tag("script", Markup(_asset("page.js"))),
    )
    return f"<!doctype html>\n{tag('html', head, body, lang='en')}\n"


def heading(data: StudyData) -> tuple[str, Markup]:
    """The title of a study's page, and the line below it."""
    counts = data.summary["trials"]
    running = sum(trial.state == "running" for trial in data.trials)
    states = {**{k: counts[k] for k in ("completed", "stopped", "failed")}, "running": running}
    shown = ", ".join(f"{n} {state}" for state, n in states.items() if n or state == "completed")
    steps, seconds = data.summary["student_steps"], data.summary["seconds"]
    now = datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")
    state = "Finished" if data.is_finished else f"Still running, or interrupted; as of {now}"
    protocol = data.summary["protocol"]
    return f"Study {data.name}", joined(
        f"{state}. {counts['total']} trials: {shown}; {format_duration(seconds)}, "
        f"{steps:,} student updates. {_fixed(data)}"
        + (f" Protocol {protocol}." if protocol else "")
    )


def _fixed(data: StudyData) -> str:
    """Method, student and teacher, where the space fixes them."""
    fixed = data.results.space.fixed
    method, student = fixed.get("method", {}), fixed.get("student", {})
    teacher = fixed.get("teacher") or {}
    size = [str(student[key]) for key in ("blocks", "features") if key in student]
    parts = [str(method.get("name", "several methods"))]
    parts.append(f"{student.get('name', 'several networks')} {'x'.join(size)}".strip())
    said = f"{parts[0]}, {parts[1]}"
    return f"{said} from {teacher['name']}." if "name" in teacher else f"{said}."


def plain_figure(made: go.Figure) -> dict[str, Any]:
    """A figure's data and layout as JSON can hold them."""
    found: dict[str, Any] = json.loads(made.to_json(validate=False))
    return {"data": found["data"], "layout": found["layout"]}


def packed_plotly() -> str:
    """The script of plotly, compressed, in base64; the same bytes at every call."""
    packed = gzip.compress(get_plotlyjs().encode("utf-8"), compresslevel=9, mtime=0)
    return base64.b64encode(packed).decode("ascii")


def _asset(name: str) -> str:
    return (files("tune_sr.reporting") / "assets" / name).read_text(encoding="utf-8")
