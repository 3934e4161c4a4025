"""Worker processes of CloudHub: what becomes of nodes and of the cloud when one dies, hangs or talks rubbish."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import orjson
import pytest

from kubeedge._speedups import routing
from kubeedge._speedups.records import Record, RecordReader, pack, pack_message
from kubeedge.cloudcore.hub import workers as hub_workers
from kubeedge.cloudcore.hub.gate import GateSettings
from kubeedge.cloudcore.hub.outbox import Delivery, Framer
from kubeedge.cloudcore.hub.wire import MAX_RECORD, Down, Up
from kubeedge.cloudcore.hub.workers import LEAD, PROGRAM, _DownPipe, worker_ends, worker_nodes
from kubeedge.kube.api import KubeApi
from kubeedge.link.client import ConnectError, connect
from kubeedge.link.lane import malformed_messages
from kubeedge.link.server import listen, refused_connections
from kubeedge.message import new_message
from tests.cloudcore.hub.cloud import WAIT_S, Cloud, Node, cloud
from tests.link.certificates import TestAuthority

ROOT = Path(__file__).parents[3]
# Issue 18: the nodes of a dead worker are back in this time.
BACK_S = 5.0


async def until(condition: Callable[[], object], timeout_s: float = WAIT_S) -> None:
    for _ in range(int(timeout_s * 100)):
        if condition():
            return
        await asyncio.sleep(0.01)
    pytest.fail("did not come true")


def is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def holders() -> list[int]:
    """How many nodes each worker holds."""
    return [int(nodes) for (number,), nodes in worker_nodes.samples() if int(number) <= 2]


async def all_up(c: Cloud, count: int = 2) -> list[int]:
    await until(lambda: len(c.hub.workers) == count, 20)
    return c.hub.workers


async def several(c: Cloud, count: int) -> dict[str, Node]:
    return {f"e{number}": await c.node(f"e{number}") for number in range(count)}


async def come_back(c: Cloud, name: str) -> Node:
    """Connect again as EdgeHub does: until it works."""
    for _ in range(WAIT_S * 10):
        try:
            return await c.node(name)
        except ConnectError:
            await asyncio.sleep(0.1)
    pytest.fail(f"{name} does not come back")


async def test_nodes_are_shared_between_the_workers(api: KubeApi, authority: TestAuthority) -> None:
    async with cloud(api, authority, workers=2) as c:
        await all_up(c)
        await several(c, 40)
        few, many = sorted(holders())
        assert few + many == len(c.hub.nodes) == 40
        assert many - few <= LEAD + LEAD // 2


async def test_the_death_of_a_worker_costs_only_its_nodes_a_moment(api: KubeApi, authority: TestAuthority) -> None:
    async with cloud(api, authority, workers=2) as c:
        victim, other = await all_up(c)
        nodes = await several(c, 24)
        for _ in nodes:
            await c.news()
        ends = worker_ends.value()
        lost_by_victim = holders()[0]
        os.kill(victim, signal.SIGKILL)
        killed_s = asyncio.get_running_loop().time()
        news = [await c.news() for _ in range(lost_by_victim)]
        lost = {resource.removeprefix("node/") for operation, resource in news if operation == "disconnected"}
        assert len(lost) == lost_by_victim > 0
        assert lost == {name for name, node in nodes.items() if name not in c.hub.nodes}
        assert all(not node.ended.done() for name, node in nodes.items() if name not in lost)
        nodes |= {name: await come_back(c, name) for name in lost}
        assert asyncio.get_running_loop().time() - killed_s <= BACK_S
        assert {await c.news() for _ in lost} == {("connected", f"node/{name}") for name in lost}
        assert worker_ends.value() == ends + 1
        pids = await all_up(c)
        assert other in pids
        assert victim not in pids
        for name, node in nodes.items():
            c.send("response", f"node/{name}/null/nodepatch/{name}", {}, parent_id="p")
            assert (await node.next()).parent_id == "p"


async def test_the_death_of_all_workers_refuses_nobody(api: KubeApi, authority: TestAuthority) -> None:
    async with cloud(api, authority, workers=2) as c:
        pids = await all_up(c)
        nodes = await several(c, 4)
        for pid in pids:
            os.kill(pid, signal.SIGKILL)
        killed_s = asyncio.get_running_loop().time()
        await asyncio.gather(*(node.end() for node in nodes.values()))
        # Nobody accepts yet, but the socket is there: the connection waits.
        await asyncio.gather(*(c.node(name) for name in nodes))
        assert asyncio.get_running_loop().time() - killed_s <= BACK_S
        assert sorted(c.hub.nodes) == sorted(nodes)


async def test_a_worker_that_is_told_to_end_says_goodbye(api: KubeApi, authority: TestAuthority) -> None:
    async with cloud(api, authority, workers=2) as c:
        pids = await all_up(c)
        node = await c.node()
        os.kill(pids[holders().index(1)], signal.SIGTERM)
        assert await node.end() == "peer closed: 1001 cloudcore stops"
        await come_back(c, "e1")


async def test_a_newer_connection_replaces_one_in_another_worker(api: KubeApi, authority: TestAuthority) -> None:
    async with cloud(api, authority, workers=2) as c:
        pids = await all_up(c)
        old = await c.node()
        for _ in range(3):
            holder = holders().index(1)
            # So that the other one accepts; this one hears of it late.
            os.kill(pids[holder], signal.SIGSTOP)
            new = await c.node()
            assert c.hub.nodes == ["e1"]
            assert holders()[holder] == 0
            os.kill(pids[holder], signal.SIGCONT)
            assert await old.end() == "peer closed: 1001 replaced by a newer connection"
            await asyncio.sleep(0.1)
            assert (c.hub.nodes, sum(holders())) == (["e1"], 1)
            c.send("response", "node/e1/null/nodepatch/e1", {}, parent_id="p")
            assert (await new.next()).parent_id == "p"
            old = new
        news = [await c.news() for _ in range(7)]
        assert [operation for operation, _ in news] == ["connected", *["disconnected", "connected"] * 3]


async def test_the_node_limit_is_that_of_all_workers_together(
    api: KubeApi, authority: TestAuthority, capfd: pytest.CaptureFixture[str]
) -> None:
    async with cloud(api, authority, workers=2, node_limit=10) as c:
        await all_up(c)
        # All at once: whoever is late gets the answer, whichever worker it asks.
        results = await asyncio.gather(*(c.node(f"e{number}") for number in range(16)), return_exceptions=True)
        refused = [one for one in results if isinstance(one, ConnectError)]
        assert len(c.hub.nodes) == 10
        assert [one.status for one in refused] == [503] * 6
        assert capfd.readouterr().err.count("status=503 reason=limit of 10 nodes is reached") == 6
        next(one for one in results if isinstance(one, Node)).connection.close()
        await until(lambda: len(c.hub.nodes) == 9)
        await c.node("e99")


async def test_no_process_is_left_when_the_hub_stops(api: KubeApi, authority: TestAuthority) -> None:
    async with cloud(api, authority, workers=2) as c:
        pids = await all_up(c)
        nodes = await several(c, 2)
    assert not any(map(is_running, pids))
    assert {await node.end() for node in nodes.values()} == {"peer closed: 1001 cloudcore stops"}
    assert holders() == [0, 0]


async def test_workers_end_with_a_cloudcore_that_is_killed(tmp_path: Path) -> None:
    program = """
