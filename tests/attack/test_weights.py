"""Weights files of strangers: damaged, crafted, too large, or no files at all."""

from __future__ import annotations

import io
import json
import os
import pickle
import struct
import zipfile
from collections import OrderedDict
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from attempts import Attempt, done, fifo, harmless, refused, run_command, unique
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image
from safetensors.torch import save
from torch import Tensor, nn

from trainables.errors import ConfigError
from trainables.networks import build_network
from trainables.networks.checkpoint import read_caveat, read_weights
from trainables.networks.loading import load_network
from tune_sr import evaluate

TOY = {"name": "vdsr", "features": 4, "blocks": 3, "scales": [2]}
EDSR = {"name": "edsr", "features": 4, "blocks": 2, "scales": [2]}
Make = Callable[[Path], Path]


def tensors(config: dict[str, Any] = TOY) -> dict[str, Tensor]:
    return dict(build_network(config, seed=1).state_dict())


def sound(folder: Path, metadata: dict[str, str] | None = None, **changed: Tensor | None) -> Path:
    """A file of ours; `changed` replaces tensors, None leaves one out."""
    held = {key: value for key, value in {**tensors(), **changed}.items() if value is not None}
    said = {"architecture": json.dumps(TOY)} if metadata is None else metadata
    path = folder / "x.safetensors"
    path.write_bytes(save({k: v.contiguous() for k, v in held.items()}, metadata=said))
    return path


def raw(header: bytes | dict[str, Any], data: bytes = b"", length: int | None = None) -> Make:
    """A safetensors file whose header is written by hand."""
    said = header if isinstance(header, bytes) else json.dumps(header).encode()

    def make(folder: Path) -> Path:
        path = folder / "x.safetensors"
        path.write_bytes(struct.pack("<Q", len(said) if length is None else length) + said + data)
        return path

    return make


def architecture(said: Any) -> Make:
    text = said if isinstance(said, str) else json.dumps(said)
    return lambda folder: sound(folder, {"architecture": text})


def torch_file(content: Callable[[], Any], *, old: bool = False, name: str = "x.pth") -> Make:
    def make(folder: Path) -> Path:
        torch.save(content(), folder / name, _use_new_zipfile_serialization=not old)
        return folder / name

    return make


def pickled(program: bytes, *, old: bool) -> Make:
    """torch's file around a pickle written by hand, with ten floats as storage 0."""

    def make(folder: Path) -> Path:
        path = folder / "x.pth"
        content = b"\x80\x02" + program
        if old:
            head = (0x1950A86A20F9469CFC6C, 1001, {"little_endian": True})
            parts = b"".join(pickle.dumps(part, 2) for part in head)
            rest = pickle.dumps(["0"], 2) + struct.pack("<q10f", 10, *range(10))
            path.write_bytes(parts + content + rest)
            return path
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("archive/data.pkl", content)
            archive.writestr("archive/data/0", struct.pack("<10f", *range(10)))
        return path

    return make


def archive(entries: dict[str, bytes], method: int = zipfile.ZIP_STORED) -> Make:
    def make(folder: Path) -> Path:
        with zipfile.ZipFile(folder / "x.pth", "w", method) as file:
            for name, content in entries.items():
                file.writestr(name, content)
        return folder / "x.pth"

    return make


def row(name: str, make: Make, *words: str, **more: Any) -> Attempt:
    return Attempt(name, load_network, refused(*words), prepare=make, **more)


# --- what a file of ours says of itself -----------------------------------------------------------

