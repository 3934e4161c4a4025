"""Names of images, checked before a runtime is asked: kubelet tells an impossible name from one that is not there."""

from __future__ import annotations

import re

MAX_NAME = 255
_DOCKER = "docker.io"

# The grammar of the OCI distribution specification, with the optional registry in front that Docker added.
_LABEL = r"[a-zA-Z0-9](?:[a-zA-Z0-9-]*[a-zA-Z0-9])?"
_REGISTRY = re.compile(rf"(?:{_LABEL}(?:\.{_LABEL})*|\[[0-9a-fA-F:]+\])(?::[0-9]+)?")
_PATH = re.compile(r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*(?:/[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*)*")
_TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}")
_DIGEST = re.compile(r"[A-Za-z][A-Za-z0-9]*(?:[-_+.][A-Za-z][A-Za-z0-9]*)*:[0-9a-fA-F]{32,}")
_ID = re.compile(r"[0-9a-f]{64}")


def problem(name: str) -> str:
    """Say what is wrong with the name of an image, in the words of the runtimes; empty when nothing is."""
    what = _problem(name)
    return f'couldn\'t parse image name "{name}": {what}' if what else ""


def _problem(name: str) -> str:
    if _ID.fullmatch(name):
        return f"invalid repository name ({name}), cannot specify 64-byte hexadecimal strings"
    registry, path = _split(name)
    path, at, digest = path.partition("@")
    path, colon, tag = path.partition(":")
    if path != path.lower() and _PATH.fullmatch(path.lower()):
        return f"invalid reference format: repository name ({path}) must be lowercase"
    if (
        not _PATH.fullmatch(path)
        or not _REGISTRY.fullmatch(registry)
        or (colon and not _TAG.fullmatch(tag))
        or (at and not _DIGEST.fullmatch(digest))
    ):
        return "invalid reference format"
    if len(registry) + 1 + len(path) > MAX_NAME:
        return f"repository name must not be more than {MAX_NAME} characters"
    return ""


def _split(name: str) -> tuple[str, str]:
    """Return the registry and the rest, with what stands for both when they are not said."""
    first, slash, rest = name.partition("/")
    if slash and (any(c in first for c in ".:[") or first == "localhost" or first != first.lower()):
        return first, rest
    return _DOCKER, name if slash else f"library/{name}"
