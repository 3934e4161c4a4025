"""A real server in the test's own loop: `apiserver` (with its controllers) and `bare_apiserver` (without)."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from kubeedge.apiserver.app import ApiServer, running


@pytest.fixture
async def apiserver(tmp_path: Path) -> AsyncIterator[ApiServer]:
    """A running server: `.kubeconfig` is a path, `.url` the HTTPS base, `.api` a LocalApi."""
    async with running(ApiServer(tmp_path / "apiserver")) as server:
        yield server


@pytest.fixture
async def bare_apiserver(tmp_path: Path) -> AsyncIterator[ApiServer]:
    """The same without controllers, so that nothing but the test changes objects."""
    async with running(ApiServer(tmp_path / "apiserver", with_controllers=False)) as server:
        yield server