import asyncio, sys
from pathlib import Path
from kubeedge.bus import Bus
from kubeedge.cloudcore.hub.hub import CloudHub
from tests.link.certificates import TestAuthority

async def main():
    tls = TestAuthority(Path(sys.argv[1])).server_credentials()
    hub = CloudHub(Bus(), None, tls, lambda *_: None, host="127.0.0.1", port=0, workers=2)
    hub.bind()
    async with asyncio.TaskGroup() as group:
        group.create_task(hub.run())
        while len(hub.workers) < 2:
            await asyncio.sleep(0.01)
        print(*hub.workers, flush=True)

asyncio.run(main())
"""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", program, str(tmp_path), cwd=ROOT, stdout=subprocess.PIPE
    )
    try:
        assert process.stdout is not None
        pids = [int(pid) for pid in (await asyncio.wait_for(process.stdout.readline(), 20)).split()]
        assert len(pids) == 2
        assert all(map(is_running, pids))
    finally:
        process.kill()
        await process.wait()
    await until(lambda: not any(map(is_running, pids)))


async def test_each_thing_is_counted_once(api: KubeApi, authority: TestAuthority) -> None:
    async with cloud(api, authority, workers=2) as c:
        await all_up(c)
        nodes = await several(c, 20)
        malformed, refused = malformed_messages.value(), refused_connections.value("403")
        for node in nodes.values():
            for _ in range(3):
                node.connection.send(b"no envelope")
        for _ in range(2):
            with pytest.raises(ConnectError):
                await c.node("e1", certificate="e2")
        await until(lambda: refused_connections.value("403") >= refused + 2)
        await until(lambda: malformed_messages.value() >= malformed + 60)
        await asyncio.sleep(hub_workers.SIGN_OF_LIFE_S)
        assert malformed_messages.value() == malformed + 60
        assert refused_connections.value("403") == refused + 2


ASKED_TWICE = pack(Up.CONNECTIONS, 0, (0,)) + 2 * pack(Up.ASK, 0, (1,), ("e1",))
UNKNOWN_KIND = pack_message(Up.MESSAGE, routing.KEEPALIVE, 1, new_message("a", "b", "c", "d"), "d")


@pytest.mark.parametrize(
    ("garbage", "reason"),
    [
        (b"\xff" * 100, "record of 4294967299 bytes"),
        (b"GET / HTTP/1.1\r\n\r\n", "record of"),
        (pack(99), "verb 99"),
        (pack(Up.MESSAGE, routing.VOLUME, (1,), ("a", "b")), "2 texts are no message"),
        (UNKNOWN_KIND, "message of kind 1"),
        (pack(Up.ASK, 0, (1,)), "0 texts instead of 1"),
        (ASKED_TWICE, "second session with number 1"),
        (pack(Up.ASK, 0, (1,), ("e1",)) + pack(Up.ACK, 0, (1,)), "0 texts are no delivery"),
        (pack(Up.METRICS, tail=b"{"), "metrics"),
        (pack(Up.METRICS, tail=b'[["kubeedge_none_total",[],1]]'), "metrics: KeyError"),
        (pack(Up.METRICS, tail=b'[["kubeedge_cloudhub_worker_ends_total",["x"],1]]'), "metrics: ValueError"),
        (pack(Up.METRICS, tail=b'[["kubeedge_cloudhub_worker_ends_total",[],-1]]'), "metrics: ValueError"),
    ],
)
async def test_a_worker_that_talks_rubbish_is_ended(
    api: KubeApi,
    authority: TestAuthority,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    garbage: bytes,
    reason: str,
) -> None:
    monkeypatch.setattr(hub_workers, "PROGRAM", "tests.cloudcore.hub.odd_worker")
    monkeypatch.setenv("ODD_WORKER", garbage.hex())
    monkeypatch.syspath_prepend(str(ROOT))
    ends = worker_ends.value()
    async with cloud(api, authority, workers=2) as c:
        await until(lambda: f"malformed record: {reason}" in caplog.text)
        await until(lambda: worker_ends.value() >= ends + 2)
        # The first comes again at once, the next after a pause.
        assert "restart_in_s=0" in caplog.text
        monkeypatch.setattr(hub_workers, "PROGRAM", PROGRAM)
        await all_up(c)
        await c.node("e5")
        assert c.hub.nodes == ["e5"]


async def test_a_worker_that_hangs_is_ended(
    api: KubeApi, authority: TestAuthority, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async with cloud(api, authority, workers=2) as c:
        pids = await all_up(c)
        node = await c.node()
        await c.news()
        monkeypatch.setattr(hub_workers, "SILENT_TICKS", 2)
        os.kill(pids[holders().index(1)], signal.SIGSTOP)
        assert await asyncio.wait_for(c.heard.get(), 12)
        await until(lambda: "reason=nothing heard for 6 s" in caplog.text)
        assert await node.end()
        await come_back(c, "e1")


@pytest.mark.parametrize(
    ("constant", "value", "reason"),
    [
        ("STALL_TIMEOUT_S", 0.3, "it takes nothing for 0.3 s"),
        ("MAX_HELD_BYTES", 1 << 20, "more than 1 MiB wait for it"),
    ],
)
async def test_a_worker_that_takes_nothing_does_not_fill_our_memory(
    api: KubeApi,
    authority: TestAuthority,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    constant: str,
    value: float,
    reason: str,
) -> None:
    async with cloud(api, authority, workers=2) as c:
        pids = await all_up(c)
        await c.node()
        await c.news()
        monkeypatch.setattr(hub_workers, constant, value)
        os.kill(pids[holders().index(1)], signal.SIGSTOP)
        content = b'"' + b"x" * 100_000 + b'"'
        for number in range(100):
            c.send("publish", f"node/e1/topic/{number}", content, source="router_eventbus", group="user")
            await asyncio.sleep(0)
        assert await c.news() == ("disconnected", "node/e1")
        await until(lambda: reason in caplog.text)
        await come_back(c, "e1")


class PlayedCloud:
    """cloudcore's end of the pipe of one real worker."""

    def __init__(self, authority: TestAuthority) -> None:
        self._listening = listen("127.0.0.1", 0)
        self.port = self._listening.getsockname()[1]
        self._authority = authority
        self._reader = RecordReader(MAX_RECORD)
        self._records: list[Record] = []

    async def __aenter__(self) -> PlayedCloud:
        self._pipe, theirs = socket.socketpair()
        self._pipe.setblocking(False)
        with theirs:
            self.process = await hub_workers._start(1, theirs, self._listening)
        tls = self._authority.server_credentials()
        settings = {
            "log_level": "INFO",
            "gate": GateSettings()._asdict(),
            **{name: getattr(tls, name).decode() for name in ("certificate", "key", "client_ca")},
            "ciphers": "",
        }
        await self.say(pack(Down.SETTINGS, tail=orjson.dumps(settings)))
        return self

    async def __aexit__(self, *_: object) -> None:
        self._pipe.close()
        self._listening.close()
        async with asyncio.timeout(WAIT_S):
            assert await self.process.wait() == 0

    async def say(self, record: bytes) -> None:
        await asyncio.get_running_loop().sock_sendall(self._pipe, record)

    async def next(self, verb: Up) -> Record:
        """Take the next record of that verb; others are passed over."""
        async with asyncio.timeout(WAIT_S):
            while True:
                while self._records:
                    record = self._records.pop(0)
                    if record.verb == verb:
                        return record
                data = await asyncio.get_running_loop().sock_recv(self._pipe, 1 << 18)
                assert data, "the worker ended"
                self._records += self._reader.feed(bytearray(data), len(data))

    async def node(self, name: str = "e1") -> asyncio.Task[Node]:
        node = Node()

        async def open_() -> Node:
            node.connection = await connect(
                f"wss://127.0.0.1:{self.port}/p/{name}/events",
                self._authority.client_context(name),
                [("Node_id", name), ("Connectionuse", "msg")],
                lambda connection: node,
            )
            return node

        return asyncio.create_task(open_())


