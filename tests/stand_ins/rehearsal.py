"""A stand-in for CUDA graphs on a CPU: records operations once and repeats them on the same memory.

What a capture would freeze is frozen here: scalars of the host, addresses, and every decision taken
in Python. What it would refuse is refused: values that the host asks for, shapes that depend on
values, copies from the host; and, because no recording of ours may contain any, random numbers. As
on a GPU a capture does nothing yet, and between two replays memory that is not a result may hold
anything: here NaN. Streams, the allocator and what cuDNN chooses can be shown on a GPU only.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map

from trainables.replay import Graph, Recorded, Results


class Refused(RuntimeError):  # noqa: N818  what a capture does with an operation
    """An operation that cannot be part of recorded work."""


class Taping(TorchDispatchMode):
    """Notes every operation that computes, and what it would take to undo it."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[tuple[Any, Any, Any, list[Tensor | None]]] = []
        self.before: dict[int, tuple[Tensor, Tensor]] = {}
        self.made: dict[int, Tensor] = {}

    def __torch_dispatch__(self, op: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if op.namespace == "profiler":
            return op(*args, **kwargs)
        _refuse(op, args)
        self._keep_what_changes(op, args, kwargs)
        result = op(*args, **kwargs)
        given = {_storage(each) for each in _tensors((args, kwargs))}
        found = list(_tensors(result))
        own = [_storage(each) not in given for each in found]
        if found and not any(own) and not op._schema.is_mutable:
            return result  # a view of what exists has nothing to repeat
        kept = [each.detach() if new else None for each, new in zip(found, own, strict=True)]
        self.made |= {_storage(each): each for each in kept if each is not None}
        self.calls.append((op, tree_map(_plain, args), tree_map(_plain, kwargs), kept))
        return result

    def _keep_what_changes(self, op: Any, args: Any, kwargs: Any) -> None:
        for number, argument in enumerate(op._schema.arguments):
            if argument.alias_info is not None and argument.alias_info.is_write:
                given = args[number] if number < len(args) else kwargs.get(argument.name)
                for each in _tensors(given):
                    key = _storage(each)
                    if key not in self.made and key not in self.before:
                        whole = torch.empty(0, dtype=each.dtype).set_(each.untyped_storage())
                        self.before[key] = whole, whole.clone()

    def undo(self) -> None:
        """Bring back what operations changed."""
        for whole, before in self.before.values():
            whole.copy_(before)


class CPUGraph:
    """Recorded operations of a CPU."""

    def __init__(self) -> None:
        self.tape = Taping()
        self.spoilt: list[Tensor] = []

    def capture(self, work: Callable[[], Results]) -> Results:
        """As a CUDA graph: `work` runs to be recorded, and then has not happened."""
        with self.tape as tape:
            results = work()
        tape.undo()
        kept = {_storage(each) for each in results.values()}
        self.spoilt = [each for key, each in tape.made.items() if key not in kept]
        return results

    @torch.no_grad()
    @torch.autocast("cpu", enabled=False)  # its casts were recorded; it would add others
    def replay(self) -> None:
        """Every operation again, results where they were."""
        for op, args, kwargs, kept in self.tape.calls:
            for place, made in zip(kept, _tensors(op(*args, **kwargs)), strict=True):
                if place is not None:
                    place.copy_(made)
        for each in self.spoilt:
            if each.is_floating_point():
                each.fill_(torch.nan)


class CPUGraphs:
    """Makes `CPUGraph`s."""

    def __init__(self) -> None:
        self.graphs: list[CPUGraph] = []

    def graph(self) -> Graph:
        """A graph with nothing recorded."""
        self.graphs.append(CPUGraph())
        return self.graphs[-1]

    def reset(self) -> None:
        """All graphs are gone."""
        self.graphs.clear()

    def here(self) -> AbstractContextManager[object]:
        """A CPU has no streams."""
        return nullcontext()


def rehearsed(recorder: CPUGraphs | None = None, pixels_at_once: int = 0) -> Recorded:
    """`Recorded`, whose graphs are rehearsed on the CPU; passes are as large as by hand there."""
    return Recorded(recorder or CPUGraphs(), pixels_at_once)


def _refuse(op: Any, args: Any) -> None:
    name = op.overloadpacket.__name__
    if torch.Tag.data_dependent_output in op.tags:
        raise Refused(f"{name}: the host waits for a value of the device")
    indexed = name == "index" and not any(each.dtype == torch.bool for each in _tensors(args[1]))
    if torch.Tag.dynamic_output_shape in op.tags and not indexed:
        raise Refused(f"{name}: a shape depends on values")
    draws_nothing = name.startswith("_scaled_dot_product")  # ours has no dropout
    if torch.Tag.nondeterministic_seeded in op.tags and not draws_nothing:
        raise Refused(f"{name}: random numbers are drawn before the work")
    if name.startswith("lift_fresh"):
        raise Refused(f"{name}: data of the host is copied to the device")


def _tensors(tree: Any) -> Iterator[Tensor]:
    return (each for each in tree_leaves(tree) if isinstance(each, Tensor))


def _storage(tensor: Tensor) -> int:
    return int(tensor.untyped_storage()._cdata)


def _plain(value: Any) -> Any:
    return value.detach() if isinstance(value, Tensor) else value
