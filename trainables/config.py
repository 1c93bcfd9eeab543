"""The configuration of one trial, validated as a whole before anything starts."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import Any, Self

from pydantic import Field, ValidationError, model_validator

from trainables.data.training import DataConfig
from trainables.errors import ConfigError
from trainables.limits import COUNT, PARAMETERS, PATCH, REPORTS, THREADS
from trainables.methods import METHODS, MethodConfig, Pairing, ProgressiveConfig
from trainables.methods.parts import growth_starts, plan_parts
from trainables.metrics.evaluate import HeldoutConfig
from trainables.metrics.fidelity import protocol_for
from trainables.networks import NETWORKS, TEACHERS, NetworkConfig, TeacherConfig
from trainables.networks.generator import parameters_of
from trainables.networks.shipped import is_shipped, shipped_file
from trainables.numerics import Precision
from trainables.optimisers import OptimiserConfig
from trainables.paths import expanded
from trainables.presets import expand_presets
from trainables.problems import first_problem
from trainables.values import QUALITIES, Blank, Config


class BatchConfig(Config):
    """Size of the batches that the student is trained on."""

    images: int = Field(default=128, ge=1, le=COUNT)
    """Images in a batch; 128 for VDSR, 16 for the RGB networks."""
    patch: int = Field(default=48, ge=8, le=PATCH)
    """Side in pixels of an image at the network's body input; 48 in every paper. For VDSR that is
    the upsampled side, and the LR side is patch / scale."""


class BudgetConfig(Config):
    """Length of a trial, in student updates."""

    steps: int = Field(ge=1)
    """Student updates of a whole trial; [DFSR] on VDSR: 480,000."""
    steps_per_report: int = Field(ge=1)
    """Student updates from one evaluation, and one checkpoint, to the next."""

    @model_validator(mode="after")
    def _whole_reports(self) -> Self:
        if self.steps % self.steps_per_report:
            raise ConfigError(
                "steps",
                f"{self.steps} is not a multiple of steps_per_report {self.steps_per_report}",
            )
        if self.reports > REPORTS:
            rule = f"{self.reports:,} reports, one every {self.steps_per_report} updates"
            raise ConfigError("steps_per_report", f"{rule}; at most {REPORTS:,}")
        return self

    @property
    def reports(self) -> int:
        """Number of evaluations in a whole trial."""
        return self.steps // self.steps_per_report


class TrialConfig(Config):
    """The configuration of one trial. Equal configurations give equal students."""

    seed: int = Field(default=0, ge=0)
    """Seed from which all random numbers of the trial derive."""
    method: MethodConfig
    """The distillation method, with its settings."""
    student: NetworkConfig
    """The network to train."""
    teacher: TeacherConfig | None = None
    """The trained network to learn from; None for a method without a teacher."""
    optimiser: OptimiserConfig = OptimiserConfig()
    """The student's optimiser, with its schedule."""
    batch: BatchConfig = BatchConfig()
    """Size of the training batches."""
    data: DataConfig | None = None
    """Training images; None, and only None, for data-free methods."""
    heldout: HeldoutConfig | None = HeldoutConfig()
    """The images that students are scored on, never those of a benchmark. null: there are no real
    images, and a student is scored by its agreement with the teacher on synthetic ones."""
    budget: BudgetConfig
    """Length of the trial."""
    ema: float | None = Field(default=None, gt=0.0, lt=1.0)
    """Decay of an exponential moving average of the student's parameters, which is then scored and
    saved in place of the student; null: no average. [DUKD] as released, and its baselines: 0.999,
    filled in for RGB students of the data-driven methods; [DFSR]: none."""
    device: str = "auto"
    """Device to train on: `auto`, a GPU if there is one, else the CPU; or torch's name of one."""
    precision: Precision = "auto"
    """Precision of the convolutions in training; parameters, sums and evaluation have float32
    always. bf16: bfloat16; fp32: IEEE float32; tf32: float32 that a GPU multiplies in 10 bits of
    mantissa. `auto`: bf16 where that is faster, else fp32; a study resolves it once for all.
    """
    graphs: bool = True
    """Whether a GPU replays updates as CUDA graphs, recorded once; false: the host launches every
    kernel, which is slower for small networks. Results are equal; on a CPU it has no effect."""
    threads: int | None = Field(default=None, ge=1, le=THREADS)
    """CPU threads, on which last bits of results depend; None: as many as the trial's CPUs."""

    @classmethod
    def parse(cls, mapping: Mapping[str, Any]) -> Self:
        """Parse a nested mapping, fill in presets and make paths absolute.

        Raises:
            ConfigError: the mapping is invalid: the dotted path of the first problem, the rule that
                it breaks, and the known keys.
        """
        raw = expand_presets(mapping)
        _share_width(raw)
        try:
            config = cls.model_validate(raw)
        except ValidationError as error:
            raise first_problem(cls, error, raw) from None
        return config._with_absolute_paths()

    def growth_steps(self) -> tuple[int, ...]:
        """Return the updates g, from 0, with which the student grows: before a report at s > g."""
        if not isinstance(self.method, ProgressiveConfig):
            return ()
        return growth_starts(self.budget.steps, self.method.P, self.method.part_fraction)[1:]

    @property
    def quality(self) -> str:
        """The report key of the score, one of `QUALITIES`."""
        return QUALITIES[self.heldout is None]

    @property
    def caveat(self) -> str | None:
        """A sentence on why the result does not compare with the paper's; None if it does."""
        return METHODS[self.method.name].caveat(self.method)

    @model_validator(mode="after")
    def _can_train(self) -> Self:
        for path, rule in self._broken_rules():
            raise ConfigError(path, rule)
        return self

    def _broken_rules(self) -> Iterator[tuple[str, str]]:
        method = METHODS[self.method.name]
        data_free = method.batch is Blank
        if data_free and self.data is not None:
            yield "data", f"{self.method.name} is data-free: leave data out"
        if not data_free and self.data is None:
            yield "data", f"{self.method.name} learns from images: say data: {{images: FOLDER}}"
        yield from self._teacher_rules(method.taught)
        yield from self._shipped_rules()
        yield from self._patch_rules(data_free)
        batch = self.batch
        pairing = Pairing(self.student, self.teacher, batch.images, batch.patch)
        yield from method.refusals(self.method, pairing)
        yield from self._heldout_rules()
        if isinstance(self.method, ProgressiveConfig):
            passing = self.method.P == 1 or self.method.new_block_init == "random"
            if not passing and not NETWORKS[self.student.name].passes_through:
                rule = f"no block of {self.student.name} passes its input through: say random"
                yield "method.new_block_init", rule
            split = self.method.P, self.method.split_points, self.method.part_fraction
            try:
                plan_parts(self.student.units, self.budget.steps, *split)
            except ValueError as error:
                path, _, rule = str(error).partition(": ")
                yield f"method.{path}", rule

    def _teacher_rules(self, taught: bool) -> Iterator[tuple[str, str]]:
        name = self.method.name
        if not taught and self.teacher is not None:
            yield "teacher", f"{name} has no teacher: leave teacher out"
        if taught and self.teacher is None:
            way = f"say teacher: {{name: {self.student.name}, weights: FILE or shipped}}"
            yield "teacher", f"{name} needs a teacher: {way}"
        if self.teacher is None:
            return
        if getattr(self.teacher, "start", None) is not None:
            yield "teacher.start", "a teacher is trained already: say weights"
        if self.teacher.weights is None:
            yield "teacher.weights", "a teacher needs trained weights: a file, or shipped"
        if set(self.teacher.scales) != set(self.student.scales):
            theirs, ours = list(self.teacher.scales), list(self.student.scales)
            yield "teacher.scales", f"{theirs} differ from student.scales {ours}"
        if TEACHERS[self.teacher.name].colour != NETWORKS[self.student.name].colour:
            kinds = f"{self.teacher.name} and {self.student.name}"
            yield "teacher.name", f"{kinds} differ in colour: one sees luma, the other RGB"

    def _heldout_rules(self) -> Iterator[tuple[str, str]]:
        if self.heldout is None:
            if self.teacher is None:
                yield "heldout", "null judges by the teacher, and there is none: name images"
            return
        try:
            protocol_for(self.heldout.protocol, NETWORKS[self.student.name].colour)
        except ConfigError as error:
            yield f"heldout.{error.path}", error.rule

    def _shipped_rules(self) -> Iterator[tuple[str, str]]:
        for part, network in (("student", self.student), ("teacher", self.teacher)):
            if network is not None and is_shipped(network.weights or ""):
                try:
                    shipped_file(str(network.weights), network.name, network.scales)
                except ConfigError as error:
                    yield f"{part}.{error.path}", error.rule
        if is_shipped(self.student.start or ""):
            try:
                shipped_file(str(self.student.start), self.student.name)
            except ConfigError as error:
                yield "student.start", error.rule

    def _patch_rules(self, data_free: bool) -> Iterator[tuple[str, str]]:
        for name in (self.student.name, (self.teacher or self.student).name):
            multiple = TEACHERS[name].multiple_of
            if self.batch.patch % multiple:
                rule = f"{self.batch.patch} is not a multiple of {multiple}, as {name} needs it"
                yield "batch.patch", rule
        luma = NETWORKS[self.student.name].colour == "y"
        for scale in self.student.scales:
            side, rest = divmod(self.batch.patch, scale) if luma else (self.batch.patch, 0)
            if rest:
                yield "batch.patch", f"{self.batch.patch} is not a multiple of scale {scale}"
            if data_free and (side % 4 or side < 8):
                yield (
                    "batch.patch",
                    f"{self.batch.patch} at scale {scale} gives LR images of side {side}; "
                    "generators make sides of 8, 12, 16, ...",
                )
            latent = getattr(self.method, "latent", 1)
            if data_free and parameters_of(latent, side) > PARAMETERS:
                sizes = f"{latent} entries of z for images of side {side} make a generator"
                rule = f"{sizes} of {parameters_of(latent, side):,} parameters"
                yield "method.latent", f"{rule}; at most {PARAMETERS:,}"

    def _with_absolute_paths(self) -> Self:
        changes: dict[str, Any] = {}
        for part, field, words in (
            ("student", "weights", ()),
            ("student", "start", ()),
            ("teacher", "weights", ()),
            ("method", "vgg19", ()),
            ("data", "images", ("photos",)),
            ("data", "lr", ()),
            ("data", "hr", ()),
            ("heldout", "images", ("photos",)),
        ):
            value = getattr(getattr(self, part), field, None)
            absolute = _absolute(value, words)
            if absolute != value:  # Ray runs each trial in another working directory
                changed = changes.get(part, getattr(self, part))
                changes[part] = changed.model_copy(update={field: absolute})
        return self.model_copy(update=changes) if changes else self


