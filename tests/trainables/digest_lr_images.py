"""Makes LR images with so many CPU threads, again and again, and prints what each time gave.

    python digest_lr_images.py THREADS REPEATS

One line a time: a digest of all training images, HR sizes and LR, of both colours at x2, x3 and x4,
and of the held-out images of every protocol. A script, because what is to be seen is what a new
process does, and a process that has done so before.
"""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Iterator

import numpy as np
import torch

from trainables.data.images import Images
from trainables.data.training import TrainingSet
from trainables.metrics.evaluate import Heldout
from trainables.metrics.fidelity import PROTOCOLS
from trainables.values import Colour

SCALES = (2, 3, 4)
COLOURS: tuple[Colour, ...] = ("y", "rgb")


def made(images: Images) -> Iterator[bytes]:
    for colour in COLOURS:
        read = TrainingSet.of(images, colour=colour, scales=SCALES, downsizings=(1.0, 0.7))
        for photographs in read.photographs.values():
            yield from (array.tobytes() for each in photographs for array in each.hr + each.lr)
        for name, protocol in PROTOCOLS.items():
            if protocol.rgb or colour == "y":
                heldout = Heldout(images, colour=colour, scales=SCALES, protocol=name)
                for view in (view for views in heldout.views.values() for view in views):
                    yield view.lr_BCHW.numpy().tobytes() + view.truth_B1HW.numpy().tobytes()


def main() -> None:
    torch.set_num_threads(int(sys.argv[1]))
    rng = np.random.default_rng(0)
    sizes = ((60, 70), (75, 64), (64, 96), (301, 402))
    arrays = tuple(rng.integers(0, 256, (*size, 3), np.uint8) for size in sizes)
    images = Images(tuple("abcd"), arrays)
    for _ in range(int(sys.argv[2])):
        sha = hashlib.sha256()
        for part in made(images):
            sha.update(part)
        print(sha.hexdigest())


if __name__ == "__main__":
    main()
