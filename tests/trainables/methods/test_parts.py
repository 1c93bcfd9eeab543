from __future__ import annotations

import pytest

from trainables.methods.parts import Parts, SplitPoints, growth_starts, part_depths, plan_parts


@pytest.mark.parametrize(
    ("blocks", "P", "depths"),
    [
        (18, 1, (18,)),
        (18, 2, (9, 18)),  # VDSR in the paper
        (32, 2, (16, 32)),  # EDSR in the paper
        (10, 2, (5, 10)),  # RCAN's groups
        (4, 2, (2, 4)),  # SwinIR's
        (18, 3, (6, 12, 18)),
        (18, 4, (5, 9, 14, 18)),  # 4.5 and 13.5 rounded half up
        (5, 2, (3, 5)),  # 2.5 too
        (18, 9, (2, 4, 6, 8, 10, 12, 14, 16, 18)),
        (3, 3, (1, 2, 3)),
    ],
)
def test_even_parts(blocks: int, P: int, depths: tuple[int, ...]) -> None:
    assert part_depths(blocks, P, "even") == depths


@pytest.mark.parametrize(
    ("P", "split_points", "depths"),
    [
        (2, 0.25, (5, 18)),  # 4.5 half up
        (2, 0.5, (9, 18)),
        (2, 0.75, (14, 18)),  # 13.5 half up
        (3, 0.5, (9, 14, 18)),  # the other 9 in two: 4.5 half up
        (4, 0.25, (5, 9, 14, 18)),  # the other 13 in three: 4.33, 8.67
        (1, 0.25, (18,)),
        (2, (3,), (3, 18)),
        (3, (4, 10), (4, 10, 18)),
        (3, [1, 17], (1, 17, 18)),
    ],
)
def test_chosen_parts_of_eighteen(
    P: int,
    split_points: SplitPoints,
    depths: tuple[int, ...],
) -> None:
    assert part_depths(18, P, split_points) == depths


@pytest.mark.parametrize(
    ("blocks", "P", "split_points", "path"),
    [
        (4, 5, "even", "P"),
        (18, 2, 0.01, "split_points"),  # no block in part 0
        (18, 2, 0.99, "split_points"),  # none left for part 1
        (18, 4, 0.9, "split_points"),
        (18, 3, (4,), "split_points"),
        (18, 2, (4, 10), "split_points"),
        (18, 3, (10, 4), "split_points"),
        (18, 3, (4, 4), "split_points"),
        (18, 2, (0,), "split_points"),
        (18, 2, (18,), "split_points"),
        (18, 2, (19,), "split_points"),
    ],
)
def test_parts_without_a_block_are_refused(
    blocks: int,
    P: int,
    split_points: SplitPoints,
    path: str,
) -> None:
    with pytest.raises(ValueError, match=rf"^{path}: .*{P} parts") as refusal:
        part_depths(blocks, P, split_points)
    assert str(blocks) in str(refusal.value)


def test_starts_are_shares_of_the_budget() -> None:
    assert growth_starts(480_000, 2, 12 / 80) == (0, 72_000)  # the paper's VDSR
    assert growth_starts(1_800_000, 2, 80 / 300) == (0, 480_000)  # and EDSR
    assert growth_starts(100, 3, 0.5) == (0, 25, 50)
    assert growth_starts(100, 1, 0.5) == (0,)
    assert growth_starts(10, 2, 0.25) == (0, 3)  # 2.5 half up


@pytest.mark.parametrize(("steps", "P", "fraction"), [(10, 2, 0.04), (10, 2, 0.96), (4, 5, 0.5)])
def test_parts_without_an_update_are_refused(steps: int, P: int, fraction: float) -> None:
    with pytest.raises(ValueError, match=rf"^P: {P} parts in {fraction} of {steps} updates"):
        growth_starts(steps, P, fraction)


def test_every_update_belongs_to_one_part() -> None:
    parts = plan_parts(18, 100, 3, "even", 0.5)
    assert parts == Parts(starts=(0, 25, 50), depths=(6, 12, 18))
    assert [parts.at(step) for step in (0, 24, 25, 49, 50, 99)] == [0, 0, 1, 1, 2, 2]
    assert sum(parts.at(step) == 2 for step in range(100)) == 50
