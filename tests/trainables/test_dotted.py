from __future__ import annotations

from typing import Any

import pytest

from trainables.dotted import leaves, put


def test_what_is_put_is_among_the_leaves() -> None:
    nested: dict[str, Any] = {"seed": 0}
    for path, value in (("method.name", "dfsr"), ("optimiser.schedule.at", 0.4), ("seed", 1)):
        put(nested, path, value)
    assert nested == {
        "seed": 1,
        "method": {"name": "dfsr"},
        "optimiser": {"schedule": {"at": 0.4}},
    }
    assert dict(leaves(nested)) == {
        "seed": 1,
        "method.name": "dfsr",
        "optimiser.schedule.at": 0.4,
    }


def test_a_value_takes_the_place_of_a_mapping_and_not_the_reverse() -> None:
    nested: dict[str, Any] = {"optimiser": {"schedule": {"at": 0.4}}}
    put(nested, "optimiser.schedule", None)
    assert nested == {"optimiser": {"schedule": None}}
    with pytest.raises(ValueError, match=r"^optimiser\.schedule is a value, not a mapping$"):
        put(nested, "optimiser.schedule.at", 0.4)
    assert nested == {"optimiser": {"schedule": None}}