SAID: dict[str, Any] = {
    "no JSON": "{",
    "a number": 5,
    "a list": [],
    "null": None,
    "a word": '"vdsr"',
    "nothing": {},
    "pairs": [["name", "vdsr"]],
    "a name of a list": {**TOY, "name": ["vdsr"]},
    "a name of a mapping": {**TOY, "name": {"vdsr": 1}},
    "no name": {"features": 4},
    "a null name": {**TOY, "name": None},
    "an unknown name": {**TOY, "name": "vgg"},
    "a name of escape codes": {**TOY, "name": "\x1b[2J\x1b]0;x\x07"},
    "a long name": {**TOY, "name": "v" * 100_000},
    "the name spandrel": {**TOY, "name": "spandrel"},
    "scales of a number": {**TOY, "scales": 5},
    "scales of a word": {**TOY, "scales": "2"},
    "scales of nothing": {**TOY, "scales": []},
    "scales of null": {**TOY, "scales": None},
    "scales twice": {**TOY, "scales": [2, 2]},
    "scales of 2**70": {**TOY, "scales": [2**70]},
    "scales inside scales": {**TOY, "scales": [[2]]},
    "scale and scales": {**TOY, "scale": 2},
    "blocks of a thousand million": {**TOY, "blocks": 10**9},
    "blocks of 10**300": {**TOY, "blocks": 10**300},
    "blocks of a share": {**TOY, "blocks": 2.5},
    "blocks of a word": {**TOY, "blocks": "3"},
    "blocks of true": {**TOY, "blocks": True},
    "no blocks": {**TOY, "blocks": 0},
    "negative blocks": {**TOY, "blocks": -3},
    "other blocks": {**TOY, "blocks": 900},
    "features of 12,000": {**TOY, "features": 12_000},
    "features of 4,000": {**TOY, "features": 4_000, "blocks": 1},
    "features of 1,000": {**TOY, "features": 1_000},
    "features of a list": {**TOY, "features": [4]},
    "an unknown key": {**TOY, "depth": 4},
    "an unknown key of a screenful": {**TOY, "x" * 50_000: 4},
    "a value of a screenful": {**TOY, "features": "x" * 50_000},
    "another network": EDSR,
    "an infinite res_scale": '{"name": "edsr", "features": 4, "blocks": 2, "scale": 2, '
    '"res_scale": Infinity}',
    "a res_scale of NaN": '{"name": "edsr", "features": 4, "blocks": 2, "scale": 2, '
    '"res_scale": NaN}',
    "an RCAN of a million blocks": {"name": "rcan", "groups": 1000, "blocks": 1000, "scale": 2},
    "an RCAN of no reduction": {"name": "rcan", "reduction": 0, "scale": 2},
    "a SwinIR of a million layers": {"name": "swinir", "blocks": 1000, "layers": 1000, "scale": 2},
    "a SwinIR of 0 heads": {"name": "swinir", "heads": 0, "scale": 2},
    "a SwinIR of heads that do not share": {"name": "swinir", "heads": 7, "scale": 2},
    "an EDSR of 3,800 features": {"name": "edsr", "features": 3_800, "blocks": 1, "scale": 2},
    "nested 100 deep": '{"name": ' + "[" * 100 + "]" * 100 + "}",
    "nested 100,000 deep": "[" * 100_000 + "]" * 100_000,
    "a number of 5,000 digits": '{"name": "vdsr", "blocks": ' + "9" * 5000 + "}",
}
RISKY = ("million", "features", "deep", "10**", "digits", "blocks", "shared", "12,000", "2**")
"""Words of attempts that could hang, or take all memory."""


def risky(name: str) -> bool:
    return any(word in name for word in RISKY)


SAYS = [
    row(f"says {name}", architecture(said), "x.safetensors", dangerous=risky(name))
    for name, said in SAID.items()
]
SAYS += [
    Attempt(
        f"says {name}, and the user says the scale",
        lambda path: load_network(path, {"name": "vdsr"}, 2),
        refused(),
        prepare=architecture(SAID[name]),
        dangerous=risky(name),
    )
    for name in SAID
    if name not in ("other blocks",)
]
SAYS += [
    Attempt("says that its weights lie elsewhere", load_network, done(), prepare=architecture(each))
    for each in ({**TOY, "weights": "/etc/passwd"},)
]
CAVEATS = {
    "escape codes": "\x1b[2Jx",
    "table rows": "a |\n| b | c |",
    "a screenful": "x" * 100_000,
    "right to left": "a\u202eb",
    "nothing": "",
}
SAYS += [
    Attempt(
        f"a caveat of {name}",
        read_caveat,
        done(lambda value: value is None or (len(value) <= 500 and "\n" not in value)),
        prepare=lambda folder, said=said: sound(
            folder, {"architecture": json.dumps(TOY), "caveat": said}
        ),
    )
    for name, said in CAVEATS.items()
]

# --- safetensors written by hand ------------------------------------------------------------------

