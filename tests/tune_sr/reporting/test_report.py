"""Every kind of study has its page, each section answers or says why it cannot."""

from __future__ import annotations

import csv
import json
import math
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from events import study_ended
from invented_studies import EVIL, KINDS, InventedStudy, imagine

from tune_sr.report import main
from tune_sr.reporting.page import POLICY, heading, page
from tune_sr.reporting.paper_figures import write_figures
from tune_sr.reporting.plots import hypervolume, learning_curves, parallel
from tune_sr.reporting.report import numbers, sections_of
from tune_sr.reporting.study_data import StudyData

RECORDED = Path(__file__).parents[1] / "end_to_end" / "recorded" / "study-3cb7bf0.tar.gz"


def parts(folder):
    data = StudyData.load(folder)
    return data, {each.anchor: each for each in sections_of(data)}


@pytest.mark.parametrize("kind", KINDS)
def test_a_page_fetches_nothing_and_every_number_is_json(invent, kind):
    data, made = parts(invent(kind))
    text = page(*heading(data), list(made.values()))
    assert f'content="{POLICY}"'.replace("'", "&#x27;") in text
    assert not re.findall(r"(?:src|href)=\"(?!data:|#)", text)
    found = re.search(r'<script type="application/json" id="figures">(.*?)</script>', text)
    figures = json.loads(found[1])
    assert set(figures) == {name for each in made.values() for name in each.figures}
    for name in figures:
        assert text.count(f'data-figure="{name}"') == 1
    assert {trace["type"] for each in figures.values() for trace in each["data"]} <= {
        "scatter",
        "bar",
    }
    json.dumps(numbers(list(made.values())), allow_nan=False)
    assert made["curves"].figures or "No trial has reported" in made["curves"].body
    assert ("front" in made) == (kind == "two objectives")
    assert ("generators" in made) == (kind not in ("population", "all failed", "not begun"))


def test_generators_are_shown_over_updates_the_untrained_one_first(invent):
    folder = invent("whole")
    data, made = parts(folder)
    assert "data:image/png" not in made["generators"].body, "an older study has no pictures"
    steps = tuple(range(0, 36, 4))
    largest = max(data.trials, key=lambda trial: trial.change or 0.0)
    roles = {}
    shown = {"first point": data.first, "best": data.best, "largest change": largest}
    for role, trial in shown.items():
        roles.setdefault(trial.name, []).append(role)
        imagine(folder, trial.name, steps)
    body = parts(folder)[1]["generators"].body
    captions = re.findall(r"<figcaption>(.*?)</figcaption>", body)
    assert [each.partition(":")[0] for each in captions] == [", ".join(r) for r in roles.values()]
    moved = f"{data.first.name}, moved by {100 * data.first.change:.1f} %"
    assert captions[0] == f"first point: {moved}" and len(captions) > 1
    shown = re.findall(r"<p>(.*?)</p>", body.split("</figure>")[0])
    assert (shown[0], shown[-1]) == ("untrained", "update 32")
    assert 5 <= len(shown) <= 6


def test_later_rungs_are_folded_away_with_the_trials_that_reached_them(tmp_path, toy_space):
    study = InventedStudy(tmp_path / "runs" / "long", toy_space("long"))
    study.run(40).write(study_ended())
    data, made = parts(study.save())
    later = [rung for rung in data.rungs if rung > data.budget_compared]
    drawn = {rung: sum(math.isfinite(value) for _, value in data.compared(rung)) for rung in later}
    for rung, left in drawn.items():
        assert (f"parallel-{rung}" in made["together"].figures) == (left >= 12)
        assert (f"importance-{rung}" in made["settings"].figures) == (left >= 16)
    assert any(left >= 16 for left in drawn.values()), "there is one to look at"
    rung = next(rung for rung, left in drawn.items() if left >= 16)
    assert f"at update {rung}, which {drawn[rung]} trials reached" in made["settings"].body


def test_ped_anova_stands_beside_what_is_told_apart_from_chance_and_nothing_else(invent):
    rows = numbers(list(parts(invent("whole"))[1].values()))["settings"]["importance"]
    assert rows[0]["quantity"] == "w_R" and 0.3 < rows[0]["PED-ANOVA"] <= 1
    within = [row for row in rows if row["R2"] <= row["chance"]]
    assert within and all(row["PED-ANOVA"] is None for row in within)


