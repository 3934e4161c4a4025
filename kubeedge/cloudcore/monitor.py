"""What cloudcore shows of itself over plain HTTP, for this machine (spec 03 §14.5)."""

from __future__ import annotations

from collections.abc import Callable

from kubeedge.monitoring import OK, Monitor, Page

_NOT_READY = Page(b"not ready\n", 503)


def monitor(address: str, is_ready: Callable[[], bool]) -> Monitor:
    """Make the monitor server on address, `host:port`: `/metrics`, `/healthz` (the process runs), `/readyz` (it works).

    is_ready tells whether cloudcore does its work.
    """
    host, _, port = address.rpartition(":")

    def healthy() -> Page:
        return OK

    def ready() -> Page:
        return OK if is_ready() else _NOT_READY

    return Monitor(host.strip("[]"), int(port), {"/healthz": healthy, "/livez": healthy, "/readyz": ready})
