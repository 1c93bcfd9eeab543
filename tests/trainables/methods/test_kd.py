from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from trainables.methods.base import Setting
from trainables.methods.kd import KD, KDConfig, kd_loss
from trainables.values import Pairs

Make = Callable[..., Setting]

HALF = torch.full((1, 1, 2, 2), 0.5)


def test_kd_loss_by_hand() -> None:
    sr_BCHW = torch.tensor([[[[0.0, 0.5], [1.0, 0.5]]]])
    hr_BCHW = torch.tensor([[[[0.5, 0.5], [0.5, 0.5]]]])
    teacher_BCHW = torch.tensor([[[[0.0, 0.5], [0.6, 0.5]]]])
    pixel, kd = kd_loss(sr_BCHW, hr_BCHW, teacher_BCHW, 0.2, 255.0)
    # (0.5 + 0 + 0.5 + 0) / 4 and (0 + 0 + 0.4 + 0) / 4, on 0..255; the second times 0.2
    assert pixel.item() == pytest.approx(63.75)
    assert kd.item() == pytest.approx(0.2 * 25.5)


def test_kd_loss_is_zero_only_where_all_three_agree() -> None:
    assert sum(kd_loss(HALF, HALF, HALF, 0.2, 1.0)) == 0.0
    assert kd_loss(HALF, HALF, HALF + 0.1, 0.0, 1.0)[1] == 0.0
    pixel, kd = kd_loss(HALF, HALF + 0.1, HALF, 0.2, 1.0)
    assert pixel > 0.0
    assert kd == 0.0


@pytest.mark.parametrize(
    ("lambda_kd", "moved"),
    # S(x) = w x with x = 1/2, w = 1/2: truth 1/2 and teacher 0 lie on either side of 1/4. The
    # gradient of each mean L1 is -+ x = 1/2, and SGD at 0.1 moves w by -0.1 (-1/2 + lambda / 2).
    [(0.0, 0.05), (0.2, 0.04), (1.0, 0.0), (2.0, -0.05)],
)
def test_the_weight_says_whom_the_student_believes(
    gain_setting: Make, lambda_kd: float, moved: float
) -> None:
    setting = gain_setting(student=0.5, teacher=0.0)
    method = KD(KDConfig(name="kd", lambda_kd=lambda_kd, loss_range=1.0), setting)
    losses = method.step(Pairs(HALF, HALF))
    assert setting.student.weight.item() == pytest.approx(0.5 + moved)  # type: ignore[union-attr, operator]  # Gain's one number
    assert losses["loss/pixel"].item() == pytest.approx(0.25)
    assert losses["loss/kd"].item() == pytest.approx(lambda_kd * 0.25)


def test_the_range_scales_both_terms_alike() -> None:
    one = kd_loss(HALF, HALF + 0.1, HALF - 0.2, 0.2, 1.0)
    wide = kd_loss(HALF, HALF + 0.1, HALF - 0.2, 0.2, 255.0)
    assert [b.item() for b in wide] == pytest.approx([255 * a.item() for a in one])
