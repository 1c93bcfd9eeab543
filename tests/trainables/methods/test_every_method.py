"""What holds for every entry of METHODS: adding one there is signing up for these.

No test here knows a method by its name. Golden curves are in test_golden.py.
"""

from __future__ import annotations

import copy
import random  # noqa: TID251  to see that nobody used it
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from types import BuiltinFunctionType, FunctionType, MethodType, ModuleType
from typing import Any, get_type_hints

import numpy as np
import pytest
import torch
from pairs import IN_EVERY_FORM, PAIRS
from rehearsal import rehearsed
from torch import Tensor

from trainables.config import TrialConfig
from trainables.errors import ConfigError
from trainables.methods import METHODS, Distiller
from trainables.networks import NETWORKS
from trainables.replay import AtOnce, Recorded, Replay
from trainables.run import Run
from trainables.values import Blank, Counter, Pairs, Randomness

Make = Callable[..., Run]
Draw = Callable[[Run], Pairs | Blank]


each_method = pytest.mark.parametrize("name", METHODS)
each_pair = pytest.mark.parametrize(("name", "network"), PAIRS)
each_pair_in_every_form = pytest.mark.parametrize(("name", "network", "replay"), IN_EVERY_FORM)
each_replay = pytest.mark.parametrize("replay", [AtOnce, rehearsed], ids=["at once", "recorded"])
"""By hand, and as on a GPU: recorded once and repeated."""


def train(run: Run, draw: Draw, steps: int) -> list[dict[str, float]]:
    """The losses of some updates."""
    losses = [run.method.step(draw(run)) for _ in range(steps)]
    return [{name: float(value) for name, value in each.items()} for each in losses]


def copied(state: Mapping[str, Any]) -> dict[str, Any]:
    return copy.deepcopy(dict(state))


# --- 1: it learns, and the teacher stands still -------------------------------------------------


@each_pair
def test_loss_on_one_repeated_batch_falls_and_only_the_student_moves(
    name: str, network: str, make_run: Make, draw_batch: Draw
) -> None:
    # A budget in which 160 updates are a moment: what follows a schedule is repeated too. And a
    # toy teacher knows little of images, so it is believed little.
    fields = get_type_hints(METHODS[name].__init__)["config"].model_fields
    sections = {
        "student": {"name": network},
        "method": {"lambda_kd": 0.2} if "lambda_kd" in fields else {},
        "optimiser": {"name": "adam", "lr": 2e-3},
        "budget": {"steps": 40_000, "steps_per_report": 2},
    }
    run = make_run(name, **sections)
    batch = draw_batch(run)
    teacher = copied(run.teacher.state_dict()) if run.teacher else {}
    student = copied(run.student.state_dict())
    streams = {k: v for k, v in run.method.learners().items() if isinstance(v, Randomness)}
    begin = {key: copied(stream.state_dict()) for key, stream in streams.items()}
    losses: list[float] = []
    for _ in range(160):  # most need twenty; a student that starts inside its teacher starts low
        for key, stream in streams.items():  # what a method draws for itself is repeated too
            stream.load_state_dict(begin[key])
        losses.append(float(next(iter(run.method.step(batch).values()))))
        if np.mean(losses[-5:]) < 0.7 * losses[0]:
            break
    assert np.mean(losses[-5:]) < 0.7 * losses[0]
    assert any(not torch.equal(v, student[k]) for k, v in run.student.state_dict().items())
    after = run.teacher.state_dict() if run.teacher else {}
    assert all(torch.equal(value, teacher[key]) for key, value in after.items())


# --- 2: the seed decides ------------------------------------------------------------------------


@pytest.mark.bits
@each_replay
@each_method
def test_same_seed_same_numbers_other_seed_other_numbers(
    name: str, replay: Callable[[], Replay], make_run: Make, draw_batch: Draw
) -> None:
    one, same, other = (
        train(make_run(name, seed=seed, replay=replay()), draw_batch, 4) for seed in (0, 0, 1)
    )
    assert one == same
    assert all(a != b for a, b in zip(one, other, strict=True))


@each_method
def test_every_random_stream_has_a_seed_of_its_own_that_follows_the_trials(
    name: str, make_run: Make
) -> None:
    states = [
        stream.state_dict()["state"]
        for seed in (0, 1)
        for stream in make_run(name, seed=seed).method.learners().values()
        if isinstance(stream, Randomness)
    ]
    assert len({bytes(state.tolist()) for state in states}) == len(states)