async def test_what_nodes_say_waits_with_them_while_cloudcore_does_not_keep_up(authority: TestAuthority) -> None:
    async with PlayedCloud(authority) as played:
        await played.say(pack(Down.LIMIT, 0, (10,)))
        opening = await played.node()
        asked = await played.next(Up.ASK)
        assert asked.texts == ["e1"]
        await played.say(pack(Down.ADMIT, 0, (asked.number,)))
        node = await opening
        count, content = 800, b'"' + b"x" * 100_000 + b'"'
        for number in range(count):
            node.say(new_message("edged", "meta", "update", f"default/x/{number}", content))
        await asyncio.sleep(1)
        status = Path(f"/proc/{played.process.pid}/status").read_text()
        rss_kb = next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmRSS"))
        # It would be above 100 MB with all of that.
        assert rss_kb < 80_000
        for number in range(count):
            record = await played.next(Up.MESSAGE)
            assert record.message().resource == f"node/e1/default/x/{number}"
        node.connection.close()
        assert (await played.next(Up.ENDED)).number == asked.number


async def test_a_node_that_goes_before_it_is_admitted_leaves_no_session(authority: TestAuthority) -> None:
    async with PlayedCloud(authority) as played:
        await played.say(pack(Down.LIMIT, 0, (10,)))
        opening = await played.node()
        asked = await played.next(Up.ASK)
        opening.cancel()
        await asyncio.wait([opening])
        await asyncio.sleep(0.2)
        await played.say(pack(Down.ADMIT, 0, (asked.number,)))
        assert (await played.next(Up.ENDED)).number == asked.number


