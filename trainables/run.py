"""Trains one student: the loop that all methods share."""

from __future__ import annotations

import os
import statistics
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from torch import Tensor

from trainables.agreement import make_heldout
from trainables.average import Average
from trainables.config import TrialConfig
from trainables.data.images import Images, read_images
from trainables.data.patches import Patches
from trainables.data.training import TrainingSet
from trainables.device import chosen_device
from trainables.digests import check_as_recorded
from trainables.errors import ConfigError
from trainables.methods import METHODS, Setting, make_method
from trainables.metrics.evaluate import evaluate
from trainables.networks import NETWORKS, SRNet, make_network
from trainables.numerics import hold_in_bfloat16, numerics, resolved
from trainables.replay import Replay, replay_on
from trainables.seen import FirstResult
from trainables.values import Blank, Colour, Pairs, Randomness, Report
from trainables.watch import Watch, Window


@dataclass(frozen=True)
class RunImages:
    """The decoded images of a run, which all runs on a machine can share."""

    heldout: Images | None
    """The held-out images; None where students are scored by agreement with the teacher."""
    train: TrainingSet | Images | None = None
    """The training set; or HR images alone, from which each run makes the LR that it needs."""
    digests: Mapping[str, str] = field(default_factory=dict)
    """Expected digests of training images that are read later; see `TrainingSet.digests`."""

    @classmethod
    def of(cls, config: TrialConfig, *others: TrialConfig) -> RunImages:
        """Read the images that `config` names, and make the LR images to train on.

        Of `config` and the `others`, which share the images, the first that trains on images
        decides which are read; LR is made for all that train on the same ones in its colour.

        Raises:
            ValueError: names the first folder or file that cannot be used.
        """
        named = config.heldout
        heldout = None if named is None else read_images(named.images, "heldout", named.crop)
        with_data = [each for each in (config, *others) if each.data is not None]
        if not with_data:
            return cls(heldout)
        data, colour = with_data[0].data, _colour(with_data[0])
        assert data is not None, "only such configurations are listed"
        alike = [each for each in with_data if (each.data, _colour(each)) == (data, colour)]
        scales = {scale: None for each in alike for scale in each.student.scales}
        return cls(heldout, TrainingSet.read(data, colour=colour, scales=tuple(scales)))

    def training(self, config: TrialConfig) -> TrainingSet:
        """Return the training set of `config`: the shared one, completed by what it lacks.

        Raises:
            ValueError: images must be read, and one cannot be used.
            EnvironmentFault: images that are read differ from `digests`.
        """
        data, colour, scales = config.data, _colour(config), config.student.scales
        assert data is not None, "a method that learns from images has data"
        if isinstance(self.train, Images):  # given in place of the images that `config` names
            sizes = data.downsizings
            return TrainingSet.of(self.train, colour=colour, scales=scales, downsizings=sizes)
        if self.train is None:
            found = TrainingSet.read(data, colour=colour, scales=scales)
        else:
            found = self.train.serving(data, colour=colour, scales=scales)
        check_as_recorded(self.digests, found.digests)
        return found


