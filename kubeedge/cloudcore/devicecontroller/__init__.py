"""DeviceController: devices and their models down to the nodes, what they report up to DeviceStatus (spec 04 §2).

It meets CloudHub on the bus. What a node missed is repaired when it connects: its devices and models are offered again,
and its question for the whole membership is answered.
"""
