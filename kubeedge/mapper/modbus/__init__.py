"""The Modbus mapper (extra `modbus`): TCP and RTU, with the keys of upstream's in `configData`.

`registers` turns registers into values and back, `bus` is one connection that several devices may share, `driver` what
the SDK calls.
"""
