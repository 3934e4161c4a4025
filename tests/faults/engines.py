"""A containerd that a test may do anything to, and a site whose node runs its pods there."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from kubeedge.demo.containers import containers
from tests.containerd import Containerd
from tests.sites import Site


@asynccontextmanager
async def engine_in(folder: Path) -> AsyncIterator[Containerd]:
    """Run a containerd that nobody else needs."""
    engine = Containerd(folder)
    try:
        await asyncio.to_thread(engine.prepare)
        yield engine
    finally:
        await asyncio.to_thread(engine.clean_up)


@asynccontextmanager
async def site_on(engine: Containerd, folder: Path) -> AsyncIterator[Site]:
    """Run a site whose node has this engine."""
    site = Site(folder)
    site.endpoint = engine.endpoint
    site.containers = containers(engine.endpoint, site._edge / "logs", site._cgroup)
    try:
        await site.start()
        yield site
    finally:
        await site.clean_up()
