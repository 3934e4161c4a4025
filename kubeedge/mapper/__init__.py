"""Device mappers in about 30 lines: subclass `Driver` (or decorate functions with a `Protocol`) and call `run`.

The SDK registers with edgecore over the DMI and does the rest: life cycle of devices, cycles, desired values, methods,
states, pushes, the REST API of this machine, and getting over restarts of edgecore (spec 04 §6, §7). A mapper is a
program of its own beside edgecore; nothing here is loaded by it.
"""

from kubeedge.mapper.app import run
from kubeedge.mapper.description import Device, Property
from kubeedge.mapper.driver import Driver, Protocol
from kubeedge.mapper.settings import SettingsError, decode

__all__ = ["Device", "Driver", "Property", "Protocol", "SettingsError", "decode", "run"]
