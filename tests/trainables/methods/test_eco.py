from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from trainables.methods.base import Setting
from trainables.methods.eco import ECO, ECOConfig, mixed_loss, mixed_pair, share_of_truth
from trainables.values import Pairs

Make = Callable[..., Setting]

HALF = torch.full((1, 1, 2, 2), 0.5)


@pytest.mark.parametrize(
    ("update", "end_ratio", "share"),
    [(0, 1.0, 0.0), (25, 1.0, 0.25), (99, 1.0, 0.99), (100, 1.0, 1.0), (0, 0.5, 0.0),
     (25, 0.5, 0.5), (50, 0.5, 1.0), (75, 0.5, 1.0), (30, 0.75, 0.4)],
)  # fmt: skip
def test_the_share_of_truth_runs_from_0_to_1_by_hand(
    update: int, end_ratio: float, share: float
) -> None:
    assert share_of_truth(update, 100, end_ratio).item() == pytest.approx(share)


def test_the_mixed_pair_by_hand() -> None:
    # An even image is the same made smaller: the teacher's 0.2, the true LR 0.6 and HR 1.0.
    x, y = torch.full((1, 1, 4, 4), 0.6), torch.full((1, 1, 8, 8), 1.0)
    teacher = torch.full((1, 1, 8, 8), 0.2)
    low, high = mixed_pair(torch.tensor(0.25), x, y, teacher, "both")
    assert (low.shape, high.shape) == (x.shape, y.shape)
    assert torch.allclose(low, torch.tensor(0.75 * 0.2 + 0.25 * 0.6))
    assert torch.allclose(high, torch.tensor(0.75 * 0.2 + 0.25 * 1.0))
    kept, same = mixed_pair(torch.tensor(0.25), x, y, teacher, "hr_only")
    assert kept is x and torch.equal(same, high)


def test_at_0_it_is_the_teachers_pair_and_at_1_the_real_one() -> None:
    generator = torch.Generator().manual_seed(0)
    x, y, teacher = (torch.rand(1, 1, n, n, generator=generator) for n in (8, 16, 16))
    from trainables.resample import downsample_BCHW

    low, high = mixed_pair(torch.tensor(0.0), x, y, teacher, "both")
    assert torch.equal(high, teacher) and torch.equal(low, downsample_BCHW(teacher, 2))
    low, high = mixed_pair(torch.tensor(1.0), x, y, teacher, "both")
    assert torch.equal(high, y) and torch.equal(low, x)


def test_the_loss_by_hand() -> None:
    sr_BCHW = torch.tensor([[[[0.0, 0.5], [1.0, 0.5]]]])
    assert mixed_loss(sr_BCHW, HALF, 255.0).item() == pytest.approx(63.75)  # (0.5 + 0.5) / 4 on 255


def test_its_updates_on_one_number_by_hand(gain_setting: Make) -> None:
    # S(x) = w x and T(x) = 0 with x = y = 1/2, T = 100 updates, SGD at 0.1. The first update is on
    # the pair (0, 0), which w cannot miss. The second is on a = 1/100 of (1/2, 1/2): w is below 1.
    setting = gain_setting(student=0.5, teacher=0.0)
    method = ECO(ECOConfig(name="eco", loss_range=1.0), setting)
    weight = setting.student.weight
    assert method.step(Pairs(HALF, HALF))["loss/pixel"].item() == 0.0
    assert weight.item() == 0.5  # type: ignore[union-attr, operator]  # Gain's one number
    second = method.step(Pairs(HALF, HALF))["loss/pixel"]
    assert second.item() == pytest.approx(0.01 * 0.5 * 0.5)
    assert weight.item() == pytest.approx(0.5 + 0.1 * 0.005)  # type: ignore[union-attr, operator]  # as above


def test_the_teachers_answer_to_the_mixed_lr_is_weighted_and_asked_for_with_a_weight_only(
    gain_setting: Make,
) -> None:
    for lambda_kd, keys in ((0.0, ["loss/pixel"]), (0.2, ["loss/pixel", "loss/kd"])):
        setting = gain_setting(student=0.5, teacher=1.0)
        config = ECOConfig(name="eco", lambda_kd=lambda_kd, loss_range=1.0)
        losses = ECO(config, setting).step(Pairs(HALF, HALF))
        assert list(losses) == keys
        # a = 0: l = T(x) = 1/2, S(l) = 1/4, T(l) = 1/2
        assert losses["loss/pixel"].item() == pytest.approx(0.25)
        if lambda_kd:
            assert losses["loss/kd"].item() == pytest.approx(0.2 * 0.25)
