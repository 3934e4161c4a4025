"""Events are written once and then counted."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import orjson

from kubeedge.apiserver.controllers import events
from kubeedge.apiserver.controllers.events import Recorder
from kubeedge.apiserver.controllers.views import Metadata
from kubeedge.apiserver.local import LocalApi
from kubeedge.kube import kinds
from tests.apiserver.controllers.cluster import until

POD = Metadata(name="p", namespace="default", uid="u", resource_version="7")


@asynccontextmanager
async def running(recorder: Recorder) -> AsyncIterator[None]:
    async with asyncio.TaskGroup() as tasks:
        task = tasks.create_task(recorder.run())
        yield
        task.cancel()


async def written(api: LocalApi, expected: int, **fields: Any) -> list[dict[str, Any]]:
    async def look() -> list[dict[str, Any]]:
        found = [orjson.loads(raw) for raw in (await api.list(kinds.EVENT, "default")).items]
        done = len(found) == expected and all(found[-1].get(name) == value for name, value in fields.items())
        return found if done else []

    return list(await until(look))


async def test_event_has_the_form_of_a_real_controllers(api: LocalApi) -> None:
    recorder = Recorder(api, clock=lambda: 1_000_000_000.5)
    async with running(recorder):
        recorder.event("replicaset-controller", kinds.POD, POD, "Reason", "words")
        (event,) = await written(api, 1)
    assert event["metadata"]["name"].startswith("p.")
    assert event["involvedObject"] == {
        "kind": "Pod",
        "namespace": "default",
        "name": "p",
        "uid": "u",
        "apiVersion": "v1",
        "resourceVersion": "7",
    }
    assert (event["type"], event["count"], event["source"]) == ("Normal", 1, {"component": "replicaset-controller"})
    assert event["firstTimestamp"] == event["lastTimestamp"] == "2001-09-09T01:46:40Z"
    assert event["reportingComponent"] == "replicaset-controller"


async def test_repeated_event_is_counted_and_another_message_is_another_event(api: LocalApi) -> None:
    now = [1_000_000_000.0]
    recorder = Recorder(api, clock=lambda: now[0])
    async with running(recorder):
        for _ in range(3):
            recorder.event("c", kinds.POD, POD, "Reason", "words", warning=True)
            now[0] += 10
        (event,) = await written(api, 1, count=3)
        assert event["firstTimestamp"] == "2001-09-09T01:46:40Z"
        assert event["lastTimestamp"] == "2001-09-09T01:47:00Z"
        recorder.event("c", kinds.POD, POD, "Reason", "other words")
        await written(api, 2)
        now[0] += events.REMEMBERED_S + 1
        recorder.event("c", kinds.POD, POD, "Reason", "words", warning=True)
        await written(api, 3)


async def test_scheduling_event_is_of_the_newer_form_and_becomes_a_series(api: LocalApi) -> None:
    recorder = Recorder(api, clock=lambda: 1_000_000_000.25)
    async with running(recorder):
        recorder.scheduling(POD, "FailedScheduling", "no room", "Scheduling", warning=True)
        (event,) = await written(api, 1)
        assert event["eventTime"] == "2001-09-09T01:46:40.250000Z"
        assert (event["action"], event["reportingComponent"]) == ("Scheduling", "default-scheduler")
        assert event["firstTimestamp"] is None
        recorder.scheduling(POD, "FailedScheduling", "no room", "Scheduling", warning=True)

        async def series() -> bool:
            found = [orjson.loads(raw) for raw in (await api.list(kinds.EVENT, "default")).items]
            return [entry.get("series", {}).get("count") for entry in found] == [2]

        await until(series)


async def test_counted_event_that_was_deleted_is_written_again(api: LocalApi) -> None:
    recorder = Recorder(api)
    async with running(recorder):
        recorder.event("c", kinds.POD, POD, "Reason", "words")
        (event,) = await written(api, 1)
        await api.delete(kinds.EVENT, "default", event["metadata"]["name"])
        recorder.event("c", kinds.POD, POD, "Reason", "words")
        (again,) = await written(api, 1)
    assert again["count"] == 1


async def test_event_in_a_namespace_that_is_gone_is_given_up_and_the_next_is_written(api: LocalApi) -> None:
    recorder = Recorder(api)
    async with running(recorder):
        recorder.event("c", kinds.POD, Metadata(name="p", namespace="absent"), "Reason", "words")
        recorder.event("c", kinds.POD, POD, "Reason", "words")
        await written(api, 1)


async def test_events_beyond_the_limit_are_dropped_not_kept(api: LocalApi) -> None:
    recorder = Recorder(api)
    before = events._dropped.value("queue full")
    for number in range(events.MAX_WAITING + 5):
        recorder.event("c", kinds.POD, POD, "Reason", str(number))
    assert events._dropped.value("queue full") - before == 5
