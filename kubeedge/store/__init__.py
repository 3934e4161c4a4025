"""What is kept on disk: SQLite through APSW with one writer thread that commits in groups, and small whole files.

Used by the edge's MetaManager and DeviceTwin and by the embedded API. Knows nothing of messages or Kubernetes.
"""