def _absolute(value: Any, words: Collection[str]) -> Any:
    """Make a path, or each of several folders, absolute; `words` and shipped networks are none."""
    if isinstance(value, tuple):
        return tuple(
            each.model_copy(update={"folder": _absolute(each.folder, words)}) for each in value
        )
    if value is None or value in words or is_shipped(value):
        return value
    return str(expanded(value).absolute())


def _share_width(raw: dict[str, Any]) -> None:
    """Replace `student.width_mult`, a share of the teacher's width, by the sizes of the student.

    They are the teacher's, with int(width_mult * features) features; sizes that are given stay.

    Raises:
        ConfigError: it is no share in (0, 1], `features` is given too, or the teacher has none.
    """
    student, teacher = raw.get("student"), raw.get("teacher")
    if not isinstance(student, dict) or "width_mult" not in student:
        return
    share = student.pop("width_mult")
    if not isinstance(share, int | float) or not 0 < share <= 1:
        raise ConfigError("student.width_mult", f"a share of the teacher's width; got {share!r}")
    if "features" in student:
        raise ConfigError("student.width_mult", "give width_mult or features, not both")
    if not isinstance(teacher, dict) or teacher.get("name") not in NETWORKS:
        rule = f"needs a teacher of a network with features: {', '.join(NETWORKS)}"
        raise ConfigError("student.width_mult", rule)
    try:
        wide = NETWORKS[teacher["name"]].config_class.model_validate(teacher)
    except ValidationError:
        return  # validation will report the teacher's own problem
    sizes = wide.model_dump(mode="json", exclude={"weights", "start", "scales"})
    sizes["features"] = int(share * sizes["features"])
    if student.get("name", sizes["name"]) != sizes["name"]:
        sizes = {"features": sizes["features"]}  # another network takes only the width
    raw["student"] = {**sizes, **student}
    if not {"scale", "scales"} & set(student):
        raw["student"]["scales"] = list(wide.scales)
