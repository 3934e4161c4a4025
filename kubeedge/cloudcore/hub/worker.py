"""A worker of CloudHub: a process that holds connections of nodes for cloudcore, which it talks to over a pipe.

    python -m kubeedge.cloudcore.hub.worker NUMBER PIPE LISTENING

PIPE and LISTENING are file descriptors that cloudcore opened. It ends with its pipe.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import sys
from http import HTTPStatus
from pathlib import Path
from typing import Any

import orjson

from kubeedge import daemon
from kubeedge._speedups.records import Record, RecordError, pack, pack_message
from kubeedge.cloudcore.hub.gate import Gate, GateSettings
from kubeedge.cloudcore.hub.outbox import Delivery, Framer
from kubeedge.cloudcore.hub.pipe import Pipe
from kubeedge.cloudcore.hub.session import NodeSession, dropped
from kubeedge.cloudcore.hub.wire import Down, Up, pack_delivery, text_of, unpack_delivery
from kubeedge.link.server import ServerConnection
from kubeedge.link.upgrade import UndecidedError, UpgradeError
from kubeedge.metrics import Rises
from kubeedge.pki.tls import ServerCredentials

log = logging.getLogger(__name__)

SETTINGS_TIMEOUT_S = 30.0
# How often cloudcore gets what was counted, which is also a sign of life.
REPORT_S = 2.0
# How often the number of connections is looked at, apart from each accepted one.
COUNT_S = 0.5
# For the last words to nodes to leave.
FAREWELL_S = 0.2

# Looking up a member of an enumeration for each message would cost as much as packing it.
_MESSAGE = int(Up.MESSAGE)
_SEND = int(Down.SEND)


class _Question:
    """A connection that waits until cloudcore has said whether it may become a session."""

    __slots__ = ("connection", "is_answered", "number", "refusal")

    def __init__(self, connection: ServerConnection, number: int) -> None:
        self.connection = connection
        self.number = number
        self.is_answered = False
        self.refusal: UpgradeError | None = None


class Branch:
    """The Office of the one gate of a worker: what is for behind the gate goes to cloudcore."""

    def __init__(self, pipe: socket.socket, listening: socket.socket) -> None:
        self._socket = pipe
        self._listening = listening
        self._settings: dict[str, Any] = {}
        self._configured = asyncio.Event()
        self._stopped = asyncio.Event()
        self._pipe = Pipe(self._received, self._writable, self._lost)
        self._gate: Gate | None = None
        self._sessions: dict[int, NodeSession] = {}
        self._last_number = 0
        self._questions: dict[ServerConnection, _Question] = {}
        self._asked: dict[int, _Question] = {}
        self._has_room = asyncio.Event()
        self._limit = 0
        self._counted = -1

    async def run(self, number: int) -> None:
        """Serve until cancelled or until the pipe ends."""
        await asyncio.get_running_loop().create_unix_connection(lambda: self._pipe, sock=self._socket)
        try:
            async with asyncio.timeout(SETTINGS_TIMEOUT_S):
                await self._configured.wait()
            settings = self._settings
            if not settings:
                # cloudcore ended before it said what to do.
                return
            daemon.set_up_logging(settings["log_level"], f"worker={number}")
            tls = ServerCredentials(
                settings["certificate"].encode(),
                settings["key"].encode(),
                settings["client_ca"].encode(),
                settings["ciphers"],
            ).context()
            gate = self._gate = Gate(
                self, tls, GateSettings(**settings["gate"]), Framer(), listening=self._listening, room=self._room
            )
            settings.clear()
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(work) for work in (gate.run(), self._report(), self._count())]
                await self._stopped.wait()
                for task in tasks:
                    task.cancel()
        finally:
            self._pipe.close()
            await asyncio.sleep(FAREWELL_S)

    async def _report(self) -> None:
        rises = Rises()
        try:
            while True:
                await asyncio.sleep(REPORT_S)
                self._pipe.send(pack(Up.METRICS, tail=orjson.dumps(rises.take())))
        finally:
            self._pipe.send(pack(Up.METRICS, tail=orjson.dumps(rises.take())))

    # How many connections there may be.

    async def _count(self) -> None:
        while True:
            self._tell_connections()
            await asyncio.sleep(COUNT_S)

    def _tell_connections(self) -> int:
        assert self._gate is not None
        connections = self._gate.connections
        if connections != self._counted:
            self._counted = connections
            self._pipe.send(pack(Up.CONNECTIONS, 0, (connections,)))
            self._has_room.set()
        return connections

    async def _room(self) -> None:
        while self._tell_connections() >= self._limit:
            self._has_room.clear()
            await self._has_room.wait()

    # The gate's Office.

    def admit(self, node: str, connection: ServerConnection) -> int:
        """See Office."""
        question = self._questions.get(connection)
        if question is None:
            self._last_number += 1
            question = _Question(connection, self._last_number)
            self._questions[connection] = self._asked[question.number] = question
            self._pipe.send(pack(Up.ASK, 0, (question.number,), (node,)))
        if not question.is_answered:
            raise UndecidedError
        if question.refusal is not None:
            raise question.refusal
        return question.number

    def session_started(self, session: NodeSession) -> None:
        """See Office."""
        self._sessions[session.number] = session

    def session_ended(self, session: NodeSession) -> None:
        """See Office."""
        del self._sessions[session.number]
        self._pipe.send(pack(Up.ENDED, 0, (session.number,)))

    def from_node(self, session: NodeSession, kind: int, message: Any) -> None:
        """See Office."""
        self._pipe.send(pack_message(_MESSAGE, kind, session.number, message, message.resource))

    def acknowledged(self, session: NodeSession, delivery: Delivery) -> None:
        """See Office."""
        if delivery.sync is not None:
            self._pipe.send(pack_delivery(Up.ACK, [session.number], delivery))

    # The pipe.

    def _received(self, records: list[Record]) -> None:
        # Frames that need no acknowledgement, by session: those of one session leave together.
        frames: dict[int, list[bytes]] = {}
        for record in records:
            verb = record.verb
            if verb == _SEND:
                frame = record.tail
                number = record.number
                if number in frames:
                    frames[number].append(frame)
                else:
                    frames[number] = [frame]
                for number in record.more:
                    frames.setdefault(number, []).append(frame)
            else:
                # In the order in which they came.
                if frames:
                    self._send(frames)
                self._do(verb, record)
        if frames:
            self._send(frames)

    def _send(self, frames: dict[int, list[bytes]]) -> None:
        for number, some in frames.items():
            session = self._sessions.get(number)
            if session is None:
                dropped.inc("no session", by=len(some))
            elif len(some) == 1:
                session.send_frame_now(some[0])
            else:
                for frame in some:
                    session.send_frame(frame)
        frames.clear()

    def _do(self, verb: int, record: Record) -> None:
        if verb == Down.OFFER:
            self._offer(record)
        elif verb == Down.ADMIT:
            self._answered(record.number, None)
        elif verb == Down.REFUSE:
            status = HTTPStatus(_second(record))
            self._answered(record.number, UpgradeError(status, text_of(record)))
        elif verb == Down.CLOSE:
            session, code, reason = self._sessions.get(record.number), _second(record), text_of(record)
            if session is not None:
                session.close(code, reason)
        elif verb == Down.LIMIT:
            self._limit = record.number
            self._has_room.set()
        elif verb == Down.SETTINGS:
            self._settings = orjson.loads(record.tail)
            self._configured.set()
        else:
            raise RecordError(f"verb {verb}")

    def _offer(self, record: Record) -> None:
        delivery: Delivery | None = None
        for number in (record.number, *record.more):
            session = self._sessions.get(number)
            if session is None:
                dropped.inc("no session")
                continue
            delivery = unpack_delivery(record, session.node) if delivery is None else delivery.to(session.node)
            session.offer(delivery)

    def _answered(self, number: int, refusal: UpgradeError | None) -> None:
        question = self._asked.pop(number, None)
        if question is None:
            raise RecordError(f"answer to a question {number} that was not asked")
        question.is_answered = True
        question.refusal = refusal
        question.connection.decide()
        del self._questions[question.connection]
        if refusal is None and number not in self._sessions:
            # Its connection was lost meanwhile.
            self._pipe.send(pack(Up.ENDED, 0, (number,)))

    def _writable(self, is_writable: bool) -> None:
        if self._gate is None:
            return
        if is_writable:
            self._gate.resume()
        else:
            # cloudcore does not keep up: what nodes say waits where they are.
            self._gate.pause()

    def _lost(self, reason: str) -> None:
        log.info("stopping reason=%s", reason)
        self._configured.set()
        self._stopped.set()


def _second(record: Record) -> int:
    if len(record.more) != 1:
        raise RecordError(f"{len(record.more) + 1} numbers instead of 2")
    number: int = record.more[0]
    return number


async def _serve(number: int, pipe: int, listening: int) -> None:
    sockets = [socket.socket(fileno=descriptor) for descriptor in (pipe, listening)]
    for one in sockets:
        one.setblocking(False)
    await Branch(*sockets).run(number)


def main(arguments: list[str]) -> int:
    """Serve until the pipe ends or a signal comes; return the exit code."""
    number, pipe, listening = map(int, arguments)
    with contextlib.suppress(OSError):
        # What `ps` and `top` show, on Linux.
        Path("/proc/self/comm").write_text(f"cloudhub-{number}")
    daemon.set_up_logging(fields=f"worker={number}")
    daemon.collect_garbage_seldom()
    return daemon.run(lambda: _serve(number, pipe, listening))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
