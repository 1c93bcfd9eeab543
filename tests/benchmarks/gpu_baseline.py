"""What one update costs on one GPU, and what `Run` does there: the evidence behind `numerics`.

    python tests/benchmarks/gpu_baseline.py FOLDER
    python tests/benchmarks/gpu_baseline.py FOLDER --device cpu --quick     # a dry run

Needs torch, numpy, pillow, pydantic, safetensors and scikit-image alone. Writes FOLDER/
gpu_baseline.json anew after every row, so that what was measured survives a run that is cut off; a
section that fails leaves a row with its error, and the next one begins.

environment   versions, defaults of torch's switches, whether MPS is installed
runs          trials on the device: does each method train, resume to the bit, where does it wait
student       one student update: eager and graph, by precision, layout, determinism, benchmark mode
teacher       a frozen teacher's pass, by images and precision
population    k graphs on k streams against one network of k groups
bits          are replayed updates those made one by one, and two runs the same
copies        host time of a copy while the device is busy, pageable and pinned
determinism   which tensors of one update differ when it is made again
kernels       CUDA kernels, their time and the host's, of one update of `Run`
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import os
import shutil
import statistics
import subprocess
import time
import traceback
import warnings
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from trials import pictures

from trainables.config import TrialConfig
from trainables.run import Run, RunImages

CHANNELS_LAST = torch.channels_last


class Bench:
    """The device, the sizes, the rows so far and the time that is left."""

    def __init__(self, file: Path, device: str, quick: bool, seconds: float) -> None:
        self.file = file
        self.device = torch.device(device)
        self.gpu = self.device.type == "cuda"
        self.quick = quick
        self.side = 16 if quick else 48
        self.until = time.perf_counter() + seconds
        self.rows: list[dict[str, Any]] = []

    def row(self, name: str, **found: Any) -> None:
        """Add a row, and write all of them."""
        self.rows.append({"row": name, **found})
        self.file.write_text("[\n" + ",\n".join(json.dumps(each) for each in self.rows) + "\n]\n")
        print(json.dumps(self.rows[-1]), flush=True)

    @property
    def late(self) -> bool:
        """Whether the time is up."""
        return time.perf_counter() > self.until

    def wait(self) -> None:
        """Wait for the device."""
        if self.gpu:
            torch.cuda.synchronize()

    def ms(self, work: Callable[[], object], most: float = 0.5) -> float:
        """Median milliseconds of one call, device included, over up to seven rounds."""
        calls, rounds = (20, 7) if self.gpu else (1, 2)
        for _ in range(3 if self.gpu else 1):
            work()
        took: list[float] = []
        began = time.perf_counter()
        while len(took) < rounds and (len(took) < 2 or time.perf_counter() - began < most):
            self.wait()
            start = time.perf_counter()
            for _ in range(calls):
                work()
            self.wait()
            took.append((time.perf_counter() - start) / calls * 1e3)
        return round(statistics.median(took), 4)


# --- a VDSR whose layout, width and groups are free, and one update of it -----------------------


class Net(nn.Module):
    """VDSR's 20 convolutions on an upsampled image; `groups` networks side by side."""

    def __init__(self, width: int, groups: int = 1) -> None:
        super().__init__()
        self.groups = groups
        sizes = [(1, width)] + [(width, width)] * 18 + [(width, 1)]
        self.convolutions = nn.ModuleList(
            nn.Conv2d(a * groups, b * groups, 3, padding=1, bias=False, groups=groups)
            for a, b in sizes
        )

    def forward(self, up: Tensor, fused: bool = False) -> Tensor:
        """Of `up`, B (groups) H W."""
        features = up
        for convolution in self.convolutions[:-1]:
            if fused:
                ones = [1, 1]
                features = torch.cudnn_convolution_relu(
                    features, convolution.weight, None, ones, ones, ones, self.groups
                )
            else:
                features = torch.relu_(convolution(features))
        return up + self.convolutions[-1](features).float()


