"""What one mapper has still to be told: a queue of its own, so that one that hangs is nobody else's business."""

from __future__ import annotations

import asyncio
import importlib
import logging
from collections.abc import Callable
from typing import TYPE_CHECKING

from kubeedge.edgecore.dmi.catalog import DEVICE, Catalog, Object, ObjectError, type_of
from kubeedge.edgecore.dmi.mappers import Mapper
from kubeedge.edgecore.dmi.outcome import AwayError, RefusedError, UnansweredError
from kubeedge.metrics import Counter
from kubeedge.store.database import StoreError

if TYPE_CHECKING:
    from kubeedge.edgecore.dmi.calls import Calls

log = logging.getLogger("kubeedge.dmi")

# Pauses after a call that got no answer double from the first to the last.
FIRST_PAUSE_S = 0.2
LAST_PAUSE_S = 30.0
# An object that a mapper refuses is offered this often, then not before it changes or the mapper registers again.
MAX_OFFERS = 4

_dropped = Counter("kubeedge_dmi_dropped_total", "Changes that mappers were not told of", ("reason",))


class _Task:
    """One object that the mapper has to hear of. is_new: the cloud says that it was made, not changed."""

    __slots__ = ("due", "is_new", "offers")

    def __init__(self, is_new: bool) -> None:
        self.is_new = is_new
        self.offers = 0
        self.due = 0.0


