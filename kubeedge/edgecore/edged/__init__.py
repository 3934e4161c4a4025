"""Edged, the pod engine of a node: runs the pods that metamanager hands it and reports what became of them.

Talks to metamanager over the bus (spec 05 §2.5, §4.3) and to a container runtime through `runtime.interface`.
`machine` and `status` are pure: what the runtime has goes in, actions and the pod's status come out.
"""