ONE = {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}
HEADERS: dict[str, Make] = {
    "empty": raw(b""),
    "no file at all": lambda folder: (
        ((folder / "x.safetensors").write_bytes(b"") and folder) or folder / "x.safetensors"
    ),
    "7 bytes": lambda folder: _written(folder / "x.safetensors", b"\x01" * 7),
    "a header of 2**63 bytes": raw(b"{}", length=2**63),
    "a header of 2**64 - 1 bytes": raw(b"{}", length=2**64 - 1),
    "a header longer than its file": raw(b"{}", length=1000),
    "a header of 2 MiB": raw(b"{}" + b" " * 2**21),
    "a header of 90 MiB that is not there": raw(b"{}", length=90 * 2**20),
    "a header that is no JSON": raw(b"\xff\xfe\x00"),
    "a header of a list": raw(b"[]"),
    "a header nested 100,000 deep": raw(b'{"a":' * 100_000),
    "a header of a word": raw(b'"x"'),
    "an empty mapping": raw({}),
    "metadata of numbers": raw({"__metadata__": {"architecture": 3}}),
    "metadata of a list": raw({"__metadata__": []}),
    "metadata alone": raw({"__metadata__": {"architecture": json.dumps(TOY)}}),
    "a tensor without a type": raw({"a": {"shape": [1], "data_offsets": [0, 4]}}, bytes(4)),
    "a tensor past the end": raw({"a": {**ONE, "data_offsets": [0, 400]}}, bytes(4)),
    "a tensor before the start": raw({"a": {**ONE, "data_offsets": [-4, 0]}}, bytes(4)),
    "offsets that cross": raw({"a": {**ONE, "data_offsets": [4, 0]}}, bytes(4)),
    "two tensors in one place": raw({"a": ONE, "b": ONE}, bytes(4)),
    "a hole": raw({"a": ONE, "b": {**ONE, "data_offsets": [8, 12]}}, bytes(12)),
    "a side of 2**63": raw({"a": {**ONE, "shape": [2**63]}}, bytes(4)),
    "a side of 10**30": raw({"a": {**ONE, "shape": [10**30]}}, bytes(4)),
    "a negative side": raw({"a": {**ONE, "shape": [-1]}}, bytes(4)),
    "a side of 1.5": raw({"a": {**ONE, "shape": [1.5]}}, bytes(4)),
    "sides that multiply to 2**64": raw({"a": {**ONE, "shape": [2**32, 2**32]}}, bytes(4)),
    "a thousand sides": raw({"a": {**ONE, "shape": [1] * 1000}}, bytes(4)),
    "a side of 0 beside 2**62": raw({"a": {**ONE, "shape": [0, 2**62], "data_offsets": [0, 0]}}),
    "a name of a screenful": raw({"x" * 100_000: ONE}, bytes(4)),
    "a name of escape codes": raw({"\x1b[2J\x07": ONE}, bytes(4)),
    "an empty name": raw({"": ONE}, bytes(4)),
    "9,000 empty tensors": raw(
        {f"a{n}": {"dtype": "F32", "shape": [0], "data_offsets": [0, 0]} for n in range(9_000)}
    ),
    "a compressed archive of this name": lambda folder: _written(
        folder / "x.safetensors", archive({"archive/data.pkl": b"N."})(folder).read_bytes()
    ),
}
HEADERS |= {
    f"type {kind}": raw({"a": {**ONE, "dtype": kind, "shape": [4]}}, bytes(64))
    for kind in ("F8_E4M3", "F4", "C64", "U64", "BOOL", "I8", "X", "", "F32\x1b", "Q8_0")
}
CRAFTED = [
    row(f"safetensors: {name}", make, dangerous=risky(name)) for name, make in HEADERS.items()
]

# --- numbers and names that fit no network --------------------------------------------------------

FULL = {
    "NaN": lambda t: t.fill_(float("nan")),
    "infinity": lambda t: t.fill_(float("inf")),
    "one NaN": lambda t: t[(0,) * t.ndim].fill_(float("nan")),
    "one infinity": lambda t: t[(-1,) * t.ndim].fill_(float("-inf")),
}


def _filled(fill: Callable[[Tensor], Any]) -> dict[str, Tensor]:
    held = {key: value.clone() for key, value in tensors().items()}
    fill(held["residual_layer.1.conv.weight"])
    return held


NUMBERS: list[Attempt] = []
for _name, _fill in FULL.items():
    for _kind in ("safetensors", "zip", "old"):
        _make: Make = (
            (lambda folder, fill=_fill: sound(folder, **_filled(fill)))
            if _kind == "safetensors"
            else torch_file(lambda fill=_fill: _filled(fill), old=_kind == "old")
        )
        NUMBERS.append(row(f"{_name} in a {_kind} file", _make, "infinite or not numbers"))
for _key in tensors():
    NUMBERS += [
        row(f"without {_key}", partial(sound, **{_key: None}), "missing"),
        row(f"{_key} is empty", partial(sound, **{_key: torch.zeros(0)}), _key),
        row(f"{_key} is one number", partial(sound, **{_key: torch.zeros(())}), _key),
        row(f"{_key} has five sides", partial(sound, **{_key: torch.zeros(1, 1, 1, 1, 1)}), _key),
        row(f"{_key} twice, once as module.", partial(sound, **{f"module.{_key}": torch.ones(1)}),
            "twice"),
        row(f"{_key} twice by wrappers", partial(sound, **{f"module.module.{_key}": torch.ones(1)}),
            "unexpected"),
    ]  # fmt: skip

# --- torch's own files ----------------------------------------------------------------------------


def _with(value: Any, key: str = "input.weight") -> Callable[[], dict[str, Any]]:
    return lambda: {**tensors(), key: value() if callable(value) else value}


def _quantised() -> Tensor:
    return torch.quantize_per_tensor(torch.ones(4, 1, 3, 3), 0.1, 0, torch.qint8)


class Named(nn.Module):
    """A class that is nobody's."""


