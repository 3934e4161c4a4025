from __future__ import annotations

import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from kubeedge.mapper.testing import FakeEdge


@pytest.fixture
def short_path() -> Iterator[Path]:
    """A folder for Unix sockets, whose paths may have 107 characters."""
    with tempfile.TemporaryDirectory(prefix="m") as folder:
        yield Path(folder)


@pytest.fixture
async def edge(short_path: Path) -> AsyncIterator[FakeEdge]:
    """An edgecore that is played, listening."""
    async with FakeEdge(short_path) as edge:
        yield edge
