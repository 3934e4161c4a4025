"""The pages of what node, pods and containers use."""

from __future__ import annotations

import asyncio
from pathlib import Path

import orjson
import pytest

from kubeedge.edgecore.edged import statistics
from kubeedge.edgecore.edged.node import usage
from kubeedge.edgecore.edged.runtime.interface import ContainerConfig, ContainerStats, SandboxConfig
from kubeedge.edgecore.edged.statistics import Rates, Statistics
from kubeedge.monitoring import Page
from tests.edgecore.edged.memory_runtime import MemoryRuntime

SECOND = 1_000_000_000


async def running(runtime: MemoryRuntime, name: str, *containers: str) -> str:
    """Run a pod; return the id of its sandbox."""
    sandbox = SandboxConfig(name, "default", f"uid-{name}")
    sandbox_id = await runtime.run_sandbox(sandbox)
    for container in containers:
        id_ = await runtime.create_container(sandbox_id, ContainerConfig(container, 0, "busybox"), sandbox)
        await runtime.start_container(id_)
    return sandbox_id


def samples(page: Page) -> dict[str, float]:
    lines = [line.split() for line in page.body.decode().splitlines() if not line.startswith("#")]
    return {name: float(value) for name, value, *_ in lines}


def test_rate_is_between_readings_a_second_apart_and_none_at_first() -> None:
    rates = Rates()
    assert rates.take("a", 10 * SECOND, 5 * SECOND) is None
    assert rates.take("a", 10 * SECOND + 1000, 5 * SECOND + 1000) is None
    assert rates.take("a", 12 * SECOND, 6 * SECOND) == SECOND // 2
    assert rates.take("a", 12 * SECOND + 1000, 7 * SECOND) == SECOND // 2
    assert rates.take("a", 14 * SECOND, 1 * SECOND) is None, "the count began anew"
    assert rates.take("a", 13 * SECOND, 2 * SECOND) is None, "the clock was set back"
    assert rates.take("a", 15 * SECOND, 3 * SECOND) == SECOND // 2
    rates.keep(set())
    assert rates.take("a", 17 * SECOND, 4 * SECOND) is None


def test_node_counts_work_and_interfaces_but_not_idling_and_loopback() -> None:
    assert usage.cpu_ns([10, 1, 20, 1000, 500, 3, 4, 5, 6, 7]) == (10 + 1 + 20 + 3 + 4 + 5) * usage._TICK_NS
    numbers = " ".join(map(str, range(1, 17)))
    text = f"Inter-|\n face |\n    lo: {numbers}\n  eth0:{numbers}\n"
    assert usage.interfaces(text) == [usage.Interface("eth0", 1, 3, 9, 11)]


async def test_summary_has_node_pods_and_containers(tmp_path: Path) -> None:
    runtime = MemoryRuntime()
    await running(runtime, "web", "main", "helper")
    await running(runtime, "empty")
    page = await Statistics(runtime, "e1", tmp_path).summary()
    summary = orjson.loads(page.body)
    assert page.status == 200
    assert summary["node"]["nodeName"] == "e1"
    assert summary["node"]["startTime"] < summary["node"]["cpu"]["time"]
    assert summary["node"]["memory"]["usageBytes"] >= summary["node"]["memory"]["workingSetBytes"] > 0
    assert summary["node"]["fs"]["capacityBytes"] >= summary["node"]["fs"]["usedBytes"] > 0
    (pod,) = summary["pods"]
    assert pod["podRef"] == {"name": "web", "namespace": "default", "uid": "uid-web"}
    assert [container["name"] for container in pod["containers"]] == ["helper", "main"]
    assert pod["memory"]["workingSetBytes"] == 4 << 20
    assert pod["containers"][0]["memory"]["rssBytes"] == 1 << 20
    assert pod["cpu"]["usageCoreNanoSeconds"] == sum(c["cpu"]["usageCoreNanoSeconds"] for c in pod["containers"])
    assert "usageNanoCores" not in pod["cpu"]


async def test_rates_of_a_pod_are_those_of_its_containers_since_the_request_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    runtime = MemoryRuntime()
    await running(runtime, "web", "a", "b")
    spent = [(10, 1), (12, 2)]

    async def container_stats() -> list[ContainerStats]:
        at, cpu = spent.pop(0)
        return [ContainerStats(id_, at * SECOND, cpu * SECOND, 3, 2, 1, 7) for id_ in runtime.containers]

    monkeypatch.setattr(runtime, "container_stats", container_stats)
    pages = Statistics(runtime, "e1", tmp_path)
    await pages.summary()
    (pod,) = orjson.loads((await pages.summary()).body)["pods"]
    assert pod["cpu"] == {"time": "1970-01-01T00:00:12Z", "usageNanoCores": SECOND, "usageCoreNanoSeconds": 4 * SECOND}
    assert pod["containers"][0]["cpu"]["usageNanoCores"] == SECOND // 2
    assert pod["containers"][0]["rootfs"] == {"time": "1970-01-01T00:00:12Z", "usedBytes": 7}


async def test_metrics_have_the_names_that_metrics_server_reads(tmp_path: Path) -> None:
    runtime = MemoryRuntime()
    await running(runtime, "web", "main")
    page = await Statistics(runtime, "e1", tmp_path).resource_metrics()
    found = samples(page)
    pod = 'namespace="default",pod="web"'
    assert list(found) == [
        f'container_cpu_usage_seconds_total{{container="main",{pod}}}',
        f'container_memory_working_set_bytes{{container="main",{pod}}}',
        f'container_start_time_seconds{{container="main",{pod}}}',
        "node_cpu_usage_seconds_total",
        "node_memory_working_set_bytes",
        f"pod_cpu_usage_seconds_total{{{pod}}}",
        f"pod_memory_working_set_bytes{{{pod}}}",
        "resource_scrape_error",
        "scrape_error",
    ]
    assert found[f"pod_memory_working_set_bytes{{{pod}}}"] == 2 << 20
    assert found["node_cpu_usage_seconds_total"] > 0
    assert found["scrape_error"] == 0


async def test_runtime_that_is_away_or_stuck_gives_an_error_with_its_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    runtime = MemoryRuntime()
    pages = Statistics(runtime, "e1", tmp_path)
    runtime.is_away = True
    page = await pages.summary()
    assert (page.status, page.body) == (503, b"no statistics of containers: away\n")
    page = await pages.resource_metrics()
    assert page.status == 200
    assert page.body.startswith(b"# away\n")
    assert samples(page)["scrape_error"] == samples(page)["resource_scrape_error"] == 1
    assert samples(page)["node_memory_working_set_bytes"] > 0
    monkeypatch.setattr(statistics, "RUNTIME_TIMEOUT_S", 0.05)
    monkeypatch.setattr(runtime, "container_stats", asyncio.Event().wait)
    assert b"did not answer within" in (await pages.summary()).body
    assert samples(await pages.resource_metrics())["scrape_error"] == 1


async def test_container_that_ends_between_two_calls_is_left_out(tmp_path: Path) -> None:
    runtime = MemoryRuntime()
    await running(runtime, "web", "main")
    stats = await runtime.container_stats()
    gone = [ContainerStats("gone", 1, 1, 1, 1, 1), *stats]
    (pod,) = statistics.joined(gone, await runtime.list_containers(), await runtime.list_sandboxes())
    assert [one.container_id for one in pod.stats] == [stats[0].container_id]
    assert statistics.joined(gone, [], await runtime.list_sandboxes()) == []
