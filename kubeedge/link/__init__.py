"""The link between cloud and edge: WebSocket over mutual TLS, one envelope a text message (spec 01 §2.1).

upgrade     the HTTP exchange that opens a connection, bytes in and out
connection  frames on an asyncio transport: gathered writes, back-pressure, deadlines
lane        envelopes on a connection: malformed ones answered, the link's own operations kept
client, server  how a connection comes to be
"""
