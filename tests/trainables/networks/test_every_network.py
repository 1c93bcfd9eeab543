"""What holds for every entry of NETWORKS: adding one there is signing up for these."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor

from trainables.errors import ConfigError
from trainables.networks import NETWORKS, SRNet, build_network
from trainables.networks.checkpoint import save_network
from trainables.networks.loading import load_network

SCALES = (2, 3, 4)
SIDES = [(1, 1), (1, 5), (2, 3), (7, 9), (16, 13)]

pytestmark = [pytest.mark.parametrize("name", NETWORKS)]


def network(name: str, scale: int = 2, seed: int = 1) -> SRNet:
    size = {"features": 12, "blocks": 4}
    return build_network({"name": name, **size, "scale": scale}, seed=seed)


def image(model: SRNet, images: int, height: int, width: int) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    channels = 1 if model.colour == "y" else 3
    return torch.rand(images, channels, height, width, generator=generator)


@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize(("height", "width"), SIDES)
def test_the_output_is_exactly_scale_times_larger(
    name: str, scale: int, height: int, width: int
) -> None:
    model = network(name, scale)
    lr_BCHW = image(model, 2, height, width)
    sr_BCHW = model(lr_BCHW)
    assert sr_BCHW.shape == (2, lr_BCHW.shape[1], scale * height, scale * width)
    assert sr_BCHW.dtype == torch.float32
    assert sr_BCHW.isfinite().all()


def test_images_in_a_batch_do_not_influence_each_other(name: str) -> None:
    """In float64: in float32 sums over a batch are rounded otherwise on some processors."""
    model = network(name).double()
    lr_BCHW = image(model, 3, 8, 9).double()
    alone = torch.cat([model(one) for one in lr_BCHW.split(1)])
    torch.testing.assert_close(model(lr_BCHW), alone, rtol=1e-9, atol=1e-12)
    blank = lr_BCHW.clone()
    blank[1:] = 0.0
    assert torch.equal(model(blank)[0], model(lr_BCHW)[0])


def test_every_parameter_receives_gradient(name: str) -> None:
    asleep = None
    for seed in range(20):  # a ReLU may sleep at one start, but not at every one
        model = network(name, seed=seed)
        model(image(model, 2, 8, 8)).square().sum().backward()
        still = {
            key
            for key, p in model.named_parameters()
            if p.grad is None or not p.grad.abs().max() > 0
        }
        asleep = still if asleep is None else asleep & still
        if not asleep:
            break
    assert asleep == set()


def test_gradient_passes_through_to_the_image(name: str) -> None:
    model = network(name).requires_grad_(False)
    lr_BCHW = image(model, 1, 8, 8).requires_grad_()
    model(lr_BCHW).square().sum().backward()
    assert lr_BCHW.grad is not None
    assert float(lr_BCHW.grad.abs().max()) > 0


def test_the_gradient_is_that_of_finite_differences(name: str) -> None:
    model = network(name).double().requires_grad_(False)
    lr_BCHW = (0.2 + 0.6 * image(model, 1, 5, 6)).double().requires_grad_()
    assert torch.autograd.gradcheck(model, (lr_BCHW,), fast_mode=True)


def test_a_few_images_at_a_time_make_the_same_of_a_batch_and_keep_less_of_it(name: str) -> None:
    model = network(name).double()
    lr_BCHW = image(model, 5, 8, 8).double().requires_grad_()
    kept, results = [0, 0], []
    for number, micro_batch in enumerate((None, 2)):
        model.micro_batch, lr_BCHW.grad = micro_batch, None
        model.zero_grad()

        def keep(tensor: Tensor, number: int = number) -> Tensor:
            kept[number] += tensor.numel()
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
            trace = model.trace(lr_BCHW, taps=["after_skip", 1])
        images = (trace.sr_BCHW, *trace.taps)
        # A loss that couples the images, of which no sum over portions is the whole.
        torch.log1p(torch.stack([each.square().sum() for each in images]).prod()).backward()
        slopes = [each.grad for each in (lr_BCHW, *model.parameters())]
        results.append([*images, *(each.clone() for each in slopes if each is not None)])
        with torch.no_grad():
            assert torch.allclose(model(lr_BCHW), trace.sr_BCHW)
    for whole, portions in zip(*results, strict=True):
        torch.testing.assert_close(portions, whole)
    assert kept[1] < 0.2 * kept[0]


def test_active_and_taps_agree_with_a_full_pass(name: str) -> None:
    model = network(name)
    lr_BCHW = image(model, 1, 8, 8)
    full = model.trace(lr_BCHW)
    depth = len(model.body)
    assert full.taps == ()
    assert torch.equal(full.sr_BCHW, model(lr_BCHW))
    assert torch.equal(full.sr_BCHW, model.trace(lr_BCHW, active=depth).sr_BCHW)
    tapped = model.trace(lr_BCHW, taps=range(depth))
    assert torch.equal(tapped.sr_BCHW, full.sr_BCHW)
    for active in range(1, depth + 1):
        shallow = model.trace(lr_BCHW, active=active, taps=[active - 1])
        assert torch.equal(shallow.taps[0], tapped.taps[active - 1])
        assert torch.equal(shallow.sr_BCHW, full.sr_BCHW) == (active == depth)


def test_taps_come_in_the_order_asked_for(name: str) -> None:
    model = network(name)
    lr_BCHW = image(model, 1, 8, 8)
    last, first = model.trace(lr_BCHW, taps=(3, 0)).taps
    again_first, again_last = model.trace(lr_BCHW, taps=(0, 3)).taps
    assert torch.equal(first, again_first)
    assert torch.equal(last, again_last)
    assert not torch.equal(first, last)


def test_the_body_can_be_tapped_on_both_sides_of_its_skip(name: str) -> None:
    model = network(name)
    lr_BCHW = image(model, 2, 7, 9)
    trace = model.trace(lr_BCHW, taps=["after_skip", 3, "before_skip"])
    after, last, before = trace.taps
    assert torch.equal(trace.sr_BCHW, model(lr_BCHW))
    assert after.shape == before.shape == last.shape
    closing = getattr(model, "conv_after_body", None)
    if closing is None:  # no skip around the body
        assert torch.equal(before, last)
        assert torch.equal(after, last)
        return
    passed: list[Tensor] = []
    hooks = [
        each.register_forward_hook(lambda *call: passed.append(call[2]))
        for each in (model.head, closing)
    ]
    model(lr_BCHW)
    for hook in hooks:
        hook.remove()
    first, closed = (each[..., : before.shape[-2], : before.shape[-1]] for each in passed)
    assert torch.equal(before, closed)
    assert torch.equal(after, first + closed)


def test_gradient_passes_through_a_tap(name: str) -> None:
    model = network(name)
    lr_BCHW = image(model, 1, 8, 8).requires_grad_()
    model.trace(lr_BCHW, taps=[1]).taps[0].square().sum().backward()
    assert lr_BCHW.grad is not None
    assert float(lr_BCHW.grad.abs().max()) > 0
    assert all(p.grad is not None for unit in model.body[:2] for p in unit.parameters())


def test_an_inactive_unit_takes_no_part(name: str) -> None:
    model = network(name)
    model.trace(image(model, 1, 8, 8), active=2).sr_BCHW.sum().backward()
    assert all(p.grad is None for unit in model.body[2:] for p in unit.parameters())
    assert all(p.grad is not None for unit in model.body[:2] for p in unit.parameters())


def test_near_identity_from_a_unit_on_changes_no_output_or_is_refused(name: str) -> None:
    model = network(name)
    lr_BCHW = image(model, 1, 8, 8)
    before = model.trace(lr_BCHW, active=2).sr_BCHW
    if not model.passes_through:
        with pytest.raises(ValueError, match="passes its input through"):
            model.near_identity(2)
        return
    model.near_identity(2)
    torch.testing.assert_close(model(lr_BCHW), before, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("active", [2, 4])
def test_what_has_not_grown_yet_is_a_whole_network_and_a_file(
    name: str, active: int, tmp_path: Path
) -> None:
    model = network(name)
    lr_BCHW = image(model, 1, 8, 8)
    before = model.trace(lr_BCHW, active=active).sr_BCHW
    settled = model.settled(active)
    torch.testing.assert_close(settled(lr_BCHW), before, rtol=1e-5, atol=1e-6)
    save_network(tmp_path / "network.safetensors", settled)
    loaded = load_network(tmp_path / "network.safetensors")
    assert torch.equal(loaded(lr_BCHW), settled(lr_BCHW))


def test_save_and_load_is_exact(name: str, tmp_path: Path) -> None:
    model = network(name, scale=3)
    save_network(tmp_path / "network.safetensors", model)
    loaded = load_network(tmp_path / "network.safetensors")
    assert type(loaded) is type(model)
    assert loaded.scales == (3,)
    state = loaded.state_dict()
    assert list(state) == list(model.state_dict())
    assert all(torch.equal(value, state[key]) for key, value in model.state_dict().items())
    lr_BCHW = image(model, 1, 5, 7)
    assert torch.equal(model(lr_BCHW), loaded(lr_BCHW))


def test_drawing_weights_touches_no_global_stream(name: str) -> None:
    before = torch.get_rng_state()
    network(name)
    assert torch.equal(torch.get_rng_state(), before)


def test_a_scale_that_is_not_served_is_refused(name: str) -> None:
    model = network(name, scale=4)
    lr_BCHW = image(model, 1, 4, 4)
    assert torch.equal(model(lr_BCHW, scale=4), model(lr_BCHW))
    with pytest.raises(ValueError, match=r"serves scales \[4\]: not 3"):
        model(lr_BCHW, scale=3)


def test_several_scales_are_served_by_name_or_refused_when_built(name: str) -> None:
    try:
        model = build_network({"name": name, "features": 12, "blocks": 1, "scales": [2, 4]})
    except ConfigError as refusal:
        assert refusal.path == "scales"
        assert "one scale" in refusal.rule
        return
    lr_BCHW = image(model, 1, 4, 4)
    assert model(lr_BCHW, scale=4).shape[-1] == 16
    with pytest.raises(ValueError, match=r"serves scales \[2, 4\]: say which"):
        model(lr_BCHW)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"feature": 8}, r"^feature: unknown key; did you mean features\? \w+ has .*blocks"),
        ({"features": "8"}, r"^features: .*integer.*got '8'"),
        ({"blocks": 0}, r"^blocks: .*greater than or equal to 1.*got 0"),
        ({"scale": 5}, r"^scale: must be 2, 3 or 4; got 5"),
        ({"scale": True}, r"^scale: must be 2, 3 or 4; got True"),
        ({"scales": [2, 2]}, r"^scales: must be different ones of 2, 3, 4; got \[2, 2\]"),
        ({"scales": [2, "3"]}, r"^scales\.1: .*integer.*got '3'"),
        ({"scales": []}, r"^scales: .*at least 1"),
        ({"scale": 2, "scales": [3]}, r"^scale: give scale or scales, not both"),
        ({"weights": "/nowhere.pt"}, r"^weights: /nowhere\.pt: no such file"),
    ],
)
def test_a_mapping_that_is_no_network_is_refused_by_its_path(
    name: str, change: dict[str, object], message: str
) -> None:
    scale = {} if {"scale", "scales"} & set(change) else {"scale": 2}
    with pytest.raises(ConfigError, match=message):
        build_network({"name": name, **scale, **change})


def test_an_unknown_name_lists_the_known_ones(name: str) -> None:
    with pytest.raises(ConfigError, match=f"^name: unknown network .*known: .*{name}"):
        build_network({"name": name + "x"})
