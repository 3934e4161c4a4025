"""`python -m kubeedge.mapper new NAME`: a project that works, to start a mapper from."""

from __future__ import annotations

import re
from importlib.resources import files
from pathlib import Path
from string import Template

# Files of the template by where they go in the project; $module is replaced in both.
_FILES = {
    "mapper.py.in": "$module.py",
    "test_mapper.py.in": "test_$module.py",
    "config.yaml.in": "config.yaml",
    "device.yaml.in": "device.yaml",
    "README.md.in": "README.md",
}
# What a protocol, a Device and a file may all be called.
_NAME = re.compile(r"[a-z][a-z0-9-]{0,39}")


class ScaffoldError(Exception):
    """Why there is no project."""


def make(folder: Path) -> list[Path]:
    """Make the project in folder, whose last part names the protocol. Returns its files. Raises ScaffoldError."""
    name = folder.name
    if not _NAME.fullmatch(name):
        raise ScaffoldError(f"{name!r} is no name for a protocol: small letters, digits and -, a letter first")
    if folder.exists() and any(folder.iterdir()):
        raise ScaffoldError(f"{folder} is not empty")
    words = {
        "name": name,
        "module": name.replace("-", "_"),
        "class_name": "".join(part.capitalize() for part in name.split("-")),
    }
    folder.mkdir(parents=True, exist_ok=True)
    made = []
    for source, target in _FILES.items():
        text = files("kubeedge.mapper").joinpath("template", source).read_text(encoding="utf-8")
        path = folder / Template(target).substitute(words)
        path.write_text(Template(text).substitute(words), encoding="utf-8")
        made.append(path)
    return made
