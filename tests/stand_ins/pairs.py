"""Which networks every method teaches, and which of these pairs are tried recorded by default.

A recording knows nothing of a network beside its operations. So every method is recorded on one
network, and every network under two methods; `-m soak` tries the pairs that are left.
"""

from __future__ import annotations

from typing import Any, get_type_hints

import pytest
from rehearsal import rehearsed

from trainables.methods import METHODS, Pairing
from trainables.networks import NETWORKS
from trainables.replay import AtOnce


def takes(name: str, network: str) -> bool:
    """Whether by this method a network may learn from a wider one of its own kind."""
    kind, sizes = METHODS[name], {"name": network, "blocks": 2, "scales": (2,)}
    make = NETWORKS[network].config_class.model_validate
    narrow, wide = (make({**sizes, "features": features}) for features in (12, 24))
    config = get_type_hints(kind.__init__)["config"].model_construct()
    pairing = Pairing(narrow, wide if kind.taught else None, images=16, patch=48)
    refused = [path.partition(".")[0] for path, _ in kind.refusals(config, pairing)]
    return not {"student", "teacher"} & set(refused)


PAIRS = [(name, network) for name in METHODS for network in NETWORKS if takes(name, network)]


def _by_default(name: str, network: str) -> bool:
    turn, methods = list(NETWORKS).index(network), [n for n, other in PAIRS if other == network]
    return turn == 0 or name in (methods[turn % len(methods)], methods[turn - 4])


def _case(name: str, network: str, *form: Any) -> Any:
    marks = () if _by_default(name, network) else pytest.mark.soak
    return pytest.param(name, network, *form, marks=marks)


RECORDED = [_case(*pair) for pair in PAIRS]
"""Every pair; many of them in `-m soak` alone."""

IN_EVERY_FORM = [
    *(pytest.param(*pair, AtOnce, id=f"{'-'.join(pair)}-at once") for pair in PAIRS),
    *(_case(*pair, rehearsed)._replace(id=f"{'-'.join(pair)}-recorded") for pair in PAIRS),
]
"""Every pair by hand, and `RECORDED` as on a GPU: recorded once and repeated."""
