"""The bus that joins the modules of one process: named modules and groups, replies by parent id (spec 01 §1.4).

MQTT publications inside the node take a way of their own: topic and payload as they are, without an envelope.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from kubeedge.message import Message

Receive = Callable[[Message], None]
# Called once the receiver of a publication has taken responsibility for it: it is stored, or will never have to be.
Done = Callable[[], None]
# Topic, payload, done.
ReceiveTopic = Callable[[str, bytes, Done | None], None]


class UnknownModuleError(LookupError):
    """No module is registered under that name."""


class Bus:
    """Hands messages to modules by name or group.

    A module registers a receive function that must not block: it handles the message at once or puts it into its
    own queue, which is where bounds and order are decided. Sending therefore never waits.
    """

    def __init__(self) -> None:
        self._modules: dict[str, Receive] = {}
        self._groups: dict[str, list[Receive]] = {}
        self._topics: dict[str, ReceiveTopic] = {}
        self._waiters: dict[str, asyncio.Future[Message]] = {}

    def register(self, name: str, group: str, receive: Receive) -> None:
        """Make a module known under name, as a member of group."""
        self._modules[name] = receive
        self._groups.setdefault(group, []).append(receive)

    def register_topics(self, name: str, receive: ReceiveTopic) -> None:
        """Make the module known under name a receiver of MQTT publications."""
        self._topics[name] = receive

    def publish(self, name: str, topic: str, payload: bytes, done: Done | None = None) -> bool:
        """Give a publication to the module of that name; False, and done is never called, when it takes none.

        The module calls done, at once or later, when a sender need not keep the publication any longer: EventBus
        acknowledges it to the broker only then, so that what was acknowledged is stored, and a broker's window of
        unacknowledged publications bounds what the module has to keep.
        """
        receive = self._topics.get(name)
        if receive is None:
            return False
        receive(topic, payload, done)
        return True

    def has(self, name: str) -> bool:
        """Tell whether a module of that name is part of this process."""
        return name in self._modules

    def send(self, name: str, message: Message) -> None:
        """Give message to the module of that name. Raises UnknownModuleError."""
        try:
            receive = self._modules[name]
        except KeyError:
            raise UnknownModuleError(name) from None
        receive(message)

    def send_group(self, group: str, message: Message) -> int:
        """Give message to every module of group; return how many there were."""
        members = self._groups.get(group, ())
        for receive in members:
            receive(message)
        return len(members)

    async def request(self, name: str, message: Message, timeout_s: float) -> Message:
        """Send message and wait for the message whose parent id is its id.

        Raises TimeoutError after timeout_s seconds, UnknownModuleError at once.
        """
        waiter: asyncio.Future[Message] = asyncio.get_running_loop().create_future()
        self._waiters[message.id] = waiter
        try:
            self.send(name, message)
            async with asyncio.timeout(timeout_s):
                return await waiter
        finally:
            self._waiters.pop(message.id, None)

    def resolve(self, reply: Message) -> bool:
        """Hand reply to whoever waits for its parent id; False when nobody does (the reply is then to be dropped)."""
        waiter = self._waiters.get(reply.parent_id)
        if waiter is None or waiter.done():
            return False
        waiter.set_result(reply)
        return True