def update_of(
    bench: Bench,
    batch: int,
    dtype: str,
    layout: torch.memory_format = CHANNELS_LAST,
    groups: int = 1,
    seed: int = 0,
) -> Callable[[], Tensor]:
    """One update of a half-wide student as work that decides nothing on the host."""
    generator = torch.Generator().manual_seed(seed)
    net = Net(32, groups).to(bench.device, memory_format=layout)  # type: ignore[call-overload]  # stubs lack it
    with torch.no_grad():
        for parameter in net.parameters():
            drawn = torch.randn(parameter.shape, generator=generator)
            parameter.copy_(drawn * (2.0 / (9 * parameter.shape[0])) ** 0.5)
    rate = torch.tensor(1e-4, device=bench.device)
    sgd = torch.optim.SGD(net.parameters(), lr=rate, momentum=0.9, weight_decay=1e-4, fused=True)
    for parameter in net.parameters():
        sgd.state[parameter]["momentum_buffer"] = torch.zeros_like(parameter)
    x, target = (
        torch.rand(batch, groups, bench.side, bench.side, generator=generator)
        .to(bench.device)
        .contiguous(memory_format=layout)
        for _ in range(2)
    )

    def work() -> Tensor:
        cast = torch.autocast(bench.device.type, torch.bfloat16, cache_enabled=False)
        with cast if dtype == "bf16" else nullcontext():
            loss = (target - net(x)).square().sum()
        sgd.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(net.parameters(), 0.4)
        sgd.step()
        return loss.detach()

    return work


def recorded(work: Callable[[], Tensor], stream: Any) -> Callable[[], Tensor]:
    """`work` as a CUDA graph, after three calls one by one on the stream it will be replayed on."""
    torch.cuda.synchronize()  # for what the default stream prepared
    with torch.cuda.stream(stream):
        for _ in range(3):
            work()
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph, stream=stream):
        result = work()

    def replay() -> Tensor:
        with torch.cuda.stream(stream):
            graph.replay()
            return result.clone()

    return replay


def switches(conv: str = "tf32", deterministic: bool = True, benchmark: bool = False) -> None:
    """How cuDNN computes."""
    torch.backends.cudnn.conv.fp32_precision = conv
    torch.backends.cudnn.deterministic = deterministic
    torch.backends.cudnn.benchmark = benchmark


# --- sections ------------------------------------------------------------------------------------


def environment(bench: Bench) -> None:
    """Versions and defaults, before anything is switched."""
    cudnn = torch.backends.cudnn
    found: dict[str, Any] = {
        "torch": torch.__version__,
        "cuda": torch.version.cuda,
        "cudnn": cudnn.version() if cudnn.is_available() else None,
        "cpus": os.cpu_count(),
        "conv_fp32_precision": cudnn.conv.fp32_precision,
        "matmul_fp32_precision": torch.backends.cuda.matmul.fp32_precision,
        "deterministic": cudnn.deterministic,
        "benchmark": cudnn.benchmark,
        "mps": shutil.which("nvidia-cuda-mps-control"),
        "ray": shutil.which("ray"),
    }
    if bench.gpu:
        properties = torch.cuda.get_device_properties(bench.device)
        found |= {"device": properties.name, "gib": round(properties.total_memory / 2**30, 1)}
        asked = "--query-gpu=driver_version,compute_mode,clocks.sm,clocks.mem,power.limit"
        with contextlib.suppress(OSError, subprocess.SubprocessError):
            told = subprocess.run(
                ["nvidia-smi", asked, "--format=csv,noheader"],
                capture_output=True,
                text=True,
                timeout=20,
                check=True,
            )
            found["nvidia_smi"] = told.stdout.strip()
    bench.row("environment", **found)


def student(bench: Bench) -> None:
    """Eager and graph, by batch, precision, layout and cuDNN's switches."""
    kinds = (("ieee", "fp32"), ("tf32", "fp32"), ("tf32", "bf16"))
    layouts = (("nhwc", CHANNELS_LAST), ("nchw", torch.contiguous_format))
    for batch in (2,) if bench.quick else (4, 16, 128):
        for name, layout in layouts:
            for conv, dtype in kinds:
                modes = ((True, False), (False, False), (False, True), (True, True))
                for deterministic, benchmark in modes if name == "nhwc" else modes[:1]:
                    if bench.late:
                        return
                    switches(conv, deterministic, benchmark)
                    work = update_of(bench, batch, dtype, layout)
                    found = {"eager_ms": bench.ms(work)}
                    if bench.gpu:
                        found["graph_ms"] = bench.ms(recorded(work, torch.cuda.Stream()))
                    bench.row(
                        "student",
                        batch=batch,
                        precision="bf16" if dtype == "bf16" else conv,
                        layout=name,
                        deterministic=deterministic,
                        benchmark=benchmark,
                        **found,
                    )
    switches()


