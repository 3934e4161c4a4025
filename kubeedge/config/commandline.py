"""The command line that cloudcore and edgecore share (spec 02 §2.7)."""

from __future__ import annotations

import argparse
import os
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

from kubeedge import KUBEEDGE_VERSION, __version__
from kubeedge.config.document import dump

# From this level of klog on, messages are wanted in the log.
DEBUG_VERBOSITY = 4
# Of lines of help where there is no terminal.
DEFAULT_WIDTH = 80

_TRUE = {"1", "t", "T", "true", "TRUE", "True"}
_FALSE = {"0", "f", "F", "false", "FALSE", "False"}


class Arguments(NamedTuple):
    """What a daemon was told: its file, and the level of its log as `logging` names it."""

    config: Path
    log_level: str


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        """Leave with status 1, as upstream's programs do."""
        self.exit(1, f"Error: {message}\n{self.format_help()}")


def _formatter(prog: str) -> argparse.HelpFormatter:
    """Return what argparse would make, without the module that it loads for the width of the terminal."""
    try:
        width = os.get_terminal_size().columns
    except OSError:
        width = DEFAULT_WIDTH
    return argparse.HelpFormatter(prog, width=width - 2)


def _boolean(text: str) -> bool:
    if text in _TRUE or text in _FALSE:
        return text in _TRUE
    raise argparse.ArgumentTypeError(f"must be true or false, is {text}")


def _go_duration(text: str) -> str:
    if re.fullmatch(r"[\d.]+(ns|us|ms|s|m|h)([\d.]+(ns|us|ms|s|m|h))*|0", text):
        return text
    raise argparse.ArgumentTypeError(f"must be a duration such as 5s, is {text}")


def parse(
    program: str,
    description: str,
    default_config: Path,
    default_document: Callable[[], Mapping[str, Any]],
    minimal_document: Callable[[], Mapping[str, Any]],
    arguments: Sequence[str] | None = None,
) -> Arguments:
    """Read the command line (sys.argv when arguments is None).

    Prints and raises SystemExit for --help, --version, --minconfig, --defaultconfig and for a wrong flag.
    """
    parser = _Parser(prog=program, description=description, allow_abbrev=False, formatter_class=_formatter)
    parser.add_argument(
        "--config", type=Path, default=default_config, metavar="FILE", help="configuration file (default %(default)s)"
    )
    flag: dict[str, Any] = {"nargs": "?", "const": True, "default": False, "type": _boolean, "metavar": "true|false"}
    parser.add_argument("--minconfig", help="print a small configuration to start from, and exit", **flag)
    parser.add_argument("--defaultconfig", help="print every key with its default, and exit", **flag)
    parser.add_argument(
        "--version", action="version", version=f"KubeEdge {KUBEEDGE_VERSION} (kubeedge-py {__version__})"
    )
    parser.add_argument(
        "-v", "--v", dest="verbosity", type=int, default=0, metavar="LEVEL", help="log level, 4 for debug"
    )
    parser.add_argument(
        "--vmodule", default="", metavar="PATTERN=N,...", help="accepted for klog's sake, without effect"
    )
    parser.add_argument(
        "--log-flush-frequency", type=_go_duration, default="5s", metavar="DURATION", help="accepted, without effect"
    )
    # Upstream looks at no positional argument, so one that stands in somebody's unit file must not stop the daemon.
    parser.add_argument("ignored", nargs="*", help=argparse.SUPPRESS)
    options = parser.parse_intermixed_args(arguments)
    if options.minconfig:
        _print_and_leave(f"{program}: the keys that most installations change.", minimal_document())
    if options.defaultconfig:
        _print_and_leave(f"{program}: every key with its default.", default_document())
    return Arguments(options.config, "DEBUG" if options.verbosity >= DEBUG_VERBOSITY else "INFO")


def _print_and_leave(title: str, document: Mapping[str, Any]) -> NoReturn:
    print(f"# {title}")
    print("# Keys that are left out keep their default; names match whatever their case.")
    print("# docs/configuration.md explains them.")
    print(f"\n{dump(document)}")
    raise SystemExit(0)
