"""CloudHub: the cloud's end of the link (spec 01 §3, §6).

hub        the table of sessions, and what goes up and down, for one gate here or for those of worker processes
gate       accepts nodes and runs their sessions; session, outbox, wheel are what it does that with
workers, worker   the processes that have a gate each, seen from cloudcore and from inside; pipe, wire are between
syncs      ObjectSyncs: which version of an object a node has acknowledged, written in batches
annotator  the annotation that tells which cloudcore a node is connected to
On the bus it is `cloudhub`; it needs the Kubernetes API for ObjectSyncs and Nodes only.
"""
