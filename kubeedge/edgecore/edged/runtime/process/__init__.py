"""The `process` runtime: containers as supervised local processes, for nodes without a container engine.

`runtime.py` is what edged sees (runtime/interface.py, spec 05 §5.3). It talks over a Unix socket to one small
`supervisor.py` that is the parent of all container processes, keeps their logs and exit codes, and outlives
edgecore. A container is made by a forked child of the supervisor (`launch.py`) that enters its namespaces, builds
its file tree (`mounts.py`), gives up what it must not have and becomes the container's command: nothing else stays
in memory. What the runtime cannot honour is refused with a text (`refusal.py`), never ignored.
"""