def teacher(bench: Bench) -> None:
    """A pass of the 64-wide teacher, without gradients, under a graph where there is one."""
    switches()
    for images in (2,) if bench.quick else (4, 16, 64, 128, 256):
        net = Net(64).to(bench.device, memory_format=CHANNELS_LAST).requires_grad_(False)  # type: ignore[call-overload]  # stubs lack it
        half = Net(64).to(bench.device, torch.bfloat16, memory_format=CHANNELS_LAST)  # type: ignore[call-overload]  # stubs lack it
        half.requires_grad_(False)
        x = torch.rand(images, 1, bench.side, bench.side, device=bench.device)

        def autocast(net: Net = net, x: Tensor = x) -> Tensor:
            with torch.autocast(bench.device.type, torch.bfloat16, cache_enabled=False):
                return net(x)

        passes: dict[str, Callable[[], Tensor]] = {
            "fp32": lambda net=net, x=x: net(x),  # type: ignore[misc]  # bound as this round has them
            "autocast": autocast,
            "bf16": lambda half=half, x=x: half(x.bfloat16()),  # type: ignore[misc]  # as above
        }
        if bench.gpu:
            passes["bf16_fused"] = lambda half=half, x=x: half(x.bfloat16(), fused=True)  # type: ignore[misc]  # as above
        found: dict[str, Any] = {}
        with torch.no_grad():
            for name, forward in passes.items():
                try:
                    found[f"{name}_ms"] = bench.ms(forward)
                    if bench.gpu:
                        graph = recorded(forward, torch.cuda.Stream())
                        found[f"{name}_graph_ms"] = bench.ms(graph)
                except RuntimeError as error:  # a kernel that this version lacks
                    found[f"{name}_error"] = str(error)[:200]
        bench.row("teacher", images=images, **found)
        if bench.late:
            return


def population(bench: Bench) -> None:
    """What k runs in one process give, on streams and as groups."""
    switches()
    for batch in (2,) if bench.quick else (4, 16):
        for k in (1, 2) if bench.quick else (1, 2, 4, 8, 16):
            found: dict[str, Any] = {}
            if bench.gpu:
                works = [update_of(bench, batch, "bf16") for _ in range(k)]
                replays = [recorded(work, torch.cuda.Stream()) for work in works]
                found["streams_ms"] = bench.ms(lambda r=replays: [each() for each in r])  # type: ignore[misc]  # as this round has them
            grouped = update_of(bench, batch, "bf16", groups=k)
            if bench.gpu:
                grouped = recorded(grouped, torch.cuda.Stream())
            found["grouped_ms"] = bench.ms(grouped)
            bench.row("population", batch=batch, k=k, **found)
            if bench.late:
                return


def bits(bench: Bench) -> None:
    """Forty updates by hand, by hand again, and replayed from the fourth on."""
    for deterministic in (True, False):
        for conv, dtype in (("ieee", "fp32"), ("tf32", "fp32"), ("tf32", "bf16")):
            switches(conv, deterministic)

            def by_hand(dtype: str = dtype) -> list[float]:
                work = update_of(bench, 4, dtype)
                return [float(work()) for _ in range(40)]

            first, again = by_hand(), by_hand()
            found: dict[str, Any] = {"same_again": first == again, "last": first[-1]}
            apart = [n for n, (a, b) in enumerate(zip(first, again, strict=True)) if a != b]
            found["first_apart"] = apart[0] if apart else None
            if bench.gpu:
                replay = recorded(update_of(bench, 4, dtype), torch.cuda.Stream())
                replayed = [float(replay()) for _ in range(37)]  # recording made three of its own
                found["same_replayed"] = replayed == first[3:]
            precision = "bf16" if dtype == "bf16" else conv
            bench.row("bits", precision=precision, deterministic=deterministic, **found)
    switches()