class Delivery:
    """Tells the mapper of a protocol about changes, in their order, the latest state of each object once.

    The queue holds keys: it cannot be longer than the objects of this node, and what is sent is what is stored when its
    turn comes. A mapper that is away is tried again with growing pauses until it is there; when it registers and takes
    the list of devices, it is up to date and the queue empty.
    """

    def __init__(self, catalog: Catalog, mapper: Mapper, *, first_pause_s: float = FIRST_PAUSE_S) -> None:
        self._catalog = catalog
        self._first_pause_s = first_pause_s
        self._queue: dict[str, _Task] = {}
        self._wake = asyncio.Event()
        # Changes with each registration: what was sent before it does not count.
        self._generation = 0
        # Whether known is all that the mapper knows, or only what it should know.
        self._is_sure = False
        self._trouble = ""
        self._is_calling = False
        self.mapper = mapper
        #: Keys that the mapper knows.
        self.known: set[str] = set()

    def __len__(self) -> int:
        """Tell of how many objects the mapper has still to hear, or to answer."""
        return len(self._queue) + self._is_calling

    def presume(self, keys: set[str]) -> None:
        """Take it that the mapper, which was registered before edgecore started, knows these objects."""
        self.known = keys

    def registered(self, mapper: Mapper, keys: set[str] | None) -> None:
        """Take note that the mapper has registered; keys are what it was told of, None if it did not want to know."""
        self._generation += 1
        self.mapper = mapper
        self._trouble = ""
        if keys is not None:
            self.known = keys
            self._is_sure = True
            self._queue.clear()
        self._wake.set()

    def put(self, key: str, *, is_new: bool = False) -> None:
        """Have the mapper told about an object: what it is by then, or that it is gone."""
        task = self._queue.get(key)
        if task is None:
            self._queue[key] = _Task(is_new)
        else:
            task.is_new = task.is_new or is_new
            task.offers, task.due = 0, 0.0
        self._wake.set()

    async def run(self) -> None:
        """Deliver until cancelled."""
        pause_s = self._first_pause_s
        while True:
            await self._wake.wait()
            self._wake.clear()
            if not self._queue:
                continue
            try:
                await self._drain()
                pause_s = self._first_pause_s
            except (AwayError, UnansweredError, StoreError) as error:
                self._say_once(str(error))
                is_back = await self._pause(pause_s)
                pause_s = self._first_pause_s if is_back else min(pause_s * 2, LAST_PAUSE_S)
                self._wake.set()

    async def _pause(self, seconds: float) -> bool:
        """Wait, but no longer than until the mapper registers; tell whether it did."""
        generation = self._generation
        loop = asyncio.get_running_loop()
        end = loop.time() + seconds
        while self._generation == generation and loop.time() < end:
            self._wake.clear()
            try:
                async with asyncio.timeout_at(end):
                    await self._wake.wait()
            except TimeoutError:
                break
        return self._generation != generation

    async def _drain(self) -> None:
        """Tell all that waits. Raises AwayError, UnansweredError, StoreError."""
        # gRPC is loaded by the first call only; that takes long enough to be done beside the loop.
        module = await asyncio.to_thread(importlib.import_module, "kubeedge.edgecore.dmi.calls")
        make: Callable[[Mapper], Calls] = module.Calls
        calls = make(self.mapper)
        try:
            while self._queue:
                if calls.mapper is not self.mapper:
                    calls.close()
                    calls = make(self.mapper)
                key = await self._next()
                if key is not None:
                    await self._tell(calls, key)
        finally:
            calls.close()

    async def _next(self) -> str | None:
        """Return the first object whose time has come; None when something changed while it was waited for."""
        now = asyncio.get_running_loop().time()
        for key, task in self._queue.items():
            if task.due <= now:
                return key
        due = min(task.due for task in self._queue.values())
        self._wake.clear()
        try:
            async with asyncio.timeout_at(due):
                await self._wake.wait()
        except TimeoutError:
            pass
        return None

    async def _tell(self, calls: Calls, key: str) -> None:
        task = self._queue.pop(key)
        generation = self._generation
        self._is_calling = True
        try:
            await self._bring(calls, key, task)
        except (AwayError, StoreError):
            self._first_again(key, task, generation)
            raise
        except UnansweredError:
            # Upstream's mappers die of a second removal of the same device (spec 04 §7.2).
            if self._catalog.entry(key) is not None or self.mapper.exact_numbers:
                self._first_again(key, task, generation)
            else:
                self.known.discard(key)
            raise
        except RefusedError as error:
            self._offer_again(key, task, str(error))
        except ObjectError as error:
            _dropped.inc("object")
            log.error("object cannot be given to a mapper key=%s reason=%s", key, error)
        except Exception:
            # One object that nobody has thought of must not keep the others from the mapper.
            _dropped.inc("failure")
            log.exception("object not given to the mapper mapper=%s key=%s", self.mapper.name, key)
        else:
            self._say_well()
            if generation != self._generation:
                # It registered meanwhile: nobody knows which of both it heard last.
                self.put(key)
        finally:
            self._is_calling = False

    def _first_again(self, key: str, task: _Task, generation: int) -> None:
        """Keep an object at its place in the queue, unless it has been put there anew or the mapper has the list."""
        if key not in self._queue and generation == self._generation:
            self._queue = {key: task, **self._queue}

    def _offer_again(self, key: str, task: _Task, reason: str) -> None:
        task.offers += 1
        is_gone = self._catalog.entry(key) is None
        log.warning("mapper refused mapper=%s key=%s offers=%d reason=%s", self.mapper.name, key, task.offers, reason)
        if is_gone or task.offers >= MAX_OFFERS:
            _dropped.inc("refused")
            if is_gone:
                self.known.discard(key)
            return
        if key not in self._queue:
            task.due = asyncio.get_running_loop().time() + self._first_pause_s * 2**task.offers
            self._queue[key] = task

    async def _bring(self, calls: Calls, key: str, task: _Task) -> None:
        found = self._current(key)
        if found is None:
            if key in self.known or not self._is_sure:
                await calls.remove(key)
            self.known.discard(key)
        elif type_of(key) == DEVICE:
            await self._bring_device(
                calls, key, found, is_known=key in self.known or not (task.is_new or self._is_sure)
            )
        else:
            await self._bring_model(calls, key, found)

    async def _bring_device(self, calls: Calls, key: str, device: Object, *, is_known: bool) -> None:
        entry = self._catalog.entry(key)
        model_key = entry.model if entry is not None else ""
        model = self._catalog.read(model_key) if model_key else None
        if model is None:
            # It is brought when the model comes.
            log.warning("device waits for its model device=%s model=%s", key, model_key or "none")
            _dropped.inc("model")
            return
        if model_key not in self.known:
            await self._bring_model(calls, model_key, model)
        await calls.put_device(key, device, model, is_known=is_known)
        self.known.add(key)

    async def _bring_model(self, calls: Calls, key: str, model: Object) -> None:
        await calls.put_model(key, model, is_known=key in self.known)
        self.known.add(key)

    def _current(self, key: str) -> Object | None:
        """Return the object as the mapper should have it; None when it should not have it (any more)."""
        entry = self._catalog.entry(key)
        if entry is None or (type_of(key) == DEVICE and entry.protocol != self.mapper.protocol):
            return None
        return self._catalog.read(key)

    def _say_once(self, trouble: str) -> None:
        if trouble != self._trouble:
            self._trouble = trouble
            log.warning(
                "mapper does not answer mapper=%s protocol=%s waiting=%d reason=%s",
                *(self.mapper.name, self.mapper.protocol, len(self._queue), trouble),
            )

    def _say_well(self) -> None:
        if self._trouble:
            self._trouble = ""
            log.info("mapper answers again mapper=%s protocol=%s", self.mapper.name, self.mapper.protocol)
