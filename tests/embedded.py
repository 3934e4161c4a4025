"""The embedded API inside the test's own process."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import orjson

from kubeedge.apiserver.app import ApiServer, running
from kubeedge.kube.api import ApiError
from kubeedge.kube.kinds import NAMESPACE, SERVICE_ACCOUNT


@asynccontextmanager
async def embedded_apiserver(folder: Path, *namespaces: str) -> AsyncIterator[ApiServer]:
    """Run a server without controllers on a database in folder, with a default service account in each namespace."""
    async with running(ApiServer(folder, with_controllers=False)) as server:
        for name in namespaces:
            for kind, namespace, body in (
                (NAMESPACE, "", {"metadata": {"name": name}}),
                (SERVICE_ACCOUNT, name, {"metadata": {"name": "default"}}),
            ):
                try:
                    await server.api.create(kind, namespace, orjson.dumps(body))
                except ApiError as error:
                    # The server makes some of its own at its start.
                    if error.reason != "AlreadyExists":
                        raise
        yield server
