"""A run that is on disk: every report it gives has its checkpoint before anyone hears of it."""

from __future__ import annotations

import logging
import math
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from trainables.checkpoints import (
    Checkpoint,
    Owner,
    find_checkpoints,
    newest_valid,
    prune,
    valid_at,
    write_checkpoint,
)
from trainables.config import TrialConfig
from trainables.run import Run, RunImages
from trainables.values import Report
from trainables.watch import Watch

_log = logging.getLogger(__name__)


class Origin(NamedTuple):
    """Where a run goes on from that is a copy of another one."""

    folders: Sequence[Path]
    """That may hold the other's checkpoints."""
    step: int
    """At which it is copied; what the copy did itself until then no longer counts."""


class SavedRun:
    """A run with its checkpoints, begun or continued from the newest one that holds.

    A kill at any moment loses at most the updates since the last report: a report whose checkpoint
    is written but which nobody has read yet is given again by `unread`.
    """

    def __init__(
        self,
        config: TrialConfig,
        folder: Path,
        *,
        earlier: Sequence[Path] = (),
        images: RunImages | None = None,
        micro_batch: int | None = None,
        origin: Origin | None = None,
        keep: Collection[int] = (),
        heard: int | None = None,
        owner: Owner | None = None,
    ) -> None:
        """Build the run and restore it.

        Args:
            config: what is trained.
            folder: where checkpoints are written, as `folder/checkpoint_<step>`.
            earlier: other folders that may hold checkpoints of this run.
            images: its decoded images; read from where `config` says if None.
            micro_batch: as `Run`'s.
            origin: of a copy; its own checkpoints count from there on.
            keep: steps whose checkpoints stay.
            heard: the last step whose report was written down. Where more than one followed, and
                a power cut took what was written of them, it goes on from the first of these, so
                that each is given again. None: from the newest that holds.
            owner: of its checkpoints; those of other studies and points are passed over, with a
                log warning. None: of no study, and all count.

        Raises:
            ValueError: the checkpoint that it is to be a copy of is gone or damaged.
        """
        self._folders, self._keep, self._owner = (*earlier, folder), keep, owner
        of_study = None if owner is None else owner.of_any_point()
        self._disk_is_full = False
        self.run = Run(config, images=images, micro_batch=micro_batch)
        self.restored: Checkpoint | None = None
        until = math.inf if heard is None else heard + config.budget.steps_per_report
        found = newest_valid(
            self._folders, after=origin.step if origin else 0, until=until, owner=owner
        )
        if found is None and origin is not None:
            found = valid_at(origin.folders, origin.step, of_study)
            if found is None:
                where = ", ".join(map(str, origin.folders)) or "the trial that is copied"
                raise ValueError(f"{where}: no checkpoint at step {origin.step} to go on from")
            # Its losses are weighted otherwise: those of the other do not tell what is normal.
            found = found[0], {**found[1], "watch": Watch().state_dict()}
        if found is not None:
            self.restored, state = found
            self.run.load_state_dict(state)
        if strangers := len(find_checkpoints(self._folders)) - len(
            find_checkpoints(self._folders, of_study)
        ):
            where = " and ".join(str(each) for each in self._folders if each.exists())
            _log.warning("%s: checkpoints of another study passed over: %d", where, strangers)

    def unread(self, read: int) -> Report | None:
        """The restored checkpoint's report where `read`, the last step that was heard, is older."""
        if self.restored is None or self.restored.manifest.step <= read:
            return None
        return self.restored.manifest.report

    def advance(self) -> Report:
        """The next report, with its checkpoint on disk.

        A checkpoint that cannot be written (a full disk) is a log warning, the first one until one
        can: training goes on, and what a kill would repeat grows.

        Raises:
            Diverged: a loss is not finite, or has exploded.
        """
        report = self.run.advance()
        grown = int(report["step"]) > max(self.run.config.growth_steps(), default=0)
        try:
            write_checkpoint(
                self._folders[-1],
                self.run.state_dict(),
                report,
                eligible=grown,
                owner=self._owner,
            )
        except OSError as error:
            step, where = self.run.step, self._folders[-1]
            if not self._disk_is_full:
                _log.warning(
                    "no checkpoint from step %d on: %s; make room in %s", step, error, where
                )
            self._disk_is_full = True
        else:
            self._disk_is_full = False
            # What a copy was before counts among what is kept of it.
            mine = None if self._owner is None else self._owner.of_any_point()
            prune(self._folders, self._keep, mine)
        return report

    def reports(self, read: int = 0) -> Iterator[Report]:
        """Every report after step `read` until the budget is spent."""
        unread = self.unread(read)
        if unread is not None:
            yield unread
        while not self.run.finished:
            yield self.advance()
