"""Configuration files as YAML documents: reading, choosing keys, printing."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

import yaml

from kubeedge.config.errors import ConfigError, Problem
from kubeedge.config.section import Section, decode

S = TypeVar("S", bound=Section)
Rules = Callable[[S], Iterator[Problem]]


class Loader(yaml.SafeLoader):
    """YAML as upstream's reader sees it: no dates and no numbers to base 60, so that `10:20` stays text."""


class Dumper(yaml.SafeDumper):
    """YAML as upstream's writer prints it: double quotes where quotes are needed."""

    def choose_scalar_style(self) -> str:
        """Choose as PyYAML does, but never single quotes."""
        style: str = super().choose_scalar_style()
        return '"' if style == "'" else style


_RESOLVED = {f"tag:yaml.org,2002:{kind}" for kind in ("timestamp", "int", "float")}
_INTEGER = re.compile(r"[-+]?(?:0b[01_]+|0x[0-9a-fA-F_]+|0[0-7_]*|[1-9][0-9_]*)$")
_FLOAT = re.compile(
    r"[-+]?(?:(?:[0-9][0-9_]*\.[0-9_]*|\.[0-9][0-9_]*)(?:[eE][-+]?[0-9]+)?|[0-9]+[eE][-+]?[0-9]+|\.(?:inf|Inf|INF))$"
    r"|\.(?:nan|NaN|NAN)$"
)
Loader.yaml_implicit_resolvers = {
    first: [resolver for resolver in resolvers if resolver[0] not in _RESOLVED]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
Loader.add_implicit_resolver("tag:yaml.org,2002:int", _INTEGER, list("-+0123456789"))
Loader.add_implicit_resolver("tag:yaml.org,2002:float", _FLOAT, list("-+0123456789."))


def parse(path: Path, text: str) -> Any:
    """Read a YAML text. Raises ConfigError with line and column of what is no YAML."""
    try:
        return yaml.load(text, Loader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        place = f"line {mark.line + 1}, column {mark.column + 1}: " if mark else ""
        raise ConfigError(path, [Problem("", f"{place}{error.problem or error.context}")]) from None
    except yaml.YAMLError as error:
        raise ConfigError(path, [Problem("", str(error))]) from None


def read(path: Path) -> str:
    """Return the text of a configuration file. Raises ConfigError."""
    try:
        return path.read_text("utf-8")
    except FileNotFoundError:
        hint = "does not exist; --minconfig or --defaultconfig print one to start from"
        raise ConfigError(path, [Problem("config", f"Required value: config file {path} {hint}")]) from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(path, [Problem("config", f"cannot be read: {error}")]) from None


def load(path: Path, defaults: S, rules: Rules[S]) -> tuple[S, list[Problem]]:
    """Decode the file over defaults and check it with rules; return it with the warnings.

    Raises ConfigError with every problem: of types first, and of values only where all types are right.
    """
    content = parse(path, read(path))
    config, errors, warnings = decode(defaults, {} if content is None else content)
    kind, expected = getattr(config, "kind", ""), getattr(defaults, "kind", "")
    if kind != expected:
        warnings.append(Problem("kind", f"is {kind}, {expected} was expected"))
    errors = errors or list(rules(config))
    if errors:
        raise ConfigError(path, errors)
    return config, warnings


def select(document: Mapping[str, Any], keys: Mapping[str, Any]) -> dict[str, Any]:
    """Return document with only the keys of a tree; a leaf names the keys taken whole (`port address`), None is all."""
    selected: dict[str, Any] = {}
    for key, below in keys.items():
        if below is None:
            selected[key] = document[key]
        elif isinstance(below, str):
            selected[key] = {name: document[key][name] for name in below.split()}
        else:
            selected[key] = select(document[key], below)
    return selected


def dump(document: Mapping[str, Any]) -> str:
    """Write document as upstream prints it: sorted keys, lists not indented."""
    text: str = yaml.dump(
        dict(document), Dumper=Dumper, sort_keys=True, default_flow_style=False, allow_unicode=True, width=2**31
    )
    return text
