"""Set5 and the public weights, found by an environment variable and never required."""

import os
from pathlib import Path

import pytest

from trainables.data.images import Images, read_images


@pytest.fixture(scope="session")
def shared_folder() -> Path:
    """The folder that holds data/Set5 and weights/, as TUNE_SR_DATA names it."""
    named = os.environ.get("TUNE_SR_DATA")
    if not named:
        pytest.skip("TUNE_SR_DATA is not set: published figures on Set5 are NOT checked")
    folder = Path(named)
    assert (folder / "data" / "Set5" / "HR").is_dir(), f"TUNE_SR_DATA={named} has no data/Set5/HR"
    return folder


@pytest.fixture(scope="session")
def set5(shared_folder: Path) -> Images:
    images = read_images(str(shared_folder / "data" / "Set5" / "HR"), "heldout")
    assert len(images) == 5
    return images
