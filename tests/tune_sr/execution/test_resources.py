from __future__ import annotations

import logging

import pytest

from tune_sr.execution import resources
from tune_sr.execution.resources import ClusterCapacity, Node, TrialResources, check_fits
from tune_sr.execution.session import ClusterError


def node(name: str, cpus: float, gpus: float = 0) -> Node:
    return Node(name, name, cpus, gpus)


@pytest.mark.parametrize(
    ("share", "there", "trials"),
    [
        (TrialResources(1), node("a", 8), 8),
        (TrialResources(3), node("a", 8), 2),
        (TrialResources(0.1), node("a", 1), 10),
        (TrialResources(1, 1), node("a", 8, 2), 2),
        (TrialResources(8, 1), node("a", 8, 2), 1),
        (TrialResources(1, 0.1), node("a", 64, 2), 20),
        (TrialResources(1, 0.6), node("a", 8, 3), 3),  # parts of two GPUs are not a part of one
        (TrialResources(1, 2), node("a", 8, 3), 1),
        (TrialResources(1, 1), node("a", 8), 0),
    ],
)
def test_trials_that_a_node_takes(share: TrialResources, there: Node, trials: int) -> None:
    assert share.on(there) == trials


@pytest.mark.parametrize(
    ("share", "told"),
    [
        (TrialResources(1, 2), "--gpus-per-trial 2: none of the 3 nodes has more than 1 GPUs"),
        (TrialResources(32), "--cpus-per-trial 32: none of the 3 nodes has more than 16 CPUs"),
        (
            TrialResources(16, 1),
            "--cpus-per-trial 16 --gpus-per-trial 1: none of the 3 nodes has both",
        ),
    ],
)
def test_what_no_node_can_give_is_refused(share: TrialResources, told: str) -> None:
    nodes = [node("head", 0), node("a", 4, 1), node("b", 16)]
    with pytest.raises(ClusterError, match=f"^{told}; no trial could start$"):
        check_fits(share, nodes)
    check_fits(TrialResources(4, 1), nodes)
    check_fits(TrialResources(16), nodes)


def test_nodes_come_and_go(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(resources, "_LOOK_S", 0.0)
    there = [node("a", 4, 2), node("b", 4, 1)]
    fitting, two = (
        ClusterCapacity(TrialResources(1, 1), most, lambda: list(there)) for most in (None, 2)
    )
    assert (fitting.slots(), two.slots(), fitting.nodes_lost()) == (3, 2, 0)
    del there[0]
    assert (fitting.slots(), two.slots(), fitting.nodes_lost()) == (1, 1, 1)
    there.append(node("c", 4, 1))
    assert (fitting.slots(), fitting.nodes_lost()) == (2, 1)
    there.clear()
    with caplog.at_level(logging.WARNING):
        assert [fitting.slots(), fitting.slots()] == [0, 0]
    assert caplog.messages == ["the cluster has no node left that takes a trial: waiting for one"]
    assert fitting.nodes_lost() == 3


def test_nodes_are_not_asked_at_every_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    looks: list[int] = []
    fitting = ClusterCapacity(TrialResources(1), None, lambda: looks.append(1) or [node("a", 4)])
    monkeypatch.setattr(resources, "_LOOK_S", 3600.0)
    assert [fitting.slots() for _ in range(3)] == [4, 4, 4] and len(looks) == 1
