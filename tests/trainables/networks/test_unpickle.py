"""A VDSR pickled whole, as pytorch-vdsr released it, is read; whatever else a pickle may be, not.

The files are made in a process of their own, which has a module `vdsr` as the authors' had.
"""

from __future__ import annotations

import io
import os
import pickle
import struct
import subprocess
import sys
import zipfile
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from trainables.errors import ConfigError
from trainables.networks.checkpoint import read_weights
from trainables.networks.loading import load_network
from trainables.networks.unpickle import read_pickled_network

VDSR = """
from math import sqrt
import torch
from torch import nn

class Conv_ReLU_Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(8, 8, 3, padding=1, bias=False)
        self.relu = nn.ReLU(inplace=True)

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.residual_layer = nn.Sequential(*[Conv_ReLU_Block() for _ in range(3)])
        self.input = nn.Conv2d(1, 8, 3, padding=1, bias=False)
        self.output = nn.Conv2d(8, 1, 3, padding=1, bias=False)
        self.relu = nn.ReLU(inplace=True)
"""
"""The released class in its outline, narrower; its comments and its forward play no part."""

WRITE = '''
import collections, copyreg, io, pickle, struct, sys
import torch
from torch import nn
import vdsr

folder = sys.argv[1]
torch.manual_seed(3)
net = vdsr.Net()
torch.save(dict(net.state_dict()), f"{folder}/plain.pt")
torch.save({"epoch": 50, "model": net}, f"{folder}/zip.pth")
torch.save({"epoch": 50, "model": net}, f"{folder}/old.pth", _use_new_zipfile_serialization=False)
for wrapper in ("params_ema", "params", "state_dict", "model_state_dict", "model"):
    torch.save({wrapper: net}, f"{folder}/{wrapper}.pth")
torch.save(net, f"{folder}/bare.pth")
torch.save({"model": nn.DataParallel(net)}, f"{folder}/parallel.pth")


class Python2(pickle._Pickler):
    """What Python 2 and PyTorch 0.1 wrote: byte strings, classes by persistent id, no buffers."""

    dispatch = dict(pickle._Pickler.dispatch)
    storages = {}
    classes = set()

    def byte_string(self, text):
        raw = text.encode("latin1")
        self.write(pickle.BINSTRING + struct.pack("<i", len(raw)) + raw)
        self.memoize(text)

    dispatch[str] = byte_string

    def persistent_id(self, thing):
        if isinstance(thing, type) and issubclass(thing, nn.Module) and thing not in self.classes:
            self.classes.add(thing)  # once with its source, then by name
            return ("module", thing, "/home/someone/vdsr.py", "class Net:  # caf\\xe9")
        if isinstance(thing, torch.storage.TypedStorage):
            key = str(thing.data_ptr())
            self.storages[key] = thing
            return ("storage", torch.FloatStorage, key, "cuda:0", thing.size(), None)
        return None

    def reducer_override(self, thing):
        if isinstance(thing, nn.Parameter):
            hooks = collections.OrderedDict()
            return nn.Parameter, (thing.data,), (True, False, hooks)
        if isinstance(thing, torch.Tensor):
            view = thing.storage_offset(), tuple(thing.size()), tuple(thing.stride())
            return torch._utils._rebuild_tensor, (thing._typed_storage(), *view)
        return NotImplemented


for module in net.modules():
    kept = ("_parameters", "_buffers", "_modules", "_backward_hooks", "training")
    for name in set(vars(module)) - set(kept):
        if name.startswith("_") or name == "padding_mode":
            del vars(module)[name]
with open(f"{folder}/python2.pth", "wb") as file:
    sizes = {"short": 2, "int": 4, "long": 8}
    system = {"protocol_version": 1001, "little_endian": True, "type_sizes": sizes}
    for head in (0x1950A86A20F9469CFC6C, 1001, system):
        Python2(file, 2).dump(head)
    Python2(file, 2).dump({"epoch": 50, "model": net})
    Python2(file, 2).dump(sorted(Python2.storages))
    for key in sorted(Python2.storages):
        numbers = Python2.storages[key].tolist()
        file.write(struct.pack(f"<q{len(numbers)}f", len(numbers), *numbers))
'''
FORMS = ("python2", "old", "zip", "bare", "parallel")
WRAPPERS = ("params_ema", "params", "state_dict", "model_state_dict", "model")


