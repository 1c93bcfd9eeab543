"""A trial's pictures are images over steps in MLflow, each of them once."""

from __future__ import annotations

import json
import re

from tracked_studies import images, track, whole_study, write_outcome, write_pictures

from tune_sr.tracking.images import image_name, log_images

OF_MLFLOW = re.compile(
    r"images/(\w+)\+step\+(\d+)\+timestamp\+(\d+)\+([0-9a-f-]{36})(\.png|\+compressed\.webp)"
)


def test_they_have_the_names_that_mlflow_gives_images(tmp_path, monkeypatch):
    from mlflow import MlflowClient
    from PIL import Image

    class Client(MlflowClient):
        def __init__(self):
            self.names = []

        def _log_artifact_helper(self, run_id, artifact_file):
            self.names.append(artifact_file)
            return super()._log_artifact_helper(run_id, artifact_file)

        def log_artifact(self, *_): ...

        def set_tag(self, *_): ...

    client = Client()
    client.log_image("run", Image.new("L", (4, 4)), key="detail", step=30, timestamp=5)
    ours = image_name("detail", 30, 5, "a/0000")
    both = [f"images/{ours}.png", f"images/{ours}+compressed.webp"]
    theirs, found = (
        [OF_MLFLOW.fullmatch(name).group(1, 2, 3, 5) for name in names]
        for names in (client.names, both)
    )
    assert theirs == found


def test_those_of_the_best_first_and_front_are_sent_once(ledger, storage):
    whole_study(ledger)
    folder = ledger.path.parent
    write_outcome(folder)
    summary = json.loads((folder / "summary.json").read_text())
    summary |= {"first": {"trial": "0001"}}
    (folder / "summary.json").write_text(json.dumps(summary))
    for trial, steps in {"0000": (0, 10, 20), "0001": (0, 10), "0002": (0,)}.items():
        write_pictures(folder, trial, steps)
    (folder / "trials" / "start-001" / "0001" / "detail" / "step-000010.png").write_text("x")
    track(ledger, storage)
    found = images(storage)
    assert set(found) == {"0000", "0001"}
    shown = {
        trial: sorted(
            (key, int(step), ending, value)
            for (key, step, _, _, ending), value in (
                (OF_MLFLOW.fullmatch(name).groups(), value) for name, value in named.items()
            )
        )
        for trial, named in found.items()
    }
    small = "+compressed.webp"
    assert shown["0000"] == [
        (key, step, ending, step)
        for key in ("detail", "imagined")
        for step in (0, 10, 20)
        for ending in (small, ".png")
    ]
    damaged = [("detail", 0), ("imagined", 0), ("imagined", 10)]
    assert [each[:2] for each in shown["0001"] if each[2] == ".png"] == damaged
    track(ledger, storage)
    assert images(storage) == found


def test_of_a_trial_without_pictures_nothing_is_asked():
    log_images(object(), "run", {"detail": {}}, 0, "a/0000")
