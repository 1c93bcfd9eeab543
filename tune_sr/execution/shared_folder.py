"""Checks that every node of a cluster reads and writes a study's folder."""

from __future__ import annotations

import socket
import time
import uuid
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from tune_sr.execution.resources import Node, living_nodes
from tune_sr.execution.session import ClusterError

_SEEN_S, _ANSWERED_S = 10.0, 60.0
"""Seconds that a new file may take to appear on another node, and a node to answer."""


def check_shared(folder: Path, nodes: Sequence[Node]) -> None:
    """Check that every node sees a new file in `folder` and can write one that is seen here.

    Raises:
        ClusterError: names the node, and what it cannot do.
    """
    mark = folder / f".shared-{uuid.uuid4().hex[:8]}"
    try:
        mark.write_text(mark.name, encoding="utf-8")
        for node, problem in _problems(mark, nodes):
            if node.id not in {each.id for each in living_nodes()}:
                continue  # lost meanwhile, as nodes may be at any time
            raise ClusterError(
                f"{folder}: node {node.name} {problem}; --storage must be a folder that all nodes "
                "share, at one path"
            )
    finally:
        for left in folder.glob(".shared-*"):  # also those of a driver that was killed
            left.unlink(missing_ok=True)


def _problems(mark: Path, nodes: Sequence[Node]) -> Iterator[tuple[Node, str]]:
    """Each node that does not share the folder of `mark`, with the reason."""
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    answer = ray.remote(num_cpus=0, max_retries=0)(_answer)
    asked = {
        answer.options(
            scheduling_strategy=NodeAffinitySchedulingStrategy(node.id, soft=False)
        ).remote(mark, _own(mark, node), _SEEN_S): node
        for node in nodes
    }
    answered, _ = ray.wait(list(asked), num_returns=len(asked), timeout=_ANSWERED_S)
    for task, node in asked.items():
        problem = _reply(task) if task in answered else f"does not answer in {_ANSWERED_S:.0f} s"
        if problem is None and not _holds(_own(mark, node), mark.name, _SEEN_S):
            problem = "writes there what nobody else sees"
        if problem is not None:
            yield node, problem


def _reply(task: Any) -> str | None:
    import ray

    try:
        problem: str | None = ray.get(task)
    except ray.exceptions.RayError as error:  # often: it lacks this package, or has another version
        return f"cannot run a trial: {' '.join(str(error).split())[-200:]}"
    return problem


def _answer(mark: Path, own: Path, seconds: float) -> str | None:
    """Run on a node: read the driver's file and write one; return why not, None where it can."""
    if not _holds(mark, mark.name, seconds):
        return f"({socket.gethostname()}) does not see what is written there"
    try:
        own.write_text(mark.name, encoding="utf-8")
    except OSError as error:
        return f"({socket.gethostname()}) cannot write there: {error.strerror}"
    return None


def _holds(path: Path, text: str, seconds: float) -> bool:
    """Whether a file contains `text` within `seconds`, which network file systems may need."""
    until = time.monotonic() + seconds
    while True:
        try:
            if path.read_text(encoding="utf-8") == text:
                return True
        except OSError:
            pass
        if time.monotonic() >= until:
            return False
        time.sleep(0.2)


def _own(mark: Path, node: Node) -> Path:
    return mark.with_name(f"{mark.name}-{node.id[:16]}")
