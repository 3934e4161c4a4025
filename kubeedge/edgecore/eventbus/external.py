"""The broker of the machine or of the site, mosquitto for example (spec 04 §5.2)."""

from __future__ import annotations

import asyncio
import hashlib
import logging
import random
from collections.abc import Callable, Iterable, Sequence
from itertools import islice

from kubeedge.edgecore.eventbus.address import Address, Tls, tls_context
from kubeedge.edgecore.eventbus.broker import Done, Take
from kubeedge.edgecore.eventbus.connection import UNACCEPTABLE_VERSION, VERSION_31, Connection, RefusedError
from kubeedge.edgecore.eventbus.outbox import Outbox, Publication
from kubeedge.metrics import Counter, Gauge

log = logging.getLogger(__name__)

# After a loss the first attempt comes within this time; then further apart, up to the pause that upstream makes.
FIRST_RETRY_S = 0.5
LONGEST_RETRY_S = 5.0
# A connection that held this long was a good one: its loss counts as the first.
GOOD_CONNECTION_S = 1.0
# Filters in one packet.
FILTERS_AT_ONCE = 100

connections = Counter("kubeedge_eventbus_connections_total", "Connections to the external broker that were opened")
connect_failures = Counter("kubeedge_eventbus_connect_failures_total", "Attempts to connect that failed")
refused_filters = Counter("kubeedge_eventbus_refused_filters_total", "Topic filters that were refused")
is_connected = Gauge("kubeedge_eventbus_connected", "1 while there is a connection to the external broker")
backlog = Gauge("kubeedge_eventbus_unacknowledged_publications", "Publications that the external broker has not taken")


def client_id(node: str) -> str:
    """Make the id of a client that has none configured: upstream's form, but the same after each start.

    The broker keeps subscriptions and publications for an id while this node is away.
    """
    digits = int.from_bytes(hashlib.sha256(node.encode()).digest()[:8], "big") % 10**10
    return f"hub-client-sub-{digits:010d}"


class ExternalBroker:
    """Keeps connected to a broker, with one connection for both ways.

    One, since each turn of the loop then reads and writes once for updates, answers and acknowledgements together: an
    update costs 16 us, with two connections 22. The session is not clean: what is published at QoS 1 while we are away
    waits at the broker. Nothing here waits for the broker: publications are kept (Outbox), and it is connected to in
    the background (spec 04 Q28).
    """

    def __init__(
        self,
        address: Address,
        client_id: str,
        *,
        username: str = "",
        password: str = "",
        tls: Tls | None = None,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        """tls is given when both sides show certificates, if the address says TLS at all.

        The password is only sent with a user name.
        """
        self._address = address
        self._client_id = client_id
        self._username = username
        self._password = password
        self._tls = tls
        self._jitter = jitter
        self._outbox = Outbox()
        self._take: Take | None = None
        self._filters: Callable[[], Iterable[str]] = tuple
        self._to_forget: set[str] = set()
        self._connection: Connection | None = None
        self._is_version_31 = False
        # Tells whether there is a connection, with all its subscriptions.
        self.is_connected = False
        is_connected.read_from(lambda: float(self.is_connected))
        backlog.read_from(lambda: float(len(self._outbox)))

    def publish(self, topic: str, payload: bytes, done: Done | None = None) -> None:
        """See Broker."""
        self._outbox.put(Publication(topic.encode(), payload, done))
        if self._connection is not None:
            self._connection.pump()

    async def subscribe(self, text: str) -> bool:
        """See Broker."""
        self._to_forget.discard(text)
        if self._connection is None:
            return True
        try:
            return not await self._connection.ask([text])
        except (TimeoutError, OSError) as error:
            log.warning("subscription not answered filter=%s reason=%s", text, error)
            return True

    async def unsubscribe(self, text: str) -> None:
        """See Broker."""
        if self._connection is not None:
            try:
                await self._connection.forget([text])
            except (TimeoutError, OSError) as error:
                log.warning("subscription not ended filter=%s reason=%s", text, error)
            else:
                return
        # The broker keeps it with our session.
        self._to_forget.add(text)

    async def run(self, take: Take, filters: Callable[[], Iterable[str]]) -> None:
        """See Broker."""
        self._take = take
        self._filters = filters
        if self._tls is not None and not self._address.is_secure:
            log.warning("broker is spoken to without TLS reason=%r", "its address is not of ssl:// or the like")
        clock = asyncio.get_running_loop().time
        failures = 0
        told = ""
        while True:
            began_s = clock()
            try:
                reason = f"broker disconnected reason={await self._stay_connected()}"
                if clock() - began_s > GOOD_CONNECTION_S:
                    failures = 0
                    told = ""
            except (RefusedError, OSError) as error:
                # TimeoutError is an OSError, and so is what is wrong with a certificate.
                connect_failures.inc()
                reason = f"broker not connected reason={str(error) or type(error).__name__}"
            # Once, also for a broker that takes us and throws us out again: another client has our id, for example.
            level = logging.DEBUG if reason == told else logging.WARNING
            log.log(level, "%s address=%s:%d", reason, *self._address[:2])
            told = reason
            failures += 1
            await asyncio.sleep(self._pause_s(failures))

    def _pause_s(self, failures: int) -> float:
        if failures <= 1:
            return FIRST_RETRY_S * self._jitter()
        return min(LONGEST_RETRY_S, FIRST_RETRY_S * 2.0 ** min(failures, 10)) * (0.5 + 0.5 * self._jitter())

    async def _stay_connected(self) -> str:
        """Connect, and return why the connection ended. Raises RefusedError, OSError when there was none."""
        assert self._take is not None
        version = {"version": VERSION_31} if self._is_version_31 else {}
        connection = Connection(self._client_id, self._outbox, self._take, **version)
        if self._username:
            connection.set_auth_credentials(self._username, self._password or None)
        try:
            await connection.open(self._address, tls_context(self._address, self._tls))
            self._connection = connection
            connections.inc()
            await self._ask(connection)
            self.is_connected = not connection.lost.done()
            if self.is_connected:
                log.info("broker connected address=%s:%d client=%s", *self._address[:2], self._client_id)
            return await asyncio.shield(connection.lost)
        except RefusedError as error:
            self._is_version_31 = error.code == UNACCEPTABLE_VERSION and not self._is_version_31
            raise
        except asyncio.CancelledError:
            await self._flush()
            raise
        finally:
            self._connection = None
            self.is_connected = False
            await connection.close()

    async def _ask(self, connection: Connection) -> None:
        """Subscribe to everything, whatever the broker still knows of us."""
        filters = iter(tuple(self._filters()))
        try:
            while some := list(islice(filters, FILTERS_AT_ONCE)):
                self._tell_refused(await connection.ask(some))
            if self._to_forget:
                await connection.forget(sorted(self._to_forget))
                self._to_forget.clear()
        except (TimeoutError, OSError) as error:
            # Without them the node is deaf: begin again.
            connection.abort(f"subscriptions not answered: {error}")

    def _tell_refused(self, filters: Sequence[str]) -> None:
        for text in filters:
            refused_filters.inc()
            log.warning("subscription refused by the broker filter=%s", text)

    async def _flush(self) -> None:
        """Give what was said last the time to arrive, before the node stops."""
        if self._connection is None:
            return
        try:
            await self._connection.flush()
        except TimeoutError:
            log.warning("publications not acknowledged at the end count=%d", len(self._outbox))
