"""EdgeController: Kubernetes objects down to the nodes that need them, requests of the nodes up to the API.

Downstream it watches Nodes, Pods, ConfigMaps and Secrets (spec 03 §1), upstream it makes the API calls of a node's
messages and answers them (spec 03 §2). It meets CloudHub on the bus.
"""
