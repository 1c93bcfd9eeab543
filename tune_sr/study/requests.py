"""What a person asks of a running study: one file for each request, which its driver reads."""

from __future__ import annotations

import json
import logging
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from trainables.errors import ConfigError
from tune_sr.ledger.events import NewEvent, PointAsked, StopAsked
from tune_sr.space.points import whole_point
from tune_sr.storage.disk import appearing
from tune_sr.storage.layout import REQUESTS

if TYPE_CHECKING:
    from tune_sr.ledger.history import History
    from tune_sr.study.config import StudyConfig

_LARGEST: Final = 2**20
"""Bytes of a file above which it is no request."""
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Request:
    """One thing that is asked: exactly one of its two values is not None."""

    stop_trial: str | None = None
    """The name of a trial that is to end."""
    add_point: Mapping[str, Any] | None = None
    """A point that is to be tried, as one trial more."""


def write_request(folder: Path, study: str | None, request: Request) -> Path:
    """Write a request for the study in `folder`, whose `id` is `study`; returns its file.

    It appears whole. Names sort by the time of asking.
    """
    requests = folder / REQUESTS
    requests.mkdir(exist_ok=True)
    path = requests / f"{time.time_ns():020d}-{os.getpid()}.json"
    content = {"study": study, "stop_trial": request.stop_trial, "add_point": request.add_point}
    with appearing(path) as fresh:
        fresh.write_text(json.dumps(content), encoding="utf-8")
    return path


def check_request(config: StudyConfig, history: History, request: Request) -> None:
    """Refuse what the study cannot do.

    Raises:
        ValueError: a trial that is unknown or has ended, or a point that cannot be tried or has
            been, in one line.
    """
    name = request.stop_trial
    if name is not None:
        record = history.trials.get(name)
        if record is None:
            known = ", ".join(each.name for each in history.running()) or "none"
            raise ValueError(
                f"trial {name[:40]!r}: the study has none of this name; running: {known}"
            )
        if record.state is not None:
            raise ValueError(f"trial {name}: has ended already ({record.state})")
    if request.add_point is not None:
        point = whole_point(config.space, request.add_point, Path("the point"))
        try:
            config.trial_config(point)
        except ConfigError as error:
            raise ValueError(f"the point: {error}") from None
        tried = [*history.trials.values(), *history.asked.points.values()]
        same = next((each for each in tried if _point_of(each) == point), None)
        if same is not None:
            raise ValueError(f"the point: {getattr(same, 'name', 'an earlier request')} has it")


def _point_of(tried: Any) -> Any:
    return dict(getattr(tried, "point", tried))


class RequestFolder:
    """The requests of one study, as its driver takes them.

    A request becomes an event, with the name of its file, and then its file is deleted. Of one
    whose event the ledger has already, because a driver was killed in between, the file alone is
    deleted. So none is lost and none is carried out twice.
    """

    def __init__(self, folder: Path) -> None:
        self._folder, self._warned = folder / REQUESTS, set[str]()

    def pending(self, config: StudyConfig, history: History) -> list[tuple[Path, NewEvent | None]]:
        """The files of requests in the order of asking, each with the event to be written.

        None is the event of a request that the ledger has, or that cannot be met any more. What is
        no request of this study is passed over with one line, and stays.
        """
        found: list[tuple[Path, NewEvent | None]] = []
        for path in sorted(self._folder.glob("*.json")) if self._folder.is_dir() else ():
            if path.stem in history.asked.requests:
                found.append((path, None))
                continue
            try:
                request = _read(path, (history.study or {}).get("id"))
            except (OSError, ValueError) as error:
                self._warn(path, f"is no request of this study: {error}")
                continue
            try:
                check_request(config, history, request)
            except ValueError as error:
                self._warn(path, f"cannot be met: {error}")
                found.append((path, None))
                continue
            found.append((path, _event(path.stem, request)))
        return found

    def _warn(self, path: Path, why: str) -> None:
        if path.name not in self._warned:
            self._warned.add(path.name)
            _log.warning("%s", f"{path}: {why}"[:300])


def _read(path: Path, study: Any) -> Request:
    """Read a request.

    Raises:
        OSError: it cannot be read.
        ValueError: it is no request of the study whose `id` is `study`.
    """
    if path.is_symlink() or not path.is_file() or path.stat().st_size > _LARGEST:
        raise ValueError("not a small file")
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError):
        raise ValueError("not JSON") from None
    keys = {"study", "stop_trial", "add_point"}
    if not isinstance(content, dict) or content.keys() != keys:
        raise ValueError(f"its keys are not {', '.join(sorted(keys))}")
    trial, point = content["stop_trial"], content["add_point"]
    if content["study"] != study:
        raise ValueError("it names another study")
    if isinstance(trial, str) and point is None:
        return Request(stop_trial=trial)
    if trial is None and isinstance(point, dict):
        return Request(add_point=point)
    raise ValueError("it asks for neither one trial's end nor one point")


def _event(name: str, request: Request) -> NewEvent:
    if request.stop_trial is not None:
        return StopAsked(trial=request.stop_trial, request=name)
    return PointAsked(point=request.add_point or {}, request=name)
