"""`python -m kubeedge.mapper`: the mappers that come along, and a project for one of your own."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Sequence
from pathlib import Path

from kubeedge.mapper.app import main as serve
from kubeedge.mapper.scaffold import ScaffoldError, make

# Command, module, class, extra.
MAPPERS = {
    "modbus": ("kubeedge.mapper.modbus.driver", "ModbusDriver"),
    "opcua": ("kubeedge.mapper.opcua", "OpcUaDriver"),
    "simulator": ("kubeedge.mapper.simulator", "SimulatorDriver"),
}

USAGE = """usage: python -m kubeedge.mapper new NAME       make a project for a mapper of your own in the folder NAME
       python -m kubeedge.mapper modbus|opcua|simulator [--config-file FILE] [-v LEVEL]

docs/mappers.md explains both."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Return the exit code."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    match words:
        case ["new", name] if not name.startswith("-"):
            return _new(name)
        case [command, *rest] if command in MAPPERS:
            module, name = MAPPERS[command]
            try:
                driver = getattr(importlib.import_module(module), name)
            except ModuleNotFoundError as error:
                print(f"error: {error.name} is missing: pip install 'kubeedge[{command}]'", file=sys.stderr)
                return 1
            return serve(driver, rest, f"python -m kubeedge.mapper {command}")
        case ["-h" | "--help"]:
            print(USAGE)
            return 0
    print(USAGE, file=sys.stderr)
    return 2


def _new(name: str) -> int:
    try:
        files = make(Path(name))
    except ScaffoldError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(f"made {', '.join(str(path) for path in files)}")
    print(f"next: read {name}/README.md; `pytest {name}` shows that it works")
    return 0


if __name__ == "__main__":
    sys.exit(main())