KINDS: dict[str, Callable[[], Any]] = {
    "quantised": _with(_quantised),
    "quantised by channel": _with(
        lambda: torch.quantize_per_channel(
            torch.ones(4, 1, 3, 3), torch.ones(4), torch.zeros(4, dtype=torch.int64), 0, torch.qint8
        )
    ),
    "sparse": _with(lambda: torch.eye(4).to_sparse()),
    "sparse by rows": _with(lambda: torch.eye(4).to_sparse_csr()),
    "on no device": _with(lambda: torch.empty(4, 1, 3, 3, device="meta")),
    "all on no device": lambda: {k: v.to("meta") for k, v in tensors().items()},
    "complex": _with(lambda: torch.zeros(4, 1, 3, 3, dtype=torch.complex64)),
    "numpy": _with(lambda: __import__("numpy").ones((4, 1, 3, 3))),
    "a list": _with([1.0]),
    "a word": _with("x"),
    "None": _with(None),
    "one number of 12,000 by 12,000": _with(lambda: torch.zeros(1).expand(12_000, 12_000, 3, 3)),
    "one number a million times": _with(lambda: torch.zeros(1).expand(10**6)),
    "an EDSR of one number": lambda: {
        key: torch.zeros(1).expand([12_000 if side == 4 else side for side in value.shape])
        for key, value in tensors(EDSR).items()
    },
    "a tensor itself": lambda: torch.ones(3),
    "a list itself": lambda: [torch.ones(3)],
    "nothing": lambda: {},
    "None itself": lambda: None,
    "names of numbers": lambda: dict(enumerate(tensors().values())),
    "a name of None": lambda: {None: torch.ones(1)},
    "a name of a tuple": lambda: {(1, 2): torch.ones(1)},
    "names 1 and '1'": lambda: {1: torch.ones(1), "1": torch.ones(1)},
    "a wrapper of itself": lambda: {"params": {"params": {}}},
    "wrappers of nothing": lambda: {"state_dict": {}},
    "a module of a stranger": Named,
    "a Linear": lambda: nn.Linear(2, 2),
    "a compiled class": lambda: {"model": nn.ReLU, "epoch": 1},
    "a type": lambda: {"a": torch.float32},
    "a set": lambda: {"a": {1, 2}},
    "ten thousand names": lambda: {f"x.{n}": torch.zeros(1) for n in range(10_000)},
    "a name of a screenful": lambda: {"x" * 100_000: torch.ones(1)},
    "names of escape codes": lambda: {"\x1b[2J": torch.ones(1), "\x07": torch.ones(1)},
    "more than 2**28 numbers of one storage": lambda: (
        {f"x{n}": torch.zeros(2**20)[:] for n in range(1)} | {f"y{n}": _SHARED for n in range(300)}
    ),
}
_SHARED = torch.zeros(2**20)


def _shared_dicts(levels: int) -> dict[str, Any]:
    here: dict[str, Any] = {"a": torch.ones(1)}
    for _ in range(levels):
        here = {"a": here, "b": here}
    return {"state_dict": here}


def _shared_modules(levels: int, wide: int = 2) -> dict[str, Any]:
    net: nn.Module = nn.Sequential(nn.ReLU())
    for _ in range(levels):
        net = nn.Sequential(*[net] * wide)
    return {"model": net}


def _many_names() -> dict[str, Any]:
    """One module of 3,000 parameters at 3,000 places: 650 KB, ten million names."""
    inner = nn.Sequential()
    one = nn.Parameter(torch.ones(1))
    inner._parameters.update({str(n): one for n in range(3_000)})
    outer = nn.Sequential()
    outer._modules.update({str(n): inner for n in range(3_000)})
    return {"model": outer}


KINDS |= {
    "dictionaries shared 2**20 times": lambda: _shared_dicts(20),
    "dictionaries shared 2**45 times": lambda: _shared_dicts(45),
    "modules shared 2**24 times": lambda: _shared_modules(24),
    "modules shared 2**60 times": lambda: _shared_modules(60),
    "ten million names": _many_names,
}
FILES = [
    row(f"{name} in a {'old' if old else 'zip'} file", torch_file(content, old=old), "x.pth",
        dangerous=risky(name) or name == "an EDSR of one number")
    for name, content in KINDS.items()
    for old in (False, True)
    # torch itself cannot write this in its old format
    if not (old and name in ("all on no device", "on no device"))
]  # fmt: skip

# --- pickles written by hand ----------------------------------------------------------------------


def _word(text: str) -> bytes:
    return b"X" + struct.pack("<I", len(text)) + text.encode()


def _named(module: str, name: str) -> bytes:
    return f"c{module}\n{name}\n".encode()


def _storage(kind: str = "FloatStorage", numel: bytes = b"K\x0a", key: str = "0") -> bytes:
    named = _named("torch", kind)
    return b"(" + _word("storage") + named + _word(key) + _word("cpu") + numel + b"tQ"


