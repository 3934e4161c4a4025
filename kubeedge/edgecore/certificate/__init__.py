"""The node's client certificate: applied for with a join token, renewed in time (spec 02 §1.4-1.6).

`keeper` is the part that edgecore keeps: it knows when something must be done and starts a short-lived process for
it (`python -m kubeedge.edgecore.certificate`), so that the cryptography package never stays in edgecore's memory.
`application` is what that process does; it talks to port 10002 of the cloud and writes the three PEM files.
"""
