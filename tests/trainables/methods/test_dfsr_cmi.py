from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from trainables.config import TrialConfig
from trainables.errors import ConfigError
from trainables.methods.dfsr import DFSR
from trainables.methods.dfsr_cmi import DFSRCMI, DFSRCMIConfig
from trainables.optimisers import Optimiser
from trainables.run import Run
from trainables.values import Blank

BLANK = Blank(3, 16)
Start = Callable[..., DFSRCMI]


@pytest.fixture
def start(make_run: Callable[..., Run]) -> Start:
    def make(optimiser: dict[str, Any] | None = None, **method: Any) -> DFSRCMI:
        sections = {"budget": {"steps": 400, "steps_per_report": 1}, "method": method}
        made = make_run("dfsr_cmi", optimiser=optimiser or {}, **sections).method
        assert isinstance(made, DFSRCMI)
        return made

    return make


def copy(state: dict[str, Tensor]) -> dict[str, Tensor]:
    return {key: value.clone() for key, value in state.items()}


def equal(a: dict[str, Tensor], b: dict[str, Tensor]) -> bool:
    return list(a) == list(b) and all(torch.equal(a[key], b[key]) for key in a)


# --- the generator's loss -----------------------------------------------------------------------


def test_the_generators_loss_by_hand(start: Start) -> None:
    method = start(w_R=3.0, W_C=0.5, tau=1e6)
    x, teacher = torch.full((2, 1, 8, 8), 0.25), torch.full((2, 1, 16, 16), 0.75)
    student = torch.full((2, 1, 16, 16), 0.25)
    terms = method._terms(x, teacher, student, 2, *method.contrast.draw(x.shape, 2))
    # 128 LR pixels off by 1/2: 32. 512 pixels of disagreement 1/2: 128. Two images, not told apart.
    assert terms["loss/reconstruction"].item() == pytest.approx(3.0 * 32.0)
    assert terms["loss/adversarial"].item() == pytest.approx(-math.log(1 + 128.0))
    assert terms["loss/contrast"].item() == pytest.approx(0.5 * math.log(2.0), rel=1e-4)


# --- a stage ------------------------------------------------------------------------------------


