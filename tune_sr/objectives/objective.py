"""What a study maximises, and at what cost."""

from __future__ import annotations

from typing import Any, NamedTuple

QUALITY, AGREEMENT = "psnr_y_db", "teacher_agreement"
"""The quality to maximise: PSNR on held-out images, or agreement with the teacher where there are
none."""
_AGREEMENT_KEY = "teacher_agreement_db"

COSTS = ("params", "macs", "latency_ms")
"""Keys of reports that a second objective may minimise."""


class Objective(NamedTuple):
    """The keys of reports that a study maximises and minimises."""

    value: str
    """The key to maximise."""
    cost: str | None = None
    """The key to minimise; None: cost is no objective."""

    @property
    def keys(self) -> tuple[str, ...]:
        """The keys of reports that are needed to compare trials."""
        return tuple(key for key in self if key is not None)

    @classmethod
    def parse(cls, raw: Any) -> Objective:
        """Read `study.objective`: `psnr_y_db`, a list of it and a cost, or `teacher_agreement`.

        Raises:
            ValueError: it is something else.

        >>> Objective.parse(["psnr_y_db", "params"])
        Objective(value='psnr_y_db', cost='params')
        """
        if raw == AGREEMENT:
            return cls(_AGREEMENT_KEY)
        keys = list(raw) if isinstance(raw, list | tuple) else [raw]
        if keys[:1] != [QUALITY] or len(keys) > 2 or not all(key in COSTS for key in keys[1:]):
            rule = (
                f"takes {QUALITY!r}, a list of it and one of {', '.join(COSTS)}, or {AGREEMENT!r}"
            )
            raise ValueError(f"{rule}; got {raw!r}")
        return cls(*keys)

    def to_yaml(self) -> str | list[str]:
        """The shortest value that `parse` reads as this objective."""
        if self.value == _AGREEMENT_KEY:
            return AGREEMENT
        return self.value if self.cost is None else [self.value, self.cost]


PSNR_ONLY = Objective(QUALITY)
"""The default: PSNR alone."""
