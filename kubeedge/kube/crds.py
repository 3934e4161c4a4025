"""The custom resources that this project owns: their manifests, and putting them into a cluster (spec 02 §3.1)."""

from __future__ import annotations

import asyncio
import logging
from functools import cache
from importlib import resources
from typing import Any

import orjson
import yaml

from kubeedge.kube.api import ApiError, KubeApi
from kubeedge.kube.kinds import CUSTOM_RESOURCE_DEFINITION

log = logging.getLogger(__name__)

# An API server serves a new kind within a second or two; after this time something is wrong with it.
ESTABLISHED_TIMEOUT_S = 30.0
POLL_S = 0.1


@cache
def manifests() -> tuple[dict[str, Any], ...]:
    """Return the CustomResourceDefinitions of all KubeEdge kinds, in the order of their names."""
    folder = resources.files("kubeedge.kube") / "manifests"
    files = sorted((file for file in folder.iterdir() if file.name.endswith(".yaml")), key=lambda file: file.name)
    return tuple(yaml.safe_load(file.read_bytes()) for file in files)


async def ensure_installed(api: KubeApi) -> int:
    """Create the definitions that the cluster lacks and wait until they are served; return how many were made.

    What is there stays as it is. Raises ApiError, ApiUnavailableError, or TimeoutError when a kind does not get served
    within ESTABLISHED_TIMEOUT_S seconds.
    """
    created = 0
    for manifest in manifests():
        try:
            await api.create(CUSTOM_RESOURCE_DEFINITION, "", orjson.dumps(manifest))
        except ApiError as error:
            if error.reason != "AlreadyExists":
                raise
            continue
        log.info("custom resource definition created name=%s", manifest["metadata"]["name"])
        created += 1
    async with asyncio.timeout(ESTABLISHED_TIMEOUT_S):
        for manifest in manifests():
            await _established(api, manifest["metadata"]["name"])
    return created


async def _established(api: KubeApi, name: str) -> None:
    while True:
        definition = orjson.loads(await api.get(CUSTOM_RESOURCE_DEFINITION, "", name))
        conditions = definition.get("status", {}).get("conditions") or ()
        if any(condition["type"] == "Established" and condition["status"] == "True" for condition in conditions):
            return
        await asyncio.sleep(POLL_S)
