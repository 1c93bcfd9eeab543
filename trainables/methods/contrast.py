"""The contrastive loss on generated images: two views of each, a projection h, a bank per scale.

[CMI] Fang et al., "Contrastive Model Inversion for Data-Free Knowledge Distillation", IJCAI 2021,
arXiv 2105.08584, and its released code.
[DFSR+CMI] Wang et al., "Data-Free KD for SR Based on Contrastive Learning": the same loss for
super-resolution.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, final

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from trainables.limits import COUNT, FEATURES
from trainables.methods.bank import Bank
from trainables.methods.base import Setting
from trainables.methods.views import global_places, local_places, sampled_BCHW
from trainables.networks.base import SRNetConfig
from trainables.optimisers import Optimiser, OptimiserConfig
from trainables.replay import Results, sent
from trainables.values import Config, Randomness, Stateful

Statistics = Literal["mean", "mean_std"]


class ContrastConfig(Config):
    """Settings of the contrastive loss and of its bank."""

    tau: float = Field(default=0.1, gt=0.0)
    """Temperature of the softmax over cosines; [CMI]'s best script: 0.1."""
    bank_size: int = Field(default=4096, ge=1, le=COUNT)
    """Images whose features are kept for each scale; [CMI]: 40960."""
    negatives: int = Field(default=1024, ge=0, le=COUNT)
    """Images drawn from the bank as negatives, or all if it has fewer; [CMI]: 4096."""
    embedding: int = Field(default=128, ge=1, le=FEATURES)
    """Dimension of the output of h; [CMI]'s class: 128, its training script: 256."""
    statistics: Statistics = "mean"
    """Statistics of each feature channel: its mean, or its mean and its standard deviation."""


