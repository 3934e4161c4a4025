"""A real server in the test's own loop: `apiserver` (with controllers) and `bare` (without), `https` to call `bare`."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from pathlib import Path

import pytest
import uvloop

from kubeedge.apiserver.app import ApiServer, running
from kubeedge.apiserver.local import LocalApi
from kubeedge.kube.kinds import SERVICE_ACCOUNT
from tests.apiserver.https import Https
from tests.apiserver.kubectl import Kubectl


def pytest_asyncio_loop_factories(
    config: pytest.Config, item: pytest.Item
) -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    """Run on the loop of the daemons, whose TLS is another than asyncio's."""
    del config, item
    return {"uvloop": uvloop.new_event_loop}


@pytest.fixture
async def apiserver(tmp_path: Path) -> AsyncIterator[ApiServer]:
    """A running server: `.kubeconfig` is a path, `.url` the HTTPS base, `.api` a LocalApi."""
    async with running(ApiServer(tmp_path / "apiserver")) as server:
        yield server


@pytest.fixture
async def bare(tmp_path: Path) -> AsyncIterator[ApiServer]:
    """The same without controllers, so that nothing but the test changes objects; default has its service account."""
    async with running(ApiServer(tmp_path / "apiserver", with_controllers=False)) as server:
        await server.api.create(SERVICE_ACCOUNT, "default", b'{"metadata":{"name":"default"}}')
        yield server


@pytest.fixture
def https(bare: ApiServer) -> Https:
    """Calls the bare server."""
    return Https(bare.kubeconfig)


@pytest.fixture
def api(bare: ApiServer) -> LocalApi:
    """The bare server's API in the process."""
    return bare.api


@pytest.fixture
def kubectl(apiserver: ApiServer) -> Kubectl:
    """Runs kubectl against the server with controllers."""
    return Kubectl(apiserver.kubeconfig)