def test_hypervolume_grows_over_updates_to_that_of_the_front(invent):
    data, made = parts(invent("two objectives"))
    updates, volumes = hypervolume.over_updates(data)
    assert updates == sorted(updates) and volumes == sorted(volumes) and len(volumes) > 3
    assert volumes[-1] == pytest.approx(made["front"].numbers["hypervolume"])
    assert updates[-1] == sum(trial.last_step for trial in data.trials)
    assert "hypervolume" in made["front"].figures
    rng = np.random.default_rng(0)
    points = [(float(score), float(cost)) for score, cost in rng.integers(1, 9, (200, 2))]
    front = []
    for point in points:
        hypervolume.with_point(front, point)
    better = {p for p in points if not any(
        (q[0] >= p[0] and q[1] <= p[1]) and q != p for q in points)}  # fmt: skip
    assert front == sorted(better, key=lambda point: point[1])


def test_without_a_generator_one_strip_shows_what_students_learn_from(invent):
    folder = invent("population")
    data, made = parts(folder)
    assert "generators" not in made
    imagine(folder, data.best.name, (0, 8, 16))
    section = parts(folder)[1]["generators"]
    assert section.body.count("<img") == 1 and "update 16" in section.body
    assert not section.figures


def test_nothing_that_a_file_says_becomes_html(invent):
    data, made = parts(invent("all failed"))
    text = page(*heading(data), list(made.values()))
    assert "<img src=x" not in text and EVIL not in text
    assert "All 3 trials failed" in made["so-what"].body
    assert [row["times"] for row in numbers(list(made.values()))["failures"]["failures"]] == [2, 1]
    assert "lower the upper end of the learning rate" in made["failures"].body


def test_a_whole_study_tells_what_mattered_and_where_trials_were_stopped(invent):
    data, made = parts(invent("whole"))
    found = numbers(list(made.values()))
    assert data.budget_compared == 12  # the first rung
    assert found["settings"]["importance"][0]["quantity"] == "w_R"
    assert "w_R (best near" in made["settings"].body
    assert made["together"].figures and made["stopping"].figures
    stopped = [t for t in data.trials if t.state == "stopped"]
    assert stopped and len(stopped) + len(made["stopping"].numbers) > 2
    for trial in stopped:
        judged = trial.judged[trial.last_step]
        assert judged.value < judged.needed and judged.rank > 1
    saved = made["stopping"].numbers
    assert saved["updates"] == sum(t.last_step for t in data.trials)
    assert saved["updates_without_stopping"] == 24 * 32
    assert [len(t) for t in (data.trials, made["trials"].tables[0].rows)] == [24, 24]


def test_trials_are_compared_at_equal_budget_and_not_by_their_scores(invent):
    data, _ = parts(invent("whole"))
    for trial, value in data.compared():
        assert value == max(v for s, v in zip(trial.steps, trial.values, strict=True) if s <= 12)


def test_the_first_sentences_hold_gain_share_and_doubt(invent):
    data, made = parts(invent("whole"))
    said = made["so-what"].body
    gain = data.best.score - 27
    assert f"+{gain:.2f} over bicubic, {100 * gain / 4:.0f} % of the teacher" in said
    assert "it saw no training image" in said
    assert made["so-what"].numbers["verdict"] in ("not shown to be a gain", "not confirmed yet")
    _, made = parts(invent("two objectives"))
    assert "no paper&#x27;s point" in made["so-what"].body
    _, made = parts(invent("without images"))
    assert "no bicubic to gain over" in made["so-what"].body


def test_a_running_study_says_so_and_its_clock_leaves_out_the_time_without_a_driver(invent):
    data, made = parts(invent("running"))
    assert "Still running" in heading(data)[1]
    assert "2 still run" in made["curves"].body
    assert data.clock.end < 5 and len(data.clock.starts) == 2
    lost = [span for span in data.spans if span.lost]
    assert {span.trial for span in lost} == {"0003"}


def test_one_trial_is_a_page_of_empty_answers(invent):
    _, made = parts(invent("one trial"))
    assert "No trial is better than the first point" in made["so-what"].body
    assert "1 trials of 4 quantities cannot rank them" in made["settings"].body
    assert "from 12 comparable trials" in made["together"].body
    assert "No trial has been stopped" in made["stopping"].body
    assert "Nothing." in made["failures"].body


def test_what_the_ledger_says_of_rungs_and_places_comes_before_what_is_inferred(invent):
    folder = invent("whole")
    lines = [json.loads(line) for line in (folder / "ledger.jsonl").read_text().splitlines()]
    stop = next(each for each in lines if each.get("decision") == "stop")
    stop["judged"] = {"value": 28.5, "needed": 28.75, "rank": 6, "of": 7}
    place = lines.index(next(each for each in lines if each["event"] == "trial_added"))
    started = {"event": "trial_started", "trial": "0000", "node": "n1", "gpu": "3", "attempt": 1}
    lines.insert(place + 1, {**started, "time": lines[place]["time"]})
    (folder / "ledger.jsonl").write_text("".join(json.dumps(each) + "\n" for each in lines))
    data = StudyData.load(folder)
    judged = data.by_name[stop["trial"]].judged[stop["step"]]
    assert str(judged) == "28.50, needed 28.75, 6th of 7"
    assert data.spans[0].place == "n1 gpu 3"


