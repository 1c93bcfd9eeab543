"""What does it look like? The pictures that were drawn with the best student."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

from tune_sr.reporting.markup import Markup, joined, tag
from tune_sr.reporting.section import Section
from tune_sr.reporting.study_data import StudyData
from tune_sr.reporting.table import lead, note
from tune_sr.visualization.pictures import read_pictures

_TITLE = "What does it look like?"


def section(data: StudyData) -> Section:
    """Two photographs, each in every column, with a loupe; or why there are none."""
    found = read_pictures(data.results.folder)
    if data.best is None:
        return Section("pictures", "pictures", _TITLE, lead("No student has been written."))
    if found is None:
        said = "No picture was drawn with the best student, and its checkpoints are gone."
        return Section("pictures", "pictures", _TITLE, lead(said))
    folder, about = found
    notes = []
    if about["trials"].get("best") != data.best.name:
        notes.append(f"Drawn for trial {about['trials'].get('best')}, the best at that time.")
    notes += about["missing"]
    rows = [_photograph(folder, each) for each in about["pictures"]]
    said = "Point at a picture: the loupe shows the same pixels in every column. Press d for the "
    said += "difference to the last column, times 8. Every pixel is the image's own."
    body = joined(lead(said), *(note(each) for each in notes), *rows)
    figures = [
        {"name": each["name"], "psnr_db": {c["title"]: c["psnr_db"] for c in each["columns"]}}
        for each in about["pictures"]
    ]
    return Section("pictures", "pictures", _TITLE, body, numbers={"pictures": figures})


def _photograph(folder: Path, picture: dict[str, Any]) -> Markup:
    columns = [column_of(folder, each) for each in picture["columns"]]
    top, left, side = (int(picture["window"][key]) for key in ("top", "left", "side"))
    return tag(
        "figure",
        tag("div", *columns, class_="columns"),
        tag("figcaption", picture["caption"]),
        class_="photograph", tabindex="0", data_top=top, data_left=left, data_side=side,
    )  # fmt: skip


def column_of(folder: Path, column: dict[str, Any], *, loupe: bool = True) -> Markup:
    """One column of a photograph; why it is missing, where it is.

    Args:
        folder: of the WebP files.
        column: its entry in `pictures.json`.
        loupe: whether a detail stands below.
    """
    title, psnr_db = str(column["title"]), column["psnr_db"]
    caption = joined(tag("b", title), "" if psnr_db is None else f" {psnr_db:.2f} dB")
    # The name alone: pictures.json is a file that could name another folder's.
    file = None if column["file"] is None else folder / Path(str(column["file"])).name
    if file is None or not file.is_file():
        shown = tag("p", column.get("why") or "its file is missing", class_="gone")
        return tag("div", shown, tag("p", caption), class_="column")
    data = base64.b64encode(file.read_bytes()).decode("ascii")
    image = tag("img", src=f"data:image/webp;base64,{data}", alt=title, draggable="false")
    detail = tag("canvas", width="1", height="1") if loupe else None
    return tag("div", image, detail, tag("p", caption), class_="column")
