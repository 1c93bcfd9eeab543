from __future__ import annotations

import pytest

from trainables.errors import ConfigError, Diverged, EnvironmentFault
from trainables.problems import is_fault


def caused(error: Exception, cause: Exception) -> Exception:
    """An error raised `from None` while another one was handled, as our refusals are."""
    try:
        try:
            raise cause
        except Exception:
            raise error from None
    except Exception as raised:
        return raised


WEIGHTS = ConfigError("teacher.weights", "t.safetensors: no such file")


@pytest.mark.parametrize(
    ("error", "searched", "fault"),
    [
        (FileNotFoundError(2, "No such file"), (), True),
        (EnvironmentFault("t.safetensors is not the file that the study began with"), (), True),
        (caused(ValueError("a.png cannot be read"), OSError(116, "Stale file handle")), (), True),
        (RuntimeError("No CUDA GPUs are available"), (), True),
        (WEIGHTS, ("method.w_R", "optimiser.lr"), True),
        (WEIGHTS, ("teacher.weights",), False),  # the point names a file of its own
        (WEIGHTS, ("teacher.features",), False),  # or a network that the file does not hold
        (
            caused(ConfigError("teacher.weights", "denied"), PermissionError(13, "denied")),
            ("teacher.weights",),
            True,
        ),
        (ConfigError("", "takes a mapping"), (), False),
        (Diverged(3, "loss/kd is not finite", {}), (), False),
        (RuntimeError("shapes do not match"), (), False),
        (ValueError("no patch fits"), (), False),
    ],
)
def test_whose_fault_it_is(error: Exception, searched: tuple[str, ...], fault: bool) -> None:
    assert is_fault(error, searched) is fault
