"""Reads the tensors of a torch file without running anything that its pickle names.

twtygqyy/pytorch-vdsr released VDSR as `{"epoch": n, "model": Net}`: a pickle that names classes,
which plain unpickling would import and call. Here the names of a short list become inert stand-ins,
created for each file so that no file can change them for the next; any other name is an error
before anything is called. Storages are read as numbers, in torch's old format and its zip format.
"""

from __future__ import annotations

import contextlib
import gc
import pickle
import struct
import zipfile
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor

from trainables.limits import COMPRESSION, HEADER_BYTES
from trainables.networks.budgets import Budget, Described, checked_keys, directory_bytes

_MODULES = (
    "vdsr.Net",
    "vdsr.Conv_ReLU_Block",
    "torch.nn.modules.conv.Conv2d",
    "torch.nn.modules.activation.ReLU",
    "torch.nn.modules.container.Sequential",
    "torch.nn.parallel.data_parallel.DataParallel",
)
_DTYPES = {
    "DoubleStorage": torch.float64,
    "FloatStorage": torch.float32,
    "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16,
    "LongStorage": torch.int64,
    "IntStorage": torch.int32,
    "ShortStorage": torch.int16,
    "CharStorage": torch.int8,
    "ByteStorage": torch.uint8,
    "BoolStorage": torch.bool,
}
_WORDS = ("float64", "float32", "float16", "bfloat16", "int64", "int32", "int16", "int8")
"""Torch dtypes that settings beside the tensors may name; each becomes its name."""
_OLD_FORMAT = 0x1950A86A20F9469CFC6C
"""The magic number at the start of torch's files from before zip archives."""


def read_pickled_network(path: Path) -> Any:
    """Read a file's content, with every module in it as a flat mapping of key to tensor.

    Raises:
        ValueError: the file names anything but the classes of a VDSR and of its parts, or is
            damaged. Nothing that it names is imported or called.
    """
    with _without_collector():
        return _from_zip(path) if zipfile.is_zipfile(path) else _from_old_format(path)


@contextlib.contextmanager
def _without_collector() -> Iterator[None]:
    """Suspend Python's cyclic collector.

    Each of its passes visits all containers so far, so that a file of 300,000 lists would cost
    several times what reading it does. What a pickle may create is limited elsewhere.
    """
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


class _Module:
    """Stands in for any module: stores its parameters, buffers and submodules, and has no code."""

    parts: tuple[Mapping[str, Any], ...] = ()

    def __setstate__(self, state: Mapping[str, Any]) -> None:
        self.parts = tuple(state.get(key) or {} for key in ("_parameters", "_buffers", "_modules"))


class _Storage:
    """A storage whose values are read from the file after the pickle."""

    def __init__(self, values: Tensor) -> None:
        self.values = values

    def __setstate__(self, state: object) -> None:
        raise ValueError("it changes a storage")


class _Held:
    """Wraps a tensor so that the rest of the pickle cannot change it."""

    def __init__(self, tensor: Tensor) -> None:
        self.tensor = tensor

    def __setstate__(self, state: object) -> None:
        """Ignore a parameter's flags and hooks."""


class _Reader(pickle._Unpickler):
    """An unpickler that maps the names of the list to stand-ins and refuses all others.

    It is based on the one in Python, since that in C allocates as much memory as a file claims.
    """

    stack: list[Any]  # what the stubs of pickle leave out
    dispatch: ClassVar[dict[int, Any]] = dict(pickle._Unpickler.dispatch)

    def __init__(self, file: Described, size: int) -> None:
        super().__init__(file, encoding="latin1")  # names that Python 2 wrote
        self._bytes_left = size
        self.storages: dict[str, _Storage] = {}
        # A pickle may assign to objects: it gets no class or function that is used elsewhere.
        self._stand_ins: dict[str, object] = {
            "collections.OrderedDict": lambda pairs=(): OrderedDict(checked_keys(pairs)),
            "collections.Counter": lambda *counts: None,
            "builtins.set": lambda *members: None,
            "__builtin__.set": lambda *members: None,
            "builtins.bytearray": lambda *content: None,
            "builtins.complex": lambda *parts: None,
            "_codecs.encode": lambda text, *encoding: text,
            "torch.device": lambda *name: name,
            "torch.Size": lambda sides=(): tuple(sides),
            **{f"torch.{word}": word for word in _WORDS},
            "torch.nn.backends.thnn._get_thnn_function_backend": lambda: None,
            "torch.nn.parameter.Parameter": lambda data, *flags: data,
            "torch._utils._rebuild_parameter": lambda data, *flags: data,
            "torch._utils._rebuild_tensor": lambda *view: _viewed(*view),
            "torch._utils._rebuild_tensor_v2": lambda *view: _viewed(*view[:4]),
            **{name: type(name, (_Module,), {}) for name in _MODULES},
            **{f"torch.{name}": name for name in _DTYPES},
            **{f"torch.cuda.{name}": name for name in _DTYPES},
        }

    def find_class(self, module: str, name: str) -> Any:
        """Return the stand-in of a name; never the named object.

        Raises:
            ValueError: the name is not on the list.
        """
        try:
            return self._stand_ins[f"{module}.{name}"]
        except KeyError:
            raise ValueError(f"it names {module}.{name}") from None

    def persistent_load(self, pid: Any) -> Any:
        """Return a module's class, which the old format stored with its source, or a storage.

        Raises:
            ValueError: its form is unknown, or it claims more numbers than the file can hold.
        """
        if pid[0] == "module":
            return pid[1]
        word, kind, key, _device, numel, *view = pid
        if word != "storage" or any(part is not None for part in view):
            raise ValueError("it holds storages of an unknown form")
        if kind not in _DTYPES or type(numel) is not int:
            raise ValueError("it holds numbers of an unknown kind")
        if key not in self.storages:
            dtype = _DTYPES[kind]
            self._bytes_left -= numel * dtype.itemsize
            if numel < 0 or self._bytes_left < 0:
                raise ValueError("it promises more numbers than it holds")
            self.storages[key] = _Storage(torch.empty(numel, dtype=dtype))
        return self.storages[key]

    # pickle's own tables call these by the first byte of an instruction.

    def load_setitem(self) -> None:
        """Set an item, after checking that its key cannot be made to collide."""
        checked_keys([self.stack[-2:]])
        super().load_setitem()  # type: ignore[misc]  # the stubs leave it out

    dispatch[pickle.SETITEM[0]] = load_setitem

    def load_setitems(self) -> None:
        """Set several items, after checking their keys."""
        checked_keys(zip(self.stack[::2], self.stack[1::2], strict=False))
        super().load_setitems()  # type: ignore[misc]  # the stubs leave it out

    dispatch[pickle.SETITEMS[0]] = load_setitems

    def load_dict(self) -> None:
        """Create a mapping, after checking its keys."""
        checked_keys(zip(self.stack[::2], self.stack[1::2], strict=False))
        super().load_dict()  # type: ignore[misc]  # the stubs leave it out

    dispatch[pickle.DICT[0]] = load_dict

    def load_frozenset(self) -> None:
        """Refuse a set, which no network contains.

        Raises:
            ValueError: always.
        """
        raise ValueError("it holds a set")

    dispatch[pickle.FROZENSET[0]] = load_frozenset
    dispatch[pickle.ADDITEMS[0]] = load_frozenset
    dispatch[pickle.EMPTY_SET[0]] = load_frozenset