# --- 3: train 4 = train 2, save, load in a new process, train 2 ---------------------------------

SHORT = {"budget": {"steps": 4, "steps_per_report": 2}}


@pytest.fixture(scope="module")
def resumed(
    toy: Callable[..., dict[str, Any]],
    images: Any,
    resume: Callable[..., dict[str, Any]],
    tmp_path_factory: pytest.TempPathFactory,
) -> dict[str, Any]:
    jobs = {}
    for name, network in PAIRS:
        raw = toy(name, student={"name": network}, **SHORT)
        run = Run(TrialConfig.parse(raw), images=images)
        run.advance()
        jobs[f"{name} {network}"] = {"config": raw, "state": run.state_dict(), "reports": 1}
    return resume(tmp_path_factory.mktemp("every_method"), jobs)


@pytest.mark.bits
@each_pair_in_every_form
def test_a_run_taken_on_in_a_new_process_is_the_same_bit_for_bit(
    name: str,
    network: str,
    replay: Callable[[], Replay],
    make_run: Make,
    resumed: dict[str, Any],
    bits_that_differ: Callable[[Any, Any], list[str]],
) -> None:
    through = make_run(name, student={"name": network}, replay=replay(), **SHORT)
    report = list(through.reports())[-1]
    done = resumed[f"{name} {network}"]
    assert bits_that_differ(report, done["reports"][-1]) == []
    assert bits_that_differ(through.state_dict(), done["state"]) == []


@each_method
def test_a_state_of_other_learners_is_refused(name: str, make_run: Make) -> None:
    run = make_run(name)
    state = run.method.state_dict()
    state["bank"] = {}
    with pytest.raises(ValueError, match=r"'bank'.*does not fit"):
        run.method.load_state_dict(state)


# --- 4: learners() is complete ------------------------------------------------------------------

_DEAD_ENDS = (str, bytes, type, ModuleType, BuiltinFunctionType, torch.device, torch.dtype)
_DEAD_ENDS += (Recorded,)  # what a recording holds is written before it is read


def parts_of(thing: Any) -> Iterator[Any]:
    """What can be reached from a thing in one step."""
    if isinstance(thing, Mapping):
        yield from thing.keys()
        yield from thing.values()
    elif isinstance(thing, list | tuple | set | frozenset | deque):
        yield from thing
    elif isinstance(thing, MethodType):
        yield thing.__self__
    elif isinstance(thing, FunctionType):
        yield from (cell.cell_contents for cell in thing.__closure__ or ())
    elif not isinstance(thing, Tensor) and hasattr(thing, "__dict__"):
        yield from vars(thing).values()


def reached(root: Any) -> dict[int, Any]:
    """Everything that can be reached from `root`, by identity."""
    found: dict[int, Any] = {}
    waiting = [root]
    while waiting:
        thing = waiting.pop()
        if id(thing) not in found and not isinstance(thing, _DEAD_ENDS):
            found[id(thing)] = thing
            waiting.extend(parts_of(thing))
    return found


def value_of(thing: Any) -> Any:
    """What can change in a thing itself: a tensor's content, a stream's state, its numbers."""
    if isinstance(thing, Tensor):
        return thing.detach().clone()
    if isinstance(thing, torch.Generator):
        return thing.get_state()
    inside = vars(thing).values() if hasattr(thing, "__dict__") else ()
    inside = thing.values() if isinstance(thing, Mapping) else inside
    inside = thing if isinstance(thing, list | deque) else inside
    return [each for each in inside if isinstance(each, int | float | str)]


def differs(before: Any, after: Any) -> bool:
    if isinstance(before, Tensor):
        return not torch.equal(before, after)
    return bool(before != after)


def forgotten(method: Distiller[Any], step: Callable[[], object]) -> list[Any]:
    """Whatever changed, or came to be, during `step` and belongs to no learner."""
    before = reached(method)
    values = {key: value_of(thing) for key, thing in before.items()}
    step()
    owned = reached(method.learners())
    return [
        thing
        for key, thing in reached(method).items()
        if key not in owned
        and (
            differs(values[key], value_of(thing))
            if key in before
            else isinstance(thing, Tensor | torch.Generator)
        )
    ]


