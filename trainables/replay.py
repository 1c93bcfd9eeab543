"""Repeats work on a device without launching its kernels one by one: as CUDA graphs.

An update of a small network is some hundred kernels, which a GPU finishes sooner than the host can
launch them. This is the one module that knows of CUDA graphs: methods hand their work to a `Replay`
and do not ask whether it is launched or repeated.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from contextlib import AbstractContextManager, nullcontext
from functools import lru_cache, partial, wraps
from typing import Any, ParamSpec, Protocol, TypeVar

import torch
from torch import Tensor

Results = dict[str, Tensor]
Work = Callable[..., Results]
"""A function of tensors that decides nothing on the host, so that it can be recorded.

It reads no value of a tensor (no `.item()`, no `nonzero`), draws no random number, copies nothing
from the host and changes none of the tensors it is given; its shapes follow from theirs. It may
change parameters and the state of optimisers in place. Whatever else its course depends on, such
as the scale or how many blocks are active, belongs to the key under which it is handed over. An
optimiser's gradients are cleared before it sets its own, and none of them is read by other work.
"""

Value = TypeVar("Value")
Made = ParamSpec("Made")


class Replay(Protocol):
    """Does work on a device, and may repeat what it has recorded of it."""

    most_ahead: int
    """For how many updates at most something may be prepared that they do not change."""
    pixels_at_once: int
    """How many pixels of images the device makes as fast in one pass as fewer; 0: no saving."""

    def __call__(self, key: Hashable, work: Work, *given: Tensor) -> Results:
        """Do `work(*given)`, or repeat what was recorded of the work of the same key.

        Args:
            key: all that the course of the work depends on, apart from the tensors it is given.
            work: what is done; of works with one key, any may be the one that is recorded.
            given: its inputs; another shape or dtype is another program.

        Returns:
            What the work returns: tensors that no later call changes.
        """
        ...

    def forget(self) -> None:
        """Drop what is recorded: tensors that work reads or changes have moved."""
        ...

    def here(self) -> AbstractContextManager[object]:
        """The stream on which a run does all of its work, whether it is recorded or not."""
        ...


class AtOnce:
    """Does work as it is handed over: on a CPU, and wherever graphs are off."""

    most_ahead = 8
    pixels_at_once = 0

    def __call__(self, key: Hashable, work: Work, *given: Tensor) -> Results:
        """As `Replay`: `work(*given)`."""
        return work(*given)

    def forget(self) -> None:
        """As `Replay`: nothing is recorded."""

    def here(self) -> AbstractContextManager[object]:
        """As `Replay`: the stream that is current anyway."""
        return nullcontext()


class Graph(Protocol):
    """Operations of a device, recorded once."""

    def capture(self, work: Callable[[], Results]) -> Results:
        """Record `work` without doing it; its results are filled by each `replay`."""
        ...

    def replay(self) -> None:
        """Do what was recorded, on the same memory."""
        ...


class Recorder(Protocol):
    """Makes graphs that share one stream and one pool of memory."""

    def graph(self) -> Graph:
        """A graph with nothing recorded."""
        ...

    def reset(self) -> None:
        """Take notice that all graphs are gone."""
        ...

    def here(self) -> AbstractContextManager[object]:
        """As `Replay`'s."""
        ...


class Recorded:
    """Records the third call of each key, and repeats it from then on.

    The first two are done as they are handed over: in these torch allocates what it keeps (state of
    optimisers, workspaces of its libraries, cached constants), so that a recording finds it there.
    One stream and one pool of memory serve all recordings, which is safe because they never
    overlap and their results are copied out; they are forgotten together, because destroying one
    graph can free what the others of its stream use (pytorch issue 193402).
    """

    most_ahead = 50

    def __init__(self, recorder: Recorder, pixels_at_once: int = 64 * 48**2) -> None:
        """Record nothing yet.

        Args:
            recorder: makes the graphs.
            pixels_at_once: as `Replay`'s; of 64 images of 48 x 48, a map of 64 channels fills 19 MB
                in bfloat16, which the caches of the GPUs that we know still hold.
        """
        self.pixels_at_once = pixels_at_once
        self._recorder = recorder
        self._programs: dict[Hashable, _Program] = {}

    def __call__(self, key: Hashable, work: Work, *given: Tensor) -> Results:
        """As `Replay`."""
        kinds = tuple((each.shape, each.dtype) for each in given)
        program = self._programs.get((key, kinds))
        if program is None:
            program = self._programs[key, kinds] = _Program(self._recorder.graph)
        return program(work, given)

    def forget(self) -> None:
        """As `Replay`."""
        self._programs.clear()
        self._recorder.reset()

    def here(self) -> AbstractContextManager[object]:
        """As `Replay`."""
        return self._recorder.here()


