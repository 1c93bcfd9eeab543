from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from trainables.config import TrialConfig
from trainables.errors import ConfigError
from trainables.methods.fakd import FAKD, FAKDConfig, supervision_loss, tapped
from trainables.methods.kd import KD, KDConfig
from trainables.networks import build_network
from trainables.run import Run
from trainables.values import Config, Pairs

Make = Callable[..., Run]
Draw = Callable[[Run], Pairs]
Toy = Callable[..., dict[str, Any]]

PLAIN = {"name": "sgd", "lr": 1e-3, "momentum": 0.0, "weight_decay": 0.0, "clip": None}


def method_of(run: Run) -> FAKD:
    assert isinstance(run.method, FAKD)
    return run.method


# --- the equations ------------------------------------------------------------------------------


def test_supervision_by_hand() -> None:
    sr_BCHW = torch.tensor([[[[0.0, 0.5], [1.0, 0.5]]]])
    hr_BCHW = torch.tensor([[[[0.5, 0.5], [0.5, 0.5]]]])
    teacher_BCHW = torch.tensor([[[[0.0, 0.5], [0.6, 0.5]]]])
    # (0.5 + 0.5) / 4 and 0.4 / 4 on 0..255, of which alpha = 0.2 is the teacher's.
    data, teacher = supervision_loss(sr_BCHW, hr_BCHW, teacher_BCHW, 0.2, 255.0)
    assert data.item() == pytest.approx(0.8 * 63.75)
    assert teacher.item() == pytest.approx(0.2 * 25.5)


@pytest.mark.parametrize(
    ("network", "taps"),
    [
        # int(N / 3), int(2 N / 3) and N blocks of EDSR; groups 3, 7 and 10 of RCAN: [FAKD]'s code
        ({"name": "edsr", "blocks": 32}, (9, 20)),
        ({"name": "edsr", "blocks": 16}, (4, 9)),
        ({"name": "edsr", "blocks": 30}, (9, 19)),
        ({"name": "rcan", "groups": 10, "blocks": 1}, (2, 6)),
        # ours
        ({"name": "rcan", "groups": 4, "blocks": 1}, (0, 1)),
        ({"name": "vdsr", "blocks": 18}, (5, 11)),
        ({"name": "swinir", "features": 12, "blocks": 6, "layers": 1}, (1, 3)),
        ({"name": "edsr", "blocks": 1}, (0, 0)),
    ],
)
def test_tapped_as_the_paper_cuts_the_body(network: dict[str, Any], taps: tuple[int, ...]) -> None:
    built = build_network({"features": 4, "scale": 2, **network})
    for last in ("after_skip", "before_skip"):
        assert tapped(built, "paper", last) == (*taps, last)


def test_tapped_at_shares_of_ones_own() -> None:
    built = build_network({"name": "edsr", "features": 4, "blocks": 10, "scale": 2})
    assert tapped(built, (0.1, 0.55, 0.99), "after_skip") == (0, 4, 8)
    assert tapped(built, (1.0,), "before_skip") == ("before_skip",)


# --- one update ---------------------------------------------------------------------------------


def affinities(features_BFHW: Tensor) -> Tensor:
    features_BFN = features_BFHW.flatten(2)
    return F.cosine_similarity(features_BFN[..., :, None], features_BFN[..., None, :], dim=1)


@pytest.mark.parametrize(
    ("student", "teacher", "last_map"),
    [
        ("edsr", "edsr", "after_skip"),
        ("rcan", "edsr", "before_skip"),
        ("vdsr", "vdsr", "after_skip"),
    ],
)
def test_one_update_descends_the_papers_sum_written_out(
    make_run: Make, draw_batch: Draw, toy: Toy, student: str, teacher: str, last_map: str
) -> None:
    run = make_run(
        "fakd",
        student={"name": student},
        teacher=toy("fakd", student={"name": teacher})["teacher"],
        method={"last_map": last_map, "alpha": 0.3},
        optimiser={**PLAIN, "schedule": None},
    )
    twin, batch, method = copy.deepcopy(run.student), draw_batch(run), method_of(run)
    losses = method.step(batch)
    ours = twin.trace(batch.lr_BCHW, taps=tapped(twin, "paper", method.config.last_map))
    theirs = method.teacher.trace(
        batch.lr_BCHW, taps=tapped(method.teacher, "paper", method.config.last_map)
    )
    pixel = 0.7 * 255 * (ours.sr_BCHW - batch.hr_BCHW).abs().mean()
    kd = 0.3 * 255 * (ours.sr_BCHW - theirs.sr_BCHW).abs().mean()
    pairs = zip(ours.taps, theirs.taps, strict=True)
    layers = [(affinities(s) - affinities(t)).abs().mean() for s, t in pairs]
    terms = {"loss/pixel": pixel, "loss/kd": kd, "loss/affinity": 10.0 * sum(layers)}
    assert list(losses) == list(terms)
    for name, term in terms.items():
        torch.testing.assert_close(losses[name], torch.as_tensor(term).detach(), rtol=1e-4, atol=0)
    torch.as_tensor(sum(terms.values())).backward()
    moved = dict(run.student.named_parameters())
    for name, parameter in twin.named_parameters():
        assert parameter.grad is not None
        expected = parameter - PLAIN["lr"] * parameter.grad  # type: ignore[operator]  # a number
        torch.testing.assert_close(moved[name], expected, rtol=1e-4, atol=1e-6)


