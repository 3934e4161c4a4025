"""The bus that joins the modules of one process: named modules and groups, replies by parent id (spec 01 §1.4)."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from kubeedge.message import Message

Receive = Callable[[Message], None]


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
        self._waiters: dict[str, asyncio.Future[Message]] = {}

    def register(self, name: str, group: str, receive: Receive) -> None:
        """Make a module known under name, as a member of group."""
        self._modules[name] = receive
        self._groups.setdefault(group, []).append(receive)

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
