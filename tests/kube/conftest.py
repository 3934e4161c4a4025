"""What the tests of the Kubernetes client share."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from kubeedge.kube.api import KubeApi
from tests.embedded import embedded_apiserver


@pytest.fixture
async def api(tmp_path: Path) -> AsyncIterator[KubeApi]:
    """The embedded API with namespace `default`."""
    async with embedded_apiserver(tmp_path, "default") as server:
        yield server.api