@pytest.mark.parametrize("record", [b"\xff" * 20, pack(99), pack(Down.ADMIT, 0, (7,)), pack(Down.CLOSE, 0, (1,))])
async def test_a_worker_ends_when_cloudcore_talks_rubbish(
    authority: TestAuthority, capfd: pytest.CaptureFixture[str], record: bytes
) -> None:
    async with PlayedCloud(authority) as played:
        await played.next(Up.CONNECTIONS)
        await played.say(record)
        async with asyncio.timeout(WAIT_S):
            assert await played.process.wait() == 0
    assert "malformed record" in capfd.readouterr().err


async def test_what_goes_to_many_is_one_record(authority: TestAuthority) -> None:
    pipe = _DownPipe(Framer(), lambda _: None, lambda _: None, lambda _: None)
    pipe.is_writable = False
    frame = b"the same for all"
    for number in (1, 2, 3):
        pipe.put(number, frame)
    message = new_message("edgecontroller", "resource", "update", "node/e1/default/configmap/cm", b"{}")
    delivery = Delivery(message, "default/configmap/cm", "u1", None, "7", is_final=False)
    for number in (1, 2, 3):
        pipe.put(number, delivery.to(f"e{number}"))
    pipe.put(2, b"another")
    data = bytearray(b"".join(pipe.gather()))
    records = RecordReader(MAX_RECORD).feed(data, len(data))
    assert [(one.verb, one.number, one.more) for one in records] == [
        (Down.SEND, 1, [2, 3]),
        (Down.OFFER, 1, [2, 3]),
        (Down.SEND, 2, []),
    ]
    assert (records[0].tail, records[2].tail) == (frame, b"another")


def test_a_worker_imports_little() -> None:
    program = "import sys, kubeedge.cloudcore.hub.worker; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=30)
    found = {name.split(".")[0] for name in done.stdout.split()}
    assert found.isdisjoint(
        {"kubernetes", "cryptography", "aiohttp", "starlette", "uvicorn", "yaml", "apsw", "httptools"}
    )
