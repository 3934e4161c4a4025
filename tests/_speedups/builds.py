"""Both builds of kubeedge._speedups side by side in one process."""

from __future__ import annotations

import importlib
import os
import sys
from types import ModuleType, SimpleNamespace
from unittest.mock import patch

from kubeedge import _speedups as running


def _plain() -> SimpleNamespace:
    """Import the package once more as KUBEEDGE_PURE=1 does, and leave the running one in place."""
    name = running.__name__
    folder = running.__path__[0]
    ours = {key: module for key, module in sys.modules.items() if key == name or key.startswith(f"{name}.")}
    finder = sys.path_importer_cache.get(folder)
    for key in ours:
        del sys.modules[key]
    try:
        with patch.dict(os.environ, {"KUBEEDGE_PURE": "1"}):
            package = importlib.import_module(name)
            return _namespace(package)
    finally:
        for key in [key for key in sys.modules if key == name or key.startswith(f"{name}.")]:
            del sys.modules[key]
        sys.modules.update(ours)
        sys.modules["kubeedge"]._speedups = running  # type: ignore[attr-defined]
        sys.path_importer_cache.pop(folder, None)
        if finder is not None:
            sys.path_importer_cache[folder] = finder


def _namespace(package: ModuleType) -> SimpleNamespace:
    modules = {module: importlib.import_module(f"{package.__name__}.{module}") for module in package.MODULES}
    return SimpleNamespace(build=package.BUILD, **modules)


BUILDS = [_plain()]
if running.BUILD == "compiled":
    BUILDS.append(_namespace(running))
