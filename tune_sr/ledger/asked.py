"""What persons have asked of a study while it was under way."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from tune_sr.ledger import events as kinds


@dataclass
class Asked:
    """The requests of persons that the ledger has: a pure fold of its events."""

    requests: set[str] = field(default_factory=set)
    """All of them, by name."""
    points: dict[str, Mapping[str, Any]] = field(default_factory=dict)
    """The points asked for, by request, oldest first: each is one trial more."""
    answered: set[str] = field(default_factory=set)
    """The requests of points that have a trial."""

    def apply(self, event: kinds.NewEvent | None) -> None:
        """Take one more event into account."""
        match event:
            case kinds.PointAsked(point=point, request=request):
                self.points.setdefault(request, point)
                self.requests.add(request)
            case kinds.StopAsked(request=request):
                self.requests.add(request)
            case kinds.TrialAdded(request=str() as request):
                self.answered.add(request)

    def unanswered(self) -> dict[str, Mapping[str, Any]]:
        """The points that no trial has yet, by request, oldest first."""
        return {name: each for name, each in self.points.items() if name not in self.answered}
