"""What EventBus wants of a broker, be it outside or its own."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Protocol

Done = Callable[[], None]
# Topic, payload, and what to call once the receiver is done with the publication.
Take = Callable[[str, bytes, Done], None]


class Broker(Protocol):
    """A place where clients of this node publish and subscribe."""

    async def run(self, take: Take, filters: Callable[[], Iterable[str]]) -> None:
        """Give what is published on a topic that one of filters() matches to take, until cancelled."""

    def publish(self, topic: str, payload: bytes, done: Done | None = None) -> None:
        """Publish; done is called when the broker has it or never will."""

    async def subscribe(self, text: str) -> bool:
        """Take publications that a filter matches as well; False when the broker does not want that.

        True also while the broker is away: it is asked when it is back.
        """

    async def unsubscribe(self, text: str) -> None:
        """Take publications that a filter matches no longer."""
