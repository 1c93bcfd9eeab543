"""`python -m tune_sr.train`: one configuration, trained without Ray, resumable at every report."""

from __future__ import annotations

import argparse
import json
import shlex
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tune_sr.commands import DONE, FAILED, Parser, refuse, refusing, settle_streams, tell
from tune_sr.redact import redacted_words
from tune_sr.signals import Interrupted, end_this_process, interruptible

if TYPE_CHECKING:
    from trainables.config import TrialConfig
    from trainables.saved_run import SavedRun
    from trainables.values import Report
    from tune_sr.space import SearchSpace

PROG = "python -m tune_sr.train"
CONFIG, REPORTS, STUDENT, PANEL = "config.yaml", "reports.jsonl", "student.safetensors", "panel.png"


def main(argv: Sequence[str] | None = None) -> int:
    """Train what `argv` asks for; the exit code of product.md."""
    settle_streams()
    argv = sys.argv[1:] if argv is None else list(argv)
    arguments = parse_arguments(argv)
    output: Path = arguments.output or Path("runs") / f"train-{arguments.space.stem}"
    try:
        with interruptible():
            try:
                with refusing():
                    _check_output(output, resume=arguments.resume)
                    config = _configured(arguments)
                    _check_same(output, config)
            except ValueError as error:
                return refuse(PROG, error)
            return _train_alone(config, output, quiet=arguments.quiet)
    except Interrupted as interrupted:
        if (output / CONFIG).exists():
            words = argv if arguments.resume else [*argv, "--resume"]
            again = shlex.join(redacted_words(words))
            tell(f"\ninterrupted; to go on: {PROG} {again}", error=True)
        return interrupted.exit_code


def parse_arguments(argv: Sequence[str]) -> argparse.Namespace:
    """The command line, before anything heavy is imported."""
    parser = Parser(prog=PROG, description=__doc__.partition(": ")[2])
    add = parser.add_argument
    add("--space", type=Path, required=True, metavar="FILE", help="a search space")
    add("--point", type=Path, metavar="FILE",
        help="values of the searched quantities, or a whole best/config.yaml; "
        "default: the space's first point")  # fmt: skip
    add("--set", action="append", default=[], metavar="PATH=VALUE", dest="overrides",
        help="change one value of the space; repeatable")  # fmt: skip
    add("--seed", type=int, help="seed of the training; default: the space's")
    add("--output", type=Path, metavar="DIR", help="default: runs/train-<name of the space>")
    add("--resume", action="store_true", help="go on from the newest checkpoint in the output")
    add("--quiet", action="store_true", help="print the result only")
    return parser.parse_args(argv)


def _check_output(output: Path, *, resume: bool) -> None:
    if (output / CONFIG).exists() and not resume:
        raise ValueError(f"{output} holds a training: add --resume, or name another --output")
    if resume and not (output / CONFIG).exists():
        raise ValueError(f"{output} holds no training to resume: leave --resume out")


def _configured(arguments: argparse.Namespace) -> TrialConfig:
    """What to train.

    Raises:
        ValueError: the space or the point cannot be used.
    """
    from trainables.config import TrialConfig
    from tune_sr.space import SearchSpace
    from tune_sr.yaml_lines import read_yaml

    space = SearchSpace.load(arguments.space, arguments.overrides)
    if arguments.point is None:
        if not space.first and space.dimensions:
            raise ValueError(f"{arguments.space}: has no first point: name one with --point")
        return space.at(space.first[0] if space.first else {}, arguments.seed)
    said = read_yaml(arguments.point).content
    if "method" not in said:  # dotted paths
        return space.at(_whole_point(space, said, arguments.point), arguments.seed)
    if arguments.overrides:
        rule = "is a whole configuration, which --set does not change: edit it, or leave --set out"
        raise ValueError(f"{arguments.point}: {rule}")
    seed = {} if arguments.seed is None else {"seed": arguments.seed}
    return TrialConfig.parse({**said, **seed})


def _whole_point(space: SearchSpace, said: Mapping[str, Any], file: Path) -> dict[str, Any]:
    """What a file says, as a point of `space`: every quantity that exists there, nothing else."""
    point: dict[str, Any] = {}
    for path, dimension in space.dimensions.items():
        if dimension.active(point, space.fixed):
            if path not in said:
                raise ValueError(f"{file}: {path}: missing; a point has every searched quantity")
            try:
                point[path] = dimension.accept(said[path])
            except ValueError as error:
                raise ValueError(f"{file}: {path}: {error}") from None
    for path in said:
        if path not in point:
            known = ", ".join(point) or "nothing"
            raise ValueError(f"{file}: {path}: is not searched at this point; searched: {known}")
    return point