def copies(bench: Bench) -> None:
    """Whether the host waits for a device that is busy, by where it copies from."""
    if not bench.gpu:
        return
    sizes = {"0.2 MB": (4, 3, 64, 64), "7 MB": (16, 3, 192, 192)}
    for size, shape in sizes.items():
        host = torch.rand(shape)
        for name, source in (("pageable", host), ("pinned", host.pin_memory())):
            source.to(bench.device, non_blocking=True)
            torch.cuda.synchronize()
            torch.cuda._sleep(100_000_000)  # cycles: 50 to 100 ms
            start = time.perf_counter()
            source.to(bench.device, non_blocking=True)
            host_ms = round((time.perf_counter() - start) * 1e3, 3)
            torch.cuda.synchronize()
            slept = round((time.perf_counter() - start) * 1e3, 3)
            bench.row("copies", source=name, size=size, host_ms=host_ms, device_busy_ms=slept)


# --- `Run` itself --------------------------------------------------------------------------------


def trial(bench: Bench, method: str, network: str, images: int, **more: Any) -> dict[str, Any]:
    """A configuration: VDSR or EDSR under the teacher that ships, RCAN and SwinIR by themselves."""
    sizes: dict[str, dict[str, Any]] = {
        "vdsr": {"features": 32, "blocks": 18, "scale": 2},
        "edsr": {"features": 32 if method == "csd" else 64, "blocks": 16, "scale": 2},
        "rcan": {"features": 64, "blocks": 4, "groups": 3, "scale": 2},
        "swinir": {"features": 60, "blocks": 4, "layers": 6, "heads": 6, "scale": 2},
    }
    raw: dict[str, Any] = {
        "method": {"name": method},
        "student": {"name": network, **sizes[network]},
        "batch": {"images": min(images, 2 if bench.quick else images), "patch": bench.side},
        "heldout": {"crop": 64 if bench.quick else 252},
        "budget": {"steps": 4, "steps_per_report": 2} if bench.quick else BUDGET,
        "device": str(bench.device),
        "threads": 1 if bench.quick else None,
        **more,
    }
    if method != "scratch":
        raw["teacher"] = {"name": network, "weights": "shipped"}
    if method in ("scratch", "kd", "fakd", "csd", "dukd"):
        raw["data"] = {"images": "photos"}
    if method in ("dfsr", "dfad", "dfsr_cmi"):
        raw["method"]["update_ratio"] = 5
    if method == "csd":
        raw["method"] |= {"features": "random", "negatives": 4}
    return raw


BUDGET = {"steps": 80, "steps_per_report": 20}
TRIALS: tuple[tuple[str, str, int, dict[str, Any]], ...] = (
    ("dfsr", "vdsr", 4, {}),
    ("dfsr", "vdsr", 4, {"precision": "bf16"}),
    ("dfsr", "vdsr", 16, {}),
    ("dfsr", "vdsr", 16, {"precision": "bf16"}),
    ("dfsr", "vdsr", 128, {}),
    ("dfsr", "vdsr", 128, {"precision": "bf16"}),
    ("kd", "edsr", 16, {}),
    ("kd", "edsr", 16, {"precision": "bf16"}),
    ("dukd", "edsr", 16, {}),
    ("dfsr_cmi", "vdsr", 16, {}),
    ("dfad", "vdsr", 16, {}),
    ("noise", "vdsr", 16, {}),
    ("fakd", "edsr", 16, {}),
    ("csd", "edsr", 16, {}),
    ("scratch", "rcan", 16, {}),
    ("scratch", "swinir", 16, {}),
)
"""Method, network, images and what else differs; the first ones matter most."""


@contextlib.contextmanager
def waits(bench: Bench, found: dict[str, int]) -> Iterator[None]:
    """Collect where the host waits for the device, as `file:line` and how often."""
    if not bench.gpu:
        yield
        return
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        torch.cuda.set_sync_debug_mode("warn")
        try:
            yield
        finally:
            torch.cuda.set_sync_debug_mode("default")
    for each in caught:
        if "synchroniz" in str(each.message):
            place = f"{'/'.join(Path(each.filename).parts[-3:])}:{each.lineno}"
            found[place] = found.get(place, 0) + 1


def host_ms_while_busy(bench: Bench, run: Run, updates: int) -> tuple[float, float]:
    """Milliseconds the host spends on updates while the device is busy, and how long that is."""
    with run.replay.here(), run.numerics():
        run.update()
    bench.wait()
    torch.cuda._sleep(800_000_000)  # cycles: half a second
    start = time.perf_counter()
    for _ in range(updates):
        with run.replay.here(), run.numerics():
            run.update()
    host = time.perf_counter() - start
    bench.wait()
    return round(host * 1e3, 2), round((time.perf_counter() - start) * 1e3, 2)


