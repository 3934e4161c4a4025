"""Typed configuration of cloudcore and edgecore (spec 02 §2).

A file is YAML, decoded over the defaults: `section` does that and gives every problem with its path, `cloudcore` and
`edgecore` hold the keys, their defaults and what may stand in them, `commandline` the flags of both daemons,
`rewrite` changes single keys of a file that a person wrote. It talks to nothing but the file system.
"""
