"""What a fleet that nobody can start on one machine would need, from what bench.scale has measured of a smaller one.

Everything here grows with the number of nodes or of messages, so a figure for many nodes is that of one times their
number. docs/scale.md says where that ends.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from bench.fleet import LEASE_S, STATUS_S

# Of cores and memory of a machine, so that it survives the nodes of another one that is away.
USABLE = 0.5


@dataclass(slots=True, frozen=True)
class Fleet:
    """How large a fleet is, how much its devices say, and what one machine for a cloudcore has."""

    nodes: int = 100_000
    devices: int = 1_000_000
    # Reports of a device that reach the cloud: twins that change more often are told to it in between at most once.
    report_each_s: float = 60.0
    cores: int = 8
    memory_gb: float = 32.0


@dataclass(slots=True, frozen=True)
class Row:
    """One figure, how it comes about, and from what."""

    what: str
    formula: str
    figure: str


def extrapolate(scale: dict[str, Any], lease_us: float, fleet: Fleet) -> list[Row]:
    """Return the figures for a fleet; scale are those of bench.scale, lease_us is what a lease costs cloudcore."""
    nodes, measured = fleet.nodes, scale["nodes"]
    idle, quiet, restart, pushed = scale["idle"], scale["quiet"], scale["restart"], scale["push"]
    writes = idle["api_writes_per_s"] / measured
    core_s = idle["cloudcore_cpu_s"] / idle["wall_s"] / measured
    reports = fleet.devices / fleet.report_each_s
    report_s = lease_us / 1e6
    cores = nodes * core_s + reports * report_s
    connections_gb = nodes * quiet["kb_per_connection"] / 1e6
    cache_gb = nodes * scale["known"]["kb_per_known_node"] / 1e6
    by_cores = math.ceil(cores / (fleet.cores * USABLE))
    by_memory = math.ceil(connections_gb / (fleet.memory_gb * USABLE - cache_gb))
    replicas = max(by_cores, by_memory) + 1
    back_per_s = measured / restart["ready"]["last_s"]
    deliveries_per_s = measured / pushed["arrived"]["last_s"]
    storm_s = nodes / replicas / back_per_s
    return [
        Row("lease renewals", f"{nodes:,} / {LEASE_S:g} s", f"{nodes / LEASE_S:,.0f}/s"),
        Row("node statuses", f"{nodes:,} / {STATUS_S:g} s", f"{nodes / STATUS_S:,.0f}/s"),
        Row(
            "API writes of idle nodes, as measured",
            f"{nodes:,} × {idle['api_writes_per_s']:g}/s / {measured:,}",
            f"{nodes * writes:,.0f}/s",
        ),
        Row("reports of devices", f"{fleet.devices:,} / {fleet.report_each_s:g} s", f"{reports:,.0f}/s"),
        Row("API writes in all", "idle nodes + reports of devices", f"{nodes * writes + reports:,.0f}/s"),
        Row(
            "cores for idle nodes",
            f"{nodes:,} × {idle['cloudcore_cpu_percent']:g} % / {measured:,}",
            f"{nodes * core_s:.1f}",
        ),
        Row(
            "cores for reports of devices",
            f"{reports:,.0f}/s × {lease_us:g} µs",
            f"{reports * report_s:.1f}",
        ),
        Row(
            "memory of connections",
            f"{nodes:,} × {quiet['kb_per_connection']:g} kB",
            f"{connections_gb:.1f} GB, shared between the replicas",
        ),
        Row(
            "memory of what is known of nodes",
            f"{nodes:,} × {scale['known']['kb_per_known_node']:g} kB",
            f"{cache_gb:.1f} GB, in each replica",
        ),
        Row(
            f"replicas of {fleet.cores} cores and {fleet.memory_gb:g} GB",
            f"cores: ⌈{cores:.1f} / ({fleet.cores} × {USABLE:.0%})⌉ = {by_cores}; memory: {by_memory}; one may be away",
            f"{replicas}",
        ),
        Row(
            "all Ready after one replica was restarted",
            f"{nodes:,} / {replicas} / ({measured:,} / {restart['ready']['last_s']:g} s)",
            f"{storm_s:,.0f} s",
        ),
        Row(
            "one object to all nodes",
            f"{nodes:,} / {replicas} / ({measured:,} / {pushed['arrived']['last_s']:g} s)",
            f"{nodes / replicas / deliveries_per_s:,.1f} s",
        ),
        Row("ObjectSyncs written for it", "one each node", f"{nodes:,}"),
    ]
