"""Changes of single values in a configuration file that a person wrote (spec 02 §1.5).

Upstream prints the whole file anew and loses comments and order; here only the value's own characters change.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from kubeedge.config.document import Dumper, Loader, parse, read
from kubeedge.config.errors import ConfigError, Problem
from kubeedge.store.file import replace

# Mode of a file that has none yet, as upstream's.
NEW_FILE_MODE = 0o640


def set_value(path: Path, key: str, value: str) -> bool:
    """Set the string at a dotted key in the file at path; return False when it already stands there.

    The file is replaced by rename and keeps its mode and owner. Raises ConfigError when it cannot be changed.
    """
    text = read(path)
    changed = replaced(path, text, key, value)
    if changed == text:
        return False
    try:
        replace(path, changed.encode(), mode=NEW_FILE_MODE, keep=True)
    except OSError as error:
        raise ConfigError(path, [Problem(key, f"cannot be written: {error}")]) from None
    return True


def replaced(path: Path, text: str, key: str, value: str) -> str:
    """Return text with the string at the dotted key set to value, all else as it is; path is for errors only."""
    keys = key.split(".")
    content = parse(path, text)
    if _value(content, keys) == value:
        return text
    root = yaml.compose(text, Loader)
    missing = keys
    node = root
    while missing and isinstance(node, yaml.MappingNode) and (child := _child(node, missing[0])) is not None:
        node, missing = child, missing[1:]
    scalar = _scalar(value)
    if not missing and isinstance(node, yaml.ScalarNode):
        start, end = node.start_mark.index, node.end_mark.index
        space = " " if start and text[start - 1] == ":" else ""
        candidate = f"{text[:start]}{space}{scalar}{text[end:]}"
    elif missing == keys and len(keys) == 1 and (root is None or not _is_flow(root)):
        candidate = f"{text}{'' if text.endswith(chr(10)) or not text else chr(10)}{key}: {scalar}\n"
    else:
        candidate = ""
    expected = _with_value(content, keys, value)
    if candidate and _parsed(candidate) == expected:
        return candidate
    # An anchor, a flow mapping or a missing section: better a file without its comments than a wrong one.
    whole: str = yaml.dump(expected, Dumper=Dumper, sort_keys=True, default_flow_style=False, allow_unicode=True)
    return whole


def _parsed(text: str) -> Any:
    try:
        return yaml.load(text, Loader)
    except yaml.YAMLError:
        return None


def _scalar(value: str) -> str:
    text: str = yaml.dump([value], Dumper=Dumper, default_flow_style=True, width=2**31)
    return text.strip()[1:-1]


def _is_flow(node: yaml.Node) -> bool:
    return not isinstance(node, yaml.MappingNode) or bool(node.flow_style)


def _child(node: yaml.MappingNode, key: str) -> yaml.Node | None:
    found = [value for name, value in node.value if str(name.value).lower() == key.lower()]
    return found[-1] if found else None


def _actual(content: dict[Any, Any], key: str) -> Any:
    matches = [name for name in content if str(name).lower() == key.lower()]
    return matches[-1] if matches else key


def _value(content: Any, keys: list[str]) -> Any:
    for key in keys:
        if not isinstance(content, dict):
            return None
        content = content.get(_actual(content, key))
    return content


def _with_value(content: Any, keys: list[str], value: str) -> dict[Any, Any]:
    result: dict[Any, Any] = dict(content) if isinstance(content, dict) else {}
    name = _actual(result, keys[0])
    result[name] = value if len(keys) == 1 else _with_value(result.get(name), keys[1:], value)
    return result
