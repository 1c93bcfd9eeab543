from __future__ import annotations

import math

import pytest

from trainables.errors import Diverged
from trainables.watch import Watch


def losses(*values: float) -> dict[str, list[float]]:
    return {"loss/kd": list(values)}


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_the_watch_names_the_update_that_was_not_finite(bad: float) -> None:
    with pytest.raises(Diverged, match="loss/kd is not finite") as end:
        Watch().look(100, losses(1.0, 2.0, bad, 3.0), ())
    assert end.value.step == 103
    both = {"loss/kd": [1.0] * 10, "loss/adversarial": [-1.0, bad]}
    with pytest.raises(Diverged, match="loss/adversarial is not finite") as end:
        Watch().look(100, both, ())
    assert end.value.step == 110  # a generator is updated less often: the report's last update


def test_the_watch_knows_an_explosion_from_noise() -> None:
    watch = Watch()
    watch.look(0, losses(*[1.0] * 200), ())
    watch.look(200, losses(*[11.0] * 99, 1.0), ())
    with pytest.raises(Diverged, match="loss exploded to 11") as end:
        watch.look(300, losses(*[11.0] * 100), ())
    assert end.value.step == 400


def test_the_watch_wants_a_hundred_in_a_row_above_ten_medians() -> None:
    watch = Watch()
    watch.look(0, losses(*[1.0] * 200), ())
    watch.look(200, losses(*([10.0] * 300)), ())  # exactly ten times is not above


def test_the_watch_does_not_learn_to_think_an_explosion_normal() -> None:
    watch = Watch()
    watch.look(0, losses(*[1.0] * 200), ())
    watch.look(200, losses(*([50.0] * 60)), ())
    with pytest.raises(Diverged) as end:
        watch.look(260, losses(*([50.0] * 60)), ())
    assert end.value.step == 300


def test_the_watch_says_nothing_of_a_run_that_is_young_or_has_just_grown() -> None:
    Watch().look(0, losses(*[1.0] * 150, *[99.0] * 45), ())
    watch = Watch()
    watch.look(0, losses(*[1.0] * 200), (200,))
    watch.look(200, losses(*[99.0] * 150), (200,))
    assert len(watch.recent) == 150


def test_the_watch_remembers_over_a_restart() -> None:
    watch, again = Watch(), Watch()
    watch.look(0, losses(*[1.0] * 200, *[50.0] * 60), ())
    again.load_state_dict(watch.state_dict())
    with pytest.raises(Diverged) as end:
        again.look(260, losses(*[50.0] * 40), ())
    assert end.value.step == 300
