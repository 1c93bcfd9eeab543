"""A browser draws the page without one complaint, with its security policy in force."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tune_sr.reporting.report import sections_of, write_page
from tune_sr.reporting.study_data import StudyData

NAMES = ("chromium", "chromium-browser", "google-chrome")
CHROMIUM = next(filter(None, map(shutil.which, NAMES)), None)
pytestmark = [
    pytest.mark.skipif(CHROMIUM is None, reason="no chromium: pages are not drawn"),
    pytest.mark.timeout(180),
]
sync_api = pytest.importorskip("playwright.sync_api", reason="no playwright: pages are not drawn")


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    started = {"executable_path": CHROMIUM, "args": ["--no-sandbox"]}
    with sync_api.sync_playwright() as each, each.chromium.launch(**started) as opened:
        yield opened


def opened(browser: Any, path: Path, width: int, scheme: str, lines: list[str]) -> Any:
    page = browser.new_page(viewport={"width": width, "height": 900}, color_scheme=scheme)
    page.on("console", lambda line: lines.append(line.text))
    page.on("pageerror", lambda error: lines.append(str(error)))
    page.goto(path.as_uri())
    page.wait_for_selector("html[data-drawn]", timeout=120_000)
    return page


def test_pages_are_drawn_fit_and_answer_clicks(invent, browser, tmp_path):
    for kind in ("whole", "all failed", "two objectives"):
        data = StudyData.load(invent(kind))
        made = sections_of(data)
        path = tmp_path / f"{kind}.html"
        write_page(data, made, path)
        lines: list[str] = []
        page = opened(browser, path, 390, "dark", lines)
        assert page.evaluate("document.documentElement.scrollWidth") == 390
        page.evaluate("document.querySelectorAll('details').forEach(e => { e.open = true; })")
        folded = "[...document.querySelectorAll('details .plot')]"
        page.wait_for_function(f"{folded}.every(e => e.querySelector('svg path'))")
        assert page.evaluate("document.documentElement.scrollWidth") == 390
        drawn = page.evaluate(
            "Object.fromEntries([...document.querySelectorAll('.plot')].map("
            "e => [e.dataset.figure, e.querySelectorAll('svg path, svg text').length]))"
        )
        assert set(drawn) == {name for each in made for name in each.figures}
        assert all(count > 3 for count in drawn.values()), drawn
        assert lines == []
        if kind == "whole":
            check_clicks(page, data)
        blocked = "fetch('https://example.org').then(() => 'fetched', () => 'refused')"
        assert page.evaluate(blocked) == "refused"
        assert any("Content Security Policy" in line for line in lines)
        page.close()


def check_clicks(page: Any, data: StudyData) -> None:
    """A click on a row marks its curve, headings sort, the filter hides, switches exchange axes."""
    rows = page.locator("#trials tbody tr")
    rows.first.click()
    best = len(data.best.steps)
    marked = "document.querySelector('[data-figure=curves]').data.at(-1).x.filter(x => x).length"
    assert page.evaluate(marked) == best
    page.locator("#trials th", has_text="trial").first.click()
    assert rows.first.get_attribute("data-trial") == "0000"
    page.fill("#filter", "P=2 w_R>1")
    visible = page.evaluate(
        "[...document.querySelectorAll('#trials tbody tr')].filter(r => !r.hidden).length"
    )
    wanted = [t for t in data.trials if t.point["method.P"] == 2 and t.point["method.w_R"] > 1]
    assert visible == len(wanted) < len(data.trials)
    page.locator("#curves button", has_text="loss").click()
    title = "document.querySelector('[data-figure=curves]').layout.yaxis.title.text"
    assert page.evaluate(title) == "loss"
