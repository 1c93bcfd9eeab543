"""What is written about the code is true of it.

`TUNE_SR_REGENERATE=1 pytest tests/test_docs.py` writes the index of equations anew.
"""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from trainables.methods import METHODS

ROOT = Path(__file__).parents[1]
PAGES = [
    page
    for page in sorted(ROOT.rglob("*.md"))
    if not {"runs", "node_modules", "site-packages"} & set(page.relative_to(ROOT).parts)
    and not any(part.startswith(".") for part in page.relative_to(ROOT).parts)
]
METHOD_FILES = sorted((ROOT / "trainables" / "methods").glob("*.py"))
METHOD_TESTS = sorted((ROOT / "tests" / "trainables" / "methods").glob("test_*.py"))
README = ROOT / "trainables" / "methods" / "README.md"

HEADING = "| paper | equation | function | test |\n|---|---|---|---|\n"
FIRST_LINE = re.compile(
    r"^(?:(?P<what>Eq\. .+?|Alg\. .+?) of|(?P<not>Not in)) \[(?P<key>[^\]]+)\]"
    r"(?P<where>[^:]*): (?P<meaning>.+)$"
)
KEY = re.compile(r"^\[(?P<key>[A-Z+]+)\] ", re.MULTILINE)


@dataclass(frozen=True)
class Equation:
    """A function of a method's file whose first docstring line names its place in a paper."""

    paper: str
    equation: str
    file: str
    function: str
    line: int

    def row(self, test: str) -> str:
        return f"| {self.paper} | {self.equation} | `{self.file}` `{self.function}` | {test} |"


def equations(path: Path) -> Iterator[Equation]:
    """In the order of the file."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    owners = [(tree, "")] + [(c, c.name + ".") for c in tree.body if isinstance(c, ast.ClassDef)]
    found = []
    for owner, prefix in owners:
        for node in owner.body:
            if isinstance(node, ast.FunctionDef):
                first = " ".join((ast.get_docstring(node) or "").split("\n\n")[0].split())
                match = FIRST_LINE.match(first)
                if match:
                    what = match["what"] or "not in the paper"
                    where = match["where"].strip(" ,()")
                    what += f" ({where})" if where else ""
                    equation = Equation(
                        match["key"], what, path.name, prefix + node.name, node.lineno
                    )
                    found.append(equation)
    yield from sorted(found, key=lambda each: each.line)


def first_test_of(equation: Equation) -> str:
    """The first test that calls a function, or takes its parametrised value, by file and name."""
    name = equation.function.rpartition(".")[2]
    own = ROOT / "tests" / "trainables" / "methods" / f"test_{equation.file}"
    for path in sorted(METHOD_TESTS, key=lambda each: (each != own, each.name)):
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.FunctionDef) and node.name.startswith("test_"):
                calls = [call.func for call in ast.walk(node) if isinstance(call, ast.Call)]
                called = {
                    call.id if isinstance(call, ast.Name) else getattr(call, "attr", "")
                    for call in calls
                }
                if name in called:
                    return f"`{path.name}` `{node.name}`"
    raise AssertionError(f"no test calls {equation.file}:{equation.function}")


def index() -> str:
    """The table of every equation: paper, equation, function, test."""
    rows = [each.row(first_test_of(each)) for path in METHOD_FILES for each in equations(path)]
    return HEADING + "\n".join(rows) + "\n"


def test_the_index_of_equations_is_current() -> None:
    text = README.read_text(encoding="utf-8")
    before, heading, rest = text.partition(HEADING)
    assert heading
    after = rest[rest.index("\n\n") :] if "\n\n" in rest else ""
    current = before + index().rstrip("\n") + (after or "\n")
    if os.environ.get("TUNE_SR_REGENERATE"):
        README.write_text(current, encoding="utf-8")
        text = current
    assert text == current, "run TUNE_SR_REGENERATE=1 pytest tests/test_docs.py"


def test_every_equation_has_a_test_that_calls_it() -> None:
    found = [each for path in METHOD_FILES for each in equations(path)]
    assert len(found) >= 8
    for each in found:
        first_test_of(each)


def test_no_reference_to_a_paper_is_written_so_that_the_index_misses_it() -> None:
    for path in METHOD_FILES:
        known = {each.line for each in equations(path)}
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.FunctionDef):
                first = (ast.get_docstring(node) or "").partition("\n")[0]
                if first.startswith(("Eq", "Alg", "Not in")):
                    assert node.lineno in known, f"{path.name}:{node.name}: {first}"


@pytest.mark.parametrize("name", METHODS)
def test_a_methods_file_opens_with_its_paper_what_it_learns_and_where_it_deviates(
    name: str,
) -> None:
    path = ROOT / "trainables" / "methods" / f"{name}.py"
    said = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
    assert KEY.search(said)
    assert "\nLearns from: " in said
    assert "\nDeviations: " in said


def test_every_paper_of_the_index_is_named_in_full_somewhere() -> None:
    named = {
        match["key"]
        for path in METHOD_FILES
        for match in KEY.finditer(ast.get_docstring(ast.parse(path.read_text("utf-8"))) or "")
    }
    assert {each.paper for path in METHOD_FILES for each in equations(path)} <= named


# --- every page ---------------------------------------------------------------------------------

BLOCK = re.compile(r"^```(\w*)\n(.*?)^```", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\((?!https?://|#)([^)#]+)(?:#[^)]*)?\)")
COMMAND = re.compile(r"python -m (tune_sr\.\w+)([^\n#`&]*)")

EACH_PAGE = pytest.mark.parametrize(
    "page", PAGES, ids=[str(page.relative_to(ROOT)) for page in PAGES]
)


def commands() -> list[tuple[str, str, Path]]:
    """Every command of ours that a page gives: module, arguments, page."""
    return [
        (match[1], match[2], page)
        for page in PAGES
        for match in COMMAND.finditer(page.read_text(encoding="utf-8"))
    ]


@EACH_PAGE
def test_every_link_leads_somewhere(page: Path) -> None:
    for target in LINK.findall(page.read_text(encoding="utf-8")):
        assert (page.parent / target).exists(), target


@pytest.mark.timeout(180)
def test_the_readmes_python_runs() -> None:
    blocks = BLOCK.findall((ROOT / "README.md").read_text(encoding="utf-8"))
    programs = [code for language, code in blocks if language == "python"]
    assert programs
    for code in programs:
        done = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=False
        )
        assert done.returncode == 0, done.stderr
        assert done.stdout


def test_every_command_of_a_page_exists_with_its_flags_and_its_space() -> None:
    known: dict[str, set[str]] = {}
    assert commands()
    for module, arguments, page in commands():
        if module not in known:
            shown = subprocess.run(
                [sys.executable, "-m", module, "--help"],
                capture_output=True,
                text=True,
                cwd=ROOT,
                check=True,
            ).stdout
            known[module] = set(re.findall(r"--[a-z][a-z-]*", shown))
        where = f"{page.relative_to(ROOT)}: {module}{arguments}"
        assert set(re.findall(r"--[a-z][a-z-]*", arguments)) <= known[module], where
        for space in re.findall(r"search_spaces/\S+\.yaml", arguments):
            assert (ROOT / space).is_file(), where
