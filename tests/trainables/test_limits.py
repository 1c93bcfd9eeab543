"""The budgets stand in one module, and the README has the same figures."""

from __future__ import annotations

from pathlib import Path

import pytest

from trainables import limits

ROOT = Path(__file__).parents[2]
FIGURES = {
    name: value for name, value in vars(limits).items() if name.isupper() and isinstance(value, int)
}


def test_the_readme_lists_every_budget() -> None:
    page = (ROOT / "README.md").read_text(encoding="utf-8")
    section = page.partition("## Budgets\n")[2].partition("\n## ")[0]
    shown = set(section.replace("|", " ").replace(";", " ").split())
    missing = {name for name, value in FIGURES.items() if f"{value:,}" not in shown}
    assert missing == set()


@pytest.mark.parametrize("name", FIGURES)
def test_every_budget_is_used_where_something_is_refused(name: str) -> None:
    users = [
        path
        for package in ("trainables", "tune_sr")
        for path in (ROOT / package).rglob("*.py")
        if path.name != "limits.py" and name in path.read_text(encoding="utf-8")
    ]
    assert users
