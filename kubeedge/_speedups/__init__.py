"""Hot paths, compiled where a C compiler was at hand and plain Python everywhere else: one source, two builds.

scan      JSON text walked without building objects        frames    WebSocket frames (RFC 6455 §5)
envelope  the message of the link (spec 01 §1)             routing   where a message goes (spec 01 §3.5, §4.4, §6.2)
duplex    from transport to messages and back         objects   identity of a Kubernetes object
twin      device twins, and requests to change them (spec 04 §3)
records   what processes of one program tell each other
KUBEEDGE_PURE=1 forces the plain build, also over compiled files that lie here; `python -m kubeedge._speedups` tells.
"""

from __future__ import annotations

import os
import sys
from importlib.machinery import SOURCE_SUFFIXES, FileFinder, PathFinder, SourceFileLoader

MODULES = ("scan", "envelope", "frames", "duplex", "objects", "routing", "records", "twinrequest", "twin", "twinupdate")


def is_pure_forced() -> bool:
    """Tell whether the environment asks for the plain build."""
    return os.environ.get("KUBEEDGE_PURE", "0") not in ("", "0")


if is_pure_forced():
    # For this one folder the import system gets a finder that knows no extension modules.
    sys.path_importer_cache[__path__[0]] = FileFinder(__path__[0], (SourceFileLoader, SOURCE_SUFFIXES))


def build_of(module: str) -> str:
    """Return "compiled" or "pure" for one of MODULES, without loading it."""
    spec = PathFinder.find_spec(f"{__name__}.{module}", __path__)
    return "pure" if spec is None or isinstance(spec.loader, SourceFileLoader) else "compiled"


BUILD = "compiled" if all(build_of(module) == "compiled" for module in MODULES) else "pure"
