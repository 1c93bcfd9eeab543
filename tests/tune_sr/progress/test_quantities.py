"""Which searched quantities a table of some width has columns for."""

from __future__ import annotations

from tune_sr.progress.quantities import choose

POINTS = [
    {"method.P": 1, "method.w_R": 0.1, "method.generator_lr": 1.0, "optimiser.lr": 0.01},
    {"method.P": 2, "method.w_R": 2.9, "method.generator_lr": 0.1, "optimiser.lr": 0.011},
]


def heads(room: int) -> list[str]:
    return list(choose(POINTS, room).shown.values())


def test_those_that_differ_most_come_first_and_stand_in_the_order_of_the_space() -> None:
    assert [heads(room) for room in (4, 5, 13, 16, 23)] == [
        ["P"],  # w_R differs most, and has no room
        ["w_R"],
        ["w_R", "gen_lr"],
        ["P", "w_R", "gen_lr"],
        ["P", "w_R", "gen_lr", "lr"],
    ]
    assert choose(POINTS, 5).left_out == {
        "method.P": "P",
        "method.generator_lr": "generator_lr",
        "optimiser.lr": "lr",
    }
    assert choose([], 80) == ({}, {})


def test_two_quantities_never_share_a_name() -> None:
    same = [{"a.lr": 0.1, "b.lr": 0.2, "method.generator_lr": 1.0, "method.general_lr": 2.0}]
    assert list(choose(same, 80).shown.values()) == ["a.lr", "b.lr", "generator_lr", "general_lr"]
