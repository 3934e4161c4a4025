"""Runtime over CRI v1: containerd, CRI-O or any other engine behind a Unix socket (spec 05 §5).

`messages` and `answers` translate between edged's words and the interface's, `connection` makes calls that never hang,
`ends` tells of containers that ended, `pod_groups` keeps the pods' control groups, `runtime` puts them together.
"""
