"""Identity of a Kubernetes object, found in its JSON text without parsing the rest."""

from __future__ import annotations

from kubeedge._speedups.scan import ScanError, Scanner

__all__ = ["Identity", "ScanError", "identify"]

_KIND = 1
_API_VERSION = 2
_METADATA = 4


class Identity:
    """What says which object, and which version of it, some JSON text holds. Missing fields are empty strings.

    is_deleting tells that metadata.deletionTimestamp is set.
    """

    __slots__ = ("api_version", "is_deleting", "kind", "name", "namespace", "resource_version", "uid")

    def __init__(self) -> None:
        self.api_version = ""
        self.kind = ""
        self.namespace = ""
        self.name = ""
        self.uid = ""
        self.resource_version = ""
        self.is_deleting = False

    def __repr__(self) -> str:
        return f"Identity({self.kind} {self.namespace}/{self.name} {self.uid} {self.resource_version})"


def identify(content: bytes) -> Identity:
    """Read apiVersion, kind and metadata of the object in content, and stop as soon as all three are known.

    Fields of those names deeper in the object don't count. Raises ScanError when content is no JSON object as far as
    it had to be read, or when one of the fields has a wrong type.
    """
    identity = Identity()
    scan = Scanner(content)
    found = 0
    if not scan.enter_object("object"):
        raise ScanError("object is null", 0)
    while found != 7 and scan.next_member():
        if scan.is_key(b"metadata"):
            found |= _METADATA
            if scan.enter_object("metadata"):
                while scan.next_member():
                    _read_metadata(scan, identity)
        elif scan.is_key(b"kind"):
            found |= _KIND
            identity.kind = scan.text("", "kind")
        elif scan.is_key(b"apiVersion"):
            found |= _API_VERSION
            identity.api_version = scan.text("", "apiVersion")
        else:
            scan.skip()
    return identity


def _read_metadata(scan: Scanner, identity: Identity) -> None:
    if scan.is_key(b"name"):
        identity.name = scan.text("", "metadata.name")
    elif scan.is_key(b"namespace"):
        identity.namespace = scan.text("", "metadata.namespace")
    elif scan.is_key(b"uid"):
        identity.uid = scan.text("", "metadata.uid")
    elif scan.is_key(b"resourceVersion"):
        identity.resource_version = scan.text("", "metadata.resourceVersion")
    elif scan.is_key(b"deletionTimestamp"):
        identity.is_deleting = scan.text("", "metadata.deletionTimestamp") != ""
    else:
        scan.skip()
