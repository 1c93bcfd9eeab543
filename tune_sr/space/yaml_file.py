"""Reads YAML with the line number of every key, and writes YAML; the only `import yaml`."""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from trainables.errors import ConfigError
from trainables.limits import NESTING, YAML_BYTES
from trainables.paths import expanded, why_no_file

Keys = tuple[str | int, ...]

_VARIABLE = re.compile(r"\$\{([^}]*)\}")
_NO_FILE = os.strerror(errno.ENOENT).lower()
_BRACED = re.compile(r"\$\{|\{scale\}")
ADDRESS = "study.tracking_uri"
"""Path of the tracking address. A variable in it may be a password, so it is stored as it stands,
and `tracking/store.py` fills it in."""
_FLOAT = re.compile(
    r"[-+]?(\.[0-9]+|[0-9]+\.[0-9]*)([eE][-+]?[0-9]+)?$|[-+]?[0-9]+[eE][-+]?[0-9]+$"
    r"|[-+]?\.(inf|Inf|INF)$|\.(nan|NaN|NAN)$"
)


class SpaceError(ConfigError):
    """An error in a user's space, in one line: `FILE:LINE: dotted.path: rule`."""

    def __init__(self, place: str, path: str, rule: str) -> None:
        super().__init__(path, " ".join(rule.split()))
        self.place = place
        self.args = (place, path, rule)  # what an exception is unpickled with

    def __str__(self) -> str:
        return ": ".join(filter(None, (self.place, self.path, self.rule)))


@dataclass(frozen=True)
class Document:
    """The content of a YAML file, with the line number of every key."""

    file: str
    content: dict[str, Any]
    lines: Mapping[Keys, int]

    def error(self, keys: Keys, path: str, rule: str) -> SpaceError:
        """The error at `keys`, with the line of the innermost of them that the file has."""
        while keys and keys not in self.lines:
            keys = keys[:-1]
        return SpaceError(f"{self.file}:{self.lines.get(keys, 1)}", path, rule)


def read_yaml(path: Path) -> Document:
    """Read the mapping in a file; each `${VARIABLE}` is replaced from the environment.

    Raises:
        SpaceError: the file cannot be read, is not YAML or is no mapping, a key occurs twice, a
            variable is not set.
    """
    path = expanded(path)
    try:
        if path.is_file() and path.stat().st_size > YAML_BYTES:
            raise SpaceError(str(path), "", f"more than {YAML_BYTES:,} bytes, too long to be read")
        reason = why_no_file(path)
        if reason is not None:
            raise SpaceError(str(path), "", reason.replace("no such file", _NO_FILE))
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise SpaceError(str(path), "", (error.strerror or str(error)).lower()) from None
    except UnicodeDecodeError:
        raise SpaceError(str(path), "", "not a text file in UTF-8") from None
    return parse_yaml(text, str(path))


def parse_yaml(text: str, file: str, *, interpolate: bool = True) -> Document:
    """Read the mapping in `text` as `read_yaml` does; `file` is its name in messages."""
    reader = _Reader(file, interpolate)
    content = reader.read(text)
    if not isinstance(content, dict):
        raise SpaceError(f"{file}:1", "", "not a mapping of keys to values")
    return Document(file, content, reader.lines)


def parse_value(text: str, place: str, *, interpolate: bool = True) -> Any:
    """Read one YAML value, as `--set` takes it; `place` is its name in messages."""
    return _Reader(place, interpolate, numbered=False).read(text)


def dump_yaml(content: Any) -> str:
    """Write mappings, lists and scalars as YAML that `parse_yaml` reads back equal."""
    text: str = yaml.dump(
        content, Dumper=_Dumper, sort_keys=False, default_flow_style=None, width=100
    )
    return text


class _Loader(yaml.SafeLoader):
    """Loads the core schema of YAML 1.2: `1e-5` is a number, `on`, `12:30` and dates are words."""

    depth = 0

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        """Compose a node as PyYAML does, but refuse aliases, tags and deep nesting."""
        event = self.peek_event()  # type: ignore[no-untyped-call]  # the stubs leave it untyped
        problem = None
        if self.check_event(yaml.AliasEvent):
            problem = "an alias is not part of the grammar"
        elif getattr(event, "tag", None) is not None:
            problem = f"tag {event.tag} is not part of the grammar"
        elif self.depth >= NESTING:
            problem = f"mappings and lists more than {NESTING} levels deep"
        if problem is not None:
            raise yaml.MarkedYAMLError(problem=problem, problem_mark=event.start_mark)
        self.depth += 1
        node = super().compose_node(parent, index)
        self.depth -= 1
        return node


