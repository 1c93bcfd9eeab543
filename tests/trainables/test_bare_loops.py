"""The plain loops that `step.py` measures `Run` against compute what `Run` computes."""

from __future__ import annotations

from pathlib import Path

import pytest
from bare_loops import LOOPS, released
from trials import pictures, trial

from trainables.config import TrialConfig
from trainables.methods import METHODS
from trainables.run import Run, RunImages

IMAGES = RunImages(pictures(1, 48), pictures(2, 48))


def losses(run: Run, count: int) -> list[dict[str, float]]:
    found = [run.method.step(run._draw()) for _ in range(count)]
    return [{name: float(loss) for name, loss in each.items()} for each in found]


@pytest.mark.parametrize("network", ["vdsr", "edsr"])  # RCAN and SwinIR are read as they are
@pytest.mark.parametrize("method", METHODS)
def test_a_bare_loop_has_the_losses_of_the_method(
    method: str, network: str, tmp_path: Path
) -> None:
    raw = trial(method, network, "toy", tmp_path, images=3, device="cpu", threads=1)
    raw["method"] |= {"update_ratio": 2} if "update_ratio" in raw["method"] else {}
    config = TrialConfig.parse(raw)
    wanted = losses(Run(config, images=IMAGES), 4)
    update = LOOPS[method](Run(config, images=IMAGES))
    for step, each in enumerate(wanted):
        bare = {name: float(loss) for name, loss in update().items()}
        assert bare == pytest.approx(each, rel=2e-4), f"update {step}"


def test_the_released_loop_teaches_the_student_the_same(tmp_path: Path) -> None:
    raw = trial("dfsr", "vdsr", "toy", tmp_path, images=3, device="cpu", threads=1)
    raw["method"]["update_ratio"] = 4
    config = TrialConfig.parse(raw)
    wanted = losses(Run(config, images=IMAGES), 4)
    update = released(Run(config, images=IMAGES))
    for each in wanted:
        assert float(update()["loss/kd"]) == pytest.approx(each["loss/kd"], rel=2e-4)