_BY_HAND = 2
"""Calls of a program before it is recorded."""


class _Program:
    """The work of one key: done by hand at first, then recorded, then repeated."""

    def __init__(self, make_graph: Callable[[], Graph]) -> None:
        self.make_graph = make_graph
        self.calls = 0
        self.graph: Graph | None = None
        self.given: tuple[Tensor, ...] = ()
        self.results: Results = {}

    def __call__(self, work: Work, given: tuple[Tensor, ...]) -> Results:
        global _programs_under_way
        _programs_under_way += 1
        try:
            return self._do(work, given)
        finally:
            _programs_under_way -= 1

    def _do(self, work: Work, given: tuple[Tensor, ...]) -> Results:
        self.calls += 1
        if self.calls <= _BY_HAND:
            return work(*given)
        if self.graph is None:
            graph = self.make_graph()
            self.given = tuple(each.detach().clone() for each in given)
            self.results = graph.capture(partial(work, *self.given))
            self.graph = graph
        for own, new in zip(self.given, given, strict=True):
            own.copy_(new)
        self.graph.replay()
        return {name: each.clone() for name, each in self.results.items()}


_programs_under_way = 0


def constants(maxsize: int) -> Callable[[Callable[Made, Value]], Callable[Made, Value]]:
    """Make a cache of constants, such as matrices and masks, that recorded work may read.

    As `functools.lru_cache(maxsize)`; but what the work of a recording has read stays for good: a
    recording reads it where it lay, and could not make it anew, as that copies from the host.
    """

    def cached(make: Callable[Made, Value]) -> Callable[Made, Value]:
        recent = lru_cache(maxsize)(make)
        kept: dict[Hashable, Value] = {}

        @wraps(make)
        def look_up(*key: Made.args, **named: Made.kwargs) -> Value:
            assert not named, "told apart by place alone"
            if key in kept:
                return kept[key]
            value = recent(*key)
            if _programs_under_way:
                kept[key] = value
            return value

        return look_up

    return cached


class CUDAGraphs:
    """Graphs of one GPU, recorded and replayed on a stream of their own."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]  # torch's
        self.reset()

    def graph(self) -> Graph:
        """As `Recorder`."""
        return _CUDAGraph(self.pool, self.stream)

    def reset(self) -> None:
        """As `Recorder`: a pool whose graphs are gone cannot be used again."""
        self.pool = torch.cuda.graph_pool_handle()

    def here(self) -> AbstractContextManager[object]:
        """As `Replay`: what has been launched on the current stream is done first."""
        self.stream.wait_stream(torch.cuda.current_stream(self.device))
        return torch.cuda.stream(self.stream)


class _CUDAGraph:
    def __init__(self, pool: Any, stream: torch.cuda.Stream) -> None:
        self.graph = torch.cuda.CUDAGraph()
        self.pool, self.stream = pool, stream

    def capture(self, work: Callable[[], Results]) -> Results:
        with torch.cuda.graph(self.graph, pool=self.pool, stream=self.stream):
            return work()

    def replay(self) -> None:
        self.graph.replay()


def replay_on(device: torch.device, *, graphs: bool = True) -> Replay:
    """How a run does its updates on `device`: recorded on a GPU unless `graphs` is off."""
    return Recorded(CUDAGraphs(device)) if graphs and device.type == "cuda" else AtOnce()


def sent(device: torch.device, *drawn: Tensor) -> tuple[Tensor, ...]:
    """Tensors of the host on `device`, without waiting for what it has still to do."""
    if device.type == "cuda":  # a copy from pageable memory would wait
        drawn = tuple(each.pin_memory() for each in drawn)
    return tuple(each.to(device, non_blocking=True) for each in drawn)
