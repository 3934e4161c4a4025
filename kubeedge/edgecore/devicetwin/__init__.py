"""DeviceTwin: what is expected and what is actual of each property of each device of this node (spec 04 §3).

Clients and mappers report and ask by MQTT topics (`bus.publish("twin", ...)`), the cloud by messages of group `twin`.
Answers go to the module `eventbus` as publications, news for the cloud to `websocket` as messages, both only after what
they tell is committed. State lives in memory and in upstream's tables device, device_attr and device_twin.
"""
