"""EdgeHub: the edge's end of the link (spec 01 §4).

hub     connects, keeps alive, connects again; sorts what comes down
uplink  the queue of what goes up, and its rate
On the bus it is `websocket`, group `hub`: everything sent there goes to the cloud as it stands.
"""