def tapped_units(units: int) -> tuple[int, ...]:
    """Not in [DFSR+CMI]: the body units, from 0, at 1/3, 2/3 and the end of a body of `units`.

    >>> tapped_units(18), tapped_units(10), tapped_units(1)
    ((5, 11, 17), (2, 6, 9), (0,))
    """
    ends = {max(1, (2 * units * third + 3) // 6) for third in (1, 2, 3)}
    return tuple(end - 1 for end in sorted(ends))


def pooled_BF(taps: Sequence[Tensor], statistics: Statistics) -> Tensor:
    """Eq. f_t of [DFSR+CMI]: an image's features, the statistics of its feature maps concatenated.

    `taps` are B F H W each. The result has a row for each image: all means, then all standard
    deviations, in float32 at least. Moving or turning an image's content changes it little.
    """
    # Under autocast the maps are bfloat16.
    maps = [tap_BFHW.to(torch.promote_types(tap_BFHW.dtype, torch.float32)) for tap_BFHW in taps]
    found = [map_BFHW.mean((-2, -1)) for map_BFHW in maps]
    if statistics == "mean_std":
        # The derivative of a square root is infinite at 0, the variance of a flat map.
        variances = [map_BFHW.var((-2, -1), correction=0) for map_BFHW in maps]
        found += [(variance_BF + 1e-12).sqrt() for variance_BF in variances]
    return torch.cat(found, dim=1)


def standardised(rows_KF: Tensor, of_KF: Tensor) -> Tensor:
    """Not in [DFSR+CMI]: features minus their mean, over their standard deviation, over `of_KF`.

    Features of VDSR's body are 0.004 +- 0.0002: without this, h maps all images to nearly one
    point, and the loss stays at ln K until h has learnt to separate them. Mean and deviation get no
    gradient, so that a generator cannot shrink them. A constant feature becomes 0.
    """
    deviation_F, mean_F = torch.std_mean(of_KF.detach(), dim=0, correction=0)
    return (rows_KF - mean_F) / deviation_F.clamp(min=1e-8)


def contrastive_loss(anchors_KF: Tensor, positives_KF: Tensor, tau: float, images: int) -> Tensor:
    """Eq. 12 of [DFSR+CMI]: L_cr, the cross-entropy of an anchor's own positive among all K.

    Its logits are the cosines over `tau`. Rows have norm 1; the first `images` are the batch's, the
    rest the bank's. The loss is the batch's mean plus the bank's, so that the bank does not dilute
    the generator's gradient: each mean is near 0 at best, and about ln K where no positive stands
    out. No gradient passes to the positives.
    """
    cosines_KK = anchors_KF @ positives_KF.detach().mT
    own_K = torch.arange(len(cosines_KK), device=cosines_KK.device)
    losses_K = F.cross_entropy(cosines_KK / tau, own_K, reduction="none")
    batch, bank = losses_K[:images], losses_K[images:]
    return batch.mean() + bank.mean() if len(bank) else batch.mean()


@final
class Projection(nn.Module):
    """h of [CMI]: maps features to the unit sphere by two linear layers, with a ReLU between."""

    def __init__(self, features: int, embedding: int) -> None:
        super().__init__()
        self.widen = nn.Linear(features, features)
        self.project = nn.Linear(features, embedding)

    def forward(self, features_BF: Tensor) -> Tensor:
        """Map features B F to B rows of `embedding` numbers, each of norm 1."""
        return F.normalize(self.project(torch.relu(self.widen(features_BF))))

    @torch.no_grad()
    def initialise(self, generator: torch.Generator) -> None:
        """Draw all parameters uniformly within +-1/sqrt(fan in), as torch does by default."""
        for layer in (self.widen, self.project):
            bound = layer.in_features**-0.5
            layer.weight.uniform_(-bound, bound, generator=generator)
            layer.bias.uniform_(-bound, bound, generator=generator)


class Contrast:
    """The contrastive loss in training: h with its optimiser, and a bank for each scale."""

    def __init__(self, config: ContrastConfig, setting: Setting, rate: OptimiserConfig) -> None:
        self.config = config
        self.replay = setting.replay
        self.teacher = setting.frozen_teacher()
        teacher = self.teacher.config
        assert isinstance(teacher, SRNetConfig), "refused before anything was built"
        self.taps = tapped_units(len(self.teacher.body))
        features = teacher.features * len(self.taps) * (2 if config.statistics == "mean_std" else 1)
        self.banks = {
            # A row holds the features of both views, as in [CMI]: local, then global.
            scale: Bank(config.bank_size, 2 * features, setting.device)
            for scale in setting.student.scales
        }
        with torch.random.fork_rng(devices=[]):  # construction draws from the global stream
            self.h = Projection(features, config.embedding)
        self.h.initialise(Randomness(setting.seed, "projection").generator)
        self.h.to(setting.device)
        self.optimiser = Optimiser(self.h.parameters(), rate, setting.steps)
        self.views = Randomness(setting.seed, "views")
        self.draws = Randomness(setting.seed, "bank")

    def draw(self, shape: Sequence[int], scale: int) -> tuple[Tensor, ...]:
        """Draw the random numbers of `loss` for images of `shape` B C H W, onto the device."""
        places = *local_places(shape, self.views), *global_places(shape, self.views)
        bank = self.banks[scale]
        drawn_K = bank.draw(self.config.negatives, self.draws)
        return sent(bank.rows_KF.device, *places, drawn_K)

    def loss(self, x_BCHW: Tensor, scale: int, *drawn: Tensor) -> Tensor:
        """Return L_cr of a batch of images, contrasted with each other and with rows of the bank.

        `drawn` is the result of `draw` for the shape of the images.
        """
        local_rows, local_columns, global_rows, global_columns, drawn_K = drawn
        local_BF = self.features_BF(sampled_BCHW(x_BCHW, local_rows, local_columns), scale)
        with torch.no_grad():  # the positives take no gradient, so their features need none
            global_BF = self.features_BF(sampled_BCHW(x_BCHW, global_rows, global_columns), scale)
        cached_KF = self.banks[scale].rows_KF[drawn_K]
        cached_local_KF, cached_global_KF = cached_KF.chunk(2, dim=1)
        local_KF = torch.cat([local_BF, cached_local_KF])
        global_KF = torch.cat([global_BF, cached_global_KF])
        all_KF = torch.cat([local_KF, global_KF])
        # bfloat16 rounds a cosine over tau by as much as two images differ in it.
        with torch.autocast(x_BCHW.device.type, enabled=False):
            anchors_KF = self.h(standardised(local_KF, all_KF))
            positives_KF = self.h(standardised(global_KF, all_KF))
            return contrastive_loss(anchors_KF, positives_KF, self.config.tau, len(x_BCHW))

    def remember(self, x_BCHW: Tensor, scale: int) -> None:
        """Add the features of two random views of each image to the bank of `scale`."""

        @torch.no_grad()
        def extract(x_BCHW: Tensor, *places: Tensor) -> Results:
            views = sampled_BCHW(x_BCHW, *places[:2]), sampled_BCHW(x_BCHW, *places[2:])
            rows_BF = [self.features_BF(view_BCHW, scale) for view_BCHW in views]
            return {"rows_BF": torch.cat(rows_BF, dim=1)}

        shape = x_BCHW.shape
        places = *local_places(shape, self.views), *global_places(shape, self.views)
        sent_places = sent(x_BCHW.device, *places)
        rows_BF = self.replay(("extract", scale), extract, x_BCHW, *sent_places)["rows_BF"]
        self.banks[scale].push(rows_BF)

    def features_BF(self, view_BCHW: Tensor, scale: int) -> Tensor:
        """Return the pooled features of views in the teacher's body; luma is upsampled first."""
        traced = self.teacher.trace(view_BCHW, scale=scale, taps=self.taps)
        return pooled_BF(traced.taps, self.config.statistics)

    def learners(self) -> dict[str, Stateful]:
        """Return h, its optimiser, both random streams and the banks, by name."""
        learners: dict[str, Stateful] = {"h": self.h, "h_optimiser": self.optimiser}
        learners |= {"views": self.views, "negatives": self.draws}
        return learners | {f"bank_x{scale}": bank for scale, bank in self.banks.items()}
