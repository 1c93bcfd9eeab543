"""Recorded updates, rehearsed on a CPU: the same losses and state as updates done one by one."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Any

import pytest
import torch
from pairs import RECORDED
from rehearsal import CPUGraphs, Refused, rehearsed
from torch import Tensor

from trainables.config import TrialConfig
from trainables.methods import METHODS
from trainables.optimisers import Optimiser, OptimiserConfig
from trainables.replay import AtOnce, Recorded, Replay, Results, Work, constants, replay_on
from trainables.run import Run
from trainables.values import Blank, Pairs

Make = Callable[..., Run]
Draw = Callable[[Run], Pairs | Blank]
Losses = list[dict[str, float]]

UPDATES = 40


# --- one program --------------------------------------------------------------------------------


def doubled(x: Tensor) -> Results:
    return {"twice": 2 * x}


def test_the_third_call_is_recorded_and_later_ones_repeat_it() -> None:
    recorder, made = CPUGraphs(), []
    replay = rehearsed(recorder)

    def work(x: Tensor) -> Results:
        made.append(len(made))
        return doubled(x)

    found = [replay("key", work, torch.tensor([float(n)]))["twice"] for n in range(6)]
    assert [each.item() for each in found] == [0.0, 2.0, 4.0, 6.0, 8.0, 10.0]  # and none changed
    assert made == [0, 1, 2]
    assert len(recorder.graphs) == 1


def test_what_is_given_is_left_alone_and_need_not_live() -> None:
    replay, x = rehearsed(), torch.ones(3)
    for _ in range(4):
        replay("key", doubled, x)
    assert x.tolist() == [1.0] * 3
    assert replay("key", doubled, torch.full((3,), 4.0))["twice"].tolist() == [8.0] * 3


def test_a_capture_does_nothing_and_each_replay_does_it_once() -> None:
    replay, state, seen = rehearsed(), torch.zeros(2), []

    def count(x: Tensor) -> Results:
        state.add_(x)
        return {"state": state.clone()}

    for _ in range(5):
        seen.append(replay("key", count, torch.ones(2))["state"].tolist())
    assert seen == [[float(n)] * 2 for n in range(1, 6)]


def test_other_shapes_dtypes_and_keys_are_other_programs() -> None:
    recorder = CPUGraphs()
    replay = rehearsed(recorder)
    given = [torch.ones(2), torch.ones(3), torch.ones(2, dtype=torch.float64)]
    for _ in range(4):
        for key in ("a", "b"):
            for x in given:
                assert replay(key, doubled, x)["twice"].dtype == x.dtype
    assert len(recorder.graphs) == 6


def test_after_forgetting_it_is_by_hand_and_recorded_anew() -> None:
    recorder, made = CPUGraphs(), []
    replay = rehearsed(recorder)
    place = [torch.ones(1)]

    def work(x: Tensor) -> Results:
        made.append(0)
        return {"sum": x + place[0]}

    for _ in range(4):
        replay("key", work, torch.ones(1))
    place[0] = torch.full((1,), 5.0)  # what the recording reads lies elsewhere now
    assert replay("key", work, torch.ones(1))["sum"].item() == 2.0
    replay.forget()
    assert not recorder.graphs
    assert [replay("key", work, torch.ones(1))["sum"].item() for _ in range(4)] == [6.0] * 4
    assert len(made) == 6


def test_what_recorded_work_reads_out_of_a_cache_stays_in_it() -> None:
    made = []

    @constants(maxsize=1)
    def ones(length: int) -> Tensor:
        made.append(length)
        return torch.ones(length)

    replay = rehearsed()

    def work(x: Tensor) -> Results:
        return {"sum": x + ones(2)}

    for number in range(5):
        replay("key", work, torch.ones(2))
        ones(10 + number)  # as held-out images of many sizes: it holds one
        ones(3)
    assert made.count(2) == 1
    assert made.count(3) == 5


def test_a_capture_that_fails_is_tried_again_and_leaves_nothing() -> None:
    replay, fails = rehearsed(), [False]

    def work(x: Tensor) -> Results:
        if fails[0]:
            raise MemoryError
        return doubled(x)

    for _ in range(2):
        replay("key", work, torch.ones(1))
    fails[0] = True
    with pytest.raises(MemoryError):
        replay("key", work, torch.ones(1))
    fails[0] = False
    assert replay("key", work, torch.ones(1))["twice"].item() == 2.0


@pytest.mark.parametrize(
    ("mistake", "message"),
    [
        (lambda x: x * x.sum().item(), "waits for a value"),
        (lambda x: x if (x > 0).all() else -x, "waits for a value"),
        (lambda x: x + torch.randn(2), "random"),
        (lambda x: torch.nn.functional.dropout(x), "random"),
        (lambda x: x[x > 0], "shape depends"),
        (lambda x: x + torch.tensor([1.0, 2.0]), "copied to the device"),
    ],
)
def test_what_a_graph_cannot_hold_is_refused(
    mistake: Callable[[Tensor], Tensor], message: str
) -> None:
    replay = rehearsed()
    for _ in range(2):
        replay("key", lambda x: {"y": mistake(x)}, torch.ones(2))
    with pytest.raises(Refused, match=message):
        replay("key", lambda x: {"y": mistake(x)}, torch.ones(2))


def test_a_gradient_of_other_work_is_not_to_be_read() -> None:
    replay, weight = rehearsed(), torch.nn.Parameter(torch.ones(2))

    def work(x: Tensor) -> Results:
        weight.grad = None
        (weight * x).sum().backward()  # type: ignore[no-untyped-call]  # torch leaves it unannotated
        return {}

    for _ in range(3):
        replay("key", work, torch.ones(2))
    assert weight.grad is not None and weight.grad.isnan().all()


def test_a_cpu_records_nothing() -> None:
    assert isinstance(replay_on(torch.device("cpu")), AtOnce)


@pytest.mark.parametrize("micro_batch", [None, 1])
@pytest.mark.parametrize("graphs", [True, False])
def test_graphs_are_off_where_asked_and_with_a_micro_batch(
    graphs: bool, micro_batch: int | None, toy: Any, images: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def on(device: torch.device, *, graphs: bool) -> Replay:
        asked.append((device.type, graphs))
        return AtOnce()

    monkeypatch.setattr("trainables.run.replay_on", on)
    config = TrialConfig.parse(toy("noise", graphs=graphs))
    Run(config, images=images, micro_batch=micro_batch)
    assert asked == [("cpu", graphs and micro_batch is None)]


# --- whole methods ------------------------------------------------------------------------------


def lively(name: str, toy: Callable[..., dict[str, Any]], more: dict[str, Any]) -> dict[str, Any]:
    """40 updates: the rate falls three times, the student grows, a generator has every second."""
    fields = type(TrialConfig.parse(toy(name)).method).model_fields
    wanted = {"update_ratio": 2, "P": 2, "part_fraction": 0.4}
    sections: dict[str, Any] = {
        "budget": {"steps": UPDATES, "steps_per_report": UPDATES},
        "optimiser": {"schedule": {"at": 0.27, "factor": 0.5}},
        "method": {key: value for key, value in wanted.items() if key in fields},
    }
    for key, values in more.items():
        plain = not isinstance(values, dict) or key not in sections
        sections[key] = values if plain else {**sections[key], **values}
    return toy(name, **sections)


@pytest.fixture
def start(toy: Callable[..., dict[str, Any]], images: Any) -> Callable[..., Run]:
    def make(name: str, replay: Replay, **more: Any) -> Run:
        config = TrialConfig.parse(lively(name, toy, more))
        return Run(config, images=images, replay=replay)

    return make


def step(run: Run, draw: Draw) -> dict[str, float]:
    return {name: float(loss) for name, loss in run.method.step(draw(run)).items()}


def train(run: Run, draw: Draw, updates: int = UPDATES) -> Losses:
    return [step(run, draw) for _ in range(updates)]


def different(some: Losses, others: Losses) -> int:
    """In how many updates the losses are not equal to the last bit."""
    return sum(a != b for a, b in zip(some, others, strict=True))


Bits = Callable[[Any, Any], list[str]]


@pytest.mark.parametrize("name", METHODS)
def test_every_recorded_update_is_that_done_by_hand(
    name: str, start: Callable[..., Run], draw_batch: Draw, bits_that_differ: Bits
) -> None:
    by_hand, recorder = start(name, AtOnce()), CPUGraphs()
    recorded = start(name, rehearsed(recorder))
    assert different(train(by_hand, draw_batch), train(recorded, draw_batch)) == 0
    assert bits_that_differ(by_hand.method.state_dict(), recorded.method.state_dict()) == []
    assert recorder.graphs


@pytest.mark.parametrize(("name", "network"), [p for p in RECORDED if p.values[1] != "vdsr"])
def test_so_it_is_on_every_network(
    name: str,
    network: str,
    start: Callable[..., Run],
    draw_batch: Draw,
    bits_that_differ: Bits,
) -> None:
    short = {"budget": {"steps": 10, "steps_per_report": 10}, "student": {"name": network}}
    by_hand, recorder = start(name, AtOnce(), **short), CPUGraphs()
    recorded = start(name, rehearsed(recorder), **short)
    assert different(train(by_hand, draw_batch, 10), train(recorded, draw_batch, 10)) == 0
    assert bits_that_differ(by_hand.method.state_dict(), recorded.method.state_dict()) == []
    assert recorder.graphs


ADAMW = {
    "name": "adamw",
    "lr": 1e-3,
    "clip": None,
    "weight_decay": 0.1,
    "schedule": {"kind": "cosine", "warmup": 0.2},
}
VARIANTS: list[tuple[str, dict[str, Any]]] = [
    ("dfsr", {"student": {"scales": [2, 3, 4]}, "batch": {"images": 1, "patch": 48}}),
    ("dfsr", {"optimiser": {"name": "adam", "lr": 1e-3, "clip": None}}),
    ("dfsr", {"optimiser": ADAMW}),
    ("dfsr_cmi", {"optimiser": ADAMW}),
    ("kd", {"optimiser": ADAMW}),
    ("dfsr", {"optimiser": {"schedule": {"kind": "cosine", "warmup": 0.3}}}),
    ("dfsr", {"optimiser": {"schedule": {"kind": "constant", "warmup": 0.3}}}),
    ("dfsr", {"precision": "bf16"}),
    ("dfsr", {"method": {"P": 3, "reset_lr": False}}),
    ("dfsr_cmi", {"method": {"generator_steps": 3, "statistics": "mean_std"}}),
    ("dfsr_cmi", {"student": {"scales": [2, 3]}, "batch": {"images": 1, "patch": 48}}),
    ("noise", {"method": {"noise_at": "input"}}),
    ("kd", {"ema": 0.9}),
    ("scratch", {"student": {"scales": [2, 3]}, "batch": {"patch": 24}}),
    ("dukd", {"method": {"zoom_in": "grid", "update": "released", "zoom_out_pix": True}}),
    ("dukd", {"method": {"update": "split", "n_gt_sub": 2, "operations": "all"}}),
    ("dukd", {"method": {"zoom_in": "off", "augment_on": "zi", "update": "split"}}),
    ("dukd", {"method": {"zoom_in": "off", "zoom_out": False}}),
    ("csd", {"method": {"lambda_t": 0.0, "features": "teacher"}}),
    ("csd", {"method": {"lambda_c": 0.0}}),
    ("fakd", {"method": {"last_map": "after_skip", "fakd_pool": 2}}),
]


@pytest.mark.parametrize(("name", "more"), VARIANTS)
def test_so_it_is_whatever_the_configuration(
    name: str,
    more: dict[str, Any],
    start: Callable[..., Run],
    draw_batch: Draw,
    bits_that_differ: Bits,
) -> None:
    sections = {"budget": {"steps": 20, "steps_per_report": 20}, **more}
    by_hand, recorder = start(name, AtOnce(), **sections), CPUGraphs()
    recorded = start(name, rehearsed(recorder), **sections)
    one, other = by_hand.advance(), recorded.advance()
    assert bits_that_differ(one, other) == []
    assert bits_that_differ(by_hand.state_dict(), recorded.state_dict()) == []
    assert recorder.graphs


@pytest.mark.parametrize("name", METHODS)
def test_a_run_saved_loaded_and_recorded_anew_goes_on_bit_for_bit(
    name: str,
    start: Callable[..., Run],
    bits_that_differ: Bits,
) -> None:
    reports = {"budget": {"steps": 18, "steps_per_report": 6}}
    through = list(start(name, AtOnce(), **reports).reports())
    first, second = (start(name, rehearsed(), **reports) for _ in range(2))
    begun = [first.advance()]
    second.advance()
    second.advance()  # of another history, with recordings of its own
    second.load_state_dict(first.state_dict())
    assert bits_that_differ(through, [*begun, *second.reports()]) == []


def test_three_runs_that_take_turns_are_three_alone(
    start: Callable[..., Run], draw_batch: Draw, bits_that_differ: Bits
) -> None:
    names = ("dfsr", "dukd", "dfsr_cmi")
    alone = [start(name, AtOnce()) for name in names]
    wanted = [train(run, draw_batch) for run in alone]
    runs = [start(name, rehearsed()) for name in names]
    found: list[Losses] = [[] for _ in runs]
    for _ in range(UPDATES):
        for run, losses in zip(runs, found, strict=True):
            losses.append(step(run, draw_batch))
    assert [different(*pair) for pair in zip(wanted, found, strict=True)] == [0, 0, 0]
    for one, other in zip(alone, runs, strict=True):
        assert bits_that_differ(one.method.state_dict(), other.method.state_dict()) == []


# --- mistakes made on purpose -------------------------------------------------------------------


class WithoutDepth(Recorded):
    """Its keys lack the number of active blocks."""

    def __call__(self, key: Hashable, work: Work, *given: Tensor) -> Results:
        assert isinstance(key, tuple)
        return super().__call__(key[:2], work, *given)


def test_a_rate_that_is_a_float_is_caught(
    start: Callable[..., Run], draw_batch: Draw, monkeypatch: pytest.MonkeyPatch
) -> None:
    begin = Optimiser.begin

    def frozen(self: Optimiser, *update: int) -> None:
        self.__dict__.pop("rate", None)  # for the next line, which fills a tensor
        begin(self, *update)
        self.rate = self.lr  # type: ignore[assignment]  # the mistake

    wanted = train(start("dfsr", AtOnce()), draw_batch)
    monkeypatch.setattr(Optimiser, "begin", frozen)
    assert different(wanted, train(start("dfsr", rehearsed()), draw_batch)) > 20


def test_a_key_without_the_depth_is_caught(start: Callable[..., Run], draw_batch: Draw) -> None:
    wanted = train(start("dfsr", AtOnce()), draw_batch)
    careless = start("dfsr", WithoutDepth(CPUGraphs()))
    assert different(wanted, train(careless, draw_batch)) > 20


def test_state_that_moves_is_caught(
    start: Callable[..., Run], draw_batch: Draw, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Momentum that a restart replaces, where the depth does not change with it."""

    def moved(self: Optimiser) -> None:
        for state in self.state.values():
            for name, value in state.items():
                state[name] = torch.zeros_like(value)

    wanted = train(start("noise", AtOnce()), draw_batch, 20)
    for restart, caught in ((Optimiser.restart, False), (moved, True)):
        monkeypatch.setattr(Optimiser, "restart", restart)
        run, alike = start("noise", rehearsed()), start("noise", AtOnce())
        assert different(train(run, draw_batch, 10), wanted[:10]) == 0
        train(alike, draw_batch, 10)
        for each in (run, alike):
            each.method.learners()["optimiser"].restart()  # type: ignore[attr-defined]  # an Optimiser
        found, by_hand = (train(each, draw_batch, 10) for each in (run, alike))
        assert (different(found, by_hand) > 0) == caught


