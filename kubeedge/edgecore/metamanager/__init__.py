"""MetaManager: what the node knows of the cluster, kept in SQLite, and the road between edged and the cloud.

It stores what the cloud pushes and acknowledges it once it is on disk, answers edged from the store or asks the cloud,
and hands objects on to edged and DeviceTwin (spec 05 §2). It talks to modules `websocket`, `edged` and `twin` over the
bus and owns the tables `meta` and `meta_v2` of the edge database, which a Go edgecore could take over at any time.
"""
