"""A certificate service of a cloudcore on a free port, with the embedded API behind it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from kubeedge.bus import Bus
from kubeedge.cloudcore.httpserver.material import Sources
from kubeedge.cloudcore.httpserver.service import CertificateService, Settings
from kubeedge.kube.api import KubeApi


def sources(folder: Path, **changes: Any) -> Sources:
    """Return sources in a folder, for a server on 127.0.0.1."""
    files = {
        "ca_file": folder / "rootCA.crt",
        "ca_key_file": folder / "rootCA.key",
        "certificate_file": folder / "server.crt",
        "key_file": folder / "server.key",
    }
    return Sources(**{**files, "addresses": ["127.0.0.1"], "dns_names": [""], **changes})


@asynccontextmanager
async def certificate_service(
    api: KubeApi, folder: Path, bus: Bus | None = None, **settings: Any
) -> AsyncIterator[CertificateService]:
    """Run a service: entered when it listens, left when it has stopped."""
    service = CertificateService(
        api, bus or Bus(), Settings(**{"sources": sources(folder), "address": "127.0.0.1", "port": 0, **settings})
    )
    await service.prepare()
    running = asyncio.ensure_future(service.run())
    try:
        await asyncio.wait_for(service.listening.wait(), 10)
        yield service
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
