"""The JSON Schema of a search space's file, by which editors complete and check it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from trainables.config import TrialConfig
from tune_sr.objectives.limit import LIMITED
from tune_sr.objectives.objective import AGREEMENT, COSTS, QUALITY
from tune_sr.schedulers.rules import SCHEDULERS
from tune_sr.searchers.algorithms import SEARCHERS
from tune_sr.space.dimension import DISTRIBUTIONS
from tune_sr.space.reader import NOT_SEARCHED
from tune_sr.study.settings import StudySettings

Schema = dict[str, Any]

_MODELS = "#/definitions/{model}"
_SCALAR: Schema = {"type": ["string", "number", "boolean", "null"]}
_NUMBER, _WHOLE = {"type": "number"}, {"type": "integer"}
_SHORTHANDS: dict[str, Schema] = {
    "student": {
        "scale": {"enum": [2, 3, 4], "description": "Short for scales of this one."},
        "width_mult": {
            "type": "number",
            "exclusiveMinimum": 0,
            "maximum": 1,
            "description": "Share of the teacher's width; other sizes are the teacher's.",
        },
    },
    "teacher": {"scale": {"enum": [2, 3, 4], "description": "Short for scales of this one."}},
}
"""Keys of `fixed` that are replaced by fields before a configuration is validated, by section."""
_UNSEARCHED = (*NOT_SEARCHED, "teacher.start", "teacher.width_mult")
"""Paths below which nothing can be searched; the last two are a student's alone."""


def space_schema() -> Schema:
    """Build the schema, of draft 7, the newest that the YAML language server reads.

    It describes the whole grammar but for rules that relate several values, such as an upper end
    above the lower one; those are checked when a space is read. Nothing under `fixed` is required,
    because presets, defaults and searched quantities complete it.
    """
    fixed = _of_model(TrialConfig)
    for section, more in _SHORTHANDS.items():
        for model in _alternatives(fixed["properties"][section], fixed["definitions"]):
            model["properties"] |= more
    listed = fixed["definitions"]["DUKDConfig"]["properties"]["operations"]
    listed["anyOf"] = [{"type": "string"}, {key: listed.pop(key) for key in ("type", "items")}]
    for section in ("method", "student", "teacher"):
        _add_unnamed(fixed["properties"][section], fixed["definitions"])
    study = _of_model(StudySettings)
    _add_names(study)
    quantities = dict(_quantities(fixed, fixed["definitions"]))
    definitions = {**fixed.pop("definitions"), **study.pop("definitions")}
    return {
        "$schema": "http://json-schema.org/draft-07/schema#",
        "title": "A search space of tune_sr",
        "type": "object",
        "additionalProperties": False,
        "required": ["fixed"],
        "properties": {
            "fixed": {**fixed, "minProperties": 1},
            "search": {
                "description": "What is searched: dotted path to distribution.",
                "type": ["object", "null"],
                "additionalProperties": False,
                "properties": {
                    path: {"description": text, "allOf": [{"$ref": "#/definitions/Distribution"}]}
                    for path, text in quantities.items()
                },
            },
            "first": {
                "description": "Points tried before all others, the paper's own first.",
                "type": ["array", "null"],
                "items": {
                    "type": "object",
                    "additionalProperties": False,
                    "properties": dict.fromkeys(quantities, _SCALAR),
                },
            },
            "study": {**study, "type": ["object", "null"]},
        },
        "definitions": {**definitions, "Distribution": _distribution()},
    }


def _of_model(model: Any) -> Schema:
    """The schema of a configuration class in draft 7, with no key required."""
    schema: Schema = _in_draft_7(model.model_json_schema(ref_template=_MODELS))
    schema["definitions"] = schema.pop("$defs", {})
    return schema


def _in_draft_7(node: Any) -> Any:
    """`node` in the words of draft 7, with nothing required.

    Alternatives become `anyOf`: without a required `name`, several may hold. Draft 7 ignores what
    stands beside `$ref`, so that goes into an `allOf`.
    """
    if isinstance(node, list):
        return [_in_draft_7(each) for each in node]
    if not isinstance(node, dict):
        return node
    made = {
        key: {name: _in_draft_7(each) for name, each in value.items()}
        if key in ("properties", "$defs")
        else value
        if key in ("default", "enum")
        else _in_draft_7(value)
        for key, value in node.items()
        if key not in ("required", "discriminator")
    }
    if "prefixItems" in made:
        made["items"] = made.pop("prefixItems")
    if "oneOf" in made:
        made["anyOf"] = made.pop("oneOf")
    if "$ref" in made and len(made) > 1:
        made["allOf"] = [{"$ref": made.pop("$ref")}]
    return made


def _alternatives(node: Schema, definitions: Mapping[str, Schema]) -> list[Schema]:
    """The configuration classes that a field may hold."""
    if "$ref" in node:
        return [definitions[node["$ref"].rpartition("/")[2]]]
    inner = [*node.get("anyOf", []), *node.get("allOf", [])]
    return [model for each in inner for model in _alternatives(each, definitions)]


def _add_unnamed(node: Schema, definitions: Mapping[str, Schema]) -> None:
    """Allow every class's keys in a section without `name`: it is searched, or the teacher's."""
    models = _alternatives(node, definitions)
    keys = dict.fromkeys(key for model in models for key in model["properties"] if key != "name")
    unnamed = {"type": "object", "properties": {key: {} for key in keys}}
    node["anyOf"].append({**unnamed, "additionalProperties": False})


