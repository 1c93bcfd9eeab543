"""Graphs of every network at sizes that were not traced: by torch alone, and by onnxruntime."""

from __future__ import annotations

import json
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest
import torch
from exported import SIZES, TOYS, WITHOUT_US, expected

from trainables.networks import build_network
from tune_sr.exporting import graphs
from tune_sr.exporting.graphs import NotTheSameError, check_onnx, pt2_bytes, trace, write_onnx
from tune_sr.exporting.interface import Upscaler

ALONE = (
    WITHOUT_US
    + """import torch
given, file = sys.argv[1:]
cases = torch.load(given, weights_only=True)
network = torch.export.load(file).module()
print(max(float((network(image) - upscaled).abs().max()) for image, upscaled in cases))
"""
)
ALWAYS = "vdsr"
"""The network whose graph holds most of what the others' do; these take half a minute of CPU."""
EACH = pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=() if name == ALWAYS else pytest.mark.soak) for name in TOYS],
)


def cases(name: str) -> list[tuple[torch.Tensor, torch.Tensor]]:
    network, scale = build_network(TOYS[name], seed=1), TOYS[name].get("scale", 2)
    generator = torch.Generator().manual_seed(2)
    images = [torch.rand(n, 3, *sides, generator=generator) for n in (1, 2) for sides in SIZES]
    return [(image, expected(network, image, scale)) for image in images]


@cache
def traced(name: str) -> tuple[Upscaler, torch.export.ExportedProgram]:
    upscaler = Upscaler(build_network(TOYS[name], seed=1), TOYS[name].get("scale", 2))
    return upscaler, trace(upscaler)


@EACH
def test_pt2_opens_with_torch_alone(name: str, tmp_path: Path) -> None:
    _, program = traced(name)
    (tmp_path / "x.pt2").write_bytes(pt2_bytes(program, {"scale": "2"}))
    torch.save(cases(name), tmp_path / "cases.pt")
    words = [sys.executable, "-c", ALONE, tmp_path / "cases.pt", tmp_path / "x.pt2"]
    done = subprocess.run(words, capture_output=True, text=True, cwd=tmp_path, check=False)
    assert done.returncode == 0, done.stderr
    assert float(done.stdout) < 2e-5
    notes = {"notes.json": ""}
    torch.export.load(tmp_path / "x.pt2", extra_files=notes)
    assert json.loads(notes["notes.json"]) == {"scale": "2"}


@EACH
def test_onnxruntime_alone(name: str, tmp_path: Path) -> None:
    onnx, onnxruntime = pytest.importorskip("onnx"), pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    upscaler, program = traced(name)
    path = tmp_path / "x.onnx"
    write_onnx(path, program, {"scale": "2", "psnr_y_db": "32.28"})
    assert check_onnx(path, upscaler, 1e-4) < 1e-4
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    for image, upscaled in cases(name):
        (found,) = session.run(["upscaled"], {"image": image.numpy()})
        assert float((torch.from_numpy(found) - upscaled).abs().max()) < 1e-4
    model = onnx.load(path)
    assert {each.key: each.value for each in model.metadata_props}["psnr_y_db"] == "32.28"
    assert [each.version for each in model.opset_import if not each.domain] == [18]
    shape = model.graph.input[0].type.tensor_type.shape
    sides = [str(each.dim_param or each.dim_value) for each in shape.dim]
    assert sides == ["batch", "3", "height", "width"]
    kinds = {node.op_type for node in model.graph.node}
    assert "Conv" in kinds and ("Resize" not in kinds or name == "compact")
    with pytest.raises(NotTheSameError, match=r"differs by .*, more than 1e-12"):
        check_onnx(path, upscaler, 1e-12)
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(NotTheSameError):
        check_onnx(path, upscaler, 1e-4)


def test_sizes_that_are_checked_are_odd_and_even() -> None:
    assert len(set(graphs.CHECKED_SIZES)) == 5
    assert {side % 2 for sides in graphs.CHECKED_SIZES for side in sides} == {0, 1}
