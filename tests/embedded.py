"""The embedded API inside the test's own process."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import orjson
from cryptography.hazmat.primitives.asymmetric import ec

from kubeedge.apiserver.engine import Engine
from kubeedge.apiserver.kinds.table import builtin
from kubeedge.apiserver.local import LocalApi
from kubeedge.apiserver.storage import Storage
from kubeedge.apiserver.tokens import Tokens
from kubeedge.kube.kinds import NAMESPACE, SERVICE_ACCOUNT


@asynccontextmanager
async def embedded_api(folder: Path, *namespaces: str) -> AsyncIterator[LocalApi]:
    """Run an engine on a database in folder, with namespaces and a default service account in each."""
    storage = Storage(folder)
    await storage.open()
    engine = Engine(storage, builtin(), Tokens(ec.generate_private_key(ec.SECP256R1()), storage, now_s=time.time))
    api = LocalApi(engine)
    try:
        async with asyncio.TaskGroup() as group:
            running = group.create_task(storage.run())
            for name in namespaces:
                await api.create(NAMESPACE, "", orjson.dumps({"metadata": {"name": name}}))
                await api.create(SERVICE_ACCOUNT, name, b'{"metadata":{"name":"default"}}')
            yield api
            running.cancel()
    finally:
        await storage.close()