def through_a_file(state: dict[str, Any]) -> Any:
    """A state as a checkpoint holds it: written, and read onto the CPU."""
    file = io.BytesIO()
    torch.save(state, file)
    file.seek(0)
    return torch.load(file, map_location="cpu", weights_only=True)


def same(a: Any, b: Any) -> bool:
    """Whether two states are equal to the last bit."""
    if isinstance(a, Tensor):
        return torch.equal(a.cpu(), b.cpu())
    if isinstance(a, dict):
        return list(a) == list(b) and all(same(a[key], b[key]) for key in a)
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(map(same, a, b))
    return bool(a == b)


def train(bench: Bench, raw: dict[str, Any], images: RunImages) -> dict[str, Any]:
    """What a trial does on the device."""
    config = TrialConfig.parse(raw)
    found: dict[str, Any] = {}
    start = time.perf_counter()
    run = Run(config, images=images)
    bench.wait()
    found["build_s"] = round(time.perf_counter() - start, 3)
    start = time.perf_counter()
    first = run.advance()
    found["first_report_s"] = round(time.perf_counter() - start, 3)
    state = through_a_file(run.state_dict())
    second = run.advance()
    found["ms_per_update"] = round(second["seconds_per_step"] * 1e3, 3)
    found["psnr"] = [round(each["psnr_y_db"], 4) for each in (first, second)]
    resumed = Run(config, images=images)
    resumed.load_state_dict(state)
    again = resumed.advance()
    found["resumed_to_the_bit"] = same(run.state_dict(), resumed.state_dict())
    found["resumed_psnr_differs_by"] = again["psnr_y_db"] - second["psnr_y_db"]
    start = time.perf_counter()
    run.evaluate()
    found["evaluate_ms"] = round((time.perf_counter() - start) * 1e3, 2)
    places: dict[str, int] = {}
    with waits(bench, places):
        for _ in range(10):
            with run.replay.here(), run.numerics():
                run.update()
    found["waits_in_10_updates"] = places
    if bench.gpu:
        busy = host_ms_while_busy(bench, run, 10)
        found["host_ms_of_10_updates_while_busy"], found["until_done_ms"] = busy
        found["peak_mib"] = round(torch.cuda.max_memory_allocated() / 2**20)
        torch.cuda.reset_peak_memory_stats()
    return found


def runs(bench: Bench) -> None:
    """Trials on the device, as torch is set unasked and with deterministic convolutions."""
    side = 64 if bench.quick else 256
    images = RunImages(pictures(2, side), pictures(4, side))
    for method, network, batch, more in TRIALS[:2] if bench.quick else TRIALS:
        for deterministic in (False, True) if method == "dfsr" else (True,):
            if bench.late:
                return
            switches("tf32", deterministic)
            key = {"method": method, "network": network, "images": batch, **more}
            try:
                found = train(bench, trial(bench, method, network, batch, **more), images)
            except Exception as error:
                last = traceback.extract_tb(error.__traceback__)[-1]
                found = {"error": f"{type(error).__name__}: {error}"[:300]}
                found["at"] = f"{Path(last.filename).name}:{last.lineno}"
            bench.row("runs", **key, deterministic=deterministic, **found)


def kernels(bench: Bench) -> None:
    """What the profiler counts in ten updates of `Run`."""
    from torch.autograd import DeviceType
    from torch.profiler import ProfilerActivity, profile

    switches()
    images = RunImages(pictures(2, 64), pictures(2, 112))
    chosen = [t for t in TRIALS[:8] if t[2] != 4]
    for method, network, batch, more in TRIALS[:1] if bench.quick else chosen:
        if bench.late:
            return
        raw = trial(bench, method, network, batch, **more)
        run = Run(TrialConfig.parse({**raw, "heldout": {"crop": 64}}), images=images)

        def updates(run: Run = run) -> None:
            for _ in range(10):
                with run.replay.here(), run.numerics():
                    run.update()
            bench.wait()

        updates()
        activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if bench.gpu else [])]
        with profile(activities=activities) as measured:
            updates()
        events = measured.events() or []
        device = [each for each in events if each.device_type == DeviceType.CUDA]
        top: dict[str, list[float]] = {}
        for each in device:
            spent = top.setdefault(each.name[:60], [0.0, 0])
            spent[0] += each.device_time_total / 1e3 / 10
            spent[1] += 0.1
        most = sorted(top.items(), key=lambda item: -item[1][0])[:8]
        bench.row(
            "kernels",
            method=method,
            network=network,
            images=batch,
            **more,
            kernels_per_update=len(device) / 10,
            device_ms_per_update=round(sum(spent for spent, _ in top.values()), 4),
            most={name: [round(ms, 4), round(count, 1)] for name, (ms, count) in most},
        )


