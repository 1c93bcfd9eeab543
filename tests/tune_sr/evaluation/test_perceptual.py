"""LPIPS and DISTS with a stand-in of pyiqa, which checks what it is given; and all refusals.

pyiqa needs torchvision, which has to fit torch, and files that are not distributed with it.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from trainables.data.images import write_image
from tune_sr import evaluate
from tune_sr.evaluation.perceptual import METRICS, load_metrics

CPU = torch.device("cpu")
Created = list[dict[str, Any]]


class Distance(nn.Module):
    """Means of the differences of red and, ten times, of green, times a weight of the file."""

    def __init__(self, weight: Tensor) -> None:
        super().__init__()
        self.weight = nn.Parameter(weight)
        self.given: list[tuple[Tensor, Tensor]] = []

    def forward(self, target: Tensor, ref: Tensor) -> Tensor:
        for image in (target, ref):
            assert image.dtype == torch.float32
            assert image.ndim == 4 and image.shape[1] == 3
            assert image.min() >= 0 and image.max() <= 1
        self.given.append((target, ref))
        gap = (target - ref).abs().mean((2, 3))
        return self.weight * (gap[:, :1] + 10 * gap[:, 1:2])


@pytest.fixture
def hub(tmp_path: Path) -> Any:
    """torch's folder with all weights files in the places where they are downloaded to."""
    before = torch.hub.get_dir()
    torch.hub.set_dir(str(tmp_path / "hub"))
    for name, (own, network) in METRICS.items():
        for folder, file in (("pyiqa", own), ("checkpoints", network)):
            path = tmp_path / "hub" / folder / file
            path.parent.mkdir(parents=True, exist_ok=True)
            torch.save({"weight": torch.tensor([[float(len(name))]])}, path)
    yield tmp_path / "hub"
    torch.hub.set_dir(before)


@pytest.fixture
def created(monkeypatch: pytest.MonkeyPatch, hub: Path) -> Created:
    """A stand-in of pyiqa; what its metrics were created with, and what they found."""
    calls: Created = []

    def create_metric(metric_name: str, as_loss: bool, device: Any, **more: Any) -> nn.Module:
        print("Loading pretrained model")  # as pyiqa does, where the table will be
        own = torch.load(more["pretrained_model_path"], weights_only=True)
        network = Path(torch.hub.get_dir(), "checkpoints", METRICS[metric_name].network)
        assert torch.load(network, weights_only=True).keys() == {"weight"}
        made = Distance(own["weight"])
        calls.append(
            {"name": metric_name, "as_loss": as_loss, "device": device, "made": made, **more}
        )
        return made

    pyiqa = ModuleType("pyiqa")
    pyiqa.create_metric = create_metric  # type: ignore[attr-defined]  # a module made here has none
    monkeypatch.setitem(sys.modules, "pyiqa", pyiqa)
    return calls


def pictures(*sizes: tuple[int, int]) -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    return [rng.integers(0, 256, (*size, 3), np.uint8) for size in sizes]


def test_a_metric_is_given_rgb_in_0_to_1_without_borders(created: Created) -> None:
    (metric,) = load_metrics(["lpips"], CPU)
    (call,) = created
    assert (call["name"], call["as_loss"], call["device"]) == ("lpips", False, CPU)
    assert not any(each.requires_grad for each in call["made"].parameters())
    sr, hr = pictures((70, 80), (70, 80))
    value = metric.score(sr, hr, border=3)
    ((target, ref),) = call["made"].given
    for image, given in ((sr, target), (hr, ref)):
        expected = image[3:-3, 3:-3].transpose(2, 0, 1).astype(np.float32) / 255
        assert np.array_equal(given[0].numpy(), expected)
    gap = np.abs(sr[3:-3, 3:-3] / 255 - hr[3:-3, 3:-3] / 255).mean((0, 1))
    assert value == pytest.approx(len("lpips") * (gap[0] + 10 * gap[1]), rel=1e-5)
    assert metric.score(hr, hr, border=3) == 0.0


@pytest.mark.parametrize(("size", "border", "fits"), [(68, 2, True), (67, 2, False), (64, 0, True)])
def test_an_image_below_64_pixels_is_refused(
    size: int, border: int, fits: bool, created: Created
) -> None:
    (metric,) = load_metrics(["dists"], CPU)
    sr, hr = pictures((size, 90), (size, 90))
    if fits:
        assert metric.score(sr, hr, border) > 0
        return
    with pytest.raises(ValueError, match=r"^--iqa dists needs at least 64x64 without bor.* 86x63$"):
        metric.score(sr, hr, border)


