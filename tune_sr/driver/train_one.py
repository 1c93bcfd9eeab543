"""Trains one configuration in this process, without Ray, resumable at every report."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import TYPE_CHECKING

from trainables.checkpoints import best_of, find_checkpoints
from trainables.marks import marks
from trainables.networks.checkpoint import save_network
from trainables.saved_run import SavedRun
from tune_sr.cli.streams import tell
from tune_sr.space.yaml_file import dump_yaml
from tune_sr.storage.layout import CHECKPOINTS, CONFIG, PANEL, REPORTS, STUDENT
from tune_sr.visualization.panel import draw_student_panel

if TYPE_CHECKING:
    from trainables.config import TrialConfig
    from trainables.values import Report


def build_run(config: TrialConfig, output: Path) -> SavedRun:
    """Build a training, resumed from its newest checkpoint if it has one; write `config.yaml`.

    Args:
        config: what to train.
        output: the training's folder, which exists.

    Raises:
        ValueError: an image, a weights file or the device cannot be used; nothing was written.
    """
    saved = SavedRun(config, output / CHECKPOINTS)
    (output / CONFIG).write_text(dump_yaml(config.model_dump(mode="json")), encoding="utf-8")
    return saved


def train_one(saved: SavedRun, output: Path, *, quiet: bool) -> str:
    """Train to the end of the budget; write reports, checkpoints, the best student and its panel.

    Args:
        saved: as `build_run` returns it.
        output: the training's folder.
        quiet: whether to print no line for each report.

    Returns:
        A line for the user: the best report, its gain in dB over bicubic, and the folder.

    Raises:
        Diverged: a loss is not finite or explodes.
    """
    config = saved.run.config
    bicubic = marks(saved.run)["bicubic"]
    assert bicubic is not None
    log = _ReportLog(output / REPORTS)
    progress = _Progress(config, saved.run.step, bicubic[config.quality])
    if saved.run.student.started and not quiet:
        tell(f"student.start: {saved.run.student.started}")
    if saved.restored and not quiet:
        tell(f"going on from step {saved.run.step} of {config.budget.steps}")
    for report in saved.reports(log.last_step):
        log.append(report)
        if not quiet:
            tell(progress.line(report))
    return _finish(saved, output, bicubic[config.quality])


def _finish(saved: SavedRun, output: Path, bicubic_db: float) -> str:
    """Write the best student and its panel; return the line for the user."""
    best = best_of(find_checkpoints([output / CHECKPOINTS]))
    state = best.state() if best else None
    if best is None or state is None:  # damaged on disk: the last student is in memory
        report = saved.run.evaluate() | {"step": float(saved.run.step)}
    else:
        saved.run.load_state_dict(state)
        report = best.manifest.report
    student = saved.run.outcome.settled(saved.run.method.active())
    key = saved.run.config.quality
    value = report[key]
    notes = {"step": str(int(report["step"])), key: f"{value:.4f}"}
    caveat = saved.run.config.caveat
    notes |= {"caveat": caveat} if caveat else {}
    start = saved.run.student.started
    notes |= {"start": start} if start else {}
    save_network(output / STUDENT, student, notes)
    draw_student_panel(output / PANEL, saved.run)
    return (
        f"best: step {int(report['step'])}, {key} {value:.2f}{'*' if caveat else ''} "
        f"({value - bicubic_db:+.2f} over bicubic){_ssim(report, ', ')}; {output}"
        + (f"\n* {caveat}" if caveat else "")
    )


def _ssim(report: Report, before: str) -> str:
    """Format a report's SSIM after `before`; empty without one, as for generated images."""
    return f"{before}ssim {report['ssim']:.4f}" if "ssim" in report else ""


class _ReportLog:
    """The file `reports.jsonl`: one report on each line, each step once."""

    def __init__(self, path: Path) -> None:
        self._path = path
        lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
        self._lines = [line for line in lines if line.endswith("}")]
        if len(self._lines) < len(lines):  # a kill cut the last one short
            path.write_text("".join(line + "\n" for line in self._lines), encoding="utf-8")

    @property
    def last_step(self) -> int:
        """The step of the last report written; 0 before the first."""
        return int(json.loads(self._lines[-1])["step"]) if self._lines else 0

    def append(self, report: Report) -> None:
        if report["step"] > self.last_step:  # else updates repeated after a damaged checkpoint
            self._lines.append(json.dumps(report))
            with self._path.open("a", encoding="utf-8") as file:
                file.write(self._lines[-1] + "\n")


class _Progress:
    """Formats each report as one line, with the time left at the average speed since the start."""

    def __init__(self, config: TrialConfig, begun_at: int, bicubic_db: float) -> None:
        self._steps, self._key = config.budget.steps, config.quality
        self._begun_at, self._bicubic_db = begun_at, bicubic_db
        self._since = time.monotonic()

    def line(self, report: Report) -> str:
        step, value = int(report["step"]), report[self._key]
        losses = "  ".join(
            f"{name.removeprefix('loss/')} {loss:.3g}"
            for name, loss in report.items()
            if name.startswith("loss/")
        )
        return (
            f"step {step}/{self._steps}  {self._key} {value:.2f} ({value - self._bicubic_db:+.2f})"
            f"{_ssim(report, '  ')}  {losses}  lr {report['lr']:.2g}  {self._left(step)}"
        )

    def _left(self, step: int) -> str:
        if step <= self._begun_at:
            return ""
        pace = (time.monotonic() - self._since) / (step - self._begun_at)
        seconds = round(pace * (self._steps - step))
        return f"ETA {seconds // 3600}:{seconds // 60 % 60:02d}:{seconds % 60:02d}"
