"""Converts pydantic's errors to one-line refusals, and classifies faults of the machine."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any, get_args

from pydantic import BaseModel, ValidationError

from trainables.errors import ConfigError, EnvironmentFault

_DEVICE_FAULTS = (
    "No CUDA GPUs are available",
    "CUDA driver initialization failed",
    "devices are busy or unavailable",
    "uncorrectable ECC error",
)
"""Parts of torch's RuntimeErrors that mean that no process can use the GPU."""


def is_fault(error: Exception, searched: Collection[str]) -> bool:
    """Whether an error before a run's first report is a fault of the machine or of its files.

    A `ConfigError` is one if nothing in the section that it names is searched: the same values
    passed the checks when the study was prepared, so the file behind them has changed.

    Args:
        error: as it was raised.
        searched: dotted paths of the values that differ between trials.

    >>> error = ConfigError("teacher.weights", "teacher.safetensors: no such file")
    >>> is_fault(error, {"optimiser.lr"}), is_fault(error, {"teacher.weights"})
    (True, False)
    """
    chain: BaseException | None = error
    while chain is not None:
        if isinstance(chain, EnvironmentFault | OSError):
            return True
        chain = chain.__cause__ or chain.__context__
    if isinstance(error, ConfigError):
        sections = {path.partition(".")[0] for path in searched}
        return bool(error.path) and error.path.partition(".")[0] not in sections
    return isinstance(error, RuntimeError) and any(each in str(error) for each in _DEVICE_FAULTS)


def first_problem(
    root: type[BaseModel], error: ValidationError, raw: Mapping[str, Any]
) -> ConfigError:
    """Convert the first problem of a validation error to a `ConfigError` with a dotted path.

    Args:
        root: the configuration class that refused `raw`.
        error: pydantic's error.
        raw: the nested mapping that was validated.
    """
    problem = error.errors()[0]
    keys = _without_tags(problem["loc"], raw)
    cause = problem.get("ctx", {}).get("error")
    if isinstance(cause, ConfigError):
        return ConfigError(".".join(filter(None, (*keys, cause.path))), cause.rule)
    if problem["type"] == "extra_forbidden":
        return ConfigError(".".join(keys), _unknown_key(root, keys, raw))
    if problem["type"] in ("union_tag_invalid", "union_tag_not_found"):
        known = str(problem["ctx"].get("expected_tags", "")).replace("'", "")
        given = problem["ctx"].get("tag")
        rule = f"unknown {keys[-1]} {given!r}" if given else "missing"
        known = f"; known: {known}" if known else f"; say which {keys[-1]}"
        return ConfigError(".".join([*keys, "name"]), rule + known)
    if problem["type"] == "missing":
        return ConfigError(".".join(keys), "missing, and it has no default")
    rule = problem["msg"].removeprefix("Value error, ")
    given = "" if problem["type"] == "value_error" else f"; got {problem['input']!r}"
    return ConfigError(".".join(keys), rule[0].lower() + rule[1:] + given)


def _without_tags(loc: Sequence[int | str], raw: Any) -> list[str]:
    """Return pydantic's path without union tags and names of attempted types."""
    keys: list[str] = []
    for word in loc:
        if isinstance(raw, Mapping):
            known = word in raw
            # A tag follows its own mapping; a missing key comes last.
            if not known and keys and (word == raw.get("name") or word is not loc[-1]):
                continue
            raw = raw.get(word)
        elif not (isinstance(raw, list | tuple) and isinstance(word, int)):
            continue
        else:
            raw = raw[word]
        keys.append(str(word))
    return keys


def _unknown_key(root: type[BaseModel], keys: Sequence[str], raw: Mapping[str, Any]) -> str:
    owner = root
    here: Any = raw
    for key in keys[:-1]:
        if isinstance(here, list | tuple):  # its owner is the class of its items
            here = here[int(key)]
        else:
            here = here[key]
            owner = _model_of(owner.model_fields[key].annotation, here)
    known = list(owner.model_fields)
    match = difflib.get_close_matches(keys[-1], known, n=1)
    hint = f"did you mean {match[0]}? " if match else ""
    what = keys[-2] if len(keys) > 1 else "a trial"
    tag = owner.model_fields.get("name")
    if tag is not None and here.get("name") in get_args(tag.annotation):
        what = here["name"]
    return f"unknown key; {hint}{what} has {', '.join(known)}"


def _model_of(annotation: Any, raw: Any) -> type[BaseModel]:
    """Return the configuration class of an annotation; of a union, the one of `raw`'s `name`."""
    options = list(_models_in(annotation))
    named = [
        option
        for option in options
        if isinstance(raw, Mapping)
        and "name" in option.model_fields
        and raw.get("name") in get_args(option.model_fields["name"].annotation)
    ]
    return (named or options)[0]


def _models_in(annotation: Any) -> Iterator[type[BaseModel]]:
    """Yield the configuration classes that an annotation names, in their order."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for argument in get_args(annotation):
        yield from _models_in(argument)
