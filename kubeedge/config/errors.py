"""What can be wrong with a configuration."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple


class Problem(NamedTuple):
    """One thing that is wrong: path is the key (`modules.cloudHub.websocket.port`), empty for the file as a whole."""

    path: str
    reason: str

    def __str__(self) -> str:
        return f"{self.path}: {self.reason}" if self.path else self.reason


class ConfigError(Exception):
    """A configuration that nothing may be started with.

    file, path and reason name the first problem; problems holds all of them. The text lists all, one a line, between
    brackets as upstream does (spec 02 §2.6).
    """

    def __init__(self, file: Path, problems: Sequence[Problem]) -> None:
        self.file = file
        self.problems = tuple(problems)
        self.path, self.reason = self.problems[0]
        lines = "".join(f"  {problem}\n" for problem in self.problems)
        super().__init__(f"{file}:\n[\n{lines}]")