def test_without_affinity_and_with_an_even_share_it_is_kd_at_twice_the_range(
    make_run: Make, draw_batch: Draw
) -> None:
    halves = make_run("fakd", method={"alpha": 0.5, "w_SA": 0.0, "loss_range": 2.0})
    kd = make_run(
        "kd", method={"lambda_kd": 1.0, "loss_range": 1.0}, optimiser={"betas": [0.9, 0.999]}
    )
    assert isinstance(kd.method, KD)
    assert isinstance(kd.config.method, KDConfig)
    for _ in range(3):
        batch = draw_batch(halves)
        ours, theirs = method_of(halves).step(batch), kd.method.step(batch)
        assert ours.pop("loss/affinity") == 0.0
        for name, loss in ours.items():
            torch.testing.assert_close(loss, theirs[name], rtol=1e-5, atol=0)


@pytest.mark.parametrize("network", ["vdsr", "edsr", "rcan", "swinir"])
def test_affinity_alone_teaches_every_unit_of_the_body(
    make_run: Make, draw_batch: Draw, network: str
) -> None:
    adam = {"name": "adam", "lr": 2e-3}
    run = make_run("fakd", student={"name": network}, method={"loss_range": 1e-9}, optimiser=adam)
    before = copy.deepcopy(run.student.body)
    batch = draw_batch(run)
    losses = [float(method_of(run).step(batch)["loss/affinity"]) for _ in range(20)]
    assert losses[-1] < 0.8 * losses[0]
    for unit, was in zip(run.student.body, before, strict=True):
        pairs = zip(unit.parameters(), was.parameters(), strict=True)
        assert any(not torch.equal(now, then) for now, then in pairs)


def test_a_student_that_is_its_teacher_has_nothing_to_copy(
    make_run: Make, draw_batch: Draw
) -> None:
    run = make_run("fakd")
    method = method_of(run)
    method.student.load_state_dict(method.teacher.state_dict())
    losses = method.step(draw_batch(run))
    assert losses["loss/kd"] == 0.0
    assert losses["loss/affinity"] == 0.0
    assert losses["loss/pixel"] > 0.0


def test_less_memory_changes_last_digits_only(make_run: Make, draw_batch: Draw) -> None:
    dense, banded = make_run("fakd"), make_run("fakd", method={"memory_gib": 0.00035})
    for _ in range(3):
        batch = draw_batch(dense)
        a, b = method_of(dense).step(batch), method_of(banded).step(batch)
        assert [float(x) for x in a.values()] == pytest.approx([float(x) for x in b.values()], 1e-4)


def test_the_skip_belongs_to_the_last_map_or_does_not(make_run: Make, draw_batch: Draw) -> None:
    def affinity(network: str, last_map: str) -> float:
        run = make_run("fakd", student={"name": network}, method={"last_map": last_map})
        return float(method_of(run).step(draw_batch(run))["loss/affinity"])

    assert affinity("edsr", "after_skip") != affinity("edsr", "before_skip")
    assert affinity("vdsr", "after_skip") == affinity("vdsr", "before_skip")


def test_maps_meet_however_a_teacher_pads(make_run: Make, draw_batch: Draw, toy: Toy) -> None:
    teacher = {**toy("fakd", student={"name": "swinir"})["teacher"], "swinir_pad": "official"}
    run = make_run("fakd", student={"name": "edsr"}, teacher=teacher)
    losses = method_of(run).step(draw_batch(run))
    assert losses["loss/affinity"] > 0.0


# --- what is refused ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"teacher": {"name": "spandrel", "weights": "x.pth"}}, r"^teacher\.name: .*shows none"),
        ({"method": {"fakd_pool": 3}}, r"^method\.fakd_pool: batch\.patch 16 is not a multiple"),
        ({"method": {"memory_gib": 1e-4}}, r"^method\.memory_gib: .* take 0\.00028 GiB at least"),
        ({"method": {"taps": []}}, r"^method\.taps"),
        ({"method": {"taps": [0.5, 1.5]}}, r"^method\.taps"),
        ({"method": {"taps": [0.0, 1.0]}}, r"^method\.taps"),
        ({"method": {"alpha": 1.5}}, r"^method\.alpha: .*less than or equal to 1"),
    ],
)
def test_what_cannot_be_is_refused_before_anything_is_built(
    toy: Toy, change: dict[str, Any], message: str
) -> None:
    raw = toy("fakd", student={"name": "edsr"})
    for section, values in change.items():
        raw[section] = values if section == "teacher" else {**raw[section], **values}
    with pytest.raises(ConfigError, match=message):
        TrialConfig.parse(raw)


def test_pooling_lowers_what_memory_is_needed(toy: Toy) -> None:
    pooled = {"method": {"name": "fakd", "fakd_pool": 4, "memory_gib": 1e-4}}
    config: Config = TrialConfig.parse(toy("fakd", **pooled)).method
    assert isinstance(config, FAKDConfig)
    assert config.fakd_pool == 4


def test_defaults_are_those_of_the_released_scripts() -> None:
    config = FAKDConfig(name="fakd")
    assert (config.alpha, config.w_SA, config.loss_range) == (0.5, 10.0, 255.0)
    assert (config.taps, config.last_map, config.fakd_pool) == ("paper", "before_skip", 1)
