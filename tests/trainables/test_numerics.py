"""Precision is set in one place, put back afterwards, and never reaches an evaluation."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

from trainables.networks import build_network
from trainables.numerics import Precision, hold_in_bfloat16, multiplies_bfloat16, numerics, resolved
from trainables.run import Run

CPU = torch.device("cpu")


def switches() -> tuple[object, ...]:
    cudnn, products = torch.backends.cudnn, torch.backends.cuda.matmul
    return (
        cudnn.conv.fp32_precision,
        products.fp32_precision,
        cudnn.deterministic,
        cudnn.benchmark,
        torch.is_autocast_enabled("cpu"),
    )


@pytest.mark.parametrize(
    ("precision", "expected"),
    [
        ("fp32", ("ieee", "ieee", True, False, False)),
        ("tf32", ("tf32", "ieee", True, False, False)),
        ("bf16", ("tf32", "ieee", True, False, True)),
    ],
)
def test_all_switches_are_set_and_put_back(
    precision: Precision, expected: tuple[object, ...]
) -> None:
    before = switches()
    with numerics(precision, CPU):
        assert switches() == expected
        with numerics("fp32", CPU):  # an evaluation amid training
            assert switches() == ("ieee", "ieee", True, False, False)
        assert switches() == expected
    assert switches() == before
    with pytest.raises(ZeroDivisionError), numerics(precision, CPU):
        raise ZeroDivisionError
    assert switches() == before


def test_auto_is_bfloat16_only_where_it_is_multiplied(monkeypatch: pytest.MonkeyPatch) -> None:
    assert resolved("auto", CPU) == ("bf16" if multiplies_bfloat16(CPU) else "fp32")
    assert [resolved(each, CPU) for each in ("fp32", "tf32", "bf16")] == ["fp32", "tf32", "bf16"]
    # AVX-512 without its bfloat16 instructions: oneDNN would emulate them and calls it supported.
    monkeypatch.setattr(torch.cpu, "_is_avx512_supported", lambda: True)
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: False)
    for found, expected in ((False, "fp32"), (True, "bf16")):
        monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda found=found: found)
        assert resolved("auto", CPU) == expected


def test_weights_held_in_bfloat16_give_what_autocast_gives() -> None:
    network = build_network({"name": "edsr", "features": 8, "blocks": 2, "scale": 2})
    x = torch.rand(2, 3, 8, 8)
    with numerics("bf16", CPU), torch.no_grad():
        cast = network(x)
        hold_in_bfloat16(network)
        assert network.conv_first.weight.dtype == torch.bfloat16
        assert torch.equal(network(x), cast)


def test_an_evaluation_is_float32_whatever_the_training(make_run: Callable[..., Run]) -> None:
    seen: set[torch.dtype] = set()

    def note(module: nn.Module, given: Any, result: torch.Tensor) -> None:
        seen.add(result.dtype)

    run = make_run("kd", student={"name": "edsr"}, precision="bf16")
    run.outcome.conv_first.register_forward_hook(note)  # type: ignore[operator]  # a convolution
    run.evaluate()
    assert seen == {torch.float32}
    run.student.conv_first.register_forward_hook(note)  # type: ignore[operator]  # as above
    run.advance()
    assert seen == {torch.float32, torch.bfloat16}


def test_a_resume_keeps_what_auto_was_resolved_to(
    make_run: Callable[..., Run], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("trainables.numerics.multiplies_bfloat16", lambda device: True)
    begun = make_run("dfsr", precision="auto")
    assert begun.precision == "bf16"
    state = begun.state_dict()
    monkeypatch.setattr("trainables.numerics.multiplies_bfloat16", lambda device: False)
    for precision, expected in (("auto", "bf16"), ("fp32", "fp32")):
        resumed = make_run("dfsr", precision=precision)
        resumed.load_state_dict(state)
        assert resumed.precision == expected
    older = {key: value for key, value in state.items() if key != "precision"}
    resumed = make_run("dfsr", precision="auto")
    resumed.load_state_dict(older)
    assert resumed.precision == "fp32"