def _viewed(storage: _Storage, offset: int, size: Any, stride: Any) -> _Held:
    tensor = storage.values.as_strided(tuple(size), tuple(stride), offset)
    if tensor.numel() > storage.values.numel():
        raise ValueError("it promises more numbers than it holds")
    return _Held(tensor)


def _from_old_format(path: Path) -> Any:
    size = path.stat().st_size
    with path.open("rb") as file:
        described = Described(file)
        magic, _protocol, system = (_Reader(described, 0).load() for _ in range(3))
        if magic != _OLD_FORMAT or not system["little_endian"]:
            raise ValueError("it is no file of torch's")
        reader = _Reader(described, size)
        content = reader.load()
        for key in _Reader(described, 0).load():
            values = reader.storages[key].values
            (numel,) = struct.unpack("<q", file.read(8))
            if numel != values.numel():
                raise ValueError("it is cut short")
            _fill(values, file.read(numel * values.itemsize))
    return _plain(content)


def _from_zip(path: Path) -> Any:
    size = path.stat().st_size
    if directory_bytes(path) > HEADER_BYTES:
        raise ValueError(f"its directory has more than {HEADER_BYTES:,} bytes")
    with zipfile.ZipFile(path) as archive:
        names = archive.namelist()
        root = next((name[: -len("data.pkl")] for name in names if name.endswith("data.pkl")), None)
        if root is None or f"{root}constants.pkl" in names:
            raise ValueError("it holds a program, or nothing of torch's")
        if any(entry.compress_type != zipfile.ZIP_STORED for entry in archive.infolist()):
            raise ValueError("it is compressed, as no weights of torch's are")
        if sum(entry.file_size for entry in archive.infolist()) > COMPRESSION * size:
            raise ValueError("it promises more than it holds")
        if f"{root}byteorder" in names and archive.read(f"{root}byteorder") != b"little":
            raise ValueError("its numbers are big-endian")
        with archive.open(f"{root}data.pkl") as file:
            reader = _Reader(Described(file), size)
            content = reader.load()
        for key, storage in reader.storages.items():
            _fill(storage.values, archive.read(f"{root}data/{key}"))
    return _plain(content)


def _fill(values: Tensor, raw: bytes) -> None:
    if len(raw) != values.numel() * values.itemsize:
        raise ValueError("it is cut short")
    if raw:
        values.copy_(torch.frombuffer(bytearray(raw), dtype=values.dtype))


def _plain(content: Any, budget: Budget | None = None, depth: int = 0) -> Any:
    """Convert every module in `content` to its state dict; mappings around modules stay."""
    budget = budget or Budget()
    budget.take(depth)
    if isinstance(content, _Module):
        tensors: dict[str, Tensor] = {}
        _flatten(content, "", tensors, budget, depth)
        return tensors
    if isinstance(content, _Held):
        return content.tensor
    if isinstance(content, dict):
        return {key: _plain(value, budget, depth + 1) for key, value in content.items()}
    return content


def _flatten(
    module: _Module, prefix: str, into: dict[str, Tensor], budget: Budget, depth: int
) -> None:
    for part in module.parts:
        for key, value in part.items():
            budget.take(depth)
            if isinstance(value, _Module):
                _flatten(value, f"{prefix}{key}.", into, budget, depth + 1)
            elif isinstance(value, _Held):
                into[prefix + key] = value.tensor
            elif value is not None:
                raise ValueError(f"its {prefix}{key} is no tensor")
