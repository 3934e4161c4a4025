"""The order in which requests of nodes are worked on."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kubeedge.cloudcore.edgecontroller import queue as queue_module
from kubeedge.cloudcore.edgecontroller.queue import RequestQueue
from kubeedge.cloudcore.edgecontroller.request import Request
from kubeedge.message import new_message


def request(node: str, type_: str = "pod", name: str = "a") -> Request:
    """Return a request of node about an object of namespace n."""
    return Request(new_message("edged", "meta", "patch", f"node/{node}/n/{type_}/{name}", b"{}"))


async def take(queue: RequestQueue) -> Request | None:
    """Return the next request, None when there is none for now."""
    try:
        async with asyncio.timeout(0.01):
            return await queue.take()
    except TimeoutError:
        return None


async def test_requests_about_one_object_come_one_after_the_other() -> None:
    queue = RequestQueue()
    patch, deletion, other = request("e1", "podpatch"), request("e1", "pod"), request("e1", "pod", "b")
    for each in (patch, deletion, other):
        assert queue.put(each)
    assert await take(queue) is patch
    assert await take(queue) is other
    assert await take(queue) is None
    queue.done(other)
    assert await take(queue) is None
    queue.done(patch)
    assert await take(queue) is deletion
    queue.done(deletion)
    assert len(queue) == 0
    assert not queue._nodes


async def test_nodes_take_turns() -> None:
    queue = RequestQueue()
    for number in range(3):
        queue.put(request("e1", name=f"{number}"))
    queue.put(request("e2"))
    order = [await take(queue) for _ in range(4)]
    assert [each.node for each in order if each] == ["e1", "e2", "e1", "e1"]


async def test_a_node_cannot_take_all_workers() -> None:
    queue = RequestQueue()
    for number in range(queue_module.MAX_RUNNING_PER_NODE + 1):
        queue.put(request("e1", name=f"{number}"))
    running = [await take(queue) for _ in range(queue_module.MAX_RUNNING_PER_NODE)]
    assert all(running)
    assert await take(queue) is None
    assert running[0]
    queue.done(running[0])
    assert await take(queue) is not None


async def test_a_node_with_too_many_waiting_is_refused_and_others_are_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(queue_module, "MAX_WAITING_PER_NODE", 2)
    queue = RequestQueue()
    assert queue.put(request("e1"))
    assert queue.put(request("e1"))
    assert not queue.put(request("e1"))
    assert queue.put(request("e2"))


async def test_waiting_workers_are_woken_one_by_one_and_a_cancelled_one_loses_nothing() -> None:
    queue = RequestQueue()
    async with asyncio.TaskGroup() as group:
        first, second = group.create_task(queue.take()), group.create_task(queue.take())
        await asyncio.sleep(0)
        first.cancel()
        await asyncio.sleep(0)
        queue.put(request("e1"))
        async with asyncio.timeout(1):
            assert (await second).node == "e1"


async def test_a_worker_cancelled_after_its_wake_up_passes_it_on() -> None:
    queue = RequestQueue()
    async with asyncio.TaskGroup() as group:
        first, second = group.create_task(queue.take()), group.create_task(queue.take())
        await asyncio.sleep(0)
        queue.put(request("e1"))
        first.cancel()
        async with asyncio.timeout(1):
            assert (await second).node == "e1"


@settings(max_examples=50, deadline=None)
@given(
    st.lists(
        st.tuples(st.sampled_from(["e1", "e2", "e3"]), st.sampled_from(["pod", "podpatch"]), st.sampled_from("abc")),
        max_size=40,
    ),
    st.integers(1, 5),
)
def test_whatever_comes_each_is_done_once_and_in_order_for_its_object(
    sent: list[tuple[str, str, str]], workers: int
) -> None:
    async def run() -> None:
        queue, seen, busy = RequestQueue(), [], set()
        all_seen = asyncio.Event()

        async def work() -> None:
            while True:
                taken = await queue.take()
                key = (taken.node, taken.name)
                assert key not in busy
                busy.add(key)
                await asyncio.sleep(0)
                seen.append(taken)
                busy.discard(key)
                queue.done(taken)
                if len(seen) == len(sent):
                    all_seen.set()

        requests = [request(*each) for each in sent]
        tasks = [asyncio.ensure_future(work()) for _ in range(workers)]
        for each in requests:
            queue.put(each)
            await asyncio.sleep(0)
        async with asyncio.timeout(5):
            if sent:
                await all_seen.wait()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for node, name in {(each.node, each.name) for each in requests}:
            of_object = [each for each in requests if (each.node, each.name) == (node, name)]
            assert [each for each in seen if (each.node, each.name) == (node, name)] == of_object
        assert not queue._nodes

    asyncio.run(run())


async def test_a_request_that_needs_no_worker_holds_back_those_about_its_object() -> None:
    queue = RequestQueue()
    first, second, other = request("e1", "podpatch"), request("e1", "pod"), request("e1", "pod", "b")
    assert queue.start(first)
    assert queue.start(other)
    assert not queue.start(second)
    assert queue.put(second)
    assert await take(queue) is None
    queue.done(first)
    assert await take(queue) is second
    queue.done(second)
    queue.done(other)
    assert not queue._nodes


async def test_no_request_starts_before_those_of_its_node_that_wait() -> None:
    queue = RequestQueue()
    waiting, late = request("e1"), request("e1", name="b")
    assert queue.put(waiting)
    assert not queue.start(late)
    assert queue.start(request("e2"))


async def test_a_request_that_is_handed_over_goes_before_those_that_came_later() -> None:
    queue = RequestQueue()
    first, second = request("e1", "podpatch"), request("e1", "podpatch")
    assert queue.start(first)
    assert queue.put(second)
    queue.hand_over(first)
    assert await take(queue) is first
    queue.done(first)
    assert await take(queue) is second
