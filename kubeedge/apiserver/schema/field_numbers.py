"""Makes field_numbers.json: how the fields of the API's types are numbered in protobuf, from Kubernetes' .proto files.

`python -m kubeedge.apiserver.schema.field_numbers DIRECTORY` reads `DIRECTORY/api/*/*/generated.proto` and the like of
apimachinery (a copy of the repositories k8s.io/api and k8s.io/apimachinery). Numbers of known types are kept; a number
whose fields stand in the enclosing object in JSON (an embedded struct) is marked `*type`.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

import orjson

from kubeedge.apiserver.schema.types import names, struct

_MESSAGE = re.compile(r"^message (\w+) \{$(.*?)^\}$", re.MULTILINE | re.DOTALL)
_FIELD = re.compile(r"^  (?:optional|repeated|map<string, )?\s*([.\w]+)>? (\w+) = (\d+);", re.MULTILINE)
_PACKAGE = re.compile(r"^package k8s\.io\.(?:api|apimachinery\.pkg\.apis)\.(\w+)\.(\w+);", re.MULTILINE)


def _messages(directory: Path) -> dict[str, list[tuple[str, str, int]]]:
    """(type, name, number) of each field by message, as in the files."""
    found = {}
    for path in sorted(directory.rglob("generated.proto")):
        text = path.read_text()
        package = _PACKAGE.search(text)
        if package is None:
            continue
        prefix = f"{package[1]}.{package[2]}"
        for message, body in _MESSAGE.findall(text):
            fields = [(_type(kind, prefix), name, int(number)) for kind, name, number in _FIELD.findall(body)]
            found[f"{prefix}.{message}"] = fields
    return found


def _type(kind: str, prefix: str) -> str:
    """`core.v1.PodSpec` of `.k8s.io.api.core.v1.PodSpec` or `PodSpec`."""
    return ".".join(kind.split(".")[-3:]) if "." in kind else f"{prefix}.{kind}"


def generate(directory: Path) -> bytes:
    """Return the file: one type a line."""
    messages = _messages(directory)
    lines: dict[str, dict[str, str]] = {}

    def add(name: str, known: dict[str, str]) -> None:
        numbers: dict[str, str] = {}
        for kind, field, number in messages[name]:
            # Some names are written `uID` there.
            if field.lower() in known:
                numbers[str(number)] = known[field.lower()]
            elif kind in messages and any(inner.lower() in known for _, inner, _ in messages[kind]):
                numbers[str(number)] = f"*{kind}"
                add(kind, known)
        if name in lines:
            numbers = lines[name] | numbers
        lines[name] = numbers

    for name in names():
        if name in messages:
            add(name, {field.lower(): field for field in struct(name).fields})
    rows = [f"{orjson.dumps(name).decode()}:{orjson.dumps(lines[name]).decode()}" for name in sorted(lines)]
    return ("{\n" + ",\n".join(rows) + "\n}\n").encode()


if __name__ == "__main__":
    sys.stdout.buffer.write(generate(Path(sys.argv[1])))