@pytest.fixture(scope="session")
def released(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("released")
    (folder / "vdsr.py").write_text(VDSR)
    (folder / "write.py").write_text(WRITE)
    command = [sys.executable, "-W", "ignore", "write.py", str(folder)]
    subprocess.run(command, cwd=folder, check=True, timeout=50)
    return folder


@pytest.mark.parametrize("form", [*FORMS, *WRAPPERS])
def test_a_whole_module_gives_its_tensors_and_its_architecture(released: Path, form: str) -> None:
    assert "vdsr" not in sys.modules
    plain = read_weights(released / "plain.pt")
    found = read_weights(released / f"{form}.pth")
    assert len(plain) == 5
    assert set(found) == set(plain)
    assert all(torch.equal(found[key], plain[key]) for key in plain)
    network = load_network(released / f"{form}.pth")
    assert (network.config.features, network.config.blocks) == (8, 3)
    y_BCHW = torch.rand(1, 1, 5, 6)
    reference = load_network(released / "plain.pt")
    assert torch.equal(network(y_BCHW, scale=2), reference(y_BCHW, scale=2))
    assert "vdsr" not in sys.modules


def test_the_python_2_form_is_the_one_that_torch_refuses(released: Path) -> None:
    raw = (released / "python2.pth").read_bytes()
    assert b"cvdsr\nNet" in raw
    assert b"ctorch.nn.parameter\nParameter" in raw
    for form in FORMS:
        with pytest.raises(pickle.UnpicklingError):
            torch.load(released / f"{form}.pth", weights_only=True)


class Payload:
    """What unpickling would run, were it ever unpickled."""

    def __init__(self, victim: Path) -> None:
        self.victim = victim

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return os.mkdir, (str(self.victim),)


def in_a_module(payload: Payload) -> torch.nn.Module:
    net = torch.nn.Sequential(torch.nn.Conv2d(1, 2, 3), torch.nn.ReLU())
    vars(net)["extra"] = payload
    return net


def as_a_parameter(payload: Payload) -> torch.nn.Module:
    net = torch.nn.Sequential(torch.nn.ReLU())
    vars(net)["_parameters"]["weight"] = payload
    return net


PLACES: dict[str, Callable[[Payload], Any]] = {
    "itself": lambda payload: payload,
    "in a module": in_a_module,
    "as a parameter": as_a_parameter,
    "in a list": lambda payload: [torch.nn.ReLU(), payload],
    "as a key's hook": lambda payload: OrderedDict(a=torch.nn.ReLU(), b={1: (payload,)}),
}


REFUSED = r"it names ((posix|nt)\.mkdir|torch\.storage\._load_from_bytes)"
"""The payload, or what comes before it: a bare pickle has its tensors behind such a name."""


@pytest.mark.parametrize("write", ["zip", "old", "pickle"])
@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("wrapper", [None, *WRAPPERS])
def test_a_payload_beside_allowed_names_is_not_run(
    wrapper: str | None, place: str, write: str, tmp_path: Path
) -> None:
    victim, path = tmp_path / "victim", tmp_path / "teacher.pth"
    content = PLACES[place](Payload(victim))
    content = {wrapper: content} if wrapper else content
    if write == "pickle":
        path.write_bytes(pickle.dumps(content, 2))
    else:
        torch.save(content, path, _use_new_zipfile_serialization=write == "zip")
    with pytest.raises(ConfigError, match=REFUSED) as refused:
        load_network(path)
    assert "\n" not in str(refused.value)
    assert not victim.exists()


def old_file(content: bytes, keys: bytes | None = None, rest: bytes = b"") -> bytes:
    """torch's old format around a pickle written by hand."""
    head = (0x1950A86A20F9469CFC6C, 1001, {"little_endian": True})
    parts = [pickle.dumps(part, 2) for part in head]
    return b"".join(parts) + content + (keys or pickle.dumps([], 2)) + rest


def text(word: str) -> bytes:
    return b"X" + struct.pack("<I", len(word)) + word.encode()


def named(module: str, name: str) -> bytes:
    return f"c{module}\n{name}\n".encode()


STORAGE = (
    b"(" + text("storage") + named("torch", "FloatStorage") + text("0") + text("cpu") + b"%btQ"
)
"""A persistent id whose length is filled in."""
TEN = STORAGE % b"K\x0a"
MANY = STORAGE % b"\x8a\x06\x00\x00\x00\x00\x00\x01"
REBUILD = named("torch._utils", "_rebuild_tensor")

CRAFTED = {
    "eval": named("builtins", "eval") + b"(" + text("1/0") + b"tR.",
    "python 2 eval": named("__builtin__", "eval") + b"(" + text("1/0") + b"tR.",
    "dotted into a module": named("vdsr", "Net.__init__.__globals__") + b".",
    "another class of torch": named("torch.nn.modules.linear", "Linear") + b".",
    "torch.load": named("torch", "load") + b"(" + text("x") + b"tR.",
    "a storage from bytes": named("torch.storage", "_load_from_bytes") + b"(C\x01xtR.",
    "getattr": named("builtins", "getattr") + b".",
    "stack global": text("os") + text("system") + b"\x93.",
    "an old instance": b"(" + text("x") + b"ios\nsystem\n.",
    "an extension": b"\x82\x01.",
    "a storage assigned to": TEN + b"}" + text("values") + b"K\x01sb.",
    "a window past the end": REBUILD + b"(" + TEN + b"K\x05(K\x09t(K\x01ttR.",
    "a window before the start": REBUILD + b"(" + TEN + b"J\xff\xff\xff\xff(K\x02t(K\x01ttR.",
    "one number a million times": REBUILD
    + b"("
    + TEN
    + b"K\x00(M\xff\xffM\xff\xfft(K\x00K\x00ttR.",
    "more than the file": MANY + b".",
    "a persistent id of no kind": b"(" + text("file") + text("/etc/passwd") + b"tQ.",
    "a memory of two thousand million": b"Nr\xff\xff\xff\x7f" + named("os", "system") + b".",
    "no end": named("vdsr", "Net") + b")\x81",
}


@pytest.mark.parametrize("crafted", CRAFTED)
def test_crafted_pickles_are_refused(crafted: str, tmp_path: Path) -> None:
    path = tmp_path / "teacher.pth"
    content = b"\x80\x02" + CRAFTED[crafted]
    rest = struct.pack("<q10f", 10, *range(10))
    path.write_bytes(old_file(content, pickle.dumps(["0"], 2), rest))
    with pytest.raises(ConfigError, match="nothing else is loaded") as refused:
        load_network(path)
    assert "\n" not in str(refused.value)
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("archive/data.pkl", content)
        archive.writestr("archive/data/0", bytes(40))
    path.write_bytes(buffer.getvalue())
    with pytest.raises(ConfigError, match="nothing else is loaded"):
        load_network(path)


def test_a_window_inside_its_storage_is_read(tmp_path: Path) -> None:
    path = tmp_path / "x.pth"
    content = b"\x80\x02}" + text("a") + REBUILD + b"(" + TEN + b"K\x05(K\x02K\x02t(K\x02K\x01ttRs."
    path.write_bytes(
        old_file(content, pickle.dumps(["0"], 2), struct.pack("<q10f", 10, *range(10)))
    )
    assert read_pickled_network(path)["a"].tolist() == [[5.0, 6.0], [7.0, 8.0]]


def test_no_file_changes_what_the_next_one_gets(released: Path, tmp_path: Path) -> None:
    path = tmp_path / "poison.pth"
    stand_in = named("vdsr", "Net") + b"}" + text("parts") + b"K\x01s"
    path.write_bytes(old_file(b"\x80\x02" + stand_in.replace(b"}", b"N}") + b"\x86b."))
    with pytest.raises(ConfigError):
        load_network(path)
    assert len(read_weights(released / "python2.pth")) == 5


def test_a_module_inside_itself_many_times_over_ends(tmp_path: Path) -> None:
    for times, words in ((24, "more than 10,000 names and modules"), (64, "nested more than 32")):
        net = torch.nn.Sequential()
        for _ in range(times):
            net = torch.nn.Sequential(net, net)
        torch.save({"model": net}, tmp_path / "bomb.pth")
        with pytest.raises(ConfigError, match=words):
            load_network(tmp_path / "bomb.pth")
    loop = torch.nn.Sequential(torch.nn.ReLU())
    loop._modules["0"] = loop
    torch.save({"model": loop}, tmp_path / "loop.pth")
    with pytest.raises(ConfigError, match="nothing else is loaded"):
        load_network(tmp_path / "loop.pth")


@pytest.mark.parametrize("form", FORMS)
def test_a_file_cut_short_anywhere_is_refused(released: Path, tmp_path: Path, form: str) -> None:
    raw, path = (released / f"{form}.pth").read_bytes(), tmp_path / "cut.pth"
    for left in range(0, len(raw), max(len(raw) // 40, 1)):
        path.write_bytes(raw[:left])
        with pytest.raises(ConfigError, match=r"cut\.pth: "):
            read_weights(path)


def test_a_program_is_not_run(tmp_path: Path) -> None:
    class Doubles(torch.nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return 2 * x

    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that this form is old
        torch.jit.save(torch.jit.trace(Doubles(), torch.ones(1)), tmp_path / "program.pt")
    with pytest.raises(ConfigError, match="holds a program"):
        load_network(tmp_path / "program.pt")


def test_compressed_archives_are_refused(released: Path, tmp_path: Path) -> None:
    with (
        zipfile.ZipFile(released / "zip.pth") as archive,
        zipfile.ZipFile(tmp_path / "small.pth", "w", zipfile.ZIP_DEFLATED) as small,
    ):
        for name in archive.namelist():
            small.writestr(name, archive.read(name))
    with pytest.raises(ConfigError, match="it is compressed"):
        read_weights(tmp_path / "small.pth")
