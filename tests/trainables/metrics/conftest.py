"""Set5, decoded once."""

from pathlib import Path

import pytest

from trainables.data.images import Images, read_images


@pytest.fixture(scope="session")
def set5(shared_folder: Path) -> Images:
    images = read_images(str(shared_folder / "data" / "Set5" / "HR"), "heldout")
    assert len(images) == 5
    return images
