"""What a study maximises, and at what cost."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from tune_sr.objectives.limit import LIMITED, Limit

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
    limit: Limit | None = None
    """What a student's cost has to keep to; None: nothing."""

    @property
    def keys(self) -> tuple[str, ...]:
        """The keys of reports that are needed to compare trials."""
        return (self.value,) if self.cost is None else (self.value, self.cost)

    @property
    def costs(self) -> tuple[str, ...]:
        """The costs that reports have: the one to minimise, or the one with a limit."""
        limited = None if self.limit is None else self.limit.key
        return tuple(key for key in (self.cost, limited) if key is not None)

    @classmethod
    def of(cls, keys: Sequence[str]) -> Objective:
        """The objective, without a limit, whose `keys` these are."""
        return cls(keys[0], keys[1] if len(keys) > 1 else None)

    @classmethod
    def parse(cls, raw: Any) -> Objective:
        """Read `study.objective`.

        It is `psnr_y_db`; a list of it and a cost; a mapping of it to `max`, and of a cost to its
        limit; or `teacher_agreement`, also in such a mapping.

        Raises:
            ValueError: it is something else.

        >>> Objective.parse(["psnr_y_db", "params"])
        Objective(value='psnr_y_db', cost='params', limit=None)
        >>> limited = {"psnr_y_db": "max", "params": {"at_most": 500000}}
        >>> str(Objective.parse(limited).limit)
        'params at most 500,000'
        """
        if isinstance(raw, Mapping):
            return cls._limited(raw)
        if raw == AGREEMENT:
            return cls(_AGREEMENT_KEY)
        keys = list(raw) if isinstance(raw, list | tuple) else [raw]
        if keys[:1] != [QUALITY] or len(keys) > 2 or not all(key in COSTS for key in keys[1:]):
            rule = (
                f"takes {QUALITY!r}, a list of it and one of {', '.join(COSTS)}, {AGREEMENT!r}, "
                "or a mapping with a limit"
            )
            raise ValueError(f"{rule}; got {raw!r}")
        return cls(*keys)

    @classmethod
    def _limited(cls, raw: Mapping[Any, Any]) -> Objective:
        quality, *others = [*raw.items()] or [("", "")]
        if quality not in ((QUALITY, "max"), (AGREEMENT, "max")) or len(others) != 1:
            form = f"{QUALITY}: max, params: {{at_most: N}}"
            known = f"{QUALITY} or {AGREEMENT} to max and one of {', '.join(LIMITED)} to its limit"
            raise ValueError(f"a mapping has {known}, such as {{{form}}}; got {dict(raw)!r}")
        return cls.parse(quality[0])._replace(limit=Limit.parse(*others[0]))

    def to_yaml(self) -> str | list[str] | dict[str, Any]:
        """The shortest value that `parse` reads as this objective."""
        if self.limit is not None:
            unlimited = str(self._replace(limit=None).to_yaml())
            return {unlimited: "max", self.limit.key: self.limit.to_yaml()}
        if self.value == _AGREEMENT_KEY:
            return AGREEMENT
        return self.value if self.cost is None else [self.value, self.cost]


PSNR_ONLY = Objective(QUALITY)
"""The default: PSNR alone."""
