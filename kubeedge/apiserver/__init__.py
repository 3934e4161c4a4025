"""An embedded Kubernetes API for one machine: SQLite below, what kubectl and the official clients need above.

`storage` keeps every object as bytes with one rising resource version, `engine` is the life of objects driven by the
table of kinds (`kinds`), `http` and `local` are the two ways in, `controllers` what a control plane does by itself.
Judged by the recordings of a real API server (tests/golden/kube-api).
"""