@pytest.mark.parametrize(
    ("mistake", "message"),
    [
        (lambda loss: loss * (1.0 if loss.item() > 0 else 2.0), "waits for a value"),
        (lambda loss: loss * torch.rand(()), "random"),
    ],
)
def test_a_question_and_a_draw_inside_a_loss_are_caught(
    mistake: Callable[[Tensor], Tensor],
    message: str,
    start: Callable[..., Run],
    draw_batch: Draw,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from trainables.methods import game

    loss = game.imitation_loss
    monkeypatch.setattr(game, "imitation_loss", lambda *given: mistake(loss(*given)))
    with pytest.raises(Refused, match=message):
        train(start("dfsr", rehearsed()), draw_batch, 5)


# --- the optimiser's half -----------------------------------------------------------------------


@pytest.mark.parametrize("name", ["sgd", "adam", "adamw"])
def test_state_keeps_its_place_when_it_is_restarted_and_loaded(name: Any) -> None:
    def trained(updates: int) -> tuple[Optimiser, list[int]]:
        weight = torch.nn.Parameter(torch.ones(3))
        optimiser = Optimiser([weight], OptimiserConfig(name=name, lr=0.1), 100)
        for number in range(updates):
            optimiser.begin(number)
            optimiser.descend((weight**2).sum())
        return optimiser, [each.data_ptr() for each in optimiser.state[weight].values()]

    one, other = trained(3), trained(5)
    state = {n: {k: v.clone() for k, v in each.items()} for n, each in one[0].state_dict()["state"].items()}  # fmt: skip  # noqa: E501
    other[0].load_state_dict({"state": state})
    (moments,) = other[0].state.values()
    assert all(torch.equal(value, state[0][key]) for key, value in moments.items())
    other[0].restart()
    assert all(not value.any() for value in moments.values())
    assert [each.data_ptr() for each in moments.values()] == other[1]


def test_a_state_with_torchs_own_groups_is_taken_and_another_kinds_refused() -> None:
    weight = torch.nn.Parameter(torch.ones(2))
    torchs = torch.optim.SGD([weight], lr=0.1, momentum=0.9)
    weight.sum().backward()  # type: ignore[no-untyped-call]  # torch leaves it unannotated
    torchs.step()
    sgd, adam = (Optimiser([weight], OptimiserConfig(name=n), 10) for n in ("sgd", "adam"))  # type: ignore[arg-type]  # a Literal
    sgd.load_state_dict(torchs.state_dict())
    assert sgd.state[weight]["momentum_buffer"].tolist() == [1.0, 1.0]
    with pytest.raises(ValueError, match=r"momentum_buffer.*does not fit"):
        adam.load_state_dict(torchs.state_dict())
    with pytest.raises(ValueError, match="state of 1 parameters"):
        sgd.load_state_dict({"state": {3: {}}})