def determinism(bench: Bench) -> None:
    """Which tensors of one update differ when it is made again from the same state."""
    for conv, dtype in (("ieee", "fp32"), ("tf32", "fp32"), ("tf32", "bf16")):
        for batch in (2,) if bench.quick else (4, 16, 128):
            switches(conv, deterministic=True)
            found: dict[str, list[int]] = {}
            first = traced_update(bench, batch, dtype)
            for _ in range(8):
                again = traced_update(bench, batch, dtype)
                for name, tensors in first.items():
                    differ = [
                        number
                        for number, (a, b) in enumerate(zip(tensors, again[name], strict=True))
                        if not torch.equal(a, b)
                    ]
                    found[name] = sorted({*found.get(name, []), *differ})
            precision = "bf16" if dtype == "bf16" else conv
            bench.row("determinism", precision=precision, batch=batch, differ=found)


def traced_update(bench: Bench, batch: int, dtype: str) -> dict[str, list[Tensor]]:
    """Feature maps, loss, gradients, their norm and the new parameters of one update."""
    generator = torch.Generator().manual_seed(0)
    net = Net(32).to(bench.device, memory_format=CHANNELS_LAST)  # type: ignore[call-overload]  # stubs lack it
    with torch.no_grad():
        for parameter in net.parameters():
            drawn = torch.randn(parameter.shape, generator=generator)
            parameter.copy_(drawn * (2.0 / (9 * parameter.shape[0])) ** 0.5)
    x, target = (
        torch.rand(batch, 1, bench.side, bench.side, generator=generator).to(bench.device)
        for _ in range(2)
    )
    maps: list[Tensor] = []
    for convolution in net.convolutions:
        convolution.register_forward_hook(lambda m, i, result: maps.append(result.detach().clone()))
    cast = torch.autocast(bench.device.type, torch.bfloat16, cache_enabled=False)
    with cast if dtype == "bf16" else nullcontext():
        loss = (target - net(x)).square().sum()
    loss.backward()
    gradients = [p.grad.clone() for p in net.parameters() if p.grad is not None]
    norm = nn.utils.clip_grad_norm_(net.parameters(), 0.4)
    rate = torch.tensor(1e-2, device=bench.device)
    torch.optim.SGD(net.parameters(), lr=rate, momentum=0.9, fused=True).step()
    bench.wait()
    new = [p.detach().clone() for p in net.parameters()]
    return {
        "maps": maps,
        "loss": [loss.detach()],
        "gradients": gradients,
        "norm": [norm],
        "new": new,
    }


SECTIONS: dict[str, Callable[[Bench], None]] = {
    "environment": environment,
    "runs": runs,
    "bits": bits,
    "copies": copies,
    "teacher": teacher,
    "population": population,
    "student": student,
    "kernels": kernels,
    "determinism": determinism,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--quick", action="store_true", help="tiny sizes: a dry run")
    parser.add_argument("--seconds", type=float, default=330.0, help="after which no row begins")
    parser.add_argument("--sections", nargs="+", choices=SECTIONS, default=list(SECTIONS))
    arguments = parser.parse_args()
    arguments.folder.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(1)
    file = arguments.folder / "gpu_baseline.json"
    bench = Bench(file, arguments.device, arguments.quick, arguments.seconds)
    for name in arguments.sections:
        start = time.perf_counter()
        try:
            SECTIONS[name](bench)
        except Exception as error:  # one section's failure is a finding, not the end
            bench.row(name, error=f"{type(error).__name__}: {error}"[:400])
            traceback.print_exc()
        bench.row("took", section=name, seconds=round(time.perf_counter() - start, 1))


if __name__ == "__main__":
    main()
