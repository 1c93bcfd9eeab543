"""Every method as the plain loop that a paper's code would be, and DFSR's as its authors' code is.

Each loop takes the networks, generators and random streams of a fresh `Run`, and nothing of how it
trains: plain torch optimisers, a float rate, gradients where torch leaves them, float32 as torch
computes it unasked, networks read layer by layer. They compute what `Run` computes, which
tests/trainables/test_bare_loops.py checks, so that what `step.py` finds is time and nothing else.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from trainables.methods.affinity import affinity_loss
from trainables.methods.csd import contrastive_loss, enlarged_BCHW
from trainables.methods.dckd import drawn_noise
from trainables.methods.fakd import tapped
from trainables.methods.game import draw_scale, lr_side
from trainables.methods.invertible import Augmentation
from trainables.methods.noise import uniform_noise_BCHW
from trainables.methods.zoom import cut_BCHW, random_corners_N2, zoomed_out_BCHW
from trainables.networks import SRNet
from trainables.networks.edsr import EDSR
from trainables.networks.slim import through_slice
from trainables.networks.vdsr import VDSR
from trainables.resample import downsample_BCHW, upsample_BCHW
from trainables.run import Run

Update = Callable[[], dict[str, Tensor]]
"""One update, and its losses on the device."""


def plain(network: SRNet, x_BCHW: Tensor, scale: int, active: int | None = None) -> Tensor:
    """A network's image, layer by layer, nothing in place; all but VDSR and EDSR as they are.

    Of the body run the first `active` units; None: all.
    """
    if isinstance(network, VDSR):
        up_BCHW = x_BCHW if scale == 1 else upsample_BCHW(x_BCHW, scale)
        up_BCHW = up_BCHW.clamp(0.0, 1.0)
        features = torch.relu(network.input(up_BCHW))
        for unit in network.residual_layer[:active]:
            features = torch.relu(unit.conv(features))  # type: ignore[union-attr, operator]  # a ConvReLU
        image: Tensor = up_BCHW + network.output(features)
        return image
    if isinstance(network, EDSR):
        first = features = network.conv_first(network.colours(x_BCHW))
        for unit in network.body[:active]:
            residual = unit.conv2(torch.relu(unit.conv1(features)))  # type: ignore[operator]  # a ResidualBlock
            features = features + unit.res_scale * residual  # type: ignore[operator]  # as above
        features = first + network.conv_after_body(features)
        return network.colours.back(network.conv_last(network.upsample(features)))
    return network.trace(x_BCHW, scale=scale, active=active).sr_BCHW


def _l1(a: Tensor, b: Tensor, loss_range: float) -> Tensor:
    return loss_range * F.l1_loss(a, b)


def _apart(a: Tensor, b: Tensor, config: Any) -> Tensor:
    if config.loss == "l1_mean":
        return _l1(a, b, config.loss_range)
    return F.mse_loss(a, b, reduction="sum") * config.loss_range**2


class Descent:
    """A plain torch optimiser with its clipping, over a network's parameters."""

    def __init__(self, parameters: Any, config: Any, **changes: Any) -> None:
        self.parameters = list(parameters)
        self.clip = config.clip
        common = {"lr": config.lr, "weight_decay": config.weight_decay, **changes}
        if config.name == "sgd":
            self.inner: Any = torch.optim.SGD(self.parameters, momentum=config.momentum, **common)
        else:
            self.inner = torch.optim.Adam(self.parameters, betas=config.betas, **common)

    def __call__(self, loss: Tensor) -> None:
        """Descend the loss."""
        self.inner.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]  # torch leaves it unannotated
        if self.clip is not None:
            nn.utils.clip_grad_norm_(self.parameters, self.clip)
        self.inner.step()


def _average(run: Run) -> Callable[[], None]:
    if run.config.ema is None:
        return lambda: None
    decay = run.config.ema
    pairs = list(zip(run.outcome.parameters(), run.student.parameters(), strict=True))

    @torch.no_grad()
    def follow() -> None:
        for own, student in pairs:
            own.lerp_(student, 1.0 - decay)

    return follow