@each_pair_in_every_form
def test_all_that_changes_belongs_to_a_learner(
    name: str, network: str, replay: Callable[[], Replay], make_run: Make, draw_batch: Draw
) -> None:
    sections = {"student": {"name": network}, "budget": {"steps": 8, "steps_per_report": 1}}
    run = make_run(name, replay=replay(), **sections)
    streams = torch.get_rng_state(), random.getstate(), repr(np.random.get_state())
    assert forgotten(run.method, lambda: train(run, draw_batch, 8)) == []
    assert torch.equal(torch.get_rng_state(), streams[0])
    assert random.getstate() == streams[1]
    assert repr(np.random.get_state()) == streams[2]


class Forgetful(Distiller[Blank]):
    """Changes a tensor, a stream and a number, and owns up to none of them."""

    batch = Blank

    def __init__(self) -> None:
        self.tensor = torch.zeros(2)
        self.stream = Randomness(0, "noise")
        self.count = Counter()

    def step(self, batch: Blank) -> dict[str, Tensor]:
        self.tensor += 1
        torch.rand(1, generator=self.stream.generator)
        self.count.value += 1
        return {}

    def learners(self) -> dict[str, Any]:
        return {}

    def lr(self) -> float:
        return 0.0


def test_what_is_forgotten_would_be_found() -> None:
    method = Forgetful()
    found = {id(thing) for thing in forgotten(method, lambda: method.step(Blank(1, 8)))}
    assert {id(method.tensor), id(method.stream.generator), id(method.count)} <= found


# --- 4b: a batch may pass a few images at a time ------------------------------------------------


@each_method
def test_updates_are_those_of_the_whole_batch_however_many_images_pass_at_a_time(
    name: str, make_run: Make, draw_batch: Draw, images: Any
) -> None:
    whole = make_run(name, batch={"images": 3})
    portions = Run(whole.config, images=images, micro_batch=2)
    for mine, theirs in zip(*(train(run, draw_batch, 4) for run in (portions, whole)), strict=True):
        assert mine == pytest.approx(theirs, rel=1e-3)


# --- 5: what a step returns, and what it leaves alone -------------------------------------------


@each_method
def test_losses_are_finite_scalars_and_the_batch_is_unmodified(
    name: str, make_run: Make, draw_batch: Draw
) -> None:
    run = make_run(name, budget={"steps": 8, "steps_per_report": 1})
    for _ in range(8):
        batch = draw_batch(run)
        before = copy.deepcopy(batch)
        losses = run.method.step(batch)
        assert losses
        for key, loss in losses.items():
            assert key.startswith("loss/")
            assert loss.shape == ()
            assert not loss.requires_grad
            assert loss.device.type == run.device.type
            assert loss.isfinite()
        for field, value in vars(before).items():
            now = getattr(batch, field)
            assert torch.equal(now, value) if isinstance(value, Tensor) else now == value


@each_pair
def test_bfloat16_trains_and_everything_kept_stays_float32(
    name: str, network: str, make_run: Make
) -> None:
    run = make_run(name, student={"name": network}, precision="bf16")
    before = copied(run.student.state_dict())
    report = run.advance()
    assert all(np.isfinite(value) for value in report.values())
    state = run.student.state_dict()
    assert all(tensor.dtype == torch.float32 for tensor in state.values())
    assert any(not torch.equal(tensor, before[key]) for key, tensor in state.items())


@each_method
def test_a_method_says_what_it_takes_and_whether_it_is_taught(name: str) -> None:
    kind = METHODS[name]
    assert kind.batch in (Pairs, Blank)
    assert isinstance(kind.taught, bool)
    assert kind.__doc__


# --- 6: backbones -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "network", "teacher"),
    [
        (name, network, teacher)
        for name, method in METHODS.items()
        for network in NETWORKS
        for teacher in (NETWORKS if method.taught else [network])
    ],
)
def test_it_works_for_a_pair_of_networks_or_refuses_it_with_a_sentence(
    name: str,
    network: str,
    teacher: str,
    toy: Callable[..., dict[str, Any]],
    make_run: Make,
    draw_batch: Draw,
) -> None:
    change = {"student": {"name": network, "blocks": 2, "features": 6}}
    if METHODS[name].taught:
        change["teacher"] = toy(name, student={"name": teacher})["teacher"]
    try:
        TrialConfig.parse(toy(name, **change))
    except ConfigError as refusal:
        assert refusal.path
        assert len(refusal.rule.split()) > 3
        own_rules = "refusals" in vars(METHODS[name])
        assert own_rules or NETWORKS[network].colour != NETWORKS[teacher].colour
    else:
        losses = train(make_run(name, **change), draw_batch, 3)  # the third is a generator's again
        assert all(np.isfinite(list(each.values())).all() for each in losses)
