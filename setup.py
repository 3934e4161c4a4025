"""Declares the optional extensions; everything else stands in pyproject.toml.

KUBEEDGE_PURE=1 builds none, KUBEEDGE_REQUIRE_COMPILED=1 makes a build without them an error.
"""

import os
import sys
from pathlib import Path

from setuptools import setup

SPEEDUPS = Path("kubeedge/_speedups")


def is_set(variable):
    return os.environ.get(variable, "0") not in ("", "0")


def extensions():
    """One extension for each module of _speedups that has declarations of C types beside it."""
    if is_set("KUBEEDGE_PURE"):
        return []
    required = is_set("KUBEEDGE_REQUIRE_COMPILED")
    try:
        from Cython.Build import cythonize
        from setuptools import Extension

        modules = cythonize(
            [
                Extension(
                    f"kubeedge._speedups.{declarations.stem}",
                    [str(declarations.with_suffix(".py"))],
                    extra_compile_args=["-O3", "-g0"] if sys.platform != "win32" else [],
                )
                for declarations in sorted(SPEEDUPS.glob("*.pxd"))
                if declarations.stem != "__init__"
            ],
            compiler_directives={
                "language_level": 3,
                # C types come from the .pxd files alone.
                "annotation_typing": False,
                "boundscheck": False,
                "wraparound": False,
                "initializedcheck": False,
                "cdivision": True,
            },
        )
        for module in modules:
            # setuptools goes on without an optional extension that does not compile. cythonize() drops the option.
            module.optional = not required
        return modules
    except Exception as error:
        if required:
            raise
        print(f"kubeedge: hot paths stay plain Python: {error}", file=sys.stderr)
        return []


setup(ext_modules=extensions())