class Run:
    """The training of one student.

    Sets the number of CPU threads of this process to the configuration's, because bits depend on
    it. It changes nothing else outside of itself.
    """

    def __init__(
        self,
        config: TrialConfig,
        *,
        images: RunImages | None = None,
        micro_batch: int | None = None,
        replay: Replay | None = None,
    ) -> None:
        """Build networks, method and data; nothing is trained yet.

        Args:
            config: what is trained.
            images: its decoded images; None: read the images that `config` names.
            micro_batch: images that pass through a network at a time, which takes less memory and
                more time; the result is the same but for rounding. None: the whole batch.
            replay: runs the updates; None: CUDA graphs on a GPU, unless `graphs: false` or a
                micro-batch turn them off.

        Raises:
            ValueError: an image, a weights file, the device or a setting cannot be used.
        """
        self.config = config
        self.threads = config.threads or os.cpu_count() or 1
        torch.set_num_threads(self.threads)
        self.device = chosen_device(config.device)
        images = images or RunImages.of(config)
        self.precision = resolved(config.precision, self.device)
        graphs = config.graphs and micro_batch is None
        self.replay = replay or replay_on(self.device, graphs=graphs)
        with self.replay.here(), numerics("fp32", self.device):
            self._build(images, micro_batch)
        self.step, self.watch = 0, Watch()

    def _build(self, images: RunImages, micro_batch: int | None) -> None:
        config = self.config
        self.student = _network(config, "student").to(self.device)
        self.teacher = load_teacher(config, self.device)
        for network in filter(None, (self.student, self.teacher)):
            network.micro_batch = micro_batch
        setting = Setting(
            student=self.student,
            teacher=self.teacher,
            optimiser=config.optimiser,
            steps=config.budget.steps,
            patch=config.batch.patch,
            seed=config.seed,
            device=self.device,
            replay=self.replay,
        )
        self.method = make_method(config.method, setting)
        self.average = None if config.ema is None else Average(self.student, config.ema)
        self.patches = self._patches(images)
        self.heldout = make_heldout(
            config.heldout,
            images.heldout,
            self.teacher,
            scales=config.student.scales,
            colour=self.student.colour,
            device=self.device,
        )
        self.seen = FirstResult(self.heldout)

    def advance(self) -> Report:
        """Train for `steps_per_report` updates and evaluate once.

        Raises:
            Diverged: a loss is not finite, or has exploded.
        """
        assert not self.finished, "the budget is spent"
        with self.replay.here():
            window = self.window()
            with self.numerics():
                for _ in range(window.updates):
                    window.add(self.update())
            return self.report(window)

    def window(self) -> Window:
        """Begin the updates to the next report, whose losses are to be added to the window."""
        if self.teacher is not None and self.precision == "bf16":
            hold_in_bfloat16(self.teacher)  # from here on it is only used in updates
        return Window(self.step, self.config.budget.steps_per_report)

    def report(self, window: Window) -> Report:
        """Evaluate once, after the last update of a window; raises as `advance`."""
        with numerics("fp32", self.device):
            window.add(self.method.figures())
        values = window.values()
        self.watch.look(window.first, values, self.config.growth_steps())
        seconds = window.seconds() / window.updates
        report: Report = {"step": float(self.step), **self.evaluate()}
        report |= {name: statistics.fmean(losses) for name, losses in values.items()}
        report |= {"lr": self.method.lr(), "active_blocks": float(self.method.active())}
        return report | {"seconds_per_step": seconds}

    def update(self) -> dict[str, Tensor]:
        """Do one update within `numerics()`; return the losses by name, as device tensors."""
        losses = self.method.step(self._draw())
        if self.average is not None:
            self.average.follow()
        self.step += 1
        return losses

    def numerics(self) -> AbstractContextManager[None]:
        """Return the context in which updates run, at the run's precision."""
        return numerics(self.precision, self.device)

    def reports(self) -> Iterator[Report]:
        """Train to the end of the budget by `advance`; yield each report."""
        while not self.finished:
            yield self.advance()

    @property
    def outcome(self) -> SRNet:
        """The network that is scored and kept: the student, or its average where `ema` is set."""
        return self.student if self.average is None else self.average.network

    @property
    def finished(self) -> bool:
        """Whether the budget is spent."""
        return self.step >= self.config.budget.steps

    @property
    def active(self) -> int:
        """Number of the student's body units that took part in its last update."""
        return self.method.active()

    def evaluate(self) -> dict[str, float]:
        """Score `outcome`, with its active body units, on the held-out images: key to value."""
        with self.replay.here(), numerics("fp32", self.device):
            return evaluate(self.seen.by(upscaler(self.outcome, self.active)), self.heldout)

    def state_dict(self) -> dict[str, Any]:
        """Return all state that training changes, as tensors and plain values."""
        state = {"step": self.step, "method": self.method.state_dict()}
        state |= {"watch": self.watch.state_dict(), "active": self.method.active()}
        state |= {"precision": self.precision}
        if self.student.started is not None:
            state["started"] = self.student.started
        if self.patches is not None:
            state["patches"] = self.patches.state_dict()
        if self.average is not None:
            state["average"] = self.average.state_dict()
        return state

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore a state of `state_dict`: on a CPU with equal threads, bit for bit."""
        self.replay.forget()
        with self.replay.here():
            self._load(state)

    def _load(self, state: Mapping[str, Any]) -> None:
        self.step = int(state["step"])
        if self.config.precision == "auto":  # as resolved when the run started
            self.precision = state.get("precision", "fp32")
        self.method.load_state_dict(state["method"])
        self.watch.load_state_dict(state["watch"])
        if self.patches is not None:
            self.patches.load_state_dict(state["patches"])
        if self.average is not None:
            self.average.load_state_dict(state["average"])

    def _patches(self, images: RunImages) -> Patches | None:
        if METHODS[self.config.method.name].batch is Blank:
            return None
        return Patches(
            images.training(self.config),
            scales=self.student.scales,
            images_per_batch=self.config.batch.images,
            patch=self.config.batch.patch,
            randomness=Randomness(self.config.seed, "patches"),
            device=self.device,
        )

    def _draw(self) -> Pairs | Blank:
        if self.patches is None:
            each, batch = self.config.budget.steps_per_report, self.config.batch
            return Blank(batch.images, batch.patch, ahead=each - self.step % each)
        return self.patches.draw()


def _colour(config: TrialConfig) -> Colour:
    return NETWORKS[config.student.name].colour


def load_teacher(config: TrialConfig, device: torch.device) -> SRNet | None:
    """Load the teacher onto `device`, in evaluation mode and frozen; None where there is none."""
    if config.teacher is None:
        return None
    return _network(config, "teacher").to(device).eval().requires_grad_(False)


def _network(config: TrialConfig, part: Literal["student", "teacher"]) -> SRNet:
    """Make the student's or the teacher's network; refusals name the section."""
    network = config.student if part == "student" else config.teacher
    assert network is not None
    try:
        return make_network(network, Randomness(config.seed, part).generator)
    except ConfigError as error:
        raise ConfigError(f"{part}.{error.path}", error.rule) from None


def upscaler(network: SRNet, active: int | None = None) -> Callable[[Tensor, int], Tensor]:
    """Return a function from LR images and scale to SR images by `active` body units; None: all."""

    def upscale(lr_BCHW: Tensor, scale: int) -> Tensor:
        return network.trace(lr_BCHW, scale=scale, active=active).sr_BCHW

    return upscale