def test_generator_z_and_h_descend_and_student_and_teacher_stand_still(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    method = start(generator_steps=3)
    method.pupil.updates.value = 1  # a stage follows updates of the student
    values: list[Tensor] = []
    counts: list[int] = []
    descend = method.game.descend

    def watched(z_BK: Tensor, scale: int, own: Optimiser, *others: Any, **drawn: Any) -> Any:
        values.append(z_BK.detach().clone())
        terms = descend(z_BK, scale, own, *others, **drawn)
        assert z_BK.grad is not None and z_BK.grad.abs().sum() > 0
        values.append(z_BK.detach().clone())
        counts.append(int(own.state[z_BK]["step"]))
        return terms

    monkeypatch.setattr(method.game, "descend", watched)
    networks = {
        "student": method.student,
        "teacher": method.pupil.teacher,
        "generator": method.game.generators[2],
        "h": method.contrast.h,
    }
    before = {name: copy(network.state_dict()) for name, network in networks.items()}
    method._stage(3, 2)
    moved = {name for name in networks if not equal(before[name], networks[name].state_dict())}
    assert moved == {"generator", "h"}
    assert all(p.grad is None for p in method.student.parameters())
    assert all(p.grad is None for p in method.pupil.teacher.parameters())
    assert counts == [1, 2, 3]  # one z, and its moments, for all three updates
    for left, found in ((1, 2), (3, 4)):
        assert torch.equal(values[left], values[found])
    for old, new in ((0, 1), (2, 3), (4, 5)):
        assert not torch.equal(values[old], values[new])
    for state in method.contrast.optimiser.state.values():
        assert int(state["step"]) == 3


def test_the_bank_takes_in_what_the_stage_arrived_at(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    method = start()
    method.pupil.updates.value = 1  # a stage follows updates of the student
    remembered: list[Tensor] = []
    remember = method.contrast.remember

    def watched(x_BCHW: Tensor, scale: int) -> None:
        remembered.append(x_BCHW)
        remember(x_BCHW, scale)

    monkeypatch.setattr(method.contrast, "remember", watched)
    z = method.game.draw_latents(3)
    monkeypatch.setattr(method.game, "draw_latents", lambda images: z.clone())
    before = method.game.generators[2](z).detach()
    method._stage(3, 2)
    assert len(remembered) == 1
    assert not remembered[0].requires_grad
    assert not torch.allclose(remembered[0], before, atol=1e-6)
    # z is the updated one too: G(z) of the old z is another image.
    assert not torch.equal(remembered[0], method.game.generators[2](z).detach())
    assert len(method.contrast.banks[2]) == 3


def test_a_stage_follows_every_update_ratio_updates_of_the_student(start: Start) -> None:
    method = start(update_ratio=3, bank_size=20)
    filled, keys = [], []
    for _ in range(7):
        keys.append(list(method.step(BLANK)))
        filled.append(len(method.contrast.banks[2]))
    assert filled == [0, 0, 3, 3, 3, 6, 6]
    assert keys[0] == ["loss/kd"]
    assert keys[2] == ["loss/kd", "loss/reconstruction", "loss/adversarial", "loss/contrast"]


def test_a_stage_is_of_one_scale_and_fills_its_bank_alone(make_run: Callable[..., Run]) -> None:
    run = make_run(
        "dfsr_cmi",
        student={"scales": [2, 3, 4]},
        batch={"images": 1, "patch": 48},
        method={"update_ratio": 1, "bank_size": 100},
    )
    method = run.method
    assert isinstance(method, DFSRCMI)
    for stage in range(8):
        method.step(Blank(1, 48))
        banks = method.contrast.banks
        for scale in (2, 3, 4):
            states = method.game.optimisers[scale].state.values()
            assert all(int(state["step"]) == len(banks[scale]) for state in states)
        assert sum(map(len, banks.values())) == stage + 1
    assert all(len(bank) for bank in banks.values())


# --- beside DFSR --------------------------------------------------------------------------------


def test_until_the_first_stage_it_is_dfsr(make_run: Callable[..., Run], start: Start) -> None:
    budget = {"steps": 400, "steps_per_report": 1}
    theirs = make_run("dfsr", budget=budget, method={"update_ratio": 4}).method
    assert isinstance(theirs, DFSR)
    ours = start(update_ratio=4)
    for _ in range(4):
        assert torch.equal(theirs.step(BLANK)["loss/kd"], ours.step(BLANK)["loss/kd"])
    assert equal(theirs.student.state_dict(), ours.student.state_dict())
    assert not equal(theirs.game.generators[2].state_dict(), ours.game.generators[2].state_dict())


def spread(method: DFSRCMI) -> float:
    """Mean distance of two imagined images in the teacher's features."""
    with torch.no_grad():
        features_BF = method.contrast.features_BF(
            method.game.imagine(method.game.draw_latents(64), 2), 2
        )
    return torch.pdist(features_BF).mean().item()


def test_contrast_makes_the_generators_images_differ_more(start: Start) -> None:
    common = {"generator_lr": 3e-3, "update_ratio": 1, "P": 1, "optimiser": {"lr": 1e-9}}
    found = {}
    before = spread(start(**common))
    for W_C in (0.0, 10.0):
        method = start(W_C=W_C, bank_size=64, negatives=32, **common)
        for _ in range(25):
            method.step(Blank(6, 16))
        found[W_C] = spread(method)
    assert found[10.0] > 1.3 * max(before, found[0.0])


# --- configuration ------------------------------------------------------------------------------


def test_defaults_are_those_of_the_papers_and_cmis_code() -> None:
    config = DFSRCMIConfig(name="dfsr_cmi")
    assert (config.w_R, config.W_C, config.tau) == (1.0, 0.1, 0.1)
    assert (config.bank_size, config.negatives, config.generator_steps) == (4096, 1024, 1)
    assert (config.embedding, config.statistics) == (128, "mean")
    assert (config.P, config.part_fraction, config.update_ratio) == (2, 12 / 80, 50)


def test_generator_and_z_have_cmis_momentum_and_h_adams_own(start: Start) -> None:
    method = start()
    assert method.game.optimisers[2].config.betas == (0.5, 0.999)
    assert method.contrast.optimiser.config.betas == (0.9, 0.999)
    assert method.contrast.optimiser.config.lr == method.game.optimisers[2].config.lr == 1e-5


@pytest.mark.parametrize(
    ("student", "preset", "W_C"),
    [("vdsr", None, 1.0), ("vdsr", "paper", 1e-3), ("edsr", None, 0.1), ("rcan", "released", 0.1)],
)
def test_the_weight_follows_the_size_of_the_other_losses(
    toy: Callable[..., dict[str, Any]], student: str, preset: str | None, W_C: float
) -> None:
    method = {"preset": preset} if preset else {}
    config = TrialConfig.parse(toy("dfsr_cmi", student={"name": student}, method=method))
    assert isinstance(config.method, DFSRCMIConfig)
    assert config.method.W_C == W_C


def test_a_batch_that_overflows_the_bank_is_refused(toy: Callable[..., dict[str, Any]]) -> None:
    raw = toy("dfsr_cmi", method={"bank_size": 4}, batch={"images": 5})
    with pytest.raises(ConfigError, match=r"method\.bank_size: 4 is less .*batch\.images is 5"):
        TrialConfig.parse(raw)


def test_a_teacher_without_body_maps_is_refused(toy: Callable[..., dict[str, Any]]) -> None:
    raw = toy("dfsr_cmi", student={"name": "edsr"})
    raw["teacher"] = {"name": "spandrel", "weights": "teacher.pth"}
    with pytest.raises(ConfigError, match=r"teacher\.name: dfsr_cmi tells images apart"):
        TrialConfig.parse(raw)
