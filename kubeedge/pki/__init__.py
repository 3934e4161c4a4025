"""Keys, certificates, join tokens and TLS contexts of the project (spec 02 §1).

`authority` (CA), `request` (certificate requests) need the cryptography package; `pem`, `token`, `tls` and `secrets`
only the standard library, so that edgecore can use them without its memory growing. Nothing here talks to anybody.
"""
