"""A cloud of real processes in a folder of its own, for as long as something is measured on it."""

from __future__ import annotations

import asyncio
import signal
import sys
import tempfile
from collections.abc import Awaitable, Callable, Iterable
from pathlib import Path
from typing import Any

import orjson
import uvloop
import yaml

from bench.processes import family
from kubeedge.demo import configuration
from kubeedge.kube.api import Kind
from tests.sites import Site

# Open files of a process: one a node, and those that all share.
FILES_A_NODE = 1
OTHER_FILES = 1024
# Calls to the API at a time.
WRITERS = 16

Measure = Callable[[Site], Awaitable[dict[str, Any]]]


def run(measure: Measure, endpoint: str = "") -> dict[str, Any]:
    """Measure a site; leave no process and no file behind, also when Ctrl-C or TERM ends it.

    endpoint is that of the node's runtime, by default local processes.
    """
    try:
        return uvloop.run(in_folder(measure, endpoint))
    except asyncio.CancelledError:
        sys.exit("ended by a signal")


async def in_folder(measure: Measure, endpoint: str = "") -> dict[str, Any]:
    """Measure a site in a folder that is removed again."""
    cancel_on_term()
    site = Site(Path(tempfile.mkdtemp(prefix="kubeedge-bench-")), endpoint)
    try:
        return await measure(site)
    except Exception:
        for program in site.programs:
            print(program.name, program.last_words(40), sep="\n", file=sys.stderr)
        raise
    finally:
        await site.clean_up()


def cancel_on_term() -> None:
    """Let TERM cancel the task that calls this, as Ctrl-C does by itself: what is started is ended then."""
    task = asyncio.current_task()
    assert task is not None
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)


async def start_cloudcore(site: Site, nodes: int, workers: int = 1) -> None:
    """Start cloudcore for that many nodes, with that many processes for their connections, and wait until it is up."""
    document = configuration.cloudcore(site.folder / "cloud", site.ports, site.kubeconfig)
    document["modules"]["cloudHub"]["nodeLimit"] = nodes + 100
    document["modules"]["cloudHub"]["workers"] = workers
    (site.folder / "cloud" / "cloudcore.yaml").write_text(yaml.safe_dump(document))
    await site.cloudcore.start()
    await site._answered(site.cloudcore, site.ports.certificates)


def cloudcore_pids(site: Site) -> list[int]:
    """Return the processes of cloudcore: itself and those that hold its connections, if there are any."""
    return family(site.cloudcore.pid)


async def create(site: Site, kind: Kind, objects: Iterable[dict[str, Any]]) -> None:
    """Create objects, some at a time."""
    waiting = iter(objects)

    async def work() -> None:
        for document in waiting:
            namespace = document["metadata"].get("namespace", "")
            await site.api.create(kind, namespace, orjson.dumps(document))

    await asyncio.gather(*(work() for _ in range(WRITERS)))


def config_map(name: str) -> dict[str, Any]:
    """Return a ConfigMap."""
    metadata = {"name": name, "namespace": "default"}
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": {"greeting": "hello"}}


def pod(node: str, config_map: str) -> dict[str, Any]:
    """Return a pod of a node that reads a ConfigMap."""
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": f"{config_map}-{node}", "namespace": "default"},
        "spec": {
            "nodeName": node,
            "containers": [{"name": "main", "image": "busybox"}],
            "volumes": [{"name": "settings", "configMap": {"name": config_map}}],
        },
    }