_REBUILD = _named("torch._utils", "_rebuild_tensor_v2")
_END = b"\x89N)tR."
_COLLIDING = b"}(" + b"".join(
    b"\x8a\x0c" + (n * (2**61 - 1) + 5).to_bytes(12, "little") + b"N"
    for n in range(2**27, 2**27 + 60_000)
) + b"u."  # fmt: skip
CALLS = {
    f"{module}.{name}": _named(module, name) + b"(" + _word("1") + b"tR."
    for module, name in (
        ("os", "system"), ("posix", "system"), ("builtins", "eval"), ("builtins", "exec"),
        ("builtins", "getattr"), ("builtins", "__import__"), ("builtins", "open"),
        ("builtins", "print"), ("builtins", "input"), ("builtins", "breakpoint"),
        ("subprocess", "Popen"), ("runpy", "run_path"), ("pickle", "loads"), ("marshal", "loads"),
        ("torch", "load"), ("torch.hub", "load"), ("torch.jit", "load"), ("torch", "from_file"),
        ("torch.storage", "_load_from_bytes"), ("torch.utils.cpp_extension", "load"),
        ("numpy", "load"), ("numpy.core.multiarray", "_reconstruct"), ("codecs", "decode"),
        ("functools", "partial"), ("operator", "attrgetter"), ("types", "CodeType"),
        ("importlib", "import_module"), ("webbrowser", "open"), ("tempfile", "mktemp"),
        ("socket", "socket"), ("shutil", "rmtree"), ("pathlib", "PosixPath"),
        ("trainables.networks", "build_network"), ("tune_sr.search", "main"),
        ("vdsr", "Net.__init__.__globals__"), ("torch.nn.modules.container", "ModuleList"),
        ("collections", "OrderedDict.__init__"), ("collections", "defaultdict"),
        ("torch._utils", "_rebuild_sparse_tensor"), ("torch._utils", "_rebuild_qtensor"),
        ("torch._utils", "_rebuild_meta_tensor_no_storage"), ("torch", "FloatTensor"),
    )
}  # fmt: skip
PICKLES = {
    **{f"names {name}": program for name, program in CALLS.items()},
    "no end": b"N",
    "nothing": b"",
    "an extension": b"\x82\x01.",
    "a memory of 2**31": b"Nr\xff\xff\xff\x7f.",
    "a word of 2**31 bytes": b"X\xff\xff\xff\x7f.",
    "a word of 2**63 bytes": b"\x8d" + b"\xff" * 7 + b"\x7f.",
    "bytes of 2**62": b"\x8e" + b"\xff" * 7 + b"\x3f.",
    "a frame of 2**63 bytes": b"\x95" + b"\xff" * 7 + b"\x7fN.",
    "a number of a million digits": b"L" + b"9" * 10**6 + b"L\n.",
    "a number of 800,000 bytes": b"\x8b" + struct.pack("<i", 800_000) + b"\x7f" * 800_000 + b".",
    "an array of 10**12 bytes": _named("builtins", "bytearray")
    + b"(\x8a\x06" + bytes(5) + b"\x01tR.",
    "a million marks": b"(" * 10**6 + b".",
    "900,000 lists": b"]" * 900_000 + b".",
    "900,000 nested lists": b"]" + b"]" * 900_000 + b"a" * 900_000 + b".",
    "400,000 nested mappings": b"}" + b"NNs" * 10 + (b"K\x00}" * 400_000) + b"s" * 400_000 + b".",
    "3 million instructions": b"N0" * 1_500_000 + b"N.",
    "60,000 names of one hash": _COLLIDING,
    "60,000 names of one hash in a set": _named("builtins", "set") + b"(]" + _COLLIDING[1:-2]
    + b"etR.",
    "60,000 names of one hash in an OrderedDict": _named("collections", "OrderedDict") + b")R"
    + _COLLIDING[1:],
    "names that are lists": b"}]Ns.",
    "a storage of 2**60 numbers": _storage(numel=b"\x8a\x08" + bytes(7) + b"\x10") + b".",
    "a storage of -1 numbers": _storage(numel=b"J\xff\xff\xff\xff") + b".",
    "a storage of 1.5 numbers": _storage(numel=b"G\x3f\xf8" + bytes(6)) + b".",
    "a storage of an unknown type": _storage("QInt8Storage") + b".",
    "a storage of complex numbers": _storage("ComplexFloatStorage") + b".",
    "a storage of another file": _storage(key="../../etc/passwd") + b".",
    "a storage that is not there": _storage(key="7") + b".",
    "a window past the end": _REBUILD + b"(" + _storage() + b"K\x05(K\x09t(K\x01t" + _END,
    "a window before the start": _REBUILD
    + b"(" + _storage() + b"J\xff\xff\xff\xff(K\x02t(K\x01t" + _END,
    "a stride of -1": _REBUILD + b"(" + _storage() + b"K\x05(K\x02t(J\xff\xff\xff\xfft" + _END,
    "a stride of 0": _REBUILD + b"(" + _storage() + b"K\x00(M\xff\xffM\xff\xfft(K\x00K\x00t" + _END,
    "sides that are words": _REBUILD
    + b"(" + _storage() + b"K\x00(" + _word("x") + b"t(K\x01t" + _END,
    "a mapping for sides": _REBUILD + b"(" + _storage() + b"K\x00}}\x89N)tR.",
    "a persistent id of no kind": b"(" + _word("file") + _word("/etc/passwd") + b"tQ.",
    "a persistent id of a number": b"K\x01Q.",
    "a persistent id of a word": b"P/etc/passwd\n.",
    "a module of no state": _named("vdsr", "Net") + b")\x81Nb.",
    "a module of a state of words": _named("vdsr", "Net") + b")\x81" + _word("x") + b"b.",
    "a module inside itself": _named("vdsr", "Net") + b")\x81q\x00}" + _word("_modules")
    + b"}" + _word("a") + b"h\x00ssb.",
    "attributes of a function": _REBUILD + b"}" + _word("__code__") + b"Nsb.",
    "attributes of a storage": _storage() + b"}" + _word("values") + b"Nsb.",
    "an instance of an old class": b"(" + _word("x") + b"ios\nsystem\n.",
    "a stack of names": _word("os") + _word("system") + b"\x93.",
    "a frozen set": b"(K\x01\x91.",
    "a set": b"\x8f(K\x01\x90.",
}  # fmt: skip
PICKLED = [
    row(f"pickle: {name}, {'old' if old else 'zip'}", pickled(program, old=old), "x.pth",
        dangerous=not name.startswith("names "))
    for name, program in PICKLES.items()
    for old in (False, True)
]  # fmt: skip

