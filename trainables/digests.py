"""SHA-256 digests of the files that a run reads: all trials of a study use the same files."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from functools import lru_cache
from pathlib import Path

from trainables.config import TrialConfig
from trainables.data.images import Images
from trainables.errors import EnvironmentFault
from trainables.networks.shipped import is_shipped, shipped_file

Digests = dict[str, str]
"""64 hexadecimal digits by file or folder, such as `teacher.weights=/home/me/teacher.safetensors`:
its dotted path in the configuration, and its path."""


def weights_digests(config: TrialConfig) -> Digests:
    """Digest the weights files of a run's networks: teacher, student (its start too), VGG19.

    Digests are cached in this process until a file's date, size or inode changes.

    Raises:
        EnvironmentFault: a file cannot be read.
    """
    return {f"{path}={value}": _file_digest(file) for path, value, file in _files(config)}


def heldout_digests(config: TrialConfig, images: Images | None) -> Digests:
    """Digest the names and pixels of a run's held-out images; empty if it has none."""
    if config.heldout is None or images is None:
        return {}
    return {f"heldout.images={config.heldout.images}": images.digest()}


def difference(recorded: Mapping[str, str], found: Mapping[str, str]) -> str | None:
    """Describe the first difference between recorded and found digests; None if there is none.

    Only keys that are in both are compared.

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
    """Check that the digests found equal those recorded when the study started.

    Raises:
        EnvironmentFault: names the first file or folder that differs.
    """
    why = difference(recorded, found)
    if why is not None:
        raise EnvironmentFault(why)


def check_weights(recorded: Mapping[str, str], config: TrialConfig) -> None:
    """Check that a run's weights files are those recorded when the study started.

    Args:
        recorded: the study's digests; if empty, nothing is read.
        config: the run's configuration.

    Raises:
        EnvironmentFault: names the first file that differs or cannot be read.
    """
    if recorded:
        check_as_recorded(recorded, weights_digests(config))


def _files(config: TrialConfig) -> Iterator[tuple[str, str, Path]]:
    """Yield dotted path, value in the configuration and file of each weights file of a run."""
    for part, network in (("teacher", config.teacher), ("student", config.student)):
        weights = None if network is None else network.weights
        if network is None or weights is None:
            continue
        if is_shipped(weights):
            file = shipped_file(weights, network.name, network.scales)
            yield f"{part}.weights", f"shipped:{file.stem}", file
        else:
            yield f"{part}.weights", weights, Path(weights)
    start = config.student.start
    if start is not None:
        shipped = is_shipped(start)
        file = shipped_file(start, config.student.name) if shipped else Path(start)
        yield "student.start", f"shipped:{file.stem}" if shipped else start, file
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