def _check_same(output: Path, config: TrialConfig) -> None:
    from trainables.dotted import leaves
    from tune_sr.yaml_lines import read_yaml

    if not (output / CONFIG).exists():
        return
    before = dict(leaves(read_yaml(output / CONFIG).content))
    now = dict(leaves(config.model_dump(mode="json")))
    for path in sorted({*before, *now}):
        if before.get(path) != now.get(path):
            was, asked = before.get(path), now.get(path)
            rule = f"was begun with {path} {was!r}, and now it is {asked!r}"
            raise ValueError(f"{output} {rule}: undo that, or name another --output")


def _train_alone(config: TrialConfig, output: Path, *, quiet: bool) -> int:
    """`_train`, where no other process trains into `output` and everything can be used."""
    from tune_sr.lock import DriverLock, LockedError, StudyLostError

    new = not output.exists()
    try:
        with refusing():
            output.mkdir(parents=True, exist_ok=True)
    except ValueError as error:
        return refuse(PROG, error)
    problem: ValueError
    try:
        with DriverLock(output / "driver.lock", on_lost=end_this_process):
            try:
                with refusing():
                    saved = _built(config, output)
            except ValueError as error:
                problem = error
            else:
                return _train(saved, output, quiet=quiet)
    except LockedError as error:
        problem = error
    except StudyLostError as error:
        tell(f"{PROG}: the training stopped: {error}", error=True)
        return FAILED
    if new:
        with suppress(OSError):
            output.rmdir()
    return refuse(PROG, problem)


def _built(config: TrialConfig, output: Path) -> SavedRun:
    """The run, begun or gone on with, and its configuration written down.

    Raises:
        ValueError: an image, a file of weights or the device cannot be used; nothing was written.
    """
    from trainables.saved_run import SavedRun
    from tune_sr.yaml_lines import dump_yaml

    saved = SavedRun(config, output / "checkpoints")
    (output / CONFIG).write_text(dump_yaml(config.model_dump(mode="json")), encoding="utf-8")
    return saved


def _train(saved: SavedRun, output: Path, *, quiet: bool) -> int:
    from trainables.marks import marks
    from trainables.values import Diverged

    config = saved.run.config
    bicubic = marks(saved.run)["bicubic"]
    assert bicubic is not None
    log = _ReportLog(output / REPORTS)
    progress = _Progress(config, saved.run.step, bicubic[config.quality])
    if saved.restored and not quiet:
        tell(f"going on from step {saved.run.step} of {config.budget.steps}")
    try:
        for report in saved.reports(log.last_step):
            log.append(report)
            if not quiet:
                tell(progress.line(report))
    except Diverged as error:
        tell(f"{PROG}: {error}", error=True)
        return FAILED
    tell(_finish(saved, output, bicubic[config.quality]))
    return DONE


def _finish(saved: SavedRun, output: Path, bicubic_db: float) -> str:
    """Write the best student with its picture; the closing line."""
    from trainables.checkpoints import best_of, find_checkpoints
    from trainables.networks.checkpoint import save_network
    from tune_sr.panel import draw_student

    best = best_of(find_checkpoints([output / "checkpoints"]))
    state = best.state() if best else None
    if best is None or state is None:  # damaged on disk since: the last student is at hand
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
    save_network(output / STUDENT, student, notes)
    draw_student(output / PANEL, saved.run)
    return (
        f"best: step {int(report['step'])}, {key} {value:.2f}{'*' if caveat else ''} "
        f"({value - bicubic_db:+.2f} over bicubic){_ssim(report, ', ')}; {output}"
        + (f"\n* {caveat}" if caveat else "")
    )


def _ssim(report: Report, before: str) -> str:
    """That of a report which has one: images that nobody took have none."""
    return f"{before}ssim {report['ssim']:.4f}" if "ssim" in report else ""


class _ReportLog:
    """`reports.jsonl`: one report a line, each step once."""

    def __init__(self, path: Path) -> None:
        self._path = path
        lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
        self._whole = [line for line in lines if line.endswith("}")]
        if len(self._whole) < len(lines):  # a kill cut the last one short
            path.write_text("".join(line + "\n" for line in self._whole), encoding="utf-8")

    @property
    def last_step(self) -> int:
        """The last step that was written; 0 before the first."""
        return int(json.loads(self._whole[-1])["step"]) if self._whole else 0

    def append(self, report: Report) -> None:
        if report["step"] > self.last_step:  # else work repeated after a damaged checkpoint
            self._whole.append(json.dumps(report))
            with self._path.open("a", encoding="utf-8") as file:
                file.write(self._whole[-1] + "\n")


class _Progress:
    """One line a report, with the time that is left at the pace since the start."""

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


if __name__ == "__main__":
    sys.exit(main())
