"""The images that a data-driven method trains on, prepared once and shared by all trials."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import Discriminator, Field, Tag, field_validator, model_validator

from trainables.data.images import PHOTOS, Images, read_images
from trainables.data.layouts import read_set
from trainables.data.photographs import Photograph, made, paired, resized
from trainables.errors import ConfigError
from trainables.paths import expanded
from trainables.values import Colour, Config


class WeightedFolder(Config):
    """One of several folders of training images, with its share of the patches."""

    folder: str
    """A folder of HR images, or `photos`."""
    weight: float = Field(default=1.0, ge=0.001, le=1000.0)
    """The folder's share of all patches, before the weights are divided by their sum; images of one
    folder are equally likely. From 0.001 to 1000, so that no share is lost by rounding."""


def _one_or_several(raw: Any) -> str:
    return "several" if isinstance(raw, list | tuple) else "one"


Source = Annotated[
    Annotated[str, Tag("one")]
    | Annotated[tuple[WeightedFolder, ...], Field(strict=False), Tag("several")],
    Discriminator(_one_or_several),
]


class DataConfig(Config):
    """The images that a data-driven method trains on: HR images alone, or pairs of LR and HR."""

    images: Source | None = PHOTOS
    """A folder of HR images, from which LR is made; `photos`: eight photographs that come with
    scikit-image; or several folders with weights: `[{folder: DF2K, weight: 3}, {folder: faces}]`.
    Left out where `lr` and `hr` are given."""
    lr: str | None = None
    """A folder of LR images, such as a camera's: of one scale, or with a subfolder for each. A file
    belongs to the HR file of its name: `0801x2.png` to `0801.png` (DIV2K), `a_LR.png` or
    `a_LR2.png` to `a_HR.png` (Urban100, RealSR), `a_x1.png` to `a_x2.png` (DRealSR); otherwise
    both have the same name."""
    hr: str | None = None
    """The folder of their HR images, exactly scale times as large; it may be the same folder."""
    downsizings: tuple[float, ...] = Field(default=(1.0,), strict=False)
    """Sizes at which each image is used, 1 being its own; (1, 0.7, 0.5) in pytorch-vdsr."""

    @property
    def folders(self) -> tuple[WeightedFolder, ...]:
        """The folders of HR images with their weights; empty where pairs are given."""
        if isinstance(self.images, str):
            return (WeightedFolder(folder=self.images),)
        return self.images or ()

    @field_validator("images", mode="before")
    @classmethod
    def _of_known_shape(cls, raw: Any) -> Any:
        if raw is None or isinstance(raw, str):
            return raw
        several = isinstance(raw, list | tuple) and raw
        if not several or not all(isinstance(each, Mapping | WeightedFolder) for each in raw):
            ways = "a folder, photos, or a list [{folder: DIR, weight: 3}, {folder: DIR}]"
            raise ConfigError("", f"takes {ways}; got {raw!r}")
        return raw

    @field_validator("images")
    @classmethod
    def _each_once(cls, images: Source | None) -> Source | None:
        seen: set[Path] = set()
        for number, each in enumerate(() if images is None or isinstance(images, str) else images):
            place = expanded(each.folder).absolute()
            if place in seen:
                rule = f"{each.folder} is named twice: name it once, with the sum of its weights"
                raise ConfigError(f"{number}.folder", rule)
            seen.add(place)
        return images

    @field_validator("downsizings")
    @classmethod
    def _with_own_size(cls, sizes: tuple[float, ...]) -> tuple[float, ...]:
        if 1 not in sizes or min(sizes) <= 0 or max(sizes) > 1:
            raise ValueError("sizes lie above 0 and up to 1, and 1 is among them")
        return sizes

    @model_validator(mode="before")
    @classmethod
    def _pairs_need_no_photos(cls, raw: Any) -> Any:
        given = isinstance(raw, Mapping) and ("lr" in raw or "hr" in raw)
        return {"images": None, **raw} if given else raw

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        either = "say images: FOLDER, or both lr: FOLDER and hr: FOLDER"
        if self.images is not None and (self.lr, self.hr) != (None, None):
            raise ConfigError("images", f"lr and hr are the images already; {either}")
        for field in ("hr", "lr") if self.images is None else ():
            if getattr(self, field) is None:
                raise ConfigError(field, f"missing; {either}")
        if self.lr is not None and self.downsizings != (1.0,):
            raise ConfigError("downsizings", "pairs are seen at their own size: leave it out")
        return self


@dataclass(frozen=True)
class TrainingSet:
    """Whole training images with their LR images: arrays only, so that processes can share a copy.

    Attributes:
        colour: colour of the LR arrays.
        photographs: images by scale, one folder after the other; an HR array that serves several
            scales is one object.
        folders: number of images and weight of each folder; empty: one folder has all.
        source: the configuration it was read by; None for images given as arrays.
        digests: SHA-256 of the names and pixels read, by dotted path and folder; for pairs, by
            scale as well.
    """

    colour: Colour
    photographs: Mapping[int, tuple[Photograph, ...]]
    source: DataConfig | None = None
    digests: Mapping[str, str] = dataclasses.field(default_factory=dict)
    folders: tuple[tuple[int, float], ...] = ()

    @classmethod
    def read(cls, data: DataConfig, *, colour: Colour, scales: Sequence[int]) -> Self:
        """Read the images that `data` names.

        Raises:
            ValueError: in one line that names the file or folder: no image, one that cannot be
                read, an HR image without its LR image or not exactly scale times as large.
        """
        if data.lr is not None and data.hr is not None:
            hr, lr = read_set(Path(data.hr), scales, Path(data.lr))
            assert lr is not None, "a folder of LR images was given"
            try:
                pairs = {scale: paired(hr[scale], lr[scale], colour, scale) for scale in scales}
            except ValueError as error:
                raise ValueError(f"{data.lr}: {error}") from None
            digests = {
                f"data.{side}={folder} x{scale}": digest
                for side, folder, sets in (("lr", data.lr, lr), ("hr", data.hr, hr))
                for scale, digest in _digests(sets).items()
            }
            return cls(colour, pairs, data, digests)
        found = {each.folder: read_images(each.folder, part="train") for each in data.folders}
        made_of = cls.of(_joined(found), colour=colour, scales=scales, downsizings=data.downsizings)
        digests = {f"data.images={folder}": images.digest() for folder, images in found.items()}
        folders = tuple((len(found[each.folder]), each.weight) for each in data.folders)
        return cls(colour, made_of.photographs, data, digests, folders)

    @classmethod
    def of(
        cls,
        images: Images,
        *,
        colour: Colour,
        scales: Sequence[int],
        downsizings: Sequence[float] = (1.0,),
    ) -> Self:
        """Make LR images of HR images, which are not copied, at each of their sizes."""
        assert 1 in downsizings, "an image is always used at its own size too"
        hr = resized(images, downsizings)
        return cls(colour, {scale: made(images.names, hr, colour, scale) for scale in scales})

    def serving(self, data: DataConfig, *, colour: Colour, scales: Sequence[int]) -> TrainingSet:
        """Return the set that `data` names in `colour` and at `scales`: this one if it matches.

        If only LR images are missing they are made from this set's HR images; else files are read,
        with the errors of `read`.
        """
        if self.source == data and self.colour == colour and set(scales) <= set(self.photographs):
            return self
        if self.source != data or data.lr is not None:
            return TrainingSet.read(data, colour=colour, scales=scales)
        photographs = next(iter(self.photographs.values()))
        names, hr = [each.name for each in photographs], [each.hr for each in photographs]
        made_now = {s: made(names, hr, colour, s) for s in scales}
        return TrainingSet(colour, made_now, data, self.digests, self.folders)


def _joined(found: Mapping[str, Images]) -> Images:
    """Put the images of several folders together; of several, names begin with the folder's."""
    if len(found) == 1:
        return next(iter(found.values()))
    names = (f"{folder}/{name}" for folder, images in found.items() for name in images.names)
    arrays = (array for images in found.values() for array in images.arrays)
    return Images(tuple(names), tuple(arrays))


def _digests(sets: Mapping[int, Images]) -> dict[int, str]:
    """Digest each set, by scale; one that serves several scales is digested once."""
    digests = {id(images): images.digest() for images in sets.values()}
    return {scale: digests[id(images)] for scale, images in sets.items()}