def test_trials_that_share_a_node_have_a_row_each(invent):
    folder = invent("whole")
    lines = [json.loads(line) for line in (folder / "ledger.jsonl").read_text().splitlines()]
    first, second = [line for line in lines if line["event"] == "trial_added"][:2]
    second["time"] = first["time"]  # both run from here on
    place = {"event": "trial_started", "node": "n1", "gpu": None, "attempt": 1}
    placed = []
    for line in lines:
        placed.append(line)
        if line in (first, second):  # written with the first report, which comes later
            placed.append({**place, "trial": line["trial"], "time": line["time"] + 1})
    (folder / "ledger.jsonl").write_text("".join(json.dumps(each) + "\n" for each in placed))
    one, other = (s for s in StudyData.load(folder).spans if s.trial in ("0000", "0001"))
    assert (one.place, other.place) == ("n1 slot 1", "n1 slot 2")
    assert one.start == other.start


def test_traces_do_not_grow_with_trials_and_rows_can_be_marked(invent):
    data, _ = parts(invent("whole"))
    curves = learning_curves.figure(data)
    assert len(curves.data) < 10
    assert curves.data[-1].name == "selected"
    assert set(curves.data[0].customdata) - {None} <= {t.number for t in data.trials}
    inactive = next(axis for axis in data.dimensions if axis.when)
    assert parallel.height(inactive, None) < 0 <= parallel.height(inactive, "random")


def test_tables_are_csv_with_all_digits_and_latex_that_is_escaped(invent):
    data, made = parts(invent("whole"))
    table = made["trials"].tables[0]
    rows = list(csv.DictReader(table.to_csv().splitlines()))
    assert float(rows[0]["score, dB"]) == data.best.score
    text = table.to_latex()
    assert r"w\_R" in text and r"\toprule" in text and text.count(r"\\") == 1 + len(rows)


def test_figures_for_papers_are_85_mm_wide(invent, tmp_path):
    from PIL import Image

    data = StudyData.load(invent("two objectives"))
    written = write_figures(data, tmp_path / "report")
    assert written == ["curves", "gain", "importance", "parallel", "rungs", "front"]
    with Image.open(tmp_path / "report" / "front.png") as image:
        assert image.width == pytest.approx(85 / 25.4 * 300, abs=1)
    assert (tmp_path / "report" / "front.pdf").read_bytes().startswith(b"%PDF")


def test_a_study_recorded_long_ago_has_its_page(tmp_path, capsys):
    shutil.unpack_archive(RECORDED, tmp_path)
    folder = tmp_path / "runs" / "killed"
    assert main([str(folder), "--output", str(tmp_path / "out"), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["so-what"]["trials"]["total"] == 3
    assert "No picture was drawn" in (tmp_path / "out" / "report.html").read_text()
    assert (tmp_path / "out" / "report" / "trials.csv").is_file()


def test_studies_are_subtracted_only_where_they_compare(invent, toy_space, tmp_path, capsys):
    whole, other = invent("whole"), tmp_path / "runs" / "other"
    budget = {"fixed": {"budget": {"steps": 16, "steps_per_report": 4}}}
    InventedStudy(other, toy_space("other", **budget)).run(4).save()
    again = tmp_path / "runs" / "again"
    InventedStudy(again, toy_space("whole", study={"seed": 7})).run(24).save()
    words = [str(whole), "--no-pages", "--json", "--compare", str(other), str(again)]
    assert main(words) == 0
    found = json.loads(capsys.readouterr().out)["compare"]
    assert found["comparisons"][0] == "other has another budget of a trial: no difference is taken."
    assert "not called different before --confirm of whole and again" in found["comparisons"][1]
    assert [row["study"] for row in found["compare"]] == ["whole, again", "other"]
    assert found["compare"][0]["lowest"] <= found["compare"][0]["best, dB"]


def test_no_study_is_refused_in_one_line(tmp_path, capsys):
    assert main([str(tmp_path)]) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and "no study" in said
    shutil.rmtree(tmp_path)


def test_help_needs_nothing_heavy():
    slow = "import sys, tune_sr.report; sys.exit(bool({'torch', 'plotly'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", slow], check=False).returncode == 0
