"""DMI: the devices of this node as their mappers see them, over gRPC on Unix sockets (spec 04 §6).

Mappers register and report here; what the cloud says of devices and models is passed on to them. Objects are read
from table `meta`, where MetaManager has put them before it hands the message over; reports become publications to
DeviceTwin. Module `dmi`, group `dmi`. gRPC is loaded when the first mapper connects or has to be called, not before.
"""
