"""Arrows point down, every library has one door, files and functions stay small.

The tables here are the architecture: a new module takes its place in one of them.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = ("trainables", "tune_sr")

TIERS: list[list[set[str]]] = [
    # trainables, from the bottom; the modules of one set are one unit, units of a row are siblings
    [{"trainables.replay"}, {"trainables.errors"}],
    [
        {"trainables.values"},
        {"trainables.resample"},
        {"trainables.dotted"},
        {"trainables.memory"},
        {"trainables.notes"},
        {"trainables.threads"},
        {"trainables.limits"},
        {"trainables.paths"},
        {"trainables.numerics"},
        {"trainables.snapshot_files"},
    ],
    [{"trainables.colour"}, {"trainables.presets"}, {"trainables.problems"}, {"trainables.device"}],
    [
        {"trainables.networks"},
        {"trainables.metrics"},
        {"trainables.data"},
        {"trainables.optimisers"},
        {"trainables.checkpoints"},
    ],
    [
        {"trainables.methods"},
        {"trainables.average"},
        {"trainables.watch"},
        {"trainables.seen"},
    ],
    [{"trainables.config"}, {"trainables.agreement"}],
    [{"trainables.digests"}],
    [{"trainables.run"}, {"trainables.checkpoint_size"}, {"trainables.student_cost"}],
    [{"trainables.snapshots"}],
    [{"trainables.marks"}, {"trainables.saved_run"}, {"trainables.finished"}, {"trainables.job"}],
    [{"trainables.studio"}],
    [{"trainables.ray_trainable"}],
    # tune_sr stands on all of it: parts, then commands
    [{"tune_sr.cli"}, {"tune_sr.statistics"}],
    [{"tune_sr.storage"}, {"tune_sr.space"}],
    [{"tune_sr.ledger"}, {"tune_sr.visualization"}, {"tune_sr.evaluation"}],
    [{"tune_sr.objectives"}],
    [
        {"tune_sr.tracking"},
        {"tune_sr.searchers"},
        {"tune_sr.schedulers"},
        {"tune_sr.progress"},
    ],
    [{"tune_sr.study"}],
    [{"tune_sr.execution"}, {"tune_sr.results"}, {"tune_sr.replay"}],
    [{"tune_sr.reporting"}, {"tune_sr.exporting"}],
    [{"tune_sr.driver"}, {"tune_sr.upscaling"}],
    [
        {"tune_sr.search"},
        {"tune_sr.train"},
        {"tune_sr.evaluate"},
        {"tune_sr.report"},
        {"tune_sr.export"},
        {"tune_sr.upscale"},
        {"tune_sr.prune"},
    ],
    [{"tune_sr.deploy"}],
    [{"tune_sr.console"}],
]

DOORS: dict[str, set[str]] = {
    "ray": {"tune_sr/execution/", "trainables/ray_trainable.py"},
    "optuna": {"tune_sr/searchers/", "tune_sr/exporting/optuna_journal.py"},
    "mlflow": {"tune_sr/tracking/client.py", "tune_sr/tracking/logged_model.py"},
    "sqlalchemy": {"tune_sr/tracking/store.py"},
    "yaml": {"tune_sr/space/yaml_file.py"},
    "skimage": {"trainables/data/images.py"},
    "PIL": {
        "trainables/data/images.py",
        "trainables/data/deep.py",
        "trainables/snapshots.py",
        "tune_sr/tracking/images.py",
        "tune_sr/visualization/",
        "tune_sr/upscaling/pictures.py",
    },
    "sklearn": {"tune_sr/replay/curve_table.py"},
    "safetensors": {"trainables/networks/checkpoint.py", "tune_sr/exporting/weights.py"},
    "onnx": {"tune_sr/exporting/graphs.py"},
    "onnxruntime": {"tune_sr/exporting/graphs.py"},
    "spandrel": {"trainables/networks/foreign.py"},
    "pyiqa": {"tune_sr/evaluation/perceptual.py"},
    "rich": {"tune_sr/progress/", "tune_sr/cli/progress_bar.py"},
    "matplotlib": {"tune_sr/visualization/", "tune_sr/reporting/paper_figures.py"},
    "plotly": {"tune_sr/reporting/"},
    "pandas": {"tune_sr/results/notebook.py"},
}
"""Where each library may be imported: a file, or any file of a folder (its path ends in /)."""

LATE = {
    "tune_sr/results/notebook.py",  # a notebook loads a study without torch
    "tune_sr/reporting/notebook.py",  # and without plotly
    "tune_sr/cli/parser.py",  # with torch, for which no refusal waits
    "tune_sr/driver/run_study.py",  # Ray's environment is set before Ray is imported
    "tune_sr/driver/outcome.py",  # plotly and torch.export take seconds, which no start waits for
    "tune_sr/searchers/algorithms.py",  # a searcher that does not use Optuna needs none of it
}
"""Parts of tune_sr that import modules of ours inside functions, each for the reason beside it."""

HEAVY = {"torch", "ray", "optuna", "mlflow", "skimage", "PIL", "matplotlib", "rich", "numpy"}
HEAVY |= {"spandrel", "torchvision", "scipy", "sklearn", "onnx", "onnxruntime", "plotly", "pandas"}
HEAVY |= {"pyiqa"}
LIGHT = ("tune_sr", "trainables", "tune_sr.search", "tune_sr.train", "tune_sr.evaluate")
LIGHT += ("tune_sr.report", "tune_sr.export", "tune_sr.upscale", "tune_sr.prune")
LIGHT += (
    "tune_sr.console",
    "tune_sr.deploy.__main__",
    "tune_sr.results.notebook",
    "tune_sr.reporting.notebook",
)
"""Modules that refuse a mistake, or print their help, before anything heavy is imported."""

LONGEST_FILE, LONGEST_FUNCTION = 300, 60

FILES = sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py"))
EACH_FILE = pytest.mark.parametrize(
    "path", FILES, ids=[str(path.relative_to(ROOT)) for path in FILES]
)


@dataclass(frozen=True)
class Import:
    """One imported module, or one name of it, and when that happens."""

    module: str
    names: tuple[str, ...]
    line: int
    at_import: bool
    """Whether importing the file imports it; else when a function runs."""


@cache
def parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


@cache
def module_of(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def _is_type_checking(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)


def _walk(node: ast.AST, inside_function: bool = False) -> Iterator[tuple[ast.stmt, bool]]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Import | ast.ImportFrom):
            yield child, inside_function
        elif _is_type_checking(child):
            assert isinstance(child, ast.If)
            for statement in child.orelse:
                yield from _walk(statement, inside_function)
        else:
            deeper = isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
            yield from _walk(child, inside_function or deeper)


@cache
def imports(path: Path) -> tuple[Import, ...]:
    """Every import that can happen: those for type checkers alone are none."""
    found = []
    for node, late in _walk(parsed(path)):
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno}: a relative import"
            names = tuple(alias.name for alias in node.names)
            found.append(Import(node.module or "", names, node.lineno, not late))
        elif isinstance(node, ast.Import):
            found += [Import(alias.name, (), node.lineno, not late) for alias in node.names]
    return tuple(found)


def unit(module: str) -> tuple[int, int] | None:
    """Tier and place of the unit that a module belongs to; None for a package's own front."""
    if module in PACKAGES:
        return None
    head = ".".join(module.split(".")[:2])
    for tier, row in enumerate(TIERS):
        for place, members in enumerate(row):
            if head in members:
                return tier, place
    raise AssertionError(f"{head} has no place in TIERS: give it one")