def _detached(losses: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: loss.detach() for name, loss in losses.items()}


def _driven(run: Run, losses_of: Callable[[Any], dict[str, Tensor]], parameters: Any) -> Update:
    """A method that learns from images: `losses_of` a batch are summed and descended."""
    descend, follow = Descent(parameters, run.config.optimiser), _average(run)

    def update() -> dict[str, Tensor]:
        losses = losses_of(run._draw())
        descend(torch.stack([v for k, v in losses.items() if k != "loss/teacher_pixel"]).sum())
        follow()
        return _detached(losses)

    return update


def scratch(run: Run) -> Update:
    """Towards the true image."""
    student, config = run.student, run.config.method

    def losses(batch: Any) -> dict[str, Tensor]:
        sr_BCHW = plain(student, batch.lr_BCHW, batch.scale)
        return {"loss/pixel": _apart(sr_BCHW, batch.hr_BCHW, config)}

    return _driven(run, losses, student.parameters())


def kd(run: Run) -> Update:
    """Towards the true image and the teacher's."""
    student, teacher, config = run.student, run.teacher, run.config.method
    assert teacher is not None

    def losses(batch: Any) -> dict[str, Tensor]:
        with torch.no_grad():
            teacher_BCHW = plain(teacher, batch.lr_BCHW, batch.scale)
        sr_BCHW = plain(student, batch.lr_BCHW, batch.scale)
        pixel = _l1(sr_BCHW, batch.hr_BCHW, config.loss_range)
        taught = _l1(sr_BCHW, teacher_BCHW, config.loss_range)
        return {"loss/pixel": pixel, "loss/kd": config.lambda_kd * taught}

    return _driven(run, losses, student.parameters())


def fakd(run: Run) -> Update:
    """Towards both images and the teacher's affinities."""
    student, teacher, config = run.student, run.teacher, run.config.method
    assert teacher is not None
    ours, theirs = (tapped(n, config.taps, config.last_map) for n in (student, teacher))

    def losses(batch: Any) -> dict[str, Tensor]:
        lr_BCHW, scale, loss_range = batch.lr_BCHW, batch.scale, config.loss_range
        with torch.no_grad():
            taught = teacher.trace(lr_BCHW, scale=scale, taps=theirs)
        made = student.trace(lr_BCHW, scale=scale, taps=ours)
        pixel = (1.0 - config.alpha) * _l1(made.sr_BCHW, batch.hr_BCHW, loss_range)
        kd = config.alpha * _l1(made.sr_BCHW, taught.sr_BCHW, loss_range)
        apart = affinity_loss(made.taps, taught.taps, config.memory_gib, config.fakd_pool)
        return {"loss/pixel": pixel, "loss/kd": kd, "loss/affinity": config.w_SA * apart}

    return _driven(run, losses, student.parameters())


def csd(run: Run) -> Update:
    """Both widths towards the true image, the narrow one towards the wide one's image."""
    method, config = run.method, run.config.method
    student, wide, features = run.student, method.wide, method.features  # type: ignore[attr-defined]  # CSD's

    def losses(batch: Any) -> dict[str, Tensor]:
        lr_BCHW, scale, loss_range = batch.lr_BCHW, batch.scale, config.loss_range
        student_BCHW = through_slice(student, wide, lr_BCHW, scale)
        wide_BCHW = plain(wide, lr_BCHW, scale)
        unlike_BCHW = enlarged_BCHW(lr_BCHW, config.negatives, scale)
        with torch.no_grad():
            near, far = features(wide_BCHW), features(unlike_BCHW)
        contrast = contrastive_loss(near, features(student_BCHW), far, features.weights)
        pixel = _l1(student_BCHW, batch.hr_BCHW, loss_range)
        other = config.lambda_t * _l1(wide_BCHW, batch.hr_BCHW, loss_range)
        return {
            "loss/pixel": pixel + other,
            "loss/teacher_pixel": other,
            "loss/contrast": config.lambda_c * contrast,
        }

    update = _driven(run, losses, wide.parameters())

    def as_reported() -> dict[str, Tensor]:
        found = update()
        return {**found, "loss/pixel": found["loss/pixel"] - found["loss/teacher_pixel"]}

    return as_reported


