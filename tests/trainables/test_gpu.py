"""What only a GPU can show: bits, memory and waits of recorded updates.

    python -m pytest -o addopts= --import-mode=importlib -m gpu tests/trainables/test_gpu.py

TUNE_SR_GPU_TESTS_ON=cpu rehearses them with the stand-in for graphs, for as much as a CPU can show.
"""

from __future__ import annotations

import gc
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
import torch
from bare_loops import LOOPS
from rehearsal import rehearsed
from trials import pictures, trial

from trainables.config import TrialConfig
from trainables.errors import Diverged
from trainables.methods import METHODS
from trainables.replay import AtOnce, Replay
from trainables.run import Run, RunImages
from trainables.values import Blank

DEVICE = os.environ.get("TUNE_SR_GPU_TESTS_ON", "cuda")
CUDA = DEVICE != "cpu"
pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(CUDA and not torch.cuda.is_available(), reason="there is no GPU"),
    pytest.mark.timeout(150),
]
only_cuda = pytest.mark.skipif(not CUDA, reason="a CPU is never waited for")

Bits = Callable[[Any, Any], list[str]]
Configured = Callable[..., TrialConfig]

SIZE = "gpu" if CUDA else "toy"
PAIRS = [(name, "vdsr" if kind.batch is Blank else "edsr") for name, kind in METHODS.items()]
PAIRS += [("scratch", "vdsr"), ("kd", "rcan"), ("scratch", "swinir")]
each_pair = pytest.mark.parametrize(("method", "network"), PAIRS)
PRECISIONS = ("fp32", "bf16") if CUDA else ("fp32",)  # emulated, bfloat16 takes minutes


@pytest.fixture(scope="session")
def images() -> RunImages:
    return RunImages(pictures(1, 48), pictures(2, 112))


@pytest.fixture
def configured(tmp_path_factory: pytest.TempPathFactory) -> Configured:
    folder = tmp_path_factory.getbasetemp() / "teachers"

    def make(method: str, network: str, precision: str = "fp32", /, **sections: Any) -> TrialConfig:
        return TrialConfig.parse(raw(method, network, precision, folder, **sections))

    return make


def raw(
    method: str, network: str, precision: str, folder: Path, /, **sections: Any
) -> dict[str, Any]:
    """Twelve updates a report, a growth with the eighth of 24, a generator with every third."""
    made = trial(method, network, SIZE, folder, images=4, device=DEVICE, precision=precision)
    made["heldout"] = {"crop": 48}
    made["budget"] = {"steps": 24, "steps_per_report": 12}
    if "update_ratio" in made["method"]:
        made["method"]["update_ratio"] = 3
    if "P" in made["method"]:
        made["method"] |= {"P": 2, "part_fraction": 0.33}
    if method == "dfsr_cmi":
        made["method"] |= {"bank_size": 8, "negatives": 4}
    return {**made, "threads": 1, **sections}


def ungrown(method: str, network: str, configured: Configured) -> TrialConfig:
    """A long run in which every update of a key is the same work."""
    settings = configured(method, network).method.model_dump()
    settings |= {"P": 1} if "P" in settings else {}
    budget = {"steps": 400, "steps_per_report": 100}
    return configured(method, network, method=settings, budget=budget)


def replay() -> Replay | None:
    """None, as a run on a GPU is made; the stand-in on a CPU."""
    return None if CUDA else rehearsed()


def one_by_one(like: Replay) -> AtOnce:
    """Nothing recorded, in passes as large as those of `like`: others would be other bits."""
    by_hand = AtOnce()
    by_hand.most_ahead, by_hand.pixels_at_once = like.most_ahead, like.pixels_at_once
    return by_hand


@contextmanager
def updating(run: Run) -> Iterator[None]:
    with run.replay.here(), run.numerics():
        yield


def told(run: Run, reports: int = 1) -> list[dict[str, float]]:
    found = [run.advance() for _ in range(reports)]
    return [{k: v for k, v in each.items() if k != "seconds_per_step"} for each in found]


# --- bits ----------------------------------------------------------------------------------------


@each_pair
@pytest.mark.parametrize("precision", PRECISIONS)
def test_a_replayed_run_is_the_run_made_by_hand_bit_for_bit(
    method: str,
    network: str,
    precision: str,
    configured: Configured,
    images: RunImages,
    bits_that_differ: Bits,
) -> None:
    config = configured(method, network, precision)
    replayed = Run(config, images=images, replay=replay())
    by_hand = Run(config, images=images, replay=one_by_one(replayed.replay))
    assert told(replayed, 2) == told(by_hand, 2)
    assert bits_that_differ(replayed.state_dict(), by_hand.state_dict()) == []


