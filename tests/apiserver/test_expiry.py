from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from kubeedge.apiserver import expiry
from kubeedge.apiserver.expiry import EVENT_TTL_S, EventExpiry
from kubeedge.apiserver.storage import Storage
from tests.apiserver.waiting import until


async def test_event_is_forgotten_an_hour_after_it_was_written_last(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(expiry, "_CHECK_INTERVAL_S", 0.02)
    clock = [1000.0]
    storage = Storage(tmp_path, now_s=lambda: clock[0])
    await storage.open()

    async def put(name: str) -> None:
        document = {"metadata": {"name": name, "namespace": "default", "uid": "u"}}
        await storage.write(lambda transaction: transaction.put("events", document))

    def names() -> list[str]:
        return [stored.name for stored in storage.snapshot("events").range()]

    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(storage.run())]
        await put("from-before")
        tasks.append(group.create_task(EventExpiry(storage).run()))
        await asyncio.sleep(0)
        await put("once")
        await put("again")
        clock[0] += EVENT_TTL_S - 10
        await put("again")
        clock[0] += 20
        await until(lambda: names() == ["again"])
        clock[0] += EVENT_TTL_S
        await until(lambda: names() == [])
        for task in tasks:
            task.cancel()
    await storage.close()
