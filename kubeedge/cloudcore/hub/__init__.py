"""CloudHub: the cloud's end of the link (spec 01 §3, §6).

hub         accepts nodes, keeps the table of sessions, sorts what goes up and down
session     one connected node: what is sent to it and what it says
outbox      reliable messages of one node: latest version of an object wins, a window under way, repeats
syncs       ObjectSyncs: which version of an object a node has acknowledged, written in batches
annotator   the annotation that tells which cloudcore a node is connected to
wheel       one wheel for the timers of all sessions
On the bus it is `cloudhub`; it needs the Kubernetes API for ObjectSyncs and Nodes only.
"""
