"""Records work on a GPU as CUDA graphs and replays it without launching its kernels one by one.

An update of a small network is some hundred kernels, which a GPU finishes sooner than the host can
launch them. This is the only module with CUDA graphs: methods pass their work to a `Replay`, which
runs it eagerly or replays it.
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
"""A function of tensors without decisions on the host, so that it can be recorded.

It reads no value of a tensor (no `.item()`, no `nonzero`), draws no random number, copies nothing
from the host and changes none of its arguments; its shapes follow from theirs. It may change
parameters and optimiser state in place. Everything else that its course depends on, such as the
scale or the number of active blocks, belongs to the key that it is passed with. It clears an
optimiser's gradients before it sets its own, and no other work reads them.
"""

Value = TypeVar("Value")
Made = ParamSpec("Made")


class Replay(Protocol):
    """Runs work on a device, or replays a recording of it."""

    most_ahead: int
    """Largest number of updates whose inputs, where independent of them, may be made at once."""
    pixels_at_once: int
    """Pixels that a generator makes on the device in one pass at no loss of speed; 0: no gain."""

    def __call__(self, key: Hashable, work: Work, *given: Tensor) -> Results:
        """Run `work(*given)`, or replay what was recorded for the same key.

        Args:
            key: everything that the course of the work depends on, except its arguments.
            work: the function to run; all works with one key are interchangeable.
            *given: its arguments; other shapes or dtypes make another recording.

        Returns:
            The results of the work, in tensors that no later call changes.
        """
        ...

    def forget(self) -> None:
        """Drop all recordings; call it when tensors that work reads or changes have moved."""
        ...

    def here(self) -> AbstractContextManager[object]:
        """Return the context of the stream on which a run must do all of its work."""
        ...


class AtOnce:
    """Runs work eagerly: on a CPU, and where graphs are turned off."""

    most_ahead = 8
    pixels_at_once = 0

    def __call__(self, key: Hashable, work: Work, *given: Tensor) -> Results:
        """Run `work(*given)`; the key is not used."""
        return work(*given)

    def forget(self) -> None:
        """Do nothing: there are no recordings."""

    def here(self) -> AbstractContextManager[object]:
        """Return a context without effect."""
        return nullcontext()


class Graph(Protocol):
    """A recorded sequence of operations on a device."""

    def capture(self, work: Callable[[], Results]) -> Results:
        """Record `work` without running it; each `replay` fills the returned tensors."""
        ...

    def replay(self) -> None:
        """Run the recorded operations on the same memory."""
        ...


class Recorder(Protocol):
    """Makes graphs that share one stream and one pool of memory."""

    def graph(self) -> Graph:
        """Return a graph without a recording."""
        ...

    def reset(self) -> None:
        """Start a new pool of memory; call it after all graphs have been destroyed."""
        ...

    def here(self) -> AbstractContextManager[object]:
        """Return the context of the stream on which a run must do all of its work."""
        ...


class Recorded:
    """A `Replay` that records the third call of each key and replays it from then on.

    The first two calls run eagerly: in these torch allocates what it keeps (optimiser state,
    workspaces of its libraries, cached constants), so that a recording finds it in place. One
    stream and one pool of memory serve all recordings, which is safe because they never overlap and
    their results are copied out. They are dropped together, because destroying one graph can free
    memory that others of its stream use (pytorch issue 193402).
    """

    most_ahead = 50

    def __init__(self, recorder: Recorder, pixels_at_once: int = 64 * 48**2) -> None:
        """Set up without recordings.

        Args:
            recorder: makes the graphs.
            pixels_at_once: pixels that a generator makes in one pass. Of 64 images of 48 x 48, a
                map of 64 channels takes 19 MB in bfloat16, which fits the caches of common GPUs.
        """
        self.pixels_at_once = pixels_at_once
        self._recorder = recorder
        self._programs: dict[Hashable, _Program] = {}

    def __call__(self, key: Hashable, work: Work, *given: Tensor) -> Results:
        """Run, record or replay the work of a key; see `Replay`."""
        kinds = tuple((each.shape, each.dtype) for each in given)
        program = self._programs.get((key, kinds))
        if program is None:
            program = self._programs[key, kinds] = _Program(self._recorder.graph)
        return program(work, given)

    def forget(self) -> None:
        """Drop all recordings."""
        self._programs.clear()
        self._recorder.reset()

    def here(self) -> AbstractContextManager[object]:
        """Return the context of the recorder's stream."""
        return self._recorder.here()


_EAGER_CALLS = 2
"""Eager calls of a program before it is recorded."""


class _Program:
    """The work of one key and one set of shapes: run eagerly, then recorded, then replayed."""

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
        if self.calls <= _EAGER_CALLS:
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
    """Make a decorator that caches constants, such as matrices and masks, for recorded work.

    Like `functools.lru_cache(maxsize)`, but values used by work of a `Replay` are kept for ever: a
    recording reads them at their address, and could not create them, as that copies from the host.
    While `torch.export` traces, nothing is cached: sizes are symbols then, tensors have no data.
    """

    def cached(make: Callable[Made, Value]) -> Callable[Made, Value]:
        recent = lru_cache(maxsize)(make)
        kept: dict[Hashable, Value] = {}

        @wraps(make)
        def look_up(*key: Made.args, **named: Made.kwargs) -> Value:
            assert not named, "arguments are positional"
            if torch.compiler.is_exporting():
                return make(*key, **named)
            if key in kept:
                return kept[key]
            value = recent(*key)
            if _programs_under_way:
                kept[key] = value
            return value

        return look_up

    return cached


class CUDAGraphs:
    """A `Recorder` of CUDA graphs of one GPU, on a stream of its own."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]  # torch's
        self.reset()

    def graph(self) -> Graph:
        """Return a graph without a recording."""
        return _CUDAGraph(self.pool, self.stream)

    def reset(self) -> None:
        """Start a new pool of memory: one whose graphs are destroyed cannot be used again."""
        self.pool = torch.cuda.graph_pool_handle()

    def here(self) -> AbstractContextManager[object]:
        """Return the context of the stream, which first waits for the current stream."""
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
    """Return the `Replay` of a run on `device`: CUDA graphs on a GPU if `graphs`, else eager."""
    return Recorded(CUDAGraphs(device)) if graphs and device.type == "cuda" else AtOnce()


def sent(device: torch.device, *drawn: Tensor) -> tuple[Tensor, ...]:
    """Copy tensors of the host to `device` without synchronising with it."""
    if device.type == "cuda":  # a copy from pageable memory would synchronise
        drawn = tuple(each.pin_memory() for each in drawn)
    return tuple(each.to(device, non_blocking=True) for each in drawn)
