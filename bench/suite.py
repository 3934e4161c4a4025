"""Which programs `python -m bench` runs, and the lines that their figures give."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable
from typing import Any

from bench import imports, ratios
from bench.line import Line, line
from bench.programs import output

ENDPOINT = "CONTAINER_RUNTIME_ENDPOINT"


def micro() -> list[Line]:
    """The compiled hot paths beside their plain build and other libraries."""
    reached, floors = ratios.measure()
    method = f"best of {ratios.ROUNDS} rounds in turns, on recorded messages"
    return [
        Line(f"micro: {name}", reached[name], "x", method, least=floors.get(name), is_ratio=True) for name in reached
    ]


def link() -> list[Line]:
    """Requests of nodes and their answers, connections, memory."""
    busy = output("link_roundtrip", "--nodes", "10", "--messages", "100000")
    many = output("link_roundtrip", "--nodes", "400", "--messages", "40000")
    ten, all_ = "10 nodes, one request each under way, mTLS; CPU of the hub's process", "400 nodes, mTLS"
    return [
        line("link: request and reply", busy["cpu_us_per_round_trip"], "us CPU", ten),
        line("link: round trips", busy["round_trips_per_s"], "1/s", ten),
        line("link: round trip, p50", busy["p50_ms"], "ms", ten),
        line("link: round trip, p99", busy["p99_ms"], "ms", ten),
        line("link: request and reply, many nodes", many["cpu_us_per_round_trip"], "us CPU", all_),
        line("link: new connection", many["cpu_us_per_connection"] / 1000, "ms CPU", f"{all_}, one after the other"),
        line("link: new connection, p50", many["connect_p50_ms"], "ms", "TLS and upgrade, both sides on this machine"),
        line("link: new connection, p99", many["connect_p99_ms"], "ms", "TLS and upgrade, both sides on this machine"),
        line("link: memory a connected node", many["rss_kb_per_node"], "kB", f"{all_}: growth of RSS by node"),
    ]


def workers() -> list[Line]:
    """Processes that hold the connections of nodes, beside one that does all."""
    found = output("workers", "--rounds", "2")
    number = found["workers"]
    one, many = found["workers_1"], found[f"workers_{number}"]
    method = f"{found['nodes']} nodes, requests and replies, mTLS, {found['cores']} cores"

    def share(row: dict[str, Any]) -> str:
        return f"{method}; {row['clients_share_of_cpu']:.0%} of all CPU is the nodes'"

    return [
        line(f"workers: CPU a round trip, {number} beside 1", found["cpu_ratio"], "x", f"{method}; all processes"),
        line("workers: imbalance of nodes", found["imbalance_of_nodes"], "part", f"{method}; farthest from the mean"),
        line("workers: imbalance of CPU", found["imbalance_of_cpu"], "part", f"{method}; farthest from the mean"),
        line("workers: round trips with 1", one["round_trips_per_s"], "1/s", share(one)),
        line(f"workers: round trips with {number}", many["round_trips_per_s"], "1/s", share(many)),
    ]


def push() -> list[Line]:
    """Reliable pushes until they are recorded, and nodes that say nothing."""
    found = output("push")
    nodes = found["nodes"]
    each = f"{nodes} nodes have the object, each acknowledgement written; CPU of cloudcore"
    one = "one node, one change at a time: from the call to the API until the node acknowledges"
    all_ = f"one change of an object of {nodes} nodes"
    return [
        line("push: until recorded", found["cpu_us_per_push"], "us CPU", each),
        line("push: one object, p50", found["p50_ms"], "ms", one),
        line("push: one object, p99", found["p99_ms"], "ms", one),
        line("push: one object, API, p50", found["api_p50_ms"], "ms", "the same change, until the API has answered"),
        line(f"push: one object to {nodes} nodes", found["fan_out_ms"], "ms", f"{all_}: until the last has it"),
        line(f"push: one object to {nodes} nodes, p50", found["fan_out_p50_ms"], "ms", f"{all_}: each node"),
        line(f"push: one object to {nodes} nodes, p99", found["fan_out_p99_ms"], "ms", f"{all_}: each node"),
        line(f"idle: cloudcore with {nodes} nodes", found["rest_cpu_percent"], "% CPU", "keepalives each 15 s"),
        line("idle: memory a node", found["kb_per_node"], "kB", "growth of PSS of all cloudcore: session, Node, pod"),
    ]


def leases() -> list[Line]:
    """What each thing that an idle node does costs cloudcore and the API."""
    found = output("leases")
    method = f"{found['nodes']} nodes, evenly {found['rate']:g} a second, what is used at rest taken off"
    lines = []
    for name, row in found.items():
        if isinstance(row, dict):
            lines.append(line(f"leases: {name}", row["cloudcore_us"], "us CPU", f"cloudcore; {method}"))
            lines.append(line(f"leases: {name}, API", row["api_us"], "us CPU", f"embedded API; {method}"))
    return lines


def store() -> list[Line]:
    """Durable commits."""
    lines = []
    for writers, row in output("store").items():
        if isinstance(row, dict):
            name, method = f"store: {writers}", "1 kB rows, each writer waits for its commit on disk"
            lines += [
                line(f"{name}, commits", row["commits_per_s"], "1/s", method),
                line(f"{name}, a commit", row["cpu_us"], "us CPU", method),
                line(f"{name}, p50", row["p50_ms"], "ms", method),
                line(f"{name}, p99", row["p99_ms"], "ms", method),
                line(f"{name}, written a commit", row["written_bytes"], "bytes", "write_bytes of /proc/self/io"),
            ]
    return lines


def api() -> list[Line]:
    """The embedded API."""
    found = output("apiserver")
    method = "CPU of its process, one call at a time, TLS, durable"
    watched = found["one write to many watches"]
    lines = []
    for name, row in found["calls"].items():
        lines += [
            line(f"api: {name}", row["cpu_us"], "us CPU", method),
            line(f"api: {name}, p50", row["p50_ms"], "ms", method),
            line(f"api: {name}, p99", row["p99_ms"], "ms", method),
        ]
    fan_out = f"until the last of {watched['watches']} has heard, best of 5"
    return [*lines, line(f"api: one write to {watched['watches']} watchers", watched["best_ms"], "ms", fan_out)]


def edge() -> list[Line]:
    """An object of the cloud at the edge, from bus to acknowledgement."""
    found = output("metamanager")
    method = "3 kB pods, stored durably before the acknowledgement"
    return [
        line("edge: object in a burst", found["burst_cpu_us_a_message"], "us CPU", method),
        line("edge: one object, p50", found["single_p50_ms"], "ms", method),
        line("edge: one object, p99", found["single_p99_ms"], "ms", method),
    ]


def twin() -> list[Line]:
    """Updates of twins, from MQTT to MQTT."""
    found = output("twin")
    method = f"{found['method']}, {found['at_once']} at once"
    return [
        line("twin: updates", found["updates_per_s"], "1/s", method),
        line("twin: an update", found["edgecore_cpu_us"], "us CPU", f"{method}; CPU of edgecore"),
        line("twin: p50", found["p50_ms"], "ms", method),
        line("twin: p99", found["p99_ms"], "ms", method),
        line("twin: one update, p50", found["single_p50_ms"], "ms", "one at a time"),
        line("twin: one update, p99", found["single_p99_ms"], "ms", "one at a time"),
        line("twin: memory with 1,000 devices", found["kB"]["rss"] / 1000, "MB RSS", "edgecore after all updates"),
    ]


def daemons() -> list[Line]:
    """The three programs at their start and at rest."""
    found = output("daemons")
    rest, start_s = found["rest"], found["start_s"]
    node, cloud, api_ = rest["edgecore"], rest["cloudcore"], rest["kubeedge-apiserver"]
    during = f"{found['rest_s']:g} s, one node, no pods"
    modules = f"{during}, default modules, mosquitto beside it"
    ready = "exec until the API says Ready, site is up; median"
    restart = "cloudcore killed and started at once: from the kill until connected"
    return [
        line("edgecore: start until Ready", start_s["edgecore"], "s", ready),
        line("edgecore: first start until Ready", start_s["edgecore joins"], "s", f"{ready}; with its certificate"),
        line("edgecore: memory at rest", node["rss"] / 1000, "MB RSS", modules),
        line("edgecore: processor at rest", node["cpu_percent"], "% CPU", modules),
        line("edgecore: written at rest", node["written_kb_per_minute"], "kB/min", f"{modules}; write_bytes in /proc"),
        line("edgecore: back after a restart of cloudcore", found["back_s"]["last"], "s", f"{restart}; longest of 3"),
        line("edgecore: memory of the supervisor", rest["supervisor"]["rss"] / 1000, "MB RSS", "of local processes"),
        line("cloudcore: start", start_s["cloudcore"], "s", "exec until nodes can connect, median"),
        line("cloudcore: memory at rest", cloud["rss"] / 1000, "MB RSS", during),
        line("cloudcore: processor at rest", cloud["cpu_percent"], "% CPU", during),
        line("api: start", start_s["apiserver"], "s", "exec until it answers, median"),
        line("api: memory at rest", api_["rss"] / 1000, "MB RSS", f"{during}, controllers included"),
        line("api: processor at rest", api_["cpu_percent"], "% CPU", f"{during}, controllers included"),
    ]


def pods() -> list[Line]:
    """Ten pods to Running: on the engine that is named, on a containerd of their own where root runs this."""
    if os.environ.get(ENDPOINT) or os.geteuid() or shutil.which("containerd") is None:
        engine, found = os.environ.get(ENDPOINT) or "local processes", output("pods")
    else:
        engine, found = "containerd", output("pods", before=(sys.executable, "-m", "tests.containerd"))
    many, method = found["10 pods"], f"10 pods on {engine}"
    return [
        line("pods: 10 until Running", many["running_s"], "s", f"{method}, from the first creation"),
        line("pods: edgecore until 10 are Running", many["cpu_ms"], "ms CPU", method),
        line("pods: edgecore's memory with 10", many["kB"]["rss"] / 1000, "MB RSS", method),
        line("pods: edgecore's processor with 10", many["rest_cpu_percent"], "% CPU", method),
    ]


def import_cost() -> list[Line]:
    """What a daemon costs before it does anything."""
    lines = []
    for module in imports.DAEMONS:
        row, method = imports.measure(module), f"best of {imports.RUNS} fresh interpreters"
        lines.append(line(f"import: {module}", row["cpu_ms"], "ms CPU", method))
        lines.append(line(f"import: {module}, memory", row["rss_kb"] / 1000, "MB RSS", method))
    return lines


BENCHMARKS: dict[str, Callable[[], list[Line]]] = {
    "micro": micro,
    "link": link,
    "workers": workers,
    "push": push,
    "leases": leases,
    "store": store,
    "api": api,
    "edge": edge,
    "twin": twin,
    "daemons": daemons,
    "pods": pods,
    "import": import_cost,
}
