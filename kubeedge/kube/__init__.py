"""Kubernetes as a client sees it: kinds, a priced raw client, list/watch caches, patches, the owned CRDs.

Objects stay the bytes that the API sent, with a few extracted fields,
until somebody asks for more.
"""
