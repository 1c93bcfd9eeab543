"""Traces an `Upscaler` to a graph, and writes it as torch.export's `pt2` or as ONNX."""

from __future__ import annotations

import contextlib
import io
import json
import logging
import re
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import torch
from torch.export import Dim, ExportedProgram

from tune_sr.exporting.interface import SMALLEST_SIDE, Upscaler

EXTRA: Final = "pip install 'tune-sr[export]'"
"""The command that installs what ONNX needs."""
NEEDS: Final = ("onnx", "onnxscript", "onnxruntime")
"""Packages of that extra."""
OPSET: Final = 18
INPUT, OUTPUT = "image", "upscaled"
"""Names of the graph's input and output."""
CHECKED_SIZES: Final = ((3, 3), (5, 9), (37, 41), (64, 48), (17, 8))
"""Heights and widths at which an ONNX file is compared with torch."""
TOLERANCE, HALF_TOLERANCE = 1e-4, 1 / 255
"""Largest difference to torch of an ONNX file, in [0, 1], in float32 and in float16."""

_TRACED_SIZE = 13, 18
"""Height and width of the image that is traced: unlike, and no multiples of SwinIR's windows."""


class NotTheSameError(Exception):
    """A file does not compute what the network does."""


def trace(upscaler: Upscaler) -> ExportedProgram:
    """Trace the graph of an upscaler, for any number of images and any size from 3 x 3 on."""
    # Of a batch of one torch.export would make a constant.
    image = torch.zeros(2, 1 if upscaler.luma else 3, *_TRACED_SIZE)
    height, width = (Dim(name, min=SMALLEST_SIDE) for name in ("height", "width"))
    dynamic = {0: Dim("batch"), 2: height, 3: width}
    with torch.no_grad(), _quiet():
        program = torch.export.export(
            upscaler,
            (image,),
            dynamic_shapes=(dynamic,),
            prefer_deferred_runtime_asserts_over_guards=True,
        )
    return _without_assertions(program)


def _without_assertions(program: ExportedProgram) -> ExportedProgram:
    """Remove a graph's assertions about sizes, in place.

    torch.export asserts that sizes which it took for unlike stay so, such as a padded and an
    unpadded side, or a number of windows and 1. The operations are right where they are alike.
    """
    for node in list(program.graph.nodes):
        if node.op == "call_function" and node.target is torch.ops.aten._assert_scalar.default:
            program.graph.erase_node(node)
    program.graph.eliminate_dead_code()
    program.graph_module.recompile()
    return program


def pt2_bytes(program: ExportedProgram, notes: Mapping[str, str]) -> bytes:
    """Serialise a graph for `torch.export.load`; `notes` are its extra file `notes.json`."""
    buffer = io.BytesIO()
    extra = {"notes.json": json.dumps(dict(notes), indent=1)}
    torch.export.save(program, buffer, extra_files=extra)
    return buffer.getvalue()


def write_onnx(path: Path, program: ExportedProgram, notes: Mapping[str, str]) -> None:
    """Write a graph as ONNX of opset 18, with `notes` as its `metadata_props`.

    Raises:
        ModuleNotFoundError: one of `NEEDS` is missing.
    """
    with _quiet():
        exported = torch.onnx.export(
            program,
            dynamo=True,
            opset_version=OPSET,
            input_names=[INPUT],
            output_names=[OUTPUT],
            verbose=False,
        )
    assert exported is not None
    import onnx

    model = exported.model_proto
    onnx.helper.set_model_props(model, dict(notes))
    _name_sides(model, program)
    path.write_bytes(model.SerializeToString())


def _name_sides(model: Any, program: ExportedProgram) -> None:
    """Name the symbols of a model's shapes `batch`, `height` and `width`, in place."""
    image = next(node for node in program.graph.nodes if node.name == INPUT)
    batch, _, height, width = (str(side) for side in image.meta["val"].shape)
    names = {batch: "batch", height: "height", width: "width"}
    symbol = re.compile(r"\b(" + "|".join(map(re.escape, names)) + r")\b")
    graph = model.graph
    for value in (*graph.input, *graph.output, *graph.value_info):
        for side in value.type.tensor_type.shape.dim:
            if side.dim_param:
                side.dim_param = symbol.sub(lambda found: names[found[0]], side.dim_param)


def check_onnx(path: Path, upscaler: Upscaler, tolerance: float) -> float:
    """Compare an ONNX file, run by onnxruntime on the CPU, with the module that it was made of.

    At five sizes, with one and with two images.

    Returns:
        The largest difference.

    Raises:
        NotTheSameError: onnx's checker or onnxruntime refuses the file, or a difference is larger
            than `tolerance`.
    """
    import onnx
    import onnxruntime

    try:
        onnx.checker.check_model(str(path), full_check=True)
        session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
        worst = 0.0
        generator = torch.Generator().manual_seed(0)
        for height, width in CHECKED_SIZES:
            for images in (1, 2):
                shape = images, 1 if upscaler.luma else 3, height, width
                image = torch.rand(shape, generator=generator)
                (found,) = session.run(None, {INPUT: image.numpy()})
                with torch.no_grad():
                    difference = (torch.from_numpy(found) - upscaler(image)).abs().max()
                if not float(difference) <= tolerance:
                    what = f"{images} of {height}x{width}: differs by {float(difference):.2g}"
                    raise NotTheSameError(f"{what}, more than {tolerance:.2g}")
                worst = max(worst, float(difference))
    except NotTheSameError:
        raise
    except Exception as error:  # each of the two libraries raises errors of its own
        raise NotTheSameError(" ".join(str(error).split())[:300]) from error
    return worst


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Suppress what torch and its exporter print about their own inner workings."""
    names = ("torch.onnx", "torch.export", "onnxscript", "onnx_ir")
    before = {name: logging.getLogger(name).level for name in names}
    for name in names:
        logging.getLogger(name).setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        for name, level in before.items():
            logging.getLogger(name).setLevel(level)
