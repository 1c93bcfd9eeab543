"""A run with checkpoints: each report is returned only after its checkpoint is on disk."""

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
from trainables.snapshots import Snapshots
from trainables.threads import threads
from trainables.values import Report
from trainables.watch import Watch

_log = logging.getLogger(__name__)


class Origin(NamedTuple):
    """The checkpoint of another run from which a copy continues."""

    folders: Sequence[Path]
    """Folders that may hold the other run's checkpoints."""
    step: int
    """Step of the copied checkpoint; the copy's own checkpoints up to it are not used."""


class SavedRun:
    """A run with its checkpoints, new or resumed from its newest valid one.

    A kill at any moment loses at most the updates since the last report: a report whose checkpoint
    was written but which was not recorded is returned again by `unread`.

    Attributes:
        run: the run.
        restored: the checkpoint it was resumed from; None for a new run.
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
        """Build the run and restore its newest valid checkpoint.

        Args:
            config: what is trained.
            folder: where checkpoints are written, as `folder/checkpoint_<step>`.
            earlier: other folders that may hold checkpoints of this run.
            images: its decoded images; None: read the images that `config` names.
            micro_batch: images that pass through a network at a time, as for `Run`.
            origin: the checkpoint to copy; the run's own checkpoints count after its step.
            keep: steps whose checkpoints are never pruned.
            heard: the last step whose report was recorded; the run resumes at most one report
                later. After a power cut several recorded reports may be lost; each is then
                returned again. None: resume from the newest valid checkpoint.
            owner: the study and point of its checkpoints; those of others are skipped, with a log
                warning. None: use all.

        Raises:
            ValueError: the checkpoint to copy is missing or damaged.
        """
        self._folders, self._keep, self._owner = (*earlier, folder), keep, owner
        of_study = None if owner is None else owner.of_any_point()
        self._disk_is_full, self._snapshots = False, Snapshots(folder)
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
            # Its losses have other weights, so the other run's window of losses does not apply.
            found = found[0], {**found[1], "watch": Watch().state_dict()}
        if found is not None:
            self.restored, state = found
            self.run.load_state_dict(state)
        if skipped := len(find_checkpoints(self._folders)) - len(
            find_checkpoints(self._folders, of_study)
        ):
            where = " and ".join(str(each) for each in self._folders if each.exists())
            _log.warning("%s: checkpoints of another study passed over: %d", where, skipped)

    def unread(self, read: int) -> Report | None:
        """Return the restored checkpoint's report if it is newer than step `read`, else None."""
        if self.restored is None or self.restored.manifest.step <= read:
            return None
        return self.restored.manifest.report

    def advance(self) -> Report:
        """Train to the next report, write its checkpoint, and return the report.

        If the checkpoint cannot be written (a full disk), training continues after one log warning;
        a kill then loses more updates.

        Raises:
            Diverged: a loss is not finite, or has exploded.
        """
        if self.run.step == 0:
            self._snapshots.take(self.run)
        report = self.run.advance()
        self._save(report)
        return report

    def turns(self) -> Iterator[Report | None]:
        """As `advance`, one update at each `next`: None after each of them, and then the report.

        Between two updates other runs of this process may make theirs: nothing of this one's
        precision, stream or threads stays in force.
        """
        run = self.run
        with threads(run.threads), run.replay.here():
            if run.step == 0:
                self._snapshots.take(run)
            window = run.window()
        for _ in range(window.updates):
            with threads(run.threads), run.replay.here(), run.numerics():
                window.add(run.update())
            yield None
        with threads(run.threads), run.replay.here():
            report = run.report(window)
            self._save(report)
        yield report

    def _save(self, report: Report) -> None:
        """Write the pictures and the checkpoint of a report."""
        self._snapshots.take(self.run)  # before the checkpoint: a recorded report has its pictures
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
            # Of a copy, checkpoints from before it was one are pruned together with later ones.
            mine = None if self._owner is None else self._owner.of_any_point()
            prune(self._folders, self._keep, mine)

    def reports(self, read: int = 0) -> Iterator[Report]:
        """Train to the end of the budget; yield every report after step `read`."""
        unread = self.unread(read)
        if unread is not None:
            yield unread
        while not self.run.finished:
            yield self.advance()