def targets(found: Import) -> list[str]:
    """The modules of ours that an import reaches: `from tune_sr import space` reaches `space`."""
    if found.module.partition(".")[0] not in PACKAGES:
        return []
    inner = [f"{found.module}.{name}" for name in found.names]
    modules = {module_of(path) for path in FILES}
    return [name for name in inner if name in modules] or [found.module]


@EACH_FILE
def test_arrows_point_down(path: Path) -> None:
    here = unit(module_of(path))
    if here is None:  # a package's front exports lazily and is checked as LIGHT
        return
    wrong = []
    for found in imports(path):
        for target in targets(found):
            there = unit(target)
            if there is not None and there != here and there[0] >= here[0]:
                wrong.append(f"line {found.line}: {target}")
    assert wrong == [], "upward or sideways"


@pytest.mark.parametrize("path", [p for p in FILES if module_of(p).startswith("trainables")])
def test_trainables_has_never_heard_of_a_search(path: Path) -> None:
    assert "tune_sr" not in {found.module.partition(".")[0] for found in imports(path)}


def every_import(path: Path) -> set[str]:
    """The modules of ours that a file names in any import: late ones and those of types too."""
    found = set()
    for node in ast.walk(parsed(path)):
        if isinstance(node, ast.ImportFrom):
            names = tuple(alias.name for alias in node.names)
            found |= set(targets(Import(node.module or "", names, node.lineno, True)))
        elif isinstance(node, ast.Import):
            for alias in node.names:
                found |= set(targets(Import(alias.name, (), node.lineno, True)))
    return found - {module_of(path)}


def test_no_circle_of_files_by_any_import() -> None:
    waits_for = {module_of(path): every_import(path) for path in FILES}
    ordered: set[str] = set()
    while ready := [each for each in waits_for if not waits_for[each] - ordered]:
        ordered |= set(ready)
        waits_for = {each: them for each, them in waits_for.items() if each not in ordered}
    assert {each: sorted(them - ordered) for each, them in waits_for.items()} == {}


def test_every_module_that_has_a_place_exists() -> None:
    modules = {module_of(path) for path in FILES}
    named = {name for row in TIERS for members in row for name in members}
    assert named - modules == set()
    files = {str(path.relative_to(ROOT)) for path in FILES}
    folders = {f"{path.parent.relative_to(ROOT)}/" for path in FILES}
    assert {door for doors in DOORS.values() for door in doors} | LATE <= files | folders


@EACH_FILE
def test_every_library_has_one_door(path: Path) -> None:
    name = str(path.relative_to(ROOT))
    wrong = [
        f"line {found.line}: {found.module}"
        for found in imports(path)
        if not name.startswith(tuple(DOORS.get(found.module.partition(".")[0], {name})))
    ]
    assert wrong == []


