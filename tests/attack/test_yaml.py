"""Spaces, points and `--set` of strangers: YAML that no grammar has, and numbers of any size."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from attempts import Attempt, done, fifo, harmless, refused, run_command, unique
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from trainables.errors import ConfigError
from trainables.networks import build_network
from trainables.networks.checkpoint import save_network
from tune_sr import evaluate, search, train
from tune_sr.space.search_space import SearchSpace
from tune_sr.space.yaml_file import SpaceError, dump_yaml, parse_value, parse_yaml
from tune_sr.study.space_file import load_space

SPACE = """\
fixed:
  method: {name: dfsr}
  student: {name: vdsr, features: 4, blocks: 3, scales: [2]}
  teacher: {name: vdsr, features: 4, blocks: 3, weights: TEACHER}
  batch: {images: 2, patch: 16}
  heldout: {images: photos, crop: 32}
  budget: {steps: 40, steps_per_report: 10}
search:
  method.w_R: {uniform: [0.0, 3.0]}
study:
  trials: 2
"""


def teacher(folder: Path) -> Path:
    network = build_network({"name": "vdsr", "features": 4, "blocks": 3, "scales": [2]}, seed=1)
    save_network(folder / "teacher.safetensors", network)
    return folder / "teacher.safetensors"


def space(folder: Path, old: str = "", new: str = "") -> Path:
    text = SPACE.replace("TEACHER", str(teacher(folder)))
    assert old in text
    path = folder / "x.yaml"
    path.write_text(text.replace(old, new) if old else text + new)
    return path


# --- YAML itself ----------------------------------------------------------------------------------

TEXTS: dict[str, str | bytes] = {
    "a word": "hello",
    "a list": "- 1",
    "nothing": "",
    "a number": "3",
    "two documents": "a: 1\n---\nb: 2",
    "an end before the start": "...\n---\n",
    "a tab": "a:\n\t- 1",
    "an open bracket": "a: [1",
    "an open quote": 'a: "x',
    "a closing bracket": "a: ]",
    "a comma": ",",
    "an at": "a: @x",
    "a backtick": "a: `x`",
    "a percent": "%x",
    "a directive": "%YAML 1.1\n---\na: 1",
    "a directive of YAML 9": "%YAML 9.9\n---\na: 1",
    "a directive of tags": "%TAG ! tag:x,2002:\n---\na: !x 1",
    "a zero byte": b"a: \0",
    "an escape code": b"a: \x1b[2J",
    "a bell": b"\x07: 1",
    "no UTF-8": b"\xff\xfe\x00\x00a",
    "UTF-16": "a: 1".encode("utf-16"),
    "UTF-32": "a: 1".encode("utf-32"),
    "half a character": b"a: \xe2\x82",
    "a surrogate": b"a: \xed\xa0\x80",
    "an escaped surrogate": 'a: "\\ud800"',
    "an escaped zero byte": 'a: "\\0"',
    "an unknown escape": 'a: "\\q"',
    "an escape cut short": 'a: "\\x1"',
    "an alias": "a: &x 1\nb: *x",
    "an alias of itself": "a: &x [*x]",
    "an unknown alias": "a: *x",
    "a thousand million laughs": "a: &a [x,x]\n"
    + "".join(f"{chr(98 + n)}: &{chr(98 + n)} [*{chr(97 + n)},*{chr(97 + n)}]\n" for n in range(9)),
    "a merge": "a: {<<: {b: 1}}",
    "a key given twice": "fixed: {}\nfixed: {}",
    "a key of a list": "[1, 2]: 3",
    "a key of a mapping": "{a: 1}: 3",
    "a complex key": "? [a]\n: 1",
    "an empty key": ": 1",
    "a value without key": "a: 1\n1",
    "a list below a word": "a: 1\n  - 2",
    "nesting of 33": "a: " + "[" * 33 + "]" * 33,
    "nesting of 900": "a: " + "[" * 900 + "]" * 900,
    "nesting of 10,000": "a: " + "[" * 10_000 + "]" * 10_000,
    "open nesting of 30,000": "a: " + "[" * 30_000,
    "nested mappings of 900": "a: " + "{a: " * 900 + "}" * 900,
    "nested keys of 900": "".join(" " * n + "a:\n" for n in range(200)),
    "nested question marks": "? " * 5_000,
    "nested dashes": "- " * 10_000,
    "a megabyte": "a: " + "x" * 2**20,
    "20,000 numbers": "a: [" + "1, " * 20_000 + "1]",
    "10,000 numbers": "a: [" + "1," * 10_000 + "1]",
    "3,000 keys": "".join(f"k{n}: 1\n" for n in range(3_000)),
    "2,000 nested quotes": "a: " + "'" * 4_001,
    "30,000 spaces": "a:" + " " * 30_000 + "b: c",
    "10,000 colons": "a" + ":" * 10_000,
    "10,000 open mappings": "{" * 10_000,
    "10,000 exclamation marks": "!" * 10_000 + " a",
    "10,000 ampersands": "&a " * 10_000,
    "10,000 lines of a comment": "# x\n" * 8_000,
    "a line of a screenful": "a: [" + "x" * 20_000,
    "an unknown section": "x: 1",
    "an unknown section of a screenful": "x" * 20_000 + ": 1",
    "an unknown section of escape codes": '"\\e[2J": 1',
    "a section of a word": "fixed: x",
    "fixed of null": "fixed:",
    "search of a list": "fixed: {budget: 1}\nsearch: []",
    "first of a mapping": "fixed: {budget: 1}\nfirst: {}",
    "a variable that is not set": 'fixed: {a: "${NOBODY_SET_THIS}"}',
    "a variable without a name": 'fixed: {a: "${}"}',
    "a variable of escape codes": 'fixed: {a: "${\\e[2J}"}',
    "a variable inside a variable": 'fixed: {a: "${${HOME}}"}',
}
TAGS = ("!!bool maybe", "!!bool true", "!!int ''", "!!int 3", "!!int 0x1f", "!!float x",
        "!!float .inf", "!!null x", "!!str 1", "!!timestamp x", "!!timestamp 2001-01-01",
        "!!binary x", "!!set {a}", "!!omap [a: 1]", "!!pairs [a: 1]", "!!map {a: 1}", "!!seq [1]",
        "!!python/tuple [1]", "!!python/name:os.system x", "!!python/object:os.x {}",
        "!!python/object/apply:os.system [x]", "!!python/object/new:os.x [x]",
        "!!python/module:os x", "!x 1", "! 1", "!<tag:x> 1", "!<tag:yaml.org,2002:str> 1",
        "!!merge x", "!!value x")  # fmt: skip
TEXTS |= {f"tag {tag}": f"fixed: {tag}" for tag in TAGS}
TEXTS |= {f"tag of a key: {tag}": f"{tag.split()[0]} fixed: 1" for tag in TAGS[:12]}


def _load(path: Path) -> SearchSpace:
    return load_space(path)


def _text(content: str | bytes) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        raw = content if isinstance(content, bytes) else content.encode()
        (folder / "x.yaml").write_bytes(raw)
        return folder / "x.yaml"

    return make


YAML = [
    Attempt(f"YAML: {name}", _load, refused("x.yaml"), prepare=_text(text), dangerous=True)
    for name, text in TEXTS.items()
]
YAML += [
    Attempt(f"--set: {name}", lambda text: parse_value(text, "--set x"), harmless("--set x"),
            prepare=lambda _, text=text: text)
    for name, text in TEXTS.items()
    if isinstance(text, str) and len(text) < 2_000
]  # fmt: skip

# --- places ---------------------------------------------------------------------------------------

PLACES: dict[str, Callable[[Path], Path]] = {
    "nothing": lambda folder: folder / "x.yaml",
    "a folder": lambda folder: folder,
    "a FIFO": lambda folder: fifo(folder / "x.yaml"),
    "a device without end": lambda folder: Path("/dev/zero"),
    "a null device": lambda folder: Path("/dev/null"),
    "a name of 300 characters": lambda folder: folder / ("x" * 300),
    "a path of 5,000 characters": lambda folder: folder / ("x/" * 2500),
    "a zero byte": lambda folder: folder / "x\0",
    "an unknown user's": lambda folder: Path("~nobody-of-that-name/x.yaml"),
    "undecodable": lambda folder: folder / "x\udcff.yaml",
    "escape codes": lambda folder: folder / "\x1b[2J.yaml",
    "the memory of this process": lambda folder: Path("/proc/self/mem"),
}
WHERE = [
    Attempt(f"a space that is {name}", _load, refused(), prepare=make, dangerous=True)
    for name, make in PLACES.items()
]
for _main in (search, train):
    WHERE += [
        Attempt(
            f"{_main.PROG}: a space that is {name}",
            lambda path, main=_main.main: run_command(main, "--space", path),
            refused(_main.PROG),
            prepare=make,
            dangerous=True,
        )
        for name, make in PLACES.items()
    ]

# --- ranges ---------------------------------------------------------------------------------------

BIG = 10**18
RANGES = (
    "{uniform: [0, 1e400]}", "{uniform: [-.inf, 1]}", "{uniform: [.nan, 1]}", "{uniform: [1, 1]}",
    "{uniform: [2, 1]}", "{uniform: []}", "{uniform: 3}", "{uniform: {a: 1}}", "{uniform: [a, b]}",
    "{uniform: [true, 2]}", "{uniform: [[0], [1]]}", "{uniform: [0, 1], randint: [0, 1]}",
    "{loguniform: [0, 1]}", "{loguniform: [-1, 1]}", "{quniform: [0, 1]}",
    "{quniform: [0, 1, 0]}", "{quniform: [0, 1, -1]}", "{quniform: [0, 1, 1e-300]}",
    "{quniform: [0, 1, 5e-324]}", "{quniform: [0, 1e308, 1e-300]}", "{quniform: [0, 1, 1e-11]}",
    "{quniform: [-1e308, 1e308, 1]}", "{quniform: [0, 1, 0.3]}", "{quniform: [0.0, .inf, 1]}",
    "{randint: [0, 2.5]}", f"{{randint: [0, {BIG}]}}", f"{{lograndint: [1, {BIG}]}}",
    f"{{randint: [0, {10**19}]}}", f"{{randint: [0, {10**400}]}}", f"{{randint: [-{10**30}, 2]}}",
    f"{{randint: [0, {'9' * 5000}]}}", f"{{lograndint: [1, {10**400}]}}",
    f"{{uniform: [0, {10**400}]}}", f"{{choice: [{10**400}]}}", f"{{choice: [{'9' * 5000}]}}",
    "{choice: []}", "{choice: [[1]]}", "{choice: [{a: 1}]}", "{choice: [.nan]}", "{choice: [1, 1]}",
    "{choice: [1, true]}", "{choice: [.inf]}", "{choice: word}", "{choice: {}}", "{}", "3", "[]",
    "null", "{when: {}}", "{word: [1]}", "{uniform: [0, 1], when: 3}",
    "{uniform: [0, 1], when: {}}",
    "{uniform: [0, 1], when: {method.P: []}}", "{uniform: [0, 1], when: {method.w_R: 1}}",
    "{uniform: [0, 1], when: {x.y: 1}}", "{uniform: [0, 1], when: {method: {name: 1}}}",
    "{uniform: [0, 1], when: {method.name: {a: 1}}}",
    "{choice: [" + ", ".join("x" * 50 + str(n) for n in range(500)) + "]}",
)  # fmt: skip
SOUND_RANGES = {"{uniform: [0, 1], when: {}}"}
RANGED = [
    Attempt(
        f"w_R: {entry:.60}, {number}",
        lambda path: load_space(path),
        done() if entry in SOUND_RANGES else refused("x.yaml"),
        prepare=lambda folder, entry=entry: space(folder, "{uniform: [0.0, 3.0]}", entry),
        dangerous=True,
    )
    for number, entry in enumerate(RANGES)
    if "1e-11" not in entry
]
PATHS = ("method", "method.w_R.x", "method.w_r", "x", "", ".", "..", "method..P", "a.b.c.d.e.f",
         "seed", "budget.steps", "heldout.crop", "device", "threads", "method.name", "__class__",
         "student.__init__", "x" * 5_000, '"\\e[2J"', "0", "student", "teacher.weights",
         "study.trials", "student.scale")  # fmt: skip
RANGED += [
    Attempt(
        f"a quantity called {path:.30}",
        _load,
        refused("x.yaml"),
        prepare=lambda folder, path=path: space(
            folder, "  method.w_R: {uni", f"  {path}: {{choice: [1, 2]}}\n  method.w_R: {{uni"
        ),
        dangerous=True,
    )
    for path in PATHS
]


def _many(count: int, each: str) -> Callable[[Path], Path]:
    lines = "".join(f"  {each.format(n=n)}\n" for n in range(count))
    return lambda folder: space(folder, "study:\n", f"{lines}study:\n")


RANGED += [
    Attempt(f"{count} quantities", _load, refused("x.yaml"),
            prepare=_many(count, "a{n}.b: {{choice: [1]}}"), dangerous=True)
    for count in (63, 64, 900)
]  # fmt: skip
GRIDS = {
    "quniform of 1e11 steps": "{quniform: [0, 1, 1e-11]}",
    "quniform of 1e9 steps": "{quniform: [0, 1, 1e-9]}",
    "randint of 1e9": "{randint: [0, 1000000000]}",
    "randint of 1e11": "{randint: [0, 100000000000]}",
    "lograndint of 1e9": "{lograndint: [1, 1000000000]}",
    "uniform": "{uniform: [0, 1]}",
}
RANGED += [
    Attempt(
        f"grid over {name}",
        lambda path: run_command(
            search.main, "--space", path, "--dry-run", "--set", "study.searcher=grid"
        ),
        refused(),
        prepare=lambda folder, entry=entry: space(
            folder, "method.w_R: {uniform: [0.0, 3.0]}",
            f"{'method.update_ratio' if 'int' in entry else 'method.w_R'}: {entry}",
        ),
        dangerous=True,
    )
    for name, entry in GRIDS.items()
]  # fmt: skip

# --- numbers of every setting ---------------------------------------------------------------------

HUGE = ("-1", "0", "1000000000000", str(2**62), str(10**19), str(10**400), "9" * 5000, "1e308",
        ".inf", ".nan", "[]", "{}", "null", "word", "true", "2.5",
        '"\\e[2J"', "x" * 3_000)  # fmt: skip
SETTINGS = (
    "student.features", "student.blocks", "student.scales", "student.scale", "student.weights",
    "student.name", "teacher.features", "teacher.weights", "teacher.name", "method.name",
    "method.P", "method.latent", "method.update_ratio", "method.part_fraction",
    "method.split_points", "method.generator_lr", "method.loss", "method.loss_range",
    "method.preset", "batch.images", "batch.patch", "budget.steps", "budget.steps_per_report",
    "heldout.crop", "heldout.images", "heldout.protocol", "optimiser.lr", "optimiser.schedule",
    "optimiser.clip", "optimiser.name", "ema", "seed", "threads", "device", "precision", "data",
    "study.trials", "study.hours", "study.gpu_hours", "study.concurrent", "study.cpus_per_trial",
    "study.gpus_per_trial", "study.seed", "study.name", "study.experiment", "study.searcher",
    "study.scheduler", "study.objective",
)  # fmt: skip
NUMBERS = [
    Attempt(
        f"--set {path}={value:.20}" + ("..." if len(value) > 20 else "") + f" ({len(value)})",
        lambda path, words=f"{path}={value}": load_space(path, [words]),
        harmless(),
        prepare=space,
        dangerous=len(value) > 6 and path.split(".")[-1] in ("P", "steps", "blocks", "trials"),
    )
    for path in SETTINGS
    for value in HUGE
]
DRY = {
    "study.trials=1000000": done(),
    "study.objective={psnr_y_db: max, params: {at_most: 500000}}": refused(
        "study.objective", "the same for all trials"
    ),
    "study.objective={psnr_y_db: max, params: {at_most: -1}}": refused("study.objective"),
    "study.objective={psnr_y_db: max, params: {at_most: .nan}}": refused("study.objective"),
    "study.objective={psnr_y_db: max, latency_ms: {at_most: 5}}": refused("study.objective"),
    "study.objective={psnr_y_db: max, params: {at_most: [1]}}": refused("study.objective"),
    "study.objective={[1]: max}": refused(),
    "study.objective={}": refused("study.objective"),
    "study.objective=[{psnr_y_db: max}]": refused("study.objective"),
    "study.margin=-1": refused("study.margin"),
    "study.confirm=auto": done(),
    "study.confirm=always": refused("study.confirm"),
    "study.trials=1000000000000": refused("study.trials"),
    "budget.steps=1000000000": refused("budget.steps_per_report", "100,000"),
    "budget.steps_per_report=1": done(),
    "batch.patch=1000000": refused("batch.patch"),
    "batch.patch=1024": refused("method.latent", "parameters"),
    "method.latent=1000000000": refused("method.latent"),
    "method.latent=1000000": refused("method.latent"),
    "method.P=1000000000000": refused("method.P"),
    "student.blocks=1000000": refused("student.blocks"),
    "student.features=12000": refused("student.features"),
    "student.features=4000": refused("student.features", "parameters"),
    "device=cuda:99": refused("device", "x.yaml"),
    "device=yes": refused("device"),
    "device=meta": refused("device"),
    "device=mps": refused("device"),
    "device=cpu:x": refused("device"),
    "device=hpu": refused("device"),
    "device=privateuseone": refused("device"),
    'device="\\e[2J"': refused("device"),
    "threads=100000": refused("threads"),
    "threads=20000": refused("threads"),
    "threads=1025": refused("threads"),
    "heldout.crop=100000": refused(),
    "heldout.images=~nobody-of-that-name/x": refused(),
    "teacher.weights=~nobody-of-that-name/x.pt": refused("teacher.weights"),
    f"teacher.weights={'x' * 300}.pt": refused("teacher.weights"),
    f"study.name={'a' * 129}": refused("study.name", "at most 128"),
    f"study.name={'a' * 128}": done(),
    "study.name=..": refused("study.name"),
    "study.name=a/b": refused("study.name"),
    "study.name=/tmp/x": refused("study.name"),
}
COMMANDS = [
    Attempt(
        f"--dry-run --set {words:.50} ({len(words)})",
        lambda path, words=words: run_command(
            search.main, "--space", path, "--dry-run", "--storage", path.parent, "--set", words
        ),
        promise,
        prepare=space,
        dangerous=True,
    )
    for words, promise in DRY.items()
]


def _point(path: Path) -> Path:
    point = path.with_name("point.yaml")
    point.write_text("method.w_R: 1.0\n")
    return point


def _constant(folder: Path, value: float) -> Path:
    path = space(folder)
    network = build_network({"name": "vdsr", "features": 4, "blocks": 3, "scales": [2]}, seed=1)
    for parameter in network.parameters():
        parameter.data.fill_(value)
    save_network(folder / "teacher.safetensors", network)
    return path


for _value in (math.nan, math.inf, -math.inf, 3e38):
    COMMANDS += [
        Attempt(
            f"{main.PROG}: a teacher of {_value:g}",
            lambda path, main=main: run_command(main.main, *_DRY[main.PROG], "--space", path),
            refused("teacher.weights"),
            prepare=lambda folder, value=_value: _constant(folder, value),
            dangerous=True,
        )
        for main in (search,)
    ]
_DRY = {search.PROG: ["--dry-run", "--storage", "/tmp"]}
COMMANDS += [
    Attempt(
        f"--name of {count} characters",
        lambda path, count=count: run_command(
            search.main, "--space", path, "--dry-run", "--name", "a" * count
        ),
        refused("--name", "at most 128"),
        prepare=space,
        dangerous=True,
    )
    for count in (129, 255, 256, 300, 5_000)
]
COMMANDS += [
    Attempt(
        f"--storage {storage:.30} ({len(storage)})",
        lambda path, storage=storage: run_command(
            search.main, "--space", path, "--dry-run", "--storage", storage
        ),
        refused(),
        prepare=space,
        dangerous=True,
    )
    for storage in ("x" * 300, "x/" * 2500, "/dev/null", "/dev/null/x", "/proc/x")
]
COMMANDS += [
    Attempt(
        f"train --set {words}",
        lambda path, words=words: run_command(
            train.main, "--space", path, "--point", _point(path), "--output", path.parent / "out",
            "--set", words,
        ),
        refused(words.partition("=")[0].partition(".")[2] or words.partition("=")[0]),
        prepare=space,
        dangerous=True,
    )
    for words in ("device=cuda:99", "device=meta", "threads=100000", "teacher.weights=nowhere.pt",
                  "heldout.images=nowhere")
]  # fmt: skip
COMMANDS += [
    Attempt(
        f"evaluate {' '.join(words)}",
        lambda folder, words=words: run_command(evaluate.main, "--network", "shipped", *words),
        refused(evaluate.PROG),
        dangerous=True,
    )
    for words in (
        ("--device", "cuda:99"), ("--device", "meta"), ("--device", "yes"), ("--device", ""),
        ("--threads", "100000"), ("--threads", "0"), ("--threads", "-1"), ("--tile-pixels", "0"),
        ("--json", "/dev/null/x"), ("--json", "x" * 300), ("--save-images", "/dev/null/x"),
        ("--save-images", "x" * 300),
    )
]  # fmt: skip

ATTEMPTS = unique([*YAML, *WHERE, *RANGED, *NUMBERS, *COMMANDS])


@pytest.mark.parametrize("attempt", ATTEMPTS, ids=str)
def test_it_holds(attempt: Attempt, tmp_path: Path) -> None:
    attempt.check(tmp_path)


# --- generated ------------------------------------------------------------------------------------


def _words() -> st.SearchStrategy[str]:
    return st.text("abcdefgh._", min_size=1, max_size=8)


PLAIN = st.none() | st.booleans() | st.integers(-(2**63) + 1, 2**63 - 1) | st.floats() | st.text(
    st.characters(codec="utf-8", exclude_categories=("Cc", "Cs")), max_size=20
)  # fmt: skip
NESTED = st.recursive(
    PLAIN,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_words(), inner, max_size=3),
    max_leaves=12,
)
MARKS = st.sampled_from(["[", "]", "{", "}", ":", ": ", ", ", "- ", "? ", "&a ", "*a", "!!str ",
                         "!x ", "|\n", ">\n", "'", '"', "\\", "\n", "\n  ", "#", "%", "${",
                         "---\n", "<<", "\t", "\x85", "1e5", "0x1", "yes", "~", "fixed",
                         "search"])  # fmt: skip


@settings(max_examples=200)
@given(text=st.lists(MARKS | st.text(max_size=3), max_size=14).map("".join))
def test_any_text_is_read_or_refused_in_one_line(text: str) -> None:
    try:
        parse_yaml(text, "x.yaml")
    except SpaceError as error:
        assert "\n" not in str(error)


@settings(max_examples=150)
@given(content=st.dictionaries(_words(), NESTED, max_size=4))
def test_what_is_written_is_read_back(content: dict[str, Any]) -> None:
    read = parse_yaml(dump_yaml(content), "x.yaml", interpolate=False).content
    assert repr(read) == repr(content)  # NaN is itself here


@settings(max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    path=st.sampled_from([f"fixed.{each}" for each in SETTINGS if not each.startswith("study")])
    | st.sampled_from([each for each in SETTINGS if each.startswith("study")]),
    value=NESTED,
)
def test_any_setting_is_taken_or_refused(path: str, value: Any, tmp_path: Path) -> None:
    if not (tmp_path / "x.yaml").exists():
        space(tmp_path)
    content = parse_yaml((tmp_path / "x.yaml").read_text(), "x.yaml").content
    here = content
    *above, last = path.split(".")
    for key in above:
        here = here.setdefault(key, {})
    here[last] = value
    (tmp_path / "y.yaml").write_text(dump_yaml(content))
    try:
        load_space(tmp_path / "y.yaml")
    except ConfigError as error:
        assert "\n" not in str(error)
