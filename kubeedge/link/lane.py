"""Envelopes on a connection: the rules that hold for every message, whichever end reads it (spec 01 §2.1)."""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod

import orjson

from kubeedge._speedups.routing import is_control
from kubeedge.link.connection import Connection
from kubeedge.message import EnvelopeError, Message, decode, encode, new_message, response_to
from kubeedge.metrics import Counter

log = logging.getLogger(__name__)

malformed_messages = Counter("kubeedge_link_malformed_messages_total", "Messages of the link that are no envelope")


class Lane(ABC):
    """A Receiver that reads envelopes, to be completed with what is done with them.

    A malformed envelope is counted and answered with an error, and the connection goes on: the frame around it was
    whole (upstream ends the connection). Operations of the link itself are answered here (spec 01 §2.1.4).
    """

    __slots__ = ("_has_warned", "connection")

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self._has_warned = False

    @abstractmethod
    def receive(self, message: Message) -> None:
        """Take one message. Must not block or raise."""

    @abstractmethod
    def writable(self) -> None:
        """Go on sending: the transport has room again."""

    @abstractmethod
    def closed(self, reason: str) -> None:
        """Forget the connection; called exactly once."""

    @property
    @abstractmethod
    def peer_name(self) -> str:
        """Return who is at the other end, for the log."""

    def send(self, message: Message) -> None:
        """Send one message as it stands."""
        self.connection.send(encode(message))

    def received(self, payload: bytes) -> None:
        """See connection.Receiver."""
        try:
            message = decode(payload)
        except EnvelopeError as error:
            self._answer_malformed(error, len(payload))
            return
        if is_control(message):
            self.send(response_to(message, b'"ack"'))
            return
        self.receive(message)

    def _answer_malformed(self, error: EnvelopeError, size: int) -> None:
        malformed_messages.inc()
        # A peer that sends one sends many; the counter tells how many.
        level = logging.DEBUG if self._has_warned else logging.WARNING
        self._has_warned = True
        log.log(
            level,
            "malformed message peer=%s msg_id=%s bytes=%d offset=%d reason=%s",
            self.peer_name,
            error.message_id or "unknown",
            size,
            error.offset,
            error.reason,
        )
        # With a parent id and this group the answer reaches whoever waits for one (spec 01 §4.4).
        group = "resource" if error.message_id else ""
        content = orjson.dumps(f"malformed message: {error}")
        self.send(new_message("", group, "error", "", content, parent_id=error.message_id))