def _add_names(study: Schema) -> None:
    """Add what validators of `StudySettings` allow: names in registries, and short forms."""
    properties = study["properties"]
    properties["searcher"] |= {"enum": list(SEARCHERS)}
    properties["objective"] |= {
        "anyOf": [
            {"enum": [QUALITY, AGREEMENT]},
            {
                "type": "array",
                "items": [{"const": QUALITY}, {"enum": list(COSTS)}],
                "minItems": 1,
                "maxItems": 2,
            },
            *(_with_limit(quality, key) for quality in (QUALITY, AGREEMENT) for key in LIMITED),
        ]
    }
    names = {"enum": list(SCHEDULERS)}
    study["definitions"]["SchedulerConfig"]["properties"]["name"] |= names
    scheduler = properties["scheduler"]
    whole = {"$ref": _MODELS.format(model="SchedulerConfig")}
    properties["scheduler"] = {
        "description": scheduler.get("description", ""),
        "anyOf": [names, whole],
    }


def _with_limit(quality: str, key: str) -> Schema:
    """An objective with a limit, as `Objective.parse` reads it."""
    number = {"type": "number", "exclusiveMinimum": 0}
    limit = {
        "type": "object",
        "properties": {"at_most": number, "at_least": number},
        "additionalProperties": False,
        "minProperties": 1,
        "maxProperties": 1,
    }
    return {
        "type": "object",
        "properties": {quality: {"const": "max"}, key: limit},
        "required": [quality, key],
        "additionalProperties": False,
    }


def _quantities(
    model: Schema, definitions: Mapping[str, Schema], above: str = ""
) -> Iterator[tuple[str, str]]:
    """Every dotted path of a single value that can be searched, with its description."""
    found: dict[str, list[Schema]] = {}
    for key, field in model["properties"].items():
        found.setdefault(key, []).append(field)
    for key, fields in found.items():
        yield from _paths(f"{above}{key}", fields, definitions)


def _paths(
    path: str, fields: list[Schema], definitions: Mapping[str, Schema]
) -> Iterator[tuple[str, str]]:
    """The same of one key, which several classes may have."""
    if path in _UNSEARCHED:
        return
    models = [model for field in fields for model in _alternatives(field, definitions)]
    if models:
        inner: dict[str, list[Schema]] = {}
        for model in models:
            for key, field in model["properties"].items():
                inner.setdefault(key, []).append(field)
        for key, its in inner.items():
            yield from _paths(f"{path}.{key}", its, definitions)
    if any(_is_single(field) for field in fields):
        texts = dict.fromkeys(each.get("description", "") for each in fields)
        defaults = {str(each["default"]) for each in fields if "default" in each}
        paper = [f"Default: {defaults.pop()}."] if len(defaults) == 1 else []
        yield path, "\n\n".join([*filter(None, texts), *paper])


def _is_single(field: Schema) -> bool:
    """Whether a field may hold a word, a number, true, false or null."""
    kinds = field.get("type", [])
    kinds = [kinds] if isinstance(kinds, str) else kinds
    single = {"string", "number", "integer", "boolean", "null"} & set(kinds)
    inner = field.get("anyOf", [])
    return bool(single or "const" in field or "enum" in field) or any(map(_is_single, inner))


def _distribution() -> Schema:
    """An entry of `search`: one word of `DISTRIBUTIONS` with its arguments, and `when`."""
    above_0 = {"exclusiveMinimum": 0}
    arguments: dict[str, Schema] = {
        "uniform": _list(_NUMBER, _NUMBER),
        "loguniform": _list({**_NUMBER, **above_0}, _NUMBER),
        "quniform": _list(_NUMBER, _NUMBER, {**_NUMBER, **above_0}),
        "randint": _list(_WHOLE, _WHOLE),
        "lograndint": _list({**_WHOLE, **above_0}, _WHOLE),
        "choice": {"type": "array", "items": _SCALAR, "minItems": 1, "uniqueItems": True},
    }
    texts = {
        "uniform": "[low, high]: any number from low to high.",
        "loguniform": "[low, high]: the same, evenly over orders of magnitude; low above 0.",
        "quniform": "[low, high, q]: multiples of q; low and high are such.",
        "randint": "[low, high]: whole numbers from low, below high.",
        "lograndint": "[low, high]: the same, evenly over orders of magnitude; low above 0.",
        "choice": "One of these words, numbers, true, false, null.",
    }
    values = [_SCALAR, {"type": "array", "items": _SCALAR, "minItems": 1}]
    when = {
        "description": "Exists only in trials where each of these paths has one of its values.",
        "type": "object",
        "additionalProperties": {"anyOf": values},
    }
    words = {word: {"description": texts[word], **arguments[word]} for word in DISTRIBUTIONS}
    return {
        "type": "object",
        "additionalProperties": False,
        "properties": {**words, "when": when},
        "oneOf": [{"required": [word]} for word in DISTRIBUTIONS],
    }


def _list(*items: Schema) -> Schema:
    count = len(items)
    return {"type": "array", "items": list(items), "minItems": count, "maxItems": count}