class _Dumper(yaml.SafeDumper):
    """Quotes every string that YAML 1.1 or 1.2 would read as another type."""

    def ignore_aliases(self, data: Any) -> bool:
        """Write equal values out twice: a space has no anchors."""
        return True


_Loader.yaml_implicit_resolvers = {}
for _tag, _pattern, _first in (
    ("null", re.compile(r"(~|null|Null|NULL|)$"), ["~", "n", "N", ""]),
    ("bool", re.compile(r"(true|True|TRUE|false|False|FALSE)$"), list("tTfF")),
    ("int", re.compile(r"[-+]?(0|[1-9][0-9_]*)$"), list("-+0123456789")),
    ("float", _FLOAT, list("-+.0123456789")),
):
    _Loader.add_implicit_resolver(f"tag:yaml.org,2002:{_tag}", _pattern, _first)
_Dumper.add_implicit_resolver("tag:yaml.org,2002:float", _FLOAT, list("-+.0123456789"))


class _Reader:
    """Builds values from YAML nodes, and records the line of each key."""

    def __init__(self, file: str, interpolate: bool, *, numbered: bool = True) -> None:
        self.file = file
        self.interpolate = interpolate
        self.numbered = numbered
        self.lines: dict[Keys, int] = {}
        self.loader: _Loader | None = None

    def read(self, text: str) -> Any:
        """Read the one document in `text`; an empty one is an empty mapping."""
        try:
            self.loader = _Loader(text)
            node = self.loader.get_single_node()
            return {} if node is None else self._build(node, ())
        except yaml.MarkedYAMLError as error:
            mark = error.problem_mark or error.context_mark
            line = mark.line if mark else 0
            rule = f"not YAML: {error.problem or error.context}"
            if _BRACED.search("".join(text.splitlines()[line : line + 1])):
                rule += '; a value with { } in it needs quotes: "${VARIABLE}/x{scale}.pt"'
            raise SpaceError(self._place(line + 1), "", rule) from None
        except yaml.YAMLError as error:
            raise SpaceError(self._place(1), "", f"not YAML: {error}") from None

    def _build(self, node: yaml.Node, keys: Keys) -> Any:
        line = node.start_mark.line + 1
        self.lines.setdefault(keys, line)
        if isinstance(node, yaml.MappingNode) and node.tag == "tag:yaml.org,2002:map":
            return self._mapping(node, keys)
        if isinstance(node, yaml.SequenceNode) and node.tag == "tag:yaml.org,2002:seq":
            return [self._build(item, (*keys, index)) for index, item in enumerate(node.value)]
        if not isinstance(node, yaml.ScalarNode):
            raise self._error(line, keys, f"tag {node.tag} is not part of the grammar")
        assert self.loader is not None
        whole = node.tag == "tag:yaml.org,2002:int"
        if whole and (len(node.value) > 40 or abs(int(node.value)) >= 2**63):
            raise self._error(line, keys, "a whole number of more than 64 bits")
        value = self.loader.construct_object(node)
        return self._filled_in(value, line, keys) if isinstance(value, str) else value

    def _mapping(self, node: yaml.MappingNode, keys: Keys) -> dict[str, Any]:
        built: dict[str, Any] = {}
        for key_node, value_node in node.value:
            line = key_node.start_mark.line + 1
            key = key_node.value
            if not isinstance(key_node, yaml.ScalarNode):
                raise self._error(line, keys, "a key is a word")
            if key in built:
                raise self._error(line, (*keys, key), "given twice")
            self.lines[(*keys, key)] = line
            built[key] = self._build(value_node, (*keys, key))
        return built

    def _filled_in(self, text: str, line: int, keys: Keys) -> str:
        if not self.interpolate:
            return text

        def value_of(match: re.Match[str]) -> str:
            if match[1] not in os.environ:
                raise self._error(line, keys, f"{match[0]} is not set in the environment")
            return os.environ[match[1]]

        filled = _VARIABLE.sub(value_of, text)
        return text if ".".join(map(str, keys)) == ADDRESS else filled

    def _place(self, line: int) -> str:
        return f"{self.file}:{line}" if self.numbered else self.file

    def _error(self, line: int, keys: Keys, rule: str) -> SpaceError:
        return SpaceError(self._place(line), ".".join(str(key) for key in keys), rule)
