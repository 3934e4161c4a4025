"""What the author of a mapper writes: how to reach one device, and how to read and write one of its properties."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, ClassVar, TypeVar

from kubeedge.mapper.calling import Caller
from kubeedge.mapper.description import Device, Property

F = TypeVar("F", bound=Callable[..., Any])


class Driver:
    """One device and the way to it; the SDK makes one for each and does one call of it at a time.

    Every method but read_many may be `async def`, or a plain `def` that blocks: that runs in a thread of the device's
    own. An OSError (so ConnectionError, TimeoutError) says that the device is away: the SDK disconnects, reports it
    as offline and connects again, with pauses. Any other exception concerns the one property.
    """

    #: The name that stands in `spec.protocol.protocolName` of the devices.
    protocol: ClassVar[str] = ""

    def __init__(self, device: Device) -> None:
        self.device = device
        self.caller = Caller(f"device {device.key}")

    def connect(self) -> Any:
        """Open the way to the device; called before anything else, and again when it was lost."""

    def disconnect(self) -> Any:
        """Close it; called for each connect, also for one that failed."""

    def read(self, property: Property) -> Any:
        """Return the present value: a number, text, bool or bytes; anything else is shown as JSON."""
        raise TypeError(f"{type(self).__name__} cannot read")

    def write(self, property: Property, value: Any) -> Any:
        """Set the value, which has the type of the model: int, float, bool, str or bytes."""
        raise TypeError(f"{type(self).__name__} cannot write")

    async def read_many(self, properties: Sequence[Property]) -> list[Any]:
        """Read what is due together; return for each its value, or the exception that it failed with.

        To be replaced where the protocol can ask for several at once.
        """
        results: list[Any] = []
        for one in properties:
            try:
                results.append(await self.caller.call(self.read, one))
            except OSError as error:
                # The rest would fail the same way, each after its time-out.
                return results + [error] * (len(properties) - len(results))
            except Exception as error:
                results.append(error)
        return results


class Protocol:
    """A driver made of decorated functions, for who needs no class.

        lamp = Protocol("lamp")

        @lamp.read
        def read(device, property): ...

    The functions get the device first, or in its place what `connect` has returned.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self._functions: dict[str, Callable[..., Any]] = {}

    def connect(self, function: F) -> F:
        """Decorate `connect(device)`; what it returns, unless None, is given to the others in place of the device."""
        return self._keep("connect", function)

    def disconnect(self, function: F) -> F:
        """Decorate `disconnect(device)`."""
        return self._keep("disconnect", function)

    def read(self, function: F) -> F:
        """Decorate `read(device, property)`."""
        return self._keep("read", function)

    def write(self, function: F) -> F:
        """Decorate `write(device, property, value)`."""
        return self._keep("write", function)

    def _keep(self, role: str, function: F) -> F:
        self._functions[role] = function
        return function

    def driver(self) -> type[Driver]:
        """Return the class that calls the functions."""
        return type(f"{self.name}Driver", (_Decorated,), {"protocol": self.name, "functions": dict(self._functions)})


class _Decorated(Driver):
    functions: ClassVar[dict[str, Callable[..., Any]]]
    _subject: Any = None

    async def connect(self) -> None:
        self._subject = self.device
        if "connect" in self.functions:
            made = await self.caller.call(self.functions["connect"], self.device)
            self._subject = self.device if made is None else made

    async def disconnect(self) -> None:
        if "disconnect" in self.functions and self._subject is not None:
            await self.caller.call(self.functions["disconnect"], self._subject)

    async def read(self, property: Property) -> Any:
        return await self._call("read", property)

    async def write(self, property: Property, value: Any) -> None:
        await self._call("write", property, value)

    async def _call(self, role: str, *arguments: Any) -> Any:
        if role not in self.functions:
            raise TypeError(f"the protocol {self.protocol} has no function to {role}")
        return await self.caller.call(self.functions[role], self._subject, *arguments)
