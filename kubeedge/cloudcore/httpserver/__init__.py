"""Port 10002: gives edge nodes the CA and their certificates, and keeps cloudcore's own keys and the join token.

`material` reads or makes the keys and writes the secrets (spec 02 §1.1), `application` answers requests (§1.3) through
`listener`, `service` joins them for the composition root. It talks to the Kubernetes API, and to module `taskmanager`
on the bus with the reports that older edges send here.
"""
