"""SyncController: finds what a node should have got and did not, by the ObjectSyncs that CloudHub writes (spec 03 §3).

It sends its corrections to CloudHub on the bus and removes the syncs of nodes that are gone.
"""