@EACH_FILE
def test_only_commands_import_modules_of_ours_late(path: Path) -> None:
    name = str(path.relative_to(ROOT))
    parts = name.split("/")
    if parts[0] != "tune_sr" or len(parts) == 2 or parts[1] == "deploy" or name in LATE:
        return
    late = [f"line {each.line}: {each.module}" for each in imports(path) if not each.at_import]
    assert [each for each in late if each.split(": ")[1].partition(".")[0] in PACKAGES] == []


@pytest.mark.parametrize("path", [p for p in FILES if p.name == "__init__.py"], ids=str)
def test_a_parts_front_is_one_docstring(path: Path) -> None:
    if path.parent.parent == ROOT / "tune_sr":
        assert ast.get_docstring(parsed(path)) and len(parsed(path).body) == 1


@pytest.mark.parametrize("start", LIGHT)
def test_help_and_refusals_wait_for_nothing_heavy(start: str) -> None:
    files = {module_of(path): path for path in FILES}
    waiting, seen = [(start,)], {start}
    while waiting:
        chain = waiting.pop()
        path = files[chain[-1]]
        for found in imports(path):
            if not found.at_import:
                continue
            library = found.module.partition(".")[0]
            assert library not in HEAVY, " -> ".join((*chain, found.module))
            for target in targets(found):
                fronts = [target, target.partition(".")[0], target.rpartition(".")[0]]
                for module in fronts:
                    if module in files and module not in seen:
                        seen.add(module)
                        waiting.append((*chain, module))


@EACH_FILE
def test_files_stay_small(path: Path) -> None:
    lines = len(path.read_text(encoding="utf-8").splitlines())
    assert lines <= LONGEST_FILE


def function_lines(path: Path) -> dict[str, int]:
    functions = [
        node
        for node in ast.walk(parsed(path))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    ]
    return {f.name: f.end_lineno - f.lineno + 1 for f in functions if f.end_lineno}


@EACH_FILE
def test_functions_stay_small(path: Path) -> None:
    long = {name: n for name, n in function_lines(path).items() if n > LONGEST_FUNCTION}
    assert long == {}


def test_most_functions_are_smaller_still() -> None:
    lines = sorted(n for path in FILES for n in function_lines(path).values())
    assert lines[len(lines) // 2] <= 10
    assert lines[len(lines) * 9 // 10] < 35


@EACH_FILE
def test_every_module_says_what_it_is_for(path: Path) -> None:
    said = ast.get_docstring(parsed(path))
    assert said, "no module docstring"
    assert said.splitlines()[0].endswith((".", ";"))


def test_methods_import_each_others_functions_and_never_each_others_classes() -> None:
    registry = parsed(ROOT / "trainables" / "methods" / "__init__.py")
    methods = {
        node.module
        for node in ast.walk(registry)
        if isinstance(node, ast.ImportFrom)
        and node.module
        and {alias.name for alias in node.names} & _registered(registry)
    }
    assert len(methods) >= 4
    for path in FILES:
        if module_of(path).startswith("trainables.methods."):
            for found in imports(path):
                classes = [name for name in found.names if name[0].isupper()]
                assert not (found.module in methods and classes), f"{path.name}: {classes}"


def _registered(registry: ast.Module) -> set[str]:
    """Names of the classes in the literal METHODS."""
    for node in registry.body:
        if isinstance(node, ast.AnnAssign) and ast.unparse(node.target) == "METHODS":
            assert isinstance(node.value, ast.Dict)
            return {ast.unparse(value) for value in node.value.values}
    raise AssertionError("METHODS is not a literal")


UNPICKLES = {"trainables/networks/unpickle.py"}
"""The one module with an unpickler: of its own making, it knows no name but those on its list."""


@EACH_FILE
def test_nothing_is_unpickled_but_by_the_unpickler_with_a_list(path: Path) -> None:
    """A pickle runs what it names: `pickle.load` of a file is to run its author's program."""
    if str(path.relative_to(ROOT)) in UNPICKLES:
        return
    picklers = {"pickle", "_pickle", "cPickle", "dill", "cloudpickle", "joblib", "shelve"}
    wrong = []
    for found in imports(path):
        if picklers & {*found.module.split("."), *found.names}:
            wrong.append(f"line {found.line}: imports {found.module}")
    for node in ast.walk(parsed(path)):
        if isinstance(node, ast.Call):
            called = ast.unparse(node.func)
            flags = {each.arg: ast.unparse(each.value) for each in node.keywords}
            unsafe = called == "torch.load" and flags.get("weights_only") != "True"
            if unsafe or called.endswith((".get_pickled_error", "np.load")):
                wrong.append(f"line {node.lineno}: {called}")
    assert wrong == []


def test_no_module_is_a_drawer() -> None:
    assert not [path for path in FILES if path.stem in ("utils", "util", "helpers", "misc")]


@EACH_FILE
def test_nothing_is_left_to_do(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert not [word for word in ("TODO", "FIXME", "XXX", "NotImplementedError") if word in text]