def dukd(run: Run) -> Update:
    """KD, and the teacher's answers to crops and reductions, by way of augmented images."""
    student, teacher, config = run.student, run.teacher, run.config.method
    crops, choices = run.method.crops, run.method.choices  # type: ignore[attr-defined]  # DUKD's
    assert teacher is not None

    def upcycled(x_BCHW: Tensor, scale: int) -> Tensor:
        drawn = config.operations, config.aug_prob, len(x_BCHW), choices
        augmentation = Augmentation.draw(*drawn, x_BCHW.device)
        with torch.no_grad():
            teacher_BCHW = plain(teacher, x_BCHW, scale)
        sr_BCHW = augmentation.undo(plain(student, augmentation.apply(x_BCHW), scale))
        return config.lambda_dukd * _l1(sr_BCHW, teacher_BCHW, config.loss_range)

    def losses(batch: Any) -> dict[str, Tensor]:
        lr_BCHW, hr_BCHW, scale = batch.lr_BCHW, batch.hr_BCHW, batch.scale
        with torch.no_grad():
            teacher_BCHW = plain(teacher, lr_BCHW, scale)
        sr_BCHW = plain(student, lr_BCHW, scale)
        found = {"loss/pixel": _l1(sr_BCHW, hr_BCHW, config.loss_range)}
        found["loss/kd"] = config.lambda_kd * _l1(sr_BCHW, teacher_BCHW, config.loss_range)
        side = lr_BCHW.shape[-1]
        corners_N2 = random_corners_N2(hr_BCHW.shape, side, config.n_gt_sub, crops)
        x_BCHW = cut_BCHW(hr_BCHW, corners_N2.to(hr_BCHW.device), side)
        found["loss/zoom_in"] = upcycled(x_BCHW, scale)
        if config.zoom_out:
            found["loss/zoom_out"] = upcycled(zoomed_out_BCHW(lr_BCHW, scale), scale)
        return found

    return _driven(run, losses, student.parameters())


def eco(run: Run) -> Update:
    """Towards a pair that moves from the teacher's to the real one."""
    student, teacher, config = run.student, run.teacher, run.config.method
    assert teacher is not None
    done = [0]

    def losses(batch: Any) -> dict[str, Tensor]:
        share = min(1.0, done[0] / (config.end_ratio * run.config.budget.steps))
        done[0] += 1
        with torch.no_grad():
            taught = plain(teacher, batch.lr_BCHW, batch.scale)
            smaller = downsample_BCHW(taught, batch.scale)
            lr_BCHW = (1.0 - share) * smaller + share * batch.lr_BCHW
            hr_BCHW = (1.0 - share) * taught + share * batch.hr_BCHW
        sr_BCHW = plain(student, lr_BCHW, batch.scale)
        return {"loss/pixel": _l1(sr_BCHW, hr_BCHW, config.loss_range)}

    return _driven(run, losses, student.parameters())


