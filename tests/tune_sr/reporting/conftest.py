"""A study of each kind that a page must hold."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from invented_studies import KINDS, MARKS, InventedStudy

Invent = Callable[[str], Path]


@pytest.fixture
def invent(toy_space: Callable[..., Path], tmp_path: Path) -> Invent:
    """`invent("running")`: the folder of a study of that kind, as `KINDS` has them."""

    def make(kind: str) -> Path:
        changes, write = KINDS[kind]
        space = toy_space(kind, **changes)
        marks = {"bicubic": None, "teacher": None} if kind == "without images" else MARKS
        return write(InventedStudy(tmp_path / "runs" / kind.replace(" ", "-"), space, marks)).save()

    return make
