"""The embedded API as a whole: storage, engine, HTTPS, controllers, put together and run."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from kubeedge.apiserver.authentication import Authenticator, certificate_user
from kubeedge.apiserver.bootstrap import bootstrap
from kubeedge.apiserver.controllers import Controllers
from kubeedge.apiserver.credentials import Credentials
from kubeedge.apiserver.definitions import Definitions
from kubeedge.apiserver.documents import Documents
from kubeedge.apiserver.engine import Engine
from kubeedge.apiserver.expiry import EventExpiry
from kubeedge.apiserver.http import KEEP_ALIVE_S, Application
from kubeedge.apiserver.kinds.table import builtin
from kubeedge.apiserver.local import LocalApi
from kubeedge.apiserver.storage import Storage
from kubeedge.apiserver.tokens import Tokens
from kubeedge.config.host import endpoint
from kubeedge.serving import Server

log = logging.getLogger(__name__)

KUBECONFIG = "admin.kubeconfig"


class ApiServer:
    """A Kubernetes API for one machine, with everything it keeps in one folder."""

    def __init__(
        self,
        data_dir: Path,
        *,
        address: str = "127.0.0.1",
        port: int = 0,
        kubeconfig: Path | None = None,
        with_controllers: bool = True,
    ) -> None:
        """port 0 takes a free one; kubeconfig is where to write the administrator's, by default in data_dir."""
        self.kubeconfig = kubeconfig or data_dir / KUBECONFIG
        self.ready = asyncio.Event()
        """Set when requests are answered; port and url are known then."""
        self.port = port
        self.storage = Storage(data_dir)
        self._data_dir = data_dir
        self._address = address
        self._with_controllers = with_controllers
        self._engine: Engine | None = None

    @property
    def url(self) -> str:
        """Where clients on this machine find it."""
        host = "127.0.0.1" if self._address in ("", "0.0.0.0", "::") else self._address
        return f"https://{endpoint(host, self.port)}"

    @property
    def api(self) -> LocalApi:
        """The same API for parts of this process, as administrator; from ready on."""
        assert self._engine is not None
        return LocalApi(self._engine)

    @property
    def engine(self) -> Engine:
        """What answers the calls; from ready on."""
        assert self._engine is not None
        return self._engine

    async def run(self) -> None:
        """Serve until cancelled. Raises OSError, PkiError or StoreError when it cannot start."""
        await self.storage.open()
        try:
            credentials = Credentials.load_or_create(self._data_dir / "pki")
            async with asyncio.TaskGroup() as lasting:
                lasting.create_task(self.storage.run())
                # Inside, so that a request that is being answered still finds the storage when all ends.
                await self._serve(credentials)
        finally:
            await self.storage.close()

    async def _serve(self, credentials: Credentials) -> None:
        registry = builtin()
        tokens = Tokens(credentials.token_key, self.storage, now_s=time.time)
        self._engine = engine = Engine(self.storage, registry, tokens)
        documents = Documents(registry, tokens, self.ready.is_set)
        application = Application(engine, Authenticator(tokens), documents)
        server = Server(
            application,
            credentials.context((self._address,)),
            self._address,
            self.port,
            name="apiserver",
            owner=certificate_user,
            keep_alive_s=KEEP_ALIVE_S,
        )
        definitions = Definitions(self.storage, registry, engine.deleter)
        definitions.start()
        async with asyncio.TaskGroup() as group:
            group.create_task(definitions.run())
            await server.open()
            self.port = server.port
            group.create_task(server.run())
            documents.address = self.url.removeprefix("https://")
            await bootstrap(self.api, self.port)
            group.create_task(EventExpiry(self.storage).run())
            if self._with_controllers:
                group.create_task(Controllers(self.api, ca_pem=credentials.ca_pem).run())
            credentials.write_kubeconfig(self.kubeconfig, self.url)
            self.ready.set()
            log.info("serving url=%s kubeconfig=%s scope=%s", self.url, self.kubeconfig, "for-one-machine-only")


@asynccontextmanager
async def running(server: ApiServer) -> AsyncIterator[ApiServer]:
    """Run a server beside the caller: entered when it answers requests, left when it has stopped."""
    async with asyncio.TaskGroup() as group:
        serving = group.create_task(server.run())
        ready = group.create_task(server.ready.wait())
        await asyncio.wait({serving, ready}, return_when=asyncio.FIRST_COMPLETED)
        ready.cancel()
        if serving.done():
            # Its error leaves through the group.
            return
        try:
            yield server
        finally:
            serving.cancel()