def dckd(run: Run) -> Update:
    """KD, and away from the answers of an earlier state of the student."""
    student, teacher, config = run.student, run.teacher, run.config.method
    features, noise = run.method.features, run.method.noise  # type: ignore[attr-defined]  # DCKD's
    history = copy.deepcopy(student).requires_grad_(False)
    interval = max(1, round(config.interval * run.config.budget.steps))
    done = [0]
    assert teacher is not None

    def losses(batch: Any) -> dict[str, Tensor]:
        lr_BCHW, scale, loss_range = batch.lr_BCHW, batch.scale, config.loss_range
        drawn = drawn_noise(lr_BCHW.shape, config.negatives - 1, noise).to(run.device)
        with torch.no_grad():
            taught = plain(teacher, lr_BCHW, scale)
            inputs = [lr_BCHW, *(lr_BCHW + drawn).clamp(0.0, 1.0)]
            unlike = [features(plain(history, x_BCHW, scale)) for x_BCHW in inputs]
            near = features(taught)
        sr_BCHW = plain(student, lr_BCHW, scale)
        far = [torch.stack(each) for each in zip(*unlike, strict=True)]
        contrast = contrastive_loss(near, features(sr_BCHW), far, features.weights)
        return {
            "loss/pixel": _l1(sr_BCHW, batch.hr_BCHW, loss_range),
            "loss/kd": config.lambda_kd * _l1(sr_BCHW, taught, loss_range),
            "loss/contrast": config.lambda_dcl * contrast,
        }

    update = _driven(run, losses, student.parameters())

    def with_history() -> dict[str, Tensor]:
        found = update()
        done[0] += 1
        if done[0] % interval == 0:
            with torch.no_grad():
                for old, new in zip(history.parameters(), student.parameters(), strict=True):
                    old.copy_(config.alpha * old + (1.0 - config.alpha) * new)
        return found

    return with_history


def noise(run: Run) -> Update:
    """Towards the teacher's image of noise."""
    student, teacher, config, batch = run.student, run.teacher, run.config.method, run.config.batch
    choices, pixels, setting = run.method.choices, run.method.pixels, run.method.setting  # type: ignore[attr-defined]  # Noise's
    descend = Descent(student.parameters(), run.config.optimiser)
    assert teacher is not None
    luma = student.colour == "y"

    def update() -> dict[str, Tensor]:
        scale = draw_scale(student.scales, choices)
        side = lr_side(setting, scale)
        if config.noise_at == "input":
            side, scale = batch.patch, 1 if luma else scale
        shape = (batch.images, 1 if luma else 3, side, side)
        x_BCHW = uniform_noise_BCHW(shape, pixels, run.device)
        with torch.no_grad():
            teacher_BCHW = plain(teacher, x_BCHW, scale)
        loss = _apart(plain(student, x_BCHW, scale), teacher_BCHW, config)
        descend(loss)
        return {"loss/kd": loss.detach()}

    return update


def dfsr(run: Run) -> Update:
    """DFSR, DFAD and DFSR+CMI: student updates, and now and then one of a generator."""
    student, teacher, config, batch = run.student, run.teacher, run.config.method, run.config.batch
    game: Any = run.method.game  # type: ignore[attr-defined]  # of a method with a generator
    contrast: Any = getattr(run.method, "contrast", None)
    assert teacher is not None
    descend = Descent(student.parameters(), run.config.optimiser)
    adam = {s: Descent(g.parameters(), game.rate) for s, g in game.generators.items()}
    h = None if contrast is None else Descent(contrast.h.parameters(), contrast.optimiser.config)
    done = 0

    def latents() -> Tensor:
        shape = batch.images, config.latent
        return torch.randn(shape, generator=game.latents.generator, device=run.device)

    def generators_losses(x_BCHW: Tensor, scale: int) -> dict[str, Tensor]:
        teacher_BCHW, student_BCHW = (plain(n, x_BCHW, scale) for n in (teacher, student))
        losses = {}
        if config.name != "dfad":
            small_BCHW = downsample_BCHW(teacher_BCHW, scale).clamp(0.0, 1.0)
            losses["loss/reconstruction"] = config.w_R * _apart(small_BCHW, x_BCHW, config)
        kd = _apart(teacher_BCHW, student_BCHW, config)
        losses["loss/adversarial"] = -torch.log1p(kd)
        if contrast is not None:
            losses["loss/contrast"] = config.W_C * contrast.loss(
                x_BCHW, scale, *contrast.draw(x_BCHW.shape, scale)
            )
        return losses

    def generators_turn() -> dict[str, Tensor]:
        z_BK, scale = latents(), draw_scale(student.scales, game.choices)
        moved = [adam[scale]]
        if contrast is not None:
            z_BK = nn.Parameter(z_BK)
            moved += [Descent([z_BK], game.rate), h]  # type: ignore[list-item]  # there is one
        losses = generators_losses(game.generators[scale](z_BK), scale)
        for each in moved:
            each.inner.zero_grad()
        torch.stack(tuple(losses.values())).sum().backward()  # type: ignore[no-untyped-call]  # torch leaves it unannotated
        for each in moved:
            each.inner.step()
        if contrast is not None:
            with torch.no_grad():
                contrast.remember(game.generators[scale](z_BK), scale)
        return losses

    def update() -> dict[str, Tensor]:
        nonlocal done
        scale = draw_scale(student.scales, game.choices)
        with torch.no_grad():
            x_BCHW = game.generators[scale](latents())
            teacher_BCHW = plain(teacher, x_BCHW, scale)
        loss = _apart(plain(student, x_BCHW, scale), teacher_BCHW, config)
        descend(loss)
        losses = {"loss/kd": loss}
        done += 1
        if done % config.update_ratio == 0:
            losses |= generators_turn()
        return _detached(losses)

    return update


