"""What edged shows over HTTP on the node: health, pods and what they use, metrics beside them (spec 05 §4.8)."""

from __future__ import annotations

import logging
from collections.abc import Callable

import orjson

from kubeedge.edgecore.edged.pod import Object
from kubeedge.edgecore.edged.statistics import Statistics
from kubeedge.monitoring import OK, Monitor, Page

log = logging.getLogger("kubeedge.edged")


class Server:
    """Serves those pages. sync_problem gives what is wrong with the pod engine, empty when it is healthy."""

    def __init__(
        self,
        address: str,
        port: int,
        pods: Callable[[], list[Object]],
        sync_problem: Callable[[], str],
        statistics: Statistics,
    ) -> None:
        def healthy() -> Page:
            return OK

        def sync_loop() -> Page:
            problem = sync_problem()
            return Page(f"{problem}\n".encode(), 500) if problem else OK

        def pod_list() -> Page:
            listing = {"kind": "PodList", "apiVersion": "v1", "metadata": {}, "items": pods()}
            return Page(orjson.dumps(listing), media_type="application/json")

        self._address = address
        self._monitor = Monitor(
            address,
            port,
            {
                "/healthz": healthy,
                "/healthz/ping": healthy,
                "/healthz/log": healthy,
                "/healthz/syncloop": sync_loop,
                "/pods": pod_list,
                "/stats/summary": statistics.summary,
                "/metrics/resource": statistics.resource_metrics,
            },
        )

    @property
    def bound_port(self) -> int:
        """The port that is listened on."""
        return self._monitor.port

    async def run(self) -> None:
        """Serve until cancelled. A port that is taken is logged, the pods do not depend on it."""
        try:
            await self._monitor.run()
        except OSError as error:
            log.error("server not started address=%s:%d reason=%s", self._address, self._monitor.port, error)
