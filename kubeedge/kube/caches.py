"""The informers that the parts of one process share: each kind is watched once, whoever asks for it."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

from kubeedge.kube.api import Kind, KubeApi
from kubeedge.kube.informer import IndexFunction, Informer


class Caches:
    """Makes informers on request and runs them all; one asked for while run() is on starts at once."""

    def __init__(self, api: KubeApi) -> None:
        self._api = api
        self._informers: dict[Kind, Informer] = {}
        self._group: asyncio.TaskGroup | None = None

    def open(
        self, kind: Kind, *, field_selector: str = "", indexes: Mapping[str, IndexFunction] | None = None
    ) -> Informer:
        """Return the informer of kind; the selector and the indexes are those of whoever asked first."""
        informer = self._informers.get(kind)
        if informer is None:
            informer = Informer(self._api, kind, field_selector=field_selector, indexes=indexes)
            self._informers[kind] = informer
            if self._group is not None:
                self._group.create_task(informer.run())
        return informer

    async def run(self) -> None:
        """Keep all informers current, for ever."""
        async with asyncio.TaskGroup() as self._group:
            for informer in list(self._informers.values()):
                self._group.create_task(informer.run())
            await asyncio.get_running_loop().create_future()
