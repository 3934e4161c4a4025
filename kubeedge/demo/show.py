"""The demo on the terminal: node, pods, the device, events and messages a second, until Ctrl-C."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from kubeedge.demo.kubectl import KubectlError, find
from kubeedge.demo.site import EXAMPLES, Site
from kubeedge.kube.api import ApiError, ApiUnavailableError
from kubeedge.kube.kinds import DEVICE, DEVICE_STATUS, EVENT, NODE, POD

REFRESH_S = 1.0
SHOWN_EVENTS = 8
SHOWN_LINES = 6

# What to try in the second terminal: the temperature as it changes, and where it is to go.
HINTS = (
    "get pods -o wide",
    "get devicestatus thermometer -w",
    'patch device thermometer --type json -p \'[{"op": "replace", "path": "/spec/properties/1/desired/value", '
    '"value": "25"}]\'',
)

_COLOURS = {"Running": "green", "Pending": "yellow", "Succeeded": "blue", "Failed": "red"}


async def show(site: Site) -> None:
    """Start everything, apply the examples and show what happens until cancelled. Raises ProgramError."""
    console = Console()
    with console.status("starting the Kubernetes API of this machine") as status:
        await site.start_api()
        status.update("starting cloudcore")
        await site.start_cloudcore()
        status.update("starting edgecore, which joins with a token")
        await site.start_edgecore()
        status.update("applying examples/")
        await site.kubectl("apply", "-f", str(EXAMPLES))
        status.update("starting a thermometer that speaks Modbus, and its mapper")
        await site.start_device(is_still=False)
        await site.apply_device()
    console.print("Use it from a second terminal; Ctrl-C here ends everything.\n", style="bold")
    console.print(f"    export KUBECONFIG={site.kubeconfig}", highlight=False, soft_wrap=True)
    for hint in HINTS:
        console.print(f"    {_kubectl()} {hint}", highlight=False, soft_wrap=True, markup=False)
    console.print()
    if console.is_terminal:
        await _draw(site, console)
    else:
        await _tell(site, console)


def _kubectl() -> str:
    try:
        return find()
    except KubectlError:
        return "kubectl"


async def _draw(site: Site, console: Console) -> None:
    rate = _Rate()
    with Live(console=console, auto_refresh=False, transient=True) as live:
        while True:
            site.check_running()
            live.update(await _picture(site, rate), refresh=True)
            await asyncio.sleep(REFRESH_S)


async def _tell(site: Site, console: Console) -> None:
    """Without a terminal: a line whenever a pod's phase or a device's values change."""
    told: dict[str, str] = {}
    while True:
        site.check_running()
        now = {f"pod {pod['metadata']['name']}": pod["status"].get("phase", "") for pod in await _list(site, POD)}
        now |= {f"device {one['metadata']['name']}": _values(one) for one in await _list(site, DEVICE_STATUS)}
        for name in sorted(now.keys() | told.keys()):
            if now.get(name) != told.get(name):
                console.print(f"{name} {now.get(name, 'is gone')}", highlight=False)
        told = now
        await asyncio.sleep(REFRESH_S)


class _Rate:
    """Messages a second between two looks at the counter."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._last: tuple[float, int] | None = None

    def update(self, total: int) -> float:
        """Take the present total and return the rate since the last one; a counter that began anew gives 0."""
        now, last = self._clock(), self._last
        self._last = (now, total)
        return max(total - last[1], 0) / (now - last[0]) if last and now > last[0] else 0.0


async def _list(site: Site, kind: Any) -> list[dict[str, Any]]:
    try:
        return await site.objects(kind)
    except (ApiError, ApiUnavailableError):
        return []


async def _picture(site: Site, rate: _Rate) -> RenderableType:
    total = await site.messages()
    events = sorted(await _list(site, EVENT), key=_event_time)[-SHOWN_EVENTS:]
    link = Text(f"{rate.update(total):.0f} messages/s between cloud and edge, {total} so far", style="bold")
    return Group(
        _nodes(await _list(site, NODE)),
        _pods(await _list(site, POD)),
        _devices(await _list(site, DEVICE), await _list(site, DEVICE_STATUS)),
        Panel(Text("\n".join(_event_line(event) for event in events) or "none yet"), title="Events"),
        Panel(Text("\n".join(await _last_lines(site)) or "nothing yet"), title="What the pods say"),
        link,
    )


