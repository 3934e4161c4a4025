"""Recordings of a real cloud and a real edge, message by message (tests/golden/link-websocket*.jsonl)."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

GOLDEN = Path(__file__).parents[1] / "golden"


@dataclass(slots=True)
class Step:
    """A message as it was recorded, t seconds after the start; an opened connection has no envelope."""

    t: float
    connection: int
    is_from_edge: bool
    envelope: dict[str, Any] | None

    @property
    def id(self) -> str:
        """The message's own id."""
        return str(self._header.get("msg_id", ""))

    @property
    def parent_id(self) -> str:
        """The id of the message that it answers."""
        return str(self._header.get("parent_msg_id", ""))

    @property
    def resource_version(self) -> str:
        """The version in the header."""
        return str(self._header.get("resourceversion", ""))

    @property
    def source(self) -> str:
        """Who sent it."""
        return str(self._route.get("source", ""))

    @property
    def operation(self) -> str:
        """What it is to do."""
        return str(self._route.get("operation", ""))

    @property
    def resource(self) -> str:
        """What it is about."""
        return str(self._route.get("resource", ""))

    @property
    def content(self) -> Any:
        """What it carries."""
        return self.envelope["content"] if self.envelope is not None else None

    @property
    def _header(self) -> dict[str, Any]:
        return self.envelope["header"] if self.envelope is not None else {}

    @property
    def _route(self) -> dict[str, Any]:
        return self.envelope["route"] if self.envelope is not None else {}

    def __str__(self) -> str:
        arrow = "edge > cloud" if self.is_from_edge else "cloud > edge"
        return f"t={self.t} {arrow} {self.source} {self.operation} {self.resource}"


def load(name: str) -> list[Step]:
    """Read a recording."""
    steps = []
    for line in (GOLDEN / name).read_bytes().splitlines():
        record = orjson.loads(line)
        message = record.get("message")
        # The answer to an upgrade says nothing that the upgrade does not.
        if message is None and record["dir"] != "edge>cloud":
            continue
        steps.append(Step(record["t"], record["conn"], record["dir"] == "edge>cloud", message))
    return steps
