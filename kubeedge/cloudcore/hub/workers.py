"""The workers of CloudHub as cloudcore sees them: processes that hold the nodes' connections for it."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import socket
import sys
from asyncio.subprocess import DEVNULL, Process, create_subprocess_exec
from collections.abc import Callable
from typing import TYPE_CHECKING

import orjson

from kubeedge import metrics
from kubeedge._speedups import routing
from kubeedge._speedups.records import Record, RecordError, pack
from kubeedge.cloudcore.hub.gate import GateSettings
from kubeedge.cloudcore.hub.outbox import Delivery, Framer
from kubeedge.cloudcore.hub.pipe import HIGH_WATER_BYTES, Pipe
from kubeedge.cloudcore.hub.session import failed_receivers
from kubeedge.cloudcore.hub.wire import Down, Up, pack_delivery, text_of, unpack_delivery
from kubeedge.link.server import listen
from kubeedge.link.upgrade import UpgradeError
from kubeedge.metrics import Counter, Gauge
from kubeedge.pki.tls import ServerCredentials

if TYPE_CHECKING:
    from kubeedge.cloudcore.hub.hub import CloudHub

log = logging.getLogger(__name__)

PROGRAM = "kubeedge.cloudcore.hub.worker"
# A worker says something this often; one that is silent for so many of our own ticks hangs. Ticks and not seconds: a
# machine that slept must not make all of them look dead.
SIGN_OF_LIFE_S = 2.0
SILENT_TICKS = 5
STARTING_TICKS = 15
# A worker that takes nothing for this time, or so far behind in messages that nobody repeats, is ended: its nodes come
# back and get what they lack.
STALL_TIMEOUT_S = 10.0
MAX_HELD_BYTES = 256 << 20
# For a worker to tell its nodes that it ends.
STOP_TIMEOUT_S = 5.0
# For a worker to end whose pipe has ended; mostly it was the first of the two that did.
END_TIMEOUT_S = 1.0
# A worker is started again at once, and after a pause when it did not live for long.
SHORT_LIFE_S = 30.0
FIRST_PAUSE_S = 0.5
LONGEST_PAUSE_S = 15.0
# By how many connections a worker may be ahead of the one that has least: some, and that part of them.
LEAD = 8
LEAD_PART = 16
# For so long one that is just started counts as having no connections: the others leave it some.
START_GRACE_S = 3.0

worker_ends = Counter("kubeedge_cloudhub_worker_ends_total", "Worker processes that ended and were started again")
worker_nodes = Gauge("kubeedge_cloudhub_worker_nodes", "Nodes whose session a worker holds", labels=("worker",))

# Looking up a member of an enumeration for each message would cost as much as packing it.
_MESSAGE = int(Up.MESSAGE)
_SEND = int(Down.SEND)
# What a message for somebody behind the gate may be.
_KINDS = frozenset((routing.VOLUME, *range(routing.TASK_MANAGER, routing.EDGE_CONTROLLER + 1)))


class RemoteSession:
    """A session whose connection a worker holds."""

    __slots__ = ("_pipe", "_removing", "_worker", "node", "number")

    def __init__(self, worker: Worker, pipe: _DownPipe, node: str, number: int) -> None:
        self._worker = worker
        self._pipe = pipe
        self.node = node
        self.number = number
        # By key the deletions that are not acknowledged: the outbox is elsewhere.
        self._removing: dict[str, str] = {}

    def send_frame(self, framed: bytes) -> None:
        """See hub.Session."""
        pipe = self._pipe
        if pipe.is_writable and not pipe.is_closed:
            # What put() does then; a call less for each answer.
            pipe.items.append((self.number, framed))
            if not pipe.flush_is_due:
                pipe.wake()
        else:
            pipe.put(self.number, framed)

    def offer(self, delivery: Delivery) -> None:
        """See hub.Session."""
        if delivery.removes_sync:
            self._removing[delivery.key] = delivery.message.id
        elif delivery.key in self._removing and (delivery.is_final or delivery.message.operation == "insert"):
            del self._removing[delivery.key]
        self._pipe.put(self.number, delivery)

    def is_removing(self, key: str) -> bool:
        """See hub.Session."""
        return key in self._removing

    def acknowledged(self, delivery: Delivery) -> None:
        """Forget a deletion that the node has."""
        if self._removing.get(delivery.key) == delivery.message.id:
            del self._removing[delivery.key]

    def close(self, code: int, reason: str) -> None:
        """See hub.Session."""
        self._worker.close_session(self, code, reason)


class _DownPipe(Pipe):
    """The pipe to a worker: what goes to many sessions one after the other is one record.

    Records are made when the pipe has room for them. Until then reliable messages are no copies; the others are bounded
    by MAX_HELD_BYTES.
    """

    def __init__(
        self,
        framer: Framer,
        receive: Callable[[list[Record]], None],
        writable: Callable[[bool], None],
        lost: Callable[[str], None],
    ) -> None:
        super().__init__(receive, writable, lost)
        self._framer = framer
        # Session number and what is for it, 0 with a whole record.
        self.items: list[tuple[int, bytes | Delivery]] = []
        self._held_bytes = 0

    def send(self, record: bytes) -> None:
        """See Pipe."""
        self.put(0, record)

    def put(self, number: int, item: bytes | Delivery) -> None:
        """Send the frame of a message, or a reliable message, to a session."""
        if self.is_closed:
            return
        self.items.append((number, item))
        if self.is_writable:
            if not self.flush_is_due:
                self.wake()
        elif isinstance(item, bytes):
            self._held_bytes += len(item)
            if self._held_bytes > MAX_HELD_BYTES:
                # Not at once: who sends must not be told in between that sessions have ended.
                self._loop.call_soon(self.abort, f"more than {MAX_HELD_BYTES >> 20} MiB wait for it")

    def gather(self) -> list[bytes]:
        """See Pipe."""
        items, self.items = self.items, []
        self._held_bytes = 0
        records: list[bytes] = []
        size, at, count = 0, 0, len(items)
        while at < count:
            number, item = items[at]
            at += 1
            if number == 0:
                assert isinstance(item, bytes)
                record = item
            elif isinstance(item, bytes):
                numbers = [number]
                while at < count and items[at][1] is item:
                    numbers.append(items[at][0])
                    at += 1
                record = pack(_SEND, 0, numbers, (), item)
            else:
                numbers = [number]
                while at < count and _is_same(item, items[at][1]):
                    numbers.append(items[at][0])
                    at += 1
                record = pack_delivery(Down.OFFER, numbers, item, self._framer.framed(item))
            records.append(record)
            size += len(record)
            if size > HIGH_WATER_BYTES and at < count:
                self.items = items[at:]
                self.wake()
                break
        return records


def _is_same(delivery: Delivery, other: bytes | Delivery) -> bool:
    return isinstance(other, Delivery) and other.message is delivery.message


class Worker:
    """One worker process, from its start to its end."""

    def __init__(self, hub: CloudHub, number: int, framer: Framer, on_connections: Callable[[], None]) -> None:
        """on_connections is called when connections or is_up has changed."""
        self.number = number
        self.connections = 0
        self.limited_to = 0
        self.started_s = asyncio.get_running_loop().time()
        self.is_up = False
        self.pid = 0
        self._hub = hub
        self._on_connections = on_connections
        self._sessions: dict[int, RemoteSession] = {}
        self._silent_ticks = 0
        self._lost: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self._stall: asyncio.TimerHandle | None = None
        self._pipe = _DownPipe(framer, self._received, self._writable, self._end)

    async def run(self, settings: bytes, listening: socket.socket) -> str:
        """Start the process and return why it ended; it has ended when this returns or raises. Raises OSError.

        settings is the first record for it, listening where it accepts nodes.
        """
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        process: Process | None = None
        is_connected = False
        try:
            with theirs:
                process = await _start(self.number, theirs, listening)
            self.pid = process.pid
            await asyncio.get_running_loop().create_unix_connection(lambda: self._pipe, sock=ours)
            is_connected = True
            self._pipe.send(settings)
            return await self._lost
        finally:
            is_stopping = not self._lost.done() or self._lost.cancelled()
            self._end("cloudcore stops")
            # A worker ends when its pipe does.
            if is_connected:
                self._pipe.close()
            else:
                ours.close()
            if process is not None:
                await _reap(process, STOP_TIMEOUT_S if is_stopping else END_TIMEOUT_S)

    def tick(self) -> None:
        """Note that SIGN_OF_LIFE_S has passed."""
        self._silent_ticks += 1
        if self._silent_ticks > (SILENT_TICKS if self.is_up else STARTING_TICKS):
            self._pipe.abort(f"nothing heard for {self._silent_ticks * SIGN_OF_LIFE_S:g} s")

    def limit(self, connections: int) -> None:
        """Let it accept while it has fewer connections than that."""
        self.limited_to = connections
        self._pipe.send(pack(Down.LIMIT, 0, (connections,)))

    def close_session(self, session: RemoteSession, code: int, reason: str) -> None:
        """End one of its sessions, for this process at once; what the worker says of it later means nothing."""
        if session.number in self._sessions:
            self._pipe.send(pack(Down.CLOSE, 0, (session.number, code), (reason,)))
            self._forget(session.number)

    def _forget(self, number: int) -> None:
        """Take leave of a session; one that was closed from here is none any more when its worker says so."""
        session = self._sessions.pop(number, None)
        if session is not None:
            worker_nodes.set(len(self._sessions), str(self.number))
            self._hub.session_ended(session)

    def _end(self, reason: str) -> None:
        """Take leave of all its sessions."""
        if not self._lost.done():
            self._lost.set_result(reason)
        if self._stall is not None:
            self._stall.cancel()
            self._stall = None
        self.is_up = False
        sessions = list(self._sessions.values())
        self._sessions.clear()
        for session in sessions:
            self._hub.session_ended(session)
        worker_nodes.set(0, str(self.number))

    def _writable(self, is_writable: bool) -> None:
        if self._stall is not None:
            self._stall.cancel()
            self._stall = None
        if not is_writable:
            self._stall = asyncio.get_running_loop().call_later(
                STALL_TIMEOUT_S, self._pipe.abort, f"it takes nothing for {STALL_TIMEOUT_S:g} s"
            )

    # What it says.

    def _received(self, records: list[Record]) -> None:
        self._silent_ticks = 0
        sessions, from_node = self._sessions, self._hub.from_node
        for record in records:
            if record.verb != _MESSAGE:
                self._do(record)
                continue
            kind = record.detail
            if kind not in _KINDS:
                raise RecordError(f"message of kind {kind}")
            message = record.message()
            session = sessions.get(record.number)
            if session is None:
                # It was closed from here while this was on its way.
                continue
            try:
                from_node(session, kind, message)
            except Exception:
                # A fault in one module must not cost a node its connection.
                failed_receivers.inc()
                log.exception(
                    "receiver failed node=%s source=%s resource=%s", session.node, message.source, message.resource
                )

    def _do(self, record: Record) -> None:
        verb = record.verb
        if verb == Up.ACK:
            session = self._sessions.get(record.number)
            if session is not None:
                delivery = unpack_delivery(record, session.node)
                session.acknowledged(delivery)
                self._hub.acknowledged(session, delivery)
        elif verb == Up.ASK:
            self._asked(record.number, text_of(record))
        elif verb == Up.ENDED:
            self._forget(record.number)
        elif verb == Up.CONNECTIONS:
            self.connections = record.number
            self.is_up = True
            self._on_connections()
        elif verb == Up.METRICS:
            self._count(record.tail)
        else:
            raise RecordError(f"verb {verb}")

    def _asked(self, number: int, node: str) -> None:
        if number == 0 or number in self._sessions:
            raise RecordError(f"second session with number {number}")
        try:
            self._hub.make_room(node)
        except UpgradeError as error:
            self._pipe.send(pack(Down.REFUSE, 0, (number, error.status), (error.reason,)))
            return
        session = self._sessions[number] = RemoteSession(self, self._pipe, node, number)
        worker_nodes.set(len(self._sessions), str(self.number))
        # Before anything that is for the session.
        self._pipe.send(pack(Down.ADMIT, 0, (number,)))
        self._hub.session_started(session)

    def _count(self, rises: bytes) -> None:
        try:
            for name, labels, by in orjson.loads(rises):
                metrics.rise(name, labels, by)
        except (KeyError, TypeError, ValueError) as error:
            raise RecordError(f"metrics: {error!r}") from None


async def _start(number: int, pipe: socket.socket, listening: socket.socket) -> Process:
    # It imports from where this process does, and from nowhere else.
    path = os.pathsep.join(entry for entry in sys.path if entry)
    return await create_subprocess_exec(
        sys.executable,
        "-P",
        "-m",
        PROGRAM,
        *map(str, (number, pipe.fileno(), listening.fileno())),
        stdin=DEVNULL,
        env={**os.environ, "PYTHONPATH": path},
        pass_fds=(pipe.fileno(), listening.fileno()),
    )


async def _reap(process: Process, timeout_s: float) -> None:
    """Wait for the end of a process, and make it when it does not come in time."""
    try:
        async with asyncio.timeout(timeout_s):
            await process.wait()
    except TimeoutError:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()


class Workers:
    """All workers. Each accepts nodes on the one socket; no one gets far ahead of the others.

    The socket is open as long as this runs: who connects while a worker is started again is taken by another one.
    """

    def __init__(
        self, hub: CloudHub, tls: ServerCredentials, settings: GateSettings, framer: Framer, count: int
    ) -> None:
        self._hub = hub
        self._tls = tls
        self._settings = settings
        self._framer = framer
        self._count = count
        self._listening: socket.socket | None = None
        self._workers: dict[int, Worker] = {}

    @property
    def pids(self) -> list[int]:
        """Process ids of the workers that accept nodes, by their numbers."""
        return [worker.pid for _, worker in sorted(self._workers.items()) if worker.is_up]

    def bind(self) -> int:
        """Take the address and return its port, without accepting yet. Raises OSError."""
        self._listening = listen(self._settings.host, self._settings.port)
        port: int = self._listening.getsockname()[1]
        return port

    async def run(self) -> None:
        """Serve until cancelled; the sessions end with it."""
        if self._listening is None:
            self.bind()
        assert self._listening is not None
        with self._listening as listening:
            async with asyncio.TaskGroup() as group:
                for number in range(1, self._count + 1):
                    group.create_task(self._keep(number, listening))
                group.create_task(self._watch())

    async def _keep(self, number: int, listening: socket.socket) -> None:
        """Have one worker run, whatever happens to it."""
        loop = asyncio.get_running_loop()
        pause_s = 0.0
        while True:
            worker = self._workers[number] = Worker(self._hub, number, self._framer, self._balance)
            began_s = loop.time()
            try:
                reason = await worker.run(self._first_record(), listening)
            except OSError as error:
                reason = f"cannot be started: {error}"
            finally:
                del self._workers[number]
                self._balance()
            worker_ends.inc()
            if loop.time() - began_s >= SHORT_LIFE_S:
                pause_s = 0
            log.error("worker ended worker=%d pid=%d reason=%s restart_in_s=%g", number, worker.pid, reason, pause_s)
            await asyncio.sleep(pause_s)
            pause_s = min(max(2 * pause_s, FIRST_PAUSE_S), LONGEST_PAUSE_S)

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(SIGN_OF_LIFE_S)
            for worker in list(self._workers.values()):
                worker.tick()
            # One that was expected may not have come up.
            self._balance()

    def _balance(self) -> None:
        """Tell all how many connections each may have."""
        running = [worker for worker in self._workers.values() if worker.is_up]
        expected_since_s = asyncio.get_running_loop().time() - START_GRACE_S
        least = min(
            (
                worker.connections
                for worker in self._workers.values()
                if worker.is_up or worker.started_s > expected_since_s
            ),
            default=0,
        )
        limit = least + LEAD + least // LEAD_PART
        for worker in running:
            if worker.limited_to != limit:
                worker.limit(limit)

    def _first_record(self) -> bytes:
        tls = self._tls
        settings = {
            "log_level": logging.getLevelName(log.getEffectiveLevel()),
            "gate": self._settings._asdict(),
            "certificate": tls.certificate.decode("ascii"),
            "key": tls.key.decode("ascii"),
            "client_ca": tls.client_ca.decode("ascii"),
            "ciphers": tls.ciphers,
        }
        return pack(Down.SETTINGS, tail=orjson.dumps(settings))
