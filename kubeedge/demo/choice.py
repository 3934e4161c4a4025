"""Which runtime the demo's node drives: a container engine where one can be used, else processes of this machine."""

from __future__ import annotations

import asyncio
import stat
from pathlib import Path

from kubeedge.edgecore.edged.runtime.cri.connection import SCHEME, Connection
from kubeedge.edgecore.edged.runtime.cri.runtime import CriRuntime
from kubeedge.edgecore.edged.runtime.interface import RuntimeCallError, RuntimeUnavailableError, SandboxConfig

CONTAINERD = "unix:///run/containerd/containerd.sock"
# What the examples run.
IMAGE = "busybox:1.36"

ASK_TIMEOUT_S = 10
PULL_TIMEOUT_S = 60


def has_socket(endpoint: str) -> bool:
    """Tell whether somebody made the socket of an endpoint."""
    try:
        return stat.S_ISSOCK(Path(endpoint.removeprefix(SCHEME)).stat().st_mode)
    except OSError:
        return False


async def obstacle(endpoint: str) -> str:
    """Say what keeps the demo from using the container engine at endpoint, empty when nothing does.

    An engine that runs pods already is left alone: a node ends every pod that it does not know.
    """
    connection = Connection(endpoint)
    runtime = CriRuntime(endpoint, connect=lambda _: connection)
    try:
        async with asyncio.timeout(ASK_TIMEOUT_S):
            await runtime.version()
            status = await runtime.status()
            if not status.runtime_ready or not status.network_ready:
                return status.runtime_message or status.network_message
            if await runtime.list_sandboxes():
                return "it runs pods of somebody else"
            if await runtime.image_status(IMAGE) is not None:
                return ""
        async with asyncio.timeout(PULL_TIMEOUT_S):
            await runtime.pull_image(IMAGE, None, SandboxConfig("demo", "default", "demo"))
    except TimeoutError:
        return "it takes too long to answer"
    except (RuntimeUnavailableError, RuntimeCallError) as error:
        return str(error)
    finally:
        connection.close()
    return ""
