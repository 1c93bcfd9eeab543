"""Students and teachers on Set5, beside bicubic.

    TUNE_SR_DATA=... python tests/benchmarks/set5.py runs/dfsr/best/student.safetensors shipped

TUNE_SR_DATA is the folder that holds data/Set5. `shipped` is the project's own teacher.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from trainables.data.images import read_images
from trainables.metrics.evaluate import Heldout, evaluate
from trainables.metrics.fidelity import PROTOCOLS
from trainables.networks import build_network
from trainables.networks.checkpoint import load_network
from trainables.resample import upsample_BCHW
from trainables.run import upscaler


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("networks", nargs="*", help="files of ours, or `shipped`")
    parser.add_argument("--scales", type=int, nargs="+", default=[2, 3, 4])
    parser.add_argument("--protocol", choices=PROTOCOLS, default="yfloat")
    arguments = parser.parse_args()
    images = read_images(str(Path(os.environ["TUNE_SR_DATA"]) / "data/Set5/HR"), "heldout")
    print("| network | " + " | ".join(f"x{scale}" for scale in arguments.scales) + " |")
    print("|---" * (1 + len(arguments.scales)) + "|")
    for name in ["bicubic", *arguments.networks]:
        cells = [name]
        network = None
        if name != "bicubic":
            shipped = name == "shipped"
            network = (
                build_network({"name": "vdsr", "weights": "shipped"})
                if shipped
                else load_network(Path(name))
            )
        for scale in arguments.scales:
            if network is not None and scale not in network.scales:
                cells.append("")
                continue
            heldout = Heldout(images, colour="y", scales=[scale], protocol=arguments.protocol)
            report = evaluate(upsample_BCHW if network is None else upscaler(network), heldout)
            cells.append(f"{report['psnr_y_db']:.2f} / {report['ssim']:.4f}")
        print("| " + " | ".join(cells) + " |", flush=True)


if __name__ == "__main__":
    main()
