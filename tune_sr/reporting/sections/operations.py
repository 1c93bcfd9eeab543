"""Who worked when, what went wrong, and how to use or repeat it."""

from __future__ import annotations

import shlex
from collections import defaultdict

from tune_sr.cli.redaction import redacted_words
from tune_sr.reporting.markup import Markup, joined, tag
from tune_sr.reporting.plots import timeline
from tune_sr.reporting.section import Section, plot
from tune_sr.reporting.study_data import StudyData
from tune_sr.reporting.table import Column, Table, lead
from tune_sr.space.yaml_file import dump_yaml
from tune_sr.storage.layout import BEST, STUDENT
from tune_sr.study.space_file import to_resolved

_ADVICE = {
    "diverged": "lower the upper end of the learning rate, or clip gradients",
    "out of memory": "lower batch.patch, batch.images or features",
    "no report": "it hung: look at the machine, then --resume --retry-failed",
    "process was lost": "the machine's doing: --resume --retry-failed",
}
"""A part of a reason -> what to do about it."""


def timeline_section(data: StudyData) -> Section:
    """The bars."""
    title = "Who worked when?"
    figure = timeline.figure(data)
    if figure is None:
        return Section("work", "work", title, lead("No trial has begun."))
    known = not data.spans[0].place.startswith("slot ")
    said = (
        "A row a node and GPU, or a trial's slot of it. "
        if known
        else "Nodes were not recorded: a row is a trial's slot. "
    )
    starts = len(data.clock.starts)
    said += f"{starts} starts of a driver." if starts > 1 else "One start of a driver."
    columns = [Column("trial"), Column("place"), Column("start, min", 2), Column("end, min", 2),
               Column("begun again")]  # fmt: skip
    rows = [(s.trial, s.place, s.start, s.end, "yes" if s.lost else "") for s in data.spans]
    body = joined(lead(said), plot("timeline", "trials over time"))
    return Section("work", "work", title, body, {"timeline": figure},
                   (Table("work", columns, rows),))  # fmt: skip


def failures_section(data: StudyData) -> Section:
    """Failures and attempts, grouped by reason."""
    title = "What went wrong?"
    reasons: defaultdict[str, list[str]] = defaultdict(list)
    for trial in data.trials:
        if trial.state == "failed":
            reasons[trial.reason or "no reason recorded"].append(trial.name)
    for event in data.events:
        if event["event"] == "attempt":
            reasons[f"begun again: {event.get('reason') or 'no reason recorded'}"].append(
                str(event["trial"])
            )
    if not reasons:
        return Section("failures", "failures", title, lead("Nothing."))
    rows = [(why, len(names), _shown(names), advice(why)) for why, names in reasons.items()]
    columns = [Column("reason"), Column("times"), Column("trials"), Column("what to do")]
    table = Table("failures", columns, sorted(rows, key=lambda row: -row[1]))
    return Section("failures", "failures", title, table.to_html(), tables=(table,))


def advice(reason: str) -> str:
    """What to do about a reason; empty where its own text is all there is to say."""
    return next((what for part, what in _ADVICE.items() if part in reason), "")


def _shown(names: list[str]) -> str:
    few = ", ".join(names[:6])
    return few if len(names) <= 6 else f"{few} and {len(names) - 6} more"


def use_section(data: StudyData) -> Section:
    """Commands to copy, and what is needed to repeat the study."""
    folder, name = data.results.folder, data.results.folder.name
    student = shlex.quote(str(folder / BEST / STUDENT))
    space = shlex.quote(str(folder / "space.yaml"))
    config = shlex.quote(str(folder / BEST / "config.yaml"))
    storage = shlex.quote(str(folder.parent))
    study = shlex.quote(str(folder))
    commands = [
        ("enlarge a photograph", f"python -m tune_sr.upscale PHOTO --network {study} --beside"),
        ("hand it over: one file that torch alone opens",
         f"python -m tune_sr.export {study} --format pt2"),
        ("test it on images of yours",
         f"python -m tune_sr.evaluate --network {student} --data FOLDER"),
        ("train it again, without Ray",
         f"python -m tune_sr.train --space {space} --point {config}"),
        ("is the gain more than noise?",
         f"python -m tune_sr.search --resume --name {name} --storage {storage} --confirm 5"),
        ("write this page again", f"python -m tune_sr.report {study}"),
    ]  # fmt: skip
    rows = [joined(tag("dt", what), tag("dd", tag("code", line))) for what, line in commands]
    body = joined(tag("dl", *rows, class_="commands"), _repeat(data))
    return Section("use", "use it", "How do I use or repeat it?", body,
                   numbers={"provenance": data.provenance})  # fmt: skip


def _repeat(data: StudyData) -> Markup:
    """What the study ran with: command, commit, versions, machine; and its space."""
    found = data.provenance
    git, devices = (dict(_pairs(found.get(key))) for key in ("git", "devices"))
    gpus = devices.get("gpus")
    machine = [devices.get("processor"), devices.get("instruction_set")]
    machine += gpus if isinstance(gpus, list) else []
    argv = found.get("argv")
    words = redacted_words([str(word) for word in argv]) if isinstance(argv, list) else []
    changes = ", with changes" if git.get("dirty") else ""
    packages = ", ".join(f"{name} {version}" for name, version in _pairs(found.get("packages")))
    facts = {
        "command": shlex.join(words) or None,
        "seed": data.results.settings.seed,
        "commit": f"{git.get('commit')}{changes}" if git else None,
        "python": found.get("python"),
        "packages": packages or None,
        "machine": ", ".join(str(each) for each in machine if each) or None,
        "platform": found.get("platform"),
    }  # fmt: skip
    shown = [joined(tag("dt", k), tag("dd", v)) for k, v in facts.items() if v is not None]
    missing = [] if found else [lead("study.json is missing: versions and machine are unknown.")]
    space = dump_yaml(to_resolved(data.results.space, data.results.settings.without_secrets()))
    return joined(
        *missing,
        tag("details", tag("summary", "versions, commit, machine"), tag("dl", *shown)),
        tag("details", tag("summary", "the search space"), tag("pre", space)),
    )


def _pairs(packages: object) -> list[tuple[str, object]]:
    """Names and versions in a `study.json`, which may be anything."""
    return list(packages.items()) if isinstance(packages, dict) else []
