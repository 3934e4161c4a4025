"""The program on the node: keeps what the cloud wants in its own store and runs it, with or without the cloud.

Its modules (hub, metamanager, edged, …) know each other only through the bus; `app` joins them (spec 05 §1, §8).
"""
