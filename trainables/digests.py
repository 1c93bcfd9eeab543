"""What the files of a run hold, in SHA-256, so that a study works on the same all along."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from functools import lru_cache
from pathlib import Path

from trainables.config import TrialConfig
from trainables.data.images import Images
from trainables.networks.shipped import is_shipped, shipped_file
from trainables.problems import EnvironmentFault

Digests = dict[str, str]
"""64 hexadecimal digits by what was read, such as `teacher.weights=/home/me/teacher.safetensors`:
dotted path of the configuration, and the file or folder."""


def weights_digests(config: TrialConfig) -> Digests:
    """The digests of the files that networks of a run are read from: teacher, student, VGG19.

    A file that this process has read is read again only where its date, size or inode changed.

    Raises:
        EnvironmentFault: a file cannot be read.
    """
    return {f"{path}={value}": _file_digest(file) for path, value, file in _files(config)}


def heldout_digests(config: TrialConfig, images: Images | None) -> Digests:
    """The digest of the held-out images of a run, names and pixels; none where it has none."""
    if config.heldout is None or images is None:
        return {}
    return {f"heldout.images={config.heldout.images}": images.digest()}


def difference(recorded: Mapping[str, str], found: Mapping[str, str]) -> str | None:
    """The first of the things read that is not what was recorded, in words; None if there is none.

    Only what stands in both is compared.

    >>> difference({"teacher.weights=/t.pt": "ab" * 32}, {"teacher.weights=/t.pt": "cd" * 32})
    'teacher.weights: /t.pt is not what the study began with (SHA-256 cdcdcdcd..., was abababab...)'
    """
    for key, digest in found.items():
        was = recorded.get(key, digest)
        if was != digest:
            path, _, place = key.partition("=")
            digests = f"SHA-256 {digest[:8]}..., was {was[:8]}..."
            return f"{path}: {place} is not what the study began with ({digests})"
    return None


def check_as_recorded(recorded: Mapping[str, str], found: Mapping[str, str]) -> None:
    """Make sure that what was read is what the study began with.

    Raises:
        EnvironmentFault: names the first file or folder that is not.
    """
    why = difference(recorded, found)
    if why is not None:
        raise EnvironmentFault(why)


def check_weights(recorded: Mapping[str, str], config: TrialConfig) -> None:
    """Make sure that the weights files of a run are those that its study began with.

    Args:
        recorded: by the study; where it is empty nothing is read.
        config: of the run.

    Raises:
        EnvironmentFault: names the first file that is not, or that cannot be read.
    """
    if recorded:
        check_as_recorded(recorded, weights_digests(config))


def _files(config: TrialConfig) -> Iterator[tuple[str, str, Path]]:
    """Dotted path, what the configuration names, and the file that this means."""
    for part, network in (("teacher", config.teacher), ("student", config.student)):
        weights = None if network is None else network.weights
        if network is None or weights is None:
            continue
        if is_shipped(weights):
            file = shipped_file(weights, network.name, network.scales)
            yield f"{part}.weights", f"shipped:{file.stem}", file
        else:
            yield f"{part}.weights", weights, Path(weights)
    vgg19 = getattr(config.method, "vgg19", None)
    if vgg19 is not None and getattr(config.method, "features", None) == "vgg19":
        yield "method.vgg19", vgg19, Path(vgg19)


def _file_digest(file: Path) -> str:
    try:
        status = file.stat()
        signature = (status.st_dev, status.st_ino, status.st_size)
        return _digest(file, (*signature, status.st_mtime_ns, status.st_ctime_ns))
    except OSError as error:
        raise EnvironmentFault(f"{file}: {error.strerror or error}") from None


@lru_cache(maxsize=64)
def _digest(file: Path, _signature: tuple[int, ...]) -> str:
    with file.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()
