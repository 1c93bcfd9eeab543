"""What a study maximises, and at what cost."""

from __future__ import annotations

from typing import Any, NamedTuple

QUALITY, AGREEMENT = "psnr_y_db", "teacher_agreement"
"""What is to be large: a key of reports, and a word for one where there is no real image at all."""
_AGREEMENT_KEY = "teacher_agreement_db"

COSTS = ("params", "macs", "latency_ms")
"""Keys of reports that can be to be small."""


class Objective(NamedTuple):
    """One or two keys of reports."""

    value: str
    """Is to be large."""
    cost: str | None = None
    """Is to be small; None: whatever it costs."""

    @property
    def keys(self) -> tuple[str, ...]:
        """All that is looked at in a report."""
        return tuple(key for key in self if key is not None)

    @classmethod
    def parse(cls, says: Any) -> Objective:
        """What `study.objective` says: `psnr_y_db`, a list of it and a cost, `teacher_agreement`.

        Raises:
            ValueError: it says something else.

        >>> Objective.parse(["psnr_y_db", "params"])
        Objective(value='psnr_y_db', cost='params')
        """
        if says == AGREEMENT:
            return cls(_AGREEMENT_KEY)
        keys = list(says) if isinstance(says, list | tuple) else [says]
        if keys[:1] != [QUALITY] or len(keys) > 2 or not all(key in COSTS for key in keys[1:]):
            rule = (
                f"takes {QUALITY!r}, a list of it and one of {', '.join(COSTS)}, or {AGREEMENT!r}"
            )
            raise ValueError(f"{rule}; got {says!r}")
        return cls(*keys)

    def to_yaml(self) -> str | list[str]:
        """What `of` takes, as short as can be."""
        if self.value == _AGREEMENT_KEY:
            return AGREEMENT
        return self.value if self.cost is None else [self.value, self.cost]


PSNR_ONLY = Objective(QUALITY)
"""Quality, whatever it costs."""