def released(run: Run) -> Update:
    """DFSR as its authors released it, from their description: the loop of 2021.

    Convolutions run channels first. The student's update propagates back through the teacher, whose
    parameters take gradients that nobody reads, and on through the generator; the optimisers of all
    generators step whenever one was used. The student grows as `Run`'s does, with a new optimiser.
    """
    student, teacher, config, batch = run.student, run.teacher, run.config.method, run.config.batch
    game: Any = run.method.game  # type: ignore[attr-defined]  # DFSR's
    assert teacher is not None
    networks = [student, teacher, *game.generators.values()]
    for network in networks:
        network.to(memory_format=torch.contiguous_format)
        network.requires_grad_(True)
    parts = run.method.pupil.parts  # type: ignore[attr-defined]  # as above
    descend = Descent(student.parameters(), run.config.optimiser)
    adams = [Descent(g.parameters(), game.rate) for g in game.generators.values()]
    done = 0

    def imagined() -> tuple[Tensor, int]:
        scale = draw_scale(student.scales, game.choices)
        shape = batch.images, config.latent
        z_BK = torch.randn(shape, generator=game.latents.generator, device=run.device)
        return game.generators[scale](z_BK), scale

    def update() -> dict[str, Tensor]:
        nonlocal done, descend
        if done in parts.starts[1:]:
            descend = Descent(student.parameters(), run.config.optimiser)
        active = parts.depths[parts.at(done)]
        x_BCHW, scale = imagined()
        loss = _apart(plain(student, x_BCHW, scale, active), plain(teacher, x_BCHW, scale), config)
        descend(loss)
        done += 1
        if done % config.update_ratio:
            return {"loss/kd": loss.detach()}
        x_BCHW, scale = imagined()
        teacher_BCHW = plain(teacher, x_BCHW, scale)
        student_BCHW = plain(student, x_BCHW, scale, active)
        small_BCHW = downsample_BCHW(teacher_BCHW, scale).clamp(0.0, 1.0)
        rebuilt = config.w_R * _apart(small_BCHW, x_BCHW, config)
        adversarial = -torch.log1p(_apart(teacher_BCHW, student_BCHW, config))
        for each in adams:
            each.inner.zero_grad(set_to_none=False)
        (adversarial + rebuilt).backward()  # type: ignore[no-untyped-call]  # torch leaves it unannotated
        for each in adams:
            each.inner.step()
        return {"loss/kd": loss.detach(), "loss/reconstruction": rebuilt.detach()}

    return update


LOOPS: dict[str, Callable[[Run], Update]] = {
    "scratch": scratch,
    "kd": kd,
    "fakd": fakd,
    "csd": csd,
    "dukd": dukd,
    "eco": eco,
    "dckd": dckd,
    "noise": noise,
    "dfad": dfsr,
    "dfsr": dfsr,
    "dfsr_cmi": dfsr,
}
"""By method."""
