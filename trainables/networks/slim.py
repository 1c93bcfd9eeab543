"""Slices: narrow networks that share the weights of a wide one, as its leading channels.

[CSD] calls this channel splitting. Every parameter of the narrow network is the leading part, in
each dimension, of the wide one's of the same name: heads are cut in their outputs, inner
convolutions in both, tails in their inputs. Pixel shuffle makes channel c of the r^2 channels from
number r^2 c on, so the leading r^2 f outputs of an upsampler are whole groups. RCAN's attention is
cut alike: its bottleneck of 64 -> 4 becomes one of 16 -> 1.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor
from torch.func import functional_call

from trainables.networks.base import ScaledConfig, SRNet, SRNetConfig
from trainables.networks.portions import in_portions

CUT = ("vdsr", "edsr", "rcan", "compact")
"""Networks that can be sliced. SwinIR's channels are divided among attention heads, and SPAN
concatenates four maps, so leading channels of these do not make a narrower network."""


def leading(tensor: Tensor, shape: torch.Size) -> Tensor:
    """Return the first `shape[d]` entries of each dimension d of a tensor, as a view.

    Raises:
        ValueError: `tensor` has another number of dimensions, or is smaller in one of them.

    >>> leading(torch.arange(6).view(2, 3), torch.Size([1, 2])).tolist()
    [[0, 1]]
    """
    sides = list(zip(shape, tensor.shape, strict=False))
    if len(shape) != tensor.dim() or any(want > have for want, have in sides):
        raise ValueError(f"{tuple(shape)} is no leading part of {tuple(tensor.shape)}")
    return tensor[tuple(slice(side) for side in shape)]


def slice_refusals(narrow: SRNetConfig, wide: ScaledConfig) -> Iterator[tuple[str, str]]:
    """Yield dotted path and rule of each reason why a student is no slice of a teacher.

    It must be the same network, of the same depth, with fewer features and no weights of its own.

    Args:
        narrow: the student's configuration.
        wide: the teacher's configuration.
    """
    ours, theirs = narrow.model_dump(), wide.model_dump()
    for part, name in (("student", ours["name"]), ("teacher", theirs["name"])):
        if name not in CUT:
            yield f"{part}.name", f"the channels of {name} cannot be cut, only of {', '.join(CUT)}"
            return
    for field in (
        "name",
        *sorted(ours.keys() - {"name", "features", "scales", "weights", "start"}),
    ):
        if ours[field] != theirs.get(field):
            rule = f"a slice of the teacher has {theirs.get(field)} as it has, not {ours[field]}"
            yield f"student.{field}", rule
            return
    if ours["features"] >= theirs["features"]:
        widths = f"{ours['features']} are not fewer than {theirs['features']}"
        yield "student.features", f"a slice of the teacher has fewer features: {widths}"
    for field in ("weights", "start"):
        if getattr(narrow, field) is not None:
            yield (
                f"student.{field}",
                f"a slice starts with its teacher's weights: leave {field} out",
            )


def live_inside(narrow: SRNet, wide: SRNet) -> None:
    """Make every parameter of `narrow` a view of the storage of `wide`'s of the same name.

    From then on, in-place updates of one network change the other. `narrow` can be evaluated,
    averaged and saved like any network; only its own entries are saved.

    Raises:
        ValueError: `narrow` is not `wide` with fewer channels.
    """
    storages = dict(wide.named_parameters())
    names = [name for name, _ in narrow.named_parameters()]
    if names != list(storages):
        raise ValueError("a slice has the parameters of the network that it is cut from")
    for name, parameter in narrow.named_parameters():
        parameter.data = leading(storages[name].data, parameter.shape)


def through_slice(narrow: SRNet, wide: SRNet, lr_BCHW: Tensor, scale: int | None = None) -> Tensor:
    """Upscale `lr_BCHW` by `narrow`, a slice of `wide`, with gradients for `wide`'s parameters.

    They add to those of `wide`'s own passes and are zero outside of the slice. `narrow`'s own
    parameters get no gradient.
    """
    shapes = {name: parameter.shape for name, parameter in narrow.named_parameters()}
    views = {name: leading(value, shapes[name]) for name, value in wide.named_parameters()}

    def at_once(part_BCHW: Tensor) -> tuple[Tensor]:
        return (functional_call(narrow, views, (part_BCHW,), {"scale": scale}),)

    # Split here rather than inside: the recomputation there would find other parameters.
    return in_portions(at_once, lr_BCHW, narrow.micro_batch)[0]