@pytest.mark.parametrize("precision", PRECISIONS)
def test_a_run_taken_on_in_a_new_process_is_the_same_bit_for_bit(
    precision: str,
    configured: Configured,
    images: RunImages,
    resume: Callable[..., dict[str, Any]],
    tmp_path: Path,
    tmp_path_factory: pytest.TempPathFactory,
    bits_that_differ: Bits,
) -> None:
    folder = tmp_path_factory.getbasetemp() / "teachers"
    jobs, through = {}, {}
    for method, network in PAIRS:
        given = raw(method, network, precision, folder)
        run = Run(configured(method, network, precision), images=images, replay=replay())
        told(run)
        name = f"{method} {network}"
        jobs[name] = {"config": given, "state": on_the_host(run.state_dict()), "reports": 1}
        through[name] = {"reports": told(run), "state": on_the_host(run.state_dict())}
    done = {name: on_the_host(each) for name, each in resume(tmp_path, jobs).items()}
    assert [name for name in jobs if bits_that_differ(through[name], done[name])] == []


def on_the_host(state: Any) -> Any:
    """A copy that later updates do not change."""
    if isinstance(state, torch.Tensor):
        return state.detach().cpu().clone()
    if isinstance(state, dict):
        kept = {key: on_the_host(value) for key, value in state.items()}
        kept.pop("seconds_per_step", None)
        return kept
    return [on_the_host(each) for each in state] if isinstance(state, list) else state


def test_three_runs_that_take_turns_are_three_alone(
    configured: Configured, images: RunImages, bits_that_differ: Bits
) -> None:
    pairs = (("dfsr", "vdsr"), ("kd", "edsr"), ("dukd", "edsr"))
    alone = [Run(configured(*pair), images=images, replay=replay()) for pair in pairs]
    for run in alone:
        for _ in range(24):
            with updating(run):
                run.update()
    together = [Run(configured(*pair), images=images, replay=replay()) for pair in pairs]
    for _ in range(24):
        for run in together:
            with updating(run):
                run.update()
    if CUDA:
        torch.cuda.synchronize()
    for one, other in zip(alone, together, strict=True):
        assert bits_that_differ(one.state_dict(), other.state_dict()) == []


# --- the same numbers as elsewhere -------------------------------------------------------------


@each_pair
def test_its_losses_are_those_of_a_plain_loop(
    method: str, network: str, configured: Configured, images: RunImages
) -> None:
    config = ungrown(method, network, configured)
    run = Run(config, images=images, replay=replay())
    plain = Run(config, images=images, replay=AtOnce())
    update = LOOPS[method](plain)
    for number in range(4):  # the third is recorded; from then on rounding shows in the loss
        with updating(run):
            wanted = {name: float(loss) for name, loss in run.update().items()}
        with updating(plain):
            found = {name: float(loss) for name, loss in update().items()}
        assert wanted == pytest.approx(found, rel=1e-4 if number < 2 else 1e-2), f"update {number}"


@only_cuda
def test_an_evaluation_is_that_of_a_cpu(configured: Configured, images: RunImages) -> None:
    for network in ("vdsr", "edsr"):
        config = configured("scratch", network, "bf16")
        gpu = Run(config, images=images).evaluate()
        cpu = Run(config.model_copy(update={"device": "cpu"}), images=images).evaluate()
        assert gpu == pytest.approx(cpu, abs=2e-4)


# --- waits and memory ----------------------------------------------------------------------------


WARM, WATCHED = 24, 12


@only_cuda
@each_pair
def test_no_update_waits_for_the_device(
    method: str, network: str, configured: Configured, images: RunImages
) -> None:
    config = ungrown(method, network, configured)
    run = Run(config, images=images)
    with updating(run):
        for _ in range(WARM):
            run.update()
        torch.cuda.synchronize()
        torch.cuda.set_sync_debug_mode("error")
        try:
            for _ in range(WATCHED):
                run.update()
        finally:
            torch.cuda.set_sync_debug_mode("default")
        torch.cuda.synchronize()
        # That mode does not see a copy from pageable memory, which waits as well. One update at a
        # time: the kernels of several would fill the GPU's queue, for whose room the host waits.
        waited = [host_while_busy(run) for _ in range(3)]
    assert all(host < 0.5 * busy for host, busy in waited), waited


def host_while_busy(run: Run) -> tuple[float, float]:
    """Seconds of the host for an update, and until a GPU with other work before it has done it."""
    torch.cuda.synchronize()
    torch.cuda._sleep(400_000_000)  # cycles: a fifth of a second
    start = time.perf_counter()
    run.update()
    host = time.perf_counter() - start
    torch.cuda.synchronize()
    return host, time.perf_counter() - start


@only_cuda
def test_fifty_growths_leave_no_memory_behind(configured: Configured, images: RunImages) -> None:
    held = []
    for number in range(52):
        with_growth = Run(configured("dfsr", "vdsr", seed=number), images=images)
        with suppress(Diverged):  # a seed's bad luck is none of the memory's
            assert [each["active_blocks"] for each in told(with_growth, 2)] == [
                18.0
            ] * 2  # from the eighth update on
        del with_growth
        gc.collect()
        torch.cuda.synchronize()
        torch.cuda.empty_cache()
        if number in (3, 51):
            free, whole = torch.cuda.mem_get_info()
            held.append((torch.cuda.memory_allocated(), whole - free))
    assert held[1][0] <= held[0][0] + 2**20, held
    assert held[1][1] <= held[0][1] + 2**26, held
