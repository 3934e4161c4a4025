"""SQLite through APSW: one writer thread, transactions shared by everything that is queued (group commit).

Used by the edge's MetaManager and DeviceTwin and by the embedded API. Knows nothing of messages or Kubernetes.
"""