# --- archives -------------------------------------------------------------------------------------


def _overlapping(folder: Path) -> Path:
    """Two thousand entries of one directory, all of the same 200 KB: a better bomb."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as file:
        file.writestr("archive/data.pkl", b"N" * 200_000 + b".")
    content = buffer.getvalue()
    start = content.index(b"PK\x01\x02")
    entry = content[start : content.index(b"PK\x05\x06")]
    end = struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, 2000, 2000, len(entry) * 2000, start, 0)
    return _written(folder / "x.pth", content[:start] + entry * 2000 + end)


ZIPS: dict[str, Make] = {
    "of nothing": archive({}),
    "without a pickle": archive({"archive/data/0": b"0"}),
    "with a program": archive({"archive/data.pkl": b"N.", "archive/constants.pkl": b"N."}),
    "of big endian": archive({"archive/data.pkl": b"}.", "archive/byteorder": b"big"}),
    "with code": archive({"archive/data.pkl": b"}.", "archive/code/x.py": b"1/0"}),
    "with ..": archive({"../../../tmp/data.pkl": b"}."}),
    "of 20,000 entries": archive({f"archive/data/{n}": b"" for n in range(20_000)}),
    "deflated, ratio 1000": archive(
        {"archive/data.pkl": b"}.", "archive/data/0": bytes(3 * 2**25)}, zipfile.ZIP_DEFLATED
    ),
    "deflated pickle": archive({"archive/data.pkl": b"N" * 3 * 2**25}, zipfile.ZIP_DEFLATED),
    "by bzip2": archive({"archive/data.pkl": bytes(2**20)}, zipfile.ZIP_BZIP2),
    "by lzma": archive({"archive/data.pkl": bytes(2**20)}, zipfile.ZIP_LZMA),
    "of overlapping entries": _overlapping,
    "of two pickles": archive({"a/data.pkl": b"}.", "b/data.pkl": b"}."}),
    "inside an archive": lambda folder: archive(
        {"archive/data.pkl": archive({"archive/data.pkl": b"}."})(folder).read_bytes()}
    )(folder),
}
ZIPPED = [row(f"archive {name}", make, "x.pth", dangerous=True) for name, make in ZIPS.items()]

# --- damage ---------------------------------------------------------------------------------------


def _written(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


WHOLE: dict[str, Make] = {
    "safetensors": sound,
    "zip": torch_file(tensors),
    "old": torch_file(tensors, old=True),
    "module": torch_file(lambda: {"model": nn.Sequential(nn.Conv2d(1, 4, 3))}, old=True),
}


def _cut(whole: Make, share: float) -> Make:
    def make(folder: Path) -> Path:
        path = whole(folder)
        content = path.read_bytes()
        return _written(path, content[: int(share * len(content))])

    return make


def _flipped(whole: Make, share: float, bits: int) -> Make:
    def make(folder: Path) -> Path:
        path = whole(folder)
        content = bytearray(path.read_bytes())
        content[int(share * len(content))] ^= bits
        return _written(path, bytes(content))

    return make


DAMAGED = [
    row(f"{kind} cut at {step}/24", _cut(whole, step / 24), "x.")
    for kind, whole in WHOLE.items()
    for step in range(24)
]
DAMAGED += [
    Attempt(
        f"{kind} with bits {bits:#x} flipped at {step}/32",
        load_network,
        harmless(),
        prepare=_flipped(whole, step / 32 + 0.001, bits),
    )
    for kind, whole in WHOLE.items()
    for step in range(32)
    for bits in (0x01, 0xFF)
]

# --- what is no file ------------------------------------------------------------------------------


def _symlink_to_itself(folder: Path) -> Path:
    path = folder / "x.safetensors"
    path.symlink_to(path)
    return path


def _named_folder(folder: Path, suffix: str) -> Path:
    path = folder / f"x{suffix}"
    path.mkdir()
    return path


PLACES: list[Attempt] = []
for _suffix in (".safetensors", ".pt"):
    for _what, _place in {
        "a FIFO": lambda folder, s=_suffix: fifo(folder / f"x{s}"),
        "a folder": lambda folder, s=_suffix: _named_folder(folder, s),
        "nothing": lambda folder, s=_suffix: folder / f"x{s}",
        "a name of 300 characters": lambda folder, s=_suffix: folder / ("x" * 300 + s),
        "a path of 5,000 characters": lambda folder, s=_suffix: folder / ("x/" * 2500 + s),
        "a zero byte in the name": lambda folder, s=_suffix: folder / f"x\0{s}",
        "a dead link": lambda folder, s=_suffix: _dead(folder / f"x{s}"),
        "a device without end": lambda folder, s=_suffix: _dead(folder / f"x{s}", "/dev/zero"),
        "a terminal": lambda folder, s=_suffix: _dead(folder / f"x{s}", "/dev/tty"),
        "a socket": lambda folder, s=_suffix: _socket(folder / f"x{s}"),
        "below a file": lambda folder, s=_suffix: _written(folder / "y", b"") / f"x{s}",
        "an unknown user's": lambda folder, s=_suffix: Path(f"~nobody-of-that-name/x{s}"),
        "undecodable": lambda folder, s=_suffix: folder / f"x\udcff{s}",
        "of escape codes": lambda folder, s=_suffix: folder / f"\x1b[2J{s}",
    }.items():
        PLACES.append(
            Attempt(
                f"{_what} as {_suffix}", load_network, refused(), prepare=_place, dangerous=True
            )
        )
        PLACES.append(
            Attempt(
                f"{_what} as {_suffix} of a teacher",
                lambda path: build_network({**TOY, "weights": str(path)}),
                refused("weights"),
                prepare=_place,
                dangerous=True,
            )
        )
PLACES.append(row("a link to itself", _symlink_to_itself, dangerous=True))


def _dead(path: Path, target: str = "/nowhere/at/all") -> Path:
    path.symlink_to(target)
    return path


def _socket(path: Path) -> Path:
    import socket

    here = Path.cwd()
    os.chdir(path.parent)  # the name of a socket has 107 characters at most
    try:
        socket.socket(socket.AF_UNIX).bind(path.name)
    finally:
        os.chdir(here)
    return path


# --- whole commands -------------------------------------------------------------------------------


def _evaluated(path: Path) -> object:
    folder = path.parent / "images"
    folder.mkdir()
    pixels = np.random.default_rng(0).integers(0, 256, (32, 32, 3), np.uint8)
    Image.fromarray(pixels).save(folder / "a.png")
    return run_command(evaluate.main, "--network", path, "--scales", "2", "--data", folder)


def command(name: str, make: Make, *words: str) -> Attempt:
    return Attempt(f"evaluate: {name}", _evaluated, refused(*words), prepare=make, dangerous=True)


COMMANDS = [
    command("a thousand million blocks", architecture({**TOY, "blocks": 10**9})),
    command("12,000 features", architecture({**TOY, "features": 12_000})),
    command("NaN", lambda folder: sound(folder, **_filled(FULL["NaN"])), "not numbers"),
    command("a FIFO", lambda folder: fifo(folder / "x.safetensors"), "not a regular file"),
    command("shared dictionaries", torch_file(lambda: _shared_dicts(45))),
    command("stride 0", torch_file(KINDS["an EDSR of one number"])),
    command("a deflated bomb", ZIPS["deflated, ratio 1000"], "compressed"),
    command("a quantised tensor", torch_file(KINDS["quantised"])),
    command("escape codes", torch_file(KINDS["names of escape codes"])),
    command("escape codes beside", partial(sound, **{"\x1b[2J": torch.ones(1)}), "\\x1b[2J"),
    command("module. beside", partial(sound, **{"module.input.weight": torch.ones(1)}), "twice"),
    command(
        "a network of finite numbers whose result is none",
        lambda folder: sound(folder, **{k: v.sign() * 3e38 for k, v in tensors().items()}),
        "no number",
    ),
]


def _with_caveat(folder: Path) -> Path:
    said = {"architecture": json.dumps(TOY), "caveat": "\x1b[2Ja |\n| b | c |"}
    return sound(folder, said)


COMMANDS.append(
    Attempt(
        "evaluate: a caveat of escape codes and rows",
        _evaluated,
        done(lambda out: "\x1b" not in out and "\\x1b[2Ja | | b" in out),
        prepare=_with_caveat,
    )
)

ATTEMPTS = unique(
    [*SAYS, *CRAFTED, *NUMBERS, *FILES, *PICKLED, *ZIPPED, *DAMAGED, *PLACES, *COMMANDS]
)


@pytest.mark.parametrize("attempt", ATTEMPTS, ids=str)
def test_it_holds(attempt: Attempt, tmp_path: Path) -> None:
    attempt.check(tmp_path)


# --- generated ------------------------------------------------------------------------------------

SIDES = st.lists(st.integers(-2, 5) | st.integers(), max_size=5)
ENTRY = st.fixed_dictionaries(
    {
        "dtype": st.sampled_from(["F32", "F16", "BF16", "I64", "U8", "F8_E5M2", "?"]),
        "shape": SIDES,
        "data_offsets": st.lists(st.integers(-1, 64), min_size=2, max_size=2),
    }
)
NAMES = st.sampled_from(["input.weight", "conv_first.weight", "body.0.conv1.weight"]) | st.text()
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
SAID_KEYS = st.sampled_from([*TOY, "scale", "groups", "layers", "heads", "res_scale", "weights"])


def _refused_or_read(path: Path) -> None:
    try:
        load_network(path)
    except ConfigError as error:
        from tune_sr.cli.streams import one_line

        assert len(one_line(str(error))) <= 1100


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    header=st.dictionaries(NAMES, ENTRY, max_size=4),
    metadata=st.dictionaries(st.sampled_from(["architecture", "caveat"]), st.text(), max_size=2),
    data=st.binary(max_size=64),
)
def test_any_header_is_refused_or_read(
    header: dict[str, Any], metadata: dict[str, str], data: bytes, tmp_path: Path
) -> None:
    _refused_or_read(raw({**header, "__metadata__": metadata}, data)(tmp_path))


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(changed=st.dictionaries(SAID_KEYS, JSON, max_size=3), without=st.sets(SAID_KEYS))
def test_any_architecture_is_refused_or_read(
    changed: dict[str, Any], without: set[str], tmp_path: Path
) -> None:
    said = {key: value for key, value in {**TOY, **changed}.items() if key not in without}
    _refused_or_read(architecture(said)(tmp_path))


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(header=st.binary(max_size=200), data=st.binary(max_size=64))
def test_any_bytes_are_refused(header: bytes, data: bytes, tmp_path: Path) -> None:
    with pytest.raises(ConfigError):
        read_weights(raw(header, data)(tmp_path))
    (tmp_path / "x.pt").write_bytes(header + data)
    with pytest.raises(ConfigError):
        read_weights(tmp_path / "x.pt")


def _programs() -> Iterator[bytes]:
    yield from PICKLES.values()


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    program=st.lists(
        st.sampled_from([p[:60] for p in _programs() if len(p) < 400])
        | st.binary(min_size=1, max_size=3),
        max_size=6,
    ).map(b"".join),
    old=st.booleans(),
)
def test_any_pickle_is_refused_and_runs_nothing(program: bytes, old: bool, tmp_path: Path) -> None:
    path = pickled(program, old=old)(tmp_path)
    try:
        read = read_weights(path)
    except ConfigError:
        return
    assert all(isinstance(value, Tensor) for value in read.values())


def test_what_is_sound_is_read(tmp_path: Path) -> None:
    """Beside all that is refused: every wrapper, format and device that people save in."""
    held = tensors()
    for old in (False, True):
        for content in (
            held,
            OrderedDict(held),
            {"params": held, "params_ema": held},
            {"state_dict": {f"module.{key}": value for key, value in held.items()}},
            {"model": held, "optimizer": {"state": {0: {"step": torch.ones(())}}, "lr": 1e-4}},
            {key: nn.Parameter(value) for key, value in held.items()},
            {key: value.half() for key, value in held.items()},
            {key: value.bfloat16() for key, value in held.items()},
        ):
            torch.save(content, tmp_path / "x.pt", _use_new_zipfile_serialization=not old)
            assert load_network(tmp_path / "x.pt").config.features == 4