def _table(title: str, *columns: str) -> Table:
    table = Table(title=title, title_justify="left", expand=True)
    for column in columns:
        table.add_column(column, overflow="fold")
    return table


def _nodes(nodes: list[dict[str, Any]]) -> Table:
    table = _table("Nodes", "Name", "Status", "Runtime", "Version", "Age")
    for node in nodes:
        conditions = {one["type"]: one["status"] for one in node.get("status", {}).get("conditions", ())}
        is_ready = conditions.get("Ready") == "True"
        info = node.get("status", {}).get("nodeInfo", {})
        table.add_row(
            node["metadata"]["name"],
            Text("Ready", style="green") if is_ready else Text("NotReady", style="red"),
            info.get("containerRuntimeVersion", ""),
            info.get("kubeletVersion", ""),
            _age(node["metadata"]["creationTimestamp"]),
        )
    return table


def _pods(pods: list[dict[str, Any]]) -> Table:
    table = _table("Pods", "Namespace", "Name", "Status", "Restarts", "Node", "Age")
    for pod in sorted(pods, key=lambda one: (one["metadata"]["namespace"], one["metadata"]["name"])):
        metadata, status = pod["metadata"], pod.get("status", {})
        phase = status.get("phase", "Pending")
        shown = "Terminating" if "deletionTimestamp" in metadata else _waiting(status) or phase
        table.add_row(
            metadata["namespace"],
            metadata["name"],
            Text(shown, style=_COLOURS.get(shown, "yellow")),
            str(sum(one.get("restartCount", 0) for one in status.get("containerStatuses", ()))),
            pod["spec"].get("nodeName", ""),
            _age(metadata["creationTimestamp"]),
        )
    return table


def _devices(devices: list[dict[str, Any]], statuses: list[dict[str, Any]]) -> Table:
    table = _table("Devices", "Name", "State", "Reported", "Node", "Age")
    by_name = {status["metadata"]["name"]: status for status in statuses}
    for device in devices:
        metadata = device["metadata"]
        status = by_name.get(metadata["name"], {})
        state = status.get("status", {}).get("state", "")
        table.add_row(
            metadata["name"],
            Text(state or "unknown", style="green" if state == "online" else "yellow"),
            _values(status),
            device["spec"].get("nodeName", ""),
            _age(metadata["creationTimestamp"]),
        )
    return table


def _values(status: dict[str, Any]) -> str:
    """Return what a device reports, in one line."""
    twins = status.get("status", {}).get("twins", ())
    return ", ".join(f"{twin['propertyName']} {twin['reported']['value']}" for twin in twins)


def _waiting(status: dict[str, Any]) -> str:
    """Return why a container waits, if one does."""
    states = (one.get("state", {}) for one in status.get("containerStatuses", ()))
    return next((state["waiting"].get("reason", "") for state in states if "waiting" in state), "")


def _event_time(event: dict[str, Any]) -> str:
    return str(event.get("lastTimestamp") or event.get("eventTime") or event["metadata"]["creationTimestamp"])


def _event_line(event: dict[str, Any]) -> str:
    about = event.get("involvedObject", {})
    name = f"{about.get('kind', '').lower()}/{about.get('name', '')}"
    words = (
        _event_time(event)[11:19],
        event.get("type", ""),
        event.get("reason", ""),
        f"{name}:",
        event.get("message", ""),
    )
    return " ".join(words)


async def _last_lines(site: Site) -> list[str]:
    lines = []
    for container in (await site.containers.running())[:SHOWN_LINES]:
        try:
            text = container.log_path.read_text(encoding="utf-8", errors="replace")
        except OSError:
            continue
        if text:
            lines.append(text.splitlines()[-1].split(" ", 3)[-1])
    return sorted(lines)


def _age(created: str) -> str:
    seconds = int((datetime.now(UTC) - datetime.fromisoformat(created)).total_seconds())
    return f"{seconds}s" if seconds < 120 else f"{seconds // 60}m"
