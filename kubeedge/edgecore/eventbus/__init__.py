"""EventBus: between the node's MQTT brokers and its modules (spec 04 §4, §5).

Publications of devices and applications go to DeviceTwin, others up to the cloud; answers and the publications of the
cloud's rules go out. It speaks to a broker of the machine (`external`), is one itself (`internal`), or both.
"""