def test_libraries_get_copies_of_tensors_and_cannot_download(
    created: Created, hub: Path, capsys: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    download = torch.hub.download_url_to_file
    load_metrics(["lpips", "dists"], CPU)
    for call in created:
        path = Path(call["pretrained_model_path"])
        assert path.name == METRICS[call["name"]].own and hub not in path.parents
        assert not path.exists()
    assert torch.hub.get_dir() == str(hub) and torch.hub.download_url_to_file is download
    assert capsys.readouterr().out == ""

    def asks(*_: Any, **__: Any) -> None:
        torch.hub.load_state_dict_from_url("https://example.org/other.pth")

    monkeypatch.setattr(sys.modules["pyiqa"], "create_metric", asks)
    with pytest.raises(ValueError, match=r"cannot load it .it asks for https://example\.org/other"):
        load_metrics(["lpips"], CPU)
    assert torch.hub.get_dir() == str(hub) and torch.hub.download_url_to_file is download


def _without_package(hub: Path, patch: pytest.MonkeyPatch) -> None:
    patch.setitem(sys.modules, "pyiqa", None)


def _without_torchvision(hub: Path, patch: pytest.MonkeyPatch) -> None:
    class Broken:
        def find_spec(self, name: str, *_: Any) -> None:
            if name == "pyiqa":
                raise RuntimeError("operator torchvision::nms does not exist\nand more")

    patch.delitem(sys.modules, "pyiqa")
    patch.setattr(sys, "meta_path", [Broken(), *sys.meta_path])


def _without_own(hub: Path, patch: pytest.MonkeyPatch) -> None:
    (hub / "pyiqa" / METRICS["lpips"].own).unlink()


def _without_network(hub: Path, patch: pytest.MonkeyPatch) -> None:
    (hub / "checkpoints" / METRICS["lpips"].network).unlink()


class Runs:
    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (Path("/tmp/a-pickle-has-run"),)


def _with_a_program(hub: Path, patch: pytest.MonkeyPatch) -> None:
    torch.save({"weight": Runs()}, hub / "checkpoints" / METRICS["lpips"].network)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (_without_package, r"pyiqa is not installed: pip install 'tune-sr\[iqa\]'$"),
        (
            _without_torchvision,
            r"pyiqa cannot be imported \(operator torchvision::nms does not exist\); torchvision "
            r"must fit torch \S+: pip install 'tune-sr\[iqa\]'$",
        ),
        (
            _without_own,
            r"\S+/hub/checkpoints/LPIPS_v0\.1_alex-df73285e\.pth does not exist; nothing is "
            r"downloaded here, so fetch https://huggingface\.co/\S+/LPIPS_v0\.1_alex-\S+\.pth$",
        ),
        (
            _without_network,
            r"\S+/alexnet-owt-7be5be79\.pth does not exist; nothing is downloaded here, so fetch "
            r"https://download\.pytorch\.org/models/alexnet-owt-7be5be79\.pth$",
        ),
        (_with_a_program, r"\S+\.pth: not a file of plain tensors, and nothing else is loaded"),
    ],
    ids=lambda each: getattr(each, "__name__", ""),
)
def test_what_is_missing_is_one_line_with_the_way_out(
    change: Callable[[Path, pytest.MonkeyPatch], None],
    words: str,
    created: Created,
    hub: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: Any,
) -> None:
    change(hub, monkeypatch)
    assert evaluate.main(["--iqa", "lpips", "--scales", "2"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    prefix, _, rule = line.partition("--iqa lpips: ")
    assert prefix == "python -m tune_sr.evaluate: "
    assert re.match(words, rule), rule
    assert created == [] and not Path("/tmp/a-pickle-has-run").exists()


@pytest.mark.parametrize("protocol", ["yfloat", "rgb8", "y8"])
def test_the_table_has_them_of_what_is_written_as_pictures(
    protocol: str, created: Created, tmp_path: Path, capsys: Any
) -> None:
    (image, other) = pictures((140, 142), (151, 140))
    write_image(tmp_path / "Toy" / "a.png", image)
    write_image(tmp_path / "Toy" / "b.png", other)
    asked = ["--data", str(tmp_path / "Toy"), "--scales", "2", "--protocol", protocol]
    asked += ["--iqa", "dists", "lpips", "--json", str(tmp_path / "rows.json")]
    assert evaluate.main([*asked, "--save-images", str(tmp_path / "sr")]) == 0
    (row,) = json.loads((tmp_path / "rows.json").read_text())["rows"]
    dists, lpips = (call["made"] for call in created)
    shapes = [tuple(target.shape[2:]) for target, _ in lpips.given]
    assert shapes == [(136, 138), (146, 136)]  # multiples of 2, without 2 pixels on each side
    by_hand = [float(lpips(*pair)[0, 0]) for pair in list(lpips.given)]
    assert row["lpips"] == pytest.approx(np.mean(by_hand))
    assert row["dists"] == pytest.approx(row["lpips"])  # names of five letters both
    (written,) = (tmp_path / "sr").rglob("a.png")
    saved = np.asarray(Image.open(written))[2:-2, 2:-2].transpose(2, 0, 1) / np.float32(255)
    assert np.array_equal(dists.given[0][0][0].numpy(), saved)
    assert np.array_equal(
        dists.given[0][1][0].numpy(), image[2:-2, 2:-2].transpose(2, 0, 1) / np.float32(255)
    )
    heads, _, cells = capsys.readouterr().out.strip().splitlines()
    assert heads.endswith("| LPIPS | DISTS |")
    assert cells.endswith(f"| {row['lpips']:.4f} | {row['dists']:.4f} |")


def test_the_words_of_the_command_are_the_metrics() -> None:
    assert set(evaluate.METRICS) == set(METRICS)
