"""Training images: read in either way, refused in one line, made ready once for all."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from trainables.data import training as module
from trainables.data.images import Images, read_images, write_image
from trainables.data.training import DataConfig, TrainingSet
from trainables.digests import difference
from trainables.errors import ConfigError
from trainables.problems import first_problem
from trainables.resample import resize_uint8
from trainables.values import Colour, Config


def pixels(height: int, width: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


def half(array: np.ndarray, scale: int = 2) -> np.ndarray:
    levels = resize_uint8(torch.tensor(array).permute(2, 0, 1), 1 / scale)
    return levels.permute(1, 2, 0).numpy()


@pytest.fixture
def pairs(tmp_path: Path) -> DataConfig:
    """Two pairs at x2 that are not each other's bicubic."""
    for number, (name, (height, width)) in enumerate({"a": (24, 32), "b": (28, 20)}.items()):
        write_image(tmp_path / "hr" / f"{name}.png", pixels(height, width, number))
        write_image(tmp_path / "lr" / f"{name}x2.png", pixels(height // 2, width // 2, 10 + number))
    return DataConfig(lr=str(tmp_path / "lr"), hr=str(tmp_path / "hr"))


@pytest.fixture
def photos_in(tmp_path: Path) -> DataConfig:
    for number, (height, width) in enumerate(((30, 41), (24, 25))):
        write_image(tmp_path / "images" / f"{number}.png", pixels(height, width, number))
    return DataConfig(images=str(tmp_path / "images"))


# What may be asked for ------------------------------------------------------------------------


def test_either_images_or_pairs() -> None:
    assert DataConfig().images == "photos"
    assert DataConfig(images="here").lr is None
    both = DataConfig.model_validate({"lr": "small", "hr": "large"})
    assert (both.images, both.lr, both.hr) == (None, "small", "large")
    assert DataConfig.model_validate(both.model_dump(mode="json")) == both


@pytest.mark.parametrize(
    ("raw", "path", "rule"),
    [
        ({"lr": "a"}, "data.hr", "missing; say images: FOLDER, or both lr: FOLDER and hr: FOLDER"),
        ({"hr": "a"}, "data.lr", "missing; say images"),
        ({"images": None}, "data.hr", "missing; say images"),
        ({"images": "a", "hr": "b"}, "data.images", "lr and hr are the images already; say images"),
        ({"images": "photos", "lr": "a", "hr": "b"}, "data.images", "lr and hr are the images"),
        ({"lr": "a", "hr": "b", "downsizings": [1, 0.5]}, "data.downsizings", "pairs are seen at"),
        ({"lr": "a", "hr": "b", "downsizing": [1]}, "data.downsizing", "unknown key; did you mean"),
        *(
            (
                {"images": [{"folder": "a"}, {"folder": "b", "weight": wrong}]},
                "data.images.1.weight",
                "input should be greater than or equal to 0.001",
            )
            for wrong in (0, -1.5)
        ),
        (
            {"images": [{"folder": "a"}, {"folder": "a/"}]},
            "data.images.1.folder",
            "a/ is named twic",
        ),
        (
            {"images": [{"folder": "a", "wieght": 2}]},
            "data.images.0.wieght",
            "unknown key; did you m",
        ),
        ({"images": [{"weight": 2}]}, "data.images.0.folder", "missing"),
        *(
            ({"images": wrong}, "data.images", "takes a folder, photos, or a list [{folder: DIR, w")
            for wrong in ([], ["a", "b"], {"a": 3, "b": 1}, 5)
        ),
        (
            {"images": [{"folder": "a"}], "lr": "b", "hr": "c"},
            "data.images",
            "lr and hr are the im",
        ),
        *(
            ({"downsizings": wrong}, "data.downsizings", "sizes lie above 0 and up to 1")
            for wrong in ([0.5], [1, 0], [1, 1.5])
        ),
    ],
)
def test_a_mistake_is_one_line_with_its_path(raw: dict[str, Any], path: str, rule: str) -> None:
    class Holder(Config):
        data: DataConfig | None = None

    with pytest.raises(ValueError, match=r".") as caught:
        Holder.model_validate({"data": raw})
    error = first_problem(Holder, caught.value, {"data": raw})  # type: ignore[arg-type]  # pydantic's, which is a ValueError to pytest
    assert isinstance(error, ConfigError)
    assert (error.path, error.rule[: len(rule)]) == (path, rule)


# What is read ---------------------------------------------------------------------------------


@pytest.mark.parametrize("colour", ["y", "rgb"])
def test_pairs_are_taken_as_they_are(pairs: DataConfig, colour: Colour) -> None:
    assert pairs.lr is not None
    read = TrainingSet.read(pairs, colour=colour, scales=(2,))
    given = read_images(pairs.lr, "train").arrays
    assert [each.name for each in read.photographs[2]] == ["a.png", "b.png"]
    for photograph, lr in zip(read.photographs[2], given, strict=True):
        (small,), (large,) = photograph.lr, photograph.hr
        assert large.shape == (2 * small.shape[0], 2 * small.shape[1], 3)
        if colour == "rgb":
            assert np.array_equal(small, lr)
        else:
            by_hand = (16 + lr / 255 @ np.array([65.481, 128.553, 24.966])) / 255
            assert small.dtype == np.float32
            assert np.abs(small[..., 0] - by_hand).max() < 1e-6


def test_a_pair_that_does_not_fit_is_named(pairs: DataConfig) -> None:
    assert pairs.lr is not None
    write_image(Path(pairs.lr) / "bx2.png", pixels(14, 11))
    with pytest.raises(
        ValueError, match=r"lr: bx2\.png is 11x14 and b\.png is 20x28, which is not"
    ):
        TrainingSet.read(pairs, colour="y", scales=(2,))
    (Path(pairs.lr) / "bx2.png").unlink()
    with pytest.raises(ValueError, match=r"holds no LR image of b\.png at x2") as caught:
        TrainingSet.read(pairs, colour="y", scales=(2,))
    assert "\n" not in str(caught.value)


def test_the_same_names_in_one_folder_are_no_pairs(pairs: DataConfig) -> None:
    with pytest.raises(ValueError, match=r"a\.png is 32x24 and a\.png is 32x24, which is not exa"):
        TrainingSet.read(DataConfig(lr=pairs.hr, hr=pairs.hr), colour="y", scales=(2,))


def test_lr_images_are_the_whole_hr_image_made_smaller(photos_in: DataConfig) -> None:
    read = TrainingSet.read(photos_in, colour="rgb", scales=(2, 3))
    for scale in (2, 3):
        for photograph in read.photographs[scale]:
            (hr,), (lr,) = photograph.hr, photograph.lr
            height, width = (side // scale * scale for side in hr.shape[:2])
            assert np.array_equal(lr, half(hr[:height, :width], scale))


@pytest.mark.bits
@pytest.mark.parametrize("colour", ["y", "rgb"])
def test_bits_do_not_depend_on_the_number_of_threads(colour: Colour) -> None:
    images = Images(("a", "b", "c"), tuple(pixels(200, 300 + n, n) for n in range(3)))
    sets = []
    for count in (1, 2, 3):
        torch.set_num_threads(count)
        sets.append(TrainingSet.of(images, colour=colour, scales=(2, 3), downsizings=(1.0, 0.7)))
        assert torch.get_num_threads() == count
    for other in sets[1:]:
        for scale in (2, 3):
            for one, two in zip(sets[0].photographs[scale], other.photographs[scale], strict=True):
                assert all(map(np.array_equal, one.hr + one.lr, two.hr + two.lr))


# Several folders -----------------------------------------------------------------------------


@pytest.fixture
def folders(tmp_path: Path) -> DataConfig:
    """Two images and one, the first weighing a third of the other."""
    for folder, number in (("many", 0), ("many", 1), ("few", 0)):
        place = tmp_path / folder / f"{number}.png"
        write_image(place, pixels(24, 24, number + 10 * len(folder)))
    listed = [{"folder": str(tmp_path / name)} for name in ("many", "few")]
    listed[1]["weight"] = 3  # type: ignore[assignment]  # the other values are texts
    return DataConfig.model_validate({"images": listed})


def test_folders_are_read_in_turn_and_digested_each(folders: DataConfig) -> None:
    read = TrainingSet.read(folders, colour="rgb", scales=(2, 3))
    many, few = (each.folder for each in folders.folders)
    names = [f"{many}/0.png", f"{many}/1.png", f"{few}/0.png"]
    for photographs in read.photographs.values():
        assert [each.name for each in photographs] == names
    assert read.folders == ((2, 1.0), (1, 3.0))
    assert read.digests == {
        f"data.images={each}": read_images(each, "train").digest() for each in (many, few)
    }
    assert DataConfig.model_validate(folders.model_dump(mode="json")) == folders
    served = read.serving(folders, colour="y", scales=(2,))
    assert (served.folders, served.digests) == (read.folders, read.digests)


def test_a_changed_folder_is_another_digest_of_that_folder_alone(folders: DataConfig) -> None:
    before = TrainingSet.read(folders, colour="rgb", scales=(2,)).digests
    few = folders.folders[1].folder
    write_image(Path(few) / "0.png", pixels(24, 24, 99))
    after = TrainingSet.read(folders, colour="rgb", scales=(2,)).digests
    assert [key for key in before if before[key] != after[key]] == [f"data.images={few}"]
    said = difference(before, after)
    assert said is not None and said.startswith(f"data.images: {few} is not what the study began")


def test_an_empty_folder_of_several_is_named(folders: DataConfig) -> None:
    few = Path(folders.folders[1].folder)
    (few / "0.png").unlink()
    with pytest.raises(ValueError, match=rf"^{few} holds no image"):
        TrainingSet.read(folders, colour="rgb", scales=(2,))


def test_one_folder_in_a_list_is_that_folder(photos_in: DataConfig) -> None:
    listed = DataConfig.model_validate({"images": [{"folder": photos_in.images, "weight": 7}]})
    one, other = (TrainingSet.read(d, colour="y", scales=(2,)) for d in (photos_in, listed))
    assert one.digests == other.digests
    assert [each.name for each in other.photographs[2]] == ["0.png", "1.png"]
    assert (one.folders, other.folders) == (((2, 1.0),), ((2, 7.0),))


# What is shared -------------------------------------------------------------------------------


def test_a_set_serves_all_who_ask_for_what_it_holds(
    photos_in: DataConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    shared = TrainingSet.read(photos_in, colour="y", scales=(2, 3))
    monkeypatch.setattr(module, "made", None)  # nothing can be made any more
    monkeypatch.setattr(module, "read_images", None)
    assert shared.serving(photos_in, colour="y", scales=(2, 3)) is shared
    assert shared.serving(photos_in, colour="y", scales=(3,)) is shared


@pytest.mark.parametrize(("colour", "scales"), [("y", (4,)), ("rgb", (2,)), ("y", (2, 4))])
def test_another_scale_or_colour_is_made_of_the_same_hr(
    photos_in: DataConfig, colour: Colour, scales: tuple[int, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    shared = TrainingSet.read(photos_in, colour="y", scales=(2,))
    fresh = TrainingSet.read(photos_in, colour=colour, scales=scales)
    monkeypatch.setattr(module, "read_images", None)  # nothing can be read any more
    served = shared.serving(photos_in, colour=colour, scales=scales)
    assert (served.colour, tuple(served.photographs)) == (colour, scales)
    for scale in scales:
        for ours, theirs, source in zip(
            served.photographs[scale],
            fresh.photographs[scale],
            shared.photographs[2],
            strict=True,
        ):
            assert ours.hr[0] is source.hr[0]
            assert ours.name == theirs.name
            assert np.array_equal(ours.lr[0], theirs.lr[0])


def test_other_images_are_read(photos_in: DataConfig, pairs: DataConfig) -> None:
    shared = TrainingSet.read(photos_in, colour="y", scales=(2,))
    served = shared.serving(pairs, colour="y", scales=(2,))
    assert served.photographs[2][0].name == "a.png"
    again = served.serving(photos_in, colour="y", scales=(2,))
    assert again.photographs[2][0].name == "0.png"


def test_pairs_of_another_scale_are_never_made(pairs: DataConfig) -> None:
    shared = TrainingSet.read(pairs, colour="y", scales=(2,))
    with pytest.raises(ValueError, match=r"no LR image of a\.png at x4, such as ax4\.png"):
        shared.serving(pairs, colour="y", scales=(2, 4))
    rgb = shared.serving(pairs, colour="rgb", scales=(2,))
    assert rgb.photographs[2][0].lr[0].dtype == np.uint8
