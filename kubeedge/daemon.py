"""What the daemons share: the loop, signals, logging, readiness."""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import resource
import signal
import sys
import time
from collections.abc import Awaitable, Callable

LOG_FORMAT = "%(asctime)s.%(msecs)03dZ %(levelname)s %(name)s %(message)s"

# How long modules get to finish after the first signal; a second signal ends the process at once.
SHUTDOWN_TIMEOUT_S = 20
# Net new objects between two looks for cycles. With thousands of nodes the default of 700 means one for every few dozen
# messages.
GC_THRESHOLD = 20_000


def set_up_logging(level: str = "INFO", fields: str = "") -> None:
    """Log events to standard error, one line each, times in UTC (STYLE 15: event and fields `key=value`).

    fields stand at the end of every line: they tell the processes of a program apart.
    """
    formatter = logging.Formatter(f"{LOG_FORMAT} {fields}".rstrip(), "%Y-%m-%dT%H:%M:%S")
    formatter.converter = time.gmtime
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(formatter)
    logging.basicConfig(level=level, handlers=[handler], force=True)


def raise_file_limit() -> int:
    """Let this process have as many open files as it may; return how many.

    A server holds one for each connection, and the usual limit of 1,024 is made for programs that use select().
    """
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard


def collect_garbage_seldom() -> None:
    """Look for cycles less often from now on, and never in what was imported.

    For processes with thousands of connections: little of what messages leave behind are cycles.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(GC_THRESHOLD)


class CannotStartError(Exception):
    """Something that waiting does not repair: a port in use, rights that are missing, keys that don't fit."""


def run(serve: Callable[[], Awaitable[None]], plain: tuple[type[Exception], ...] = (CannotStartError,)) -> int:
    """Run serve() on the fastest loop there is until it ends or INT, TERM, HUP or QUIT comes; return the exit code.

    serve is cancelled by the signal and has SHUTDOWN_TIMEOUT_S seconds to leave. Errors of the types in plain say all
    that there is to say: they are logged without where they came from.
    """
    try:
        import uvloop

        runner = asyncio.Runner(loop_factory=uvloop.new_event_loop)
    except ImportError:
        runner = asyncio.Runner()
    with runner:
        return runner.run(_until_signal(serve, plain))


async def _until_signal(serve: Callable[[], Awaitable[None]], plain: tuple[type[Exception], ...]) -> int:
    loop = asyncio.get_running_loop()
    log = logging.getLogger("kubeedge")
    stop = asyncio.Event()

    def on_signal(name: str) -> None:
        if stop.is_set():
            log.warning("stopped at once signal=%s", name)
            sys.stderr.flush()
            os._exit(1)
        log.info("stopping signal=%s", name)
        stop.set()

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT):
        loop.add_signal_handler(number, on_signal, number.name)
    serving = asyncio.ensure_future(serve())
    stopping = asyncio.ensure_future(stop.wait())
    await asyncio.wait({serving, stopping}, return_when=asyncio.FIRST_COMPLETED)
    stopping.cancel()
    if not serving.done():
        serving.cancel()
        _, late = await asyncio.wait({serving}, timeout=SHUTDOWN_TIMEOUT_S)
        if late:
            log.error("modules did not stop in time timeout_s=%d", SHUTDOWN_TIMEOUT_S)
            return 1
    if serving.cancelled():
        return 0
    error = serving.exception()
    if error is None:
        return 0
    for cause in _leaves(error):
        if isinstance(cause, plain):
            log.error("cannot start reason=%s", cause)
        else:
            log.error("ended by error=%r", cause, exc_info=cause)
    return 1


def _leaves(error: BaseException) -> list[BaseException]:
    if isinstance(error, BaseExceptionGroup):
        return [leaf for inner in error.exceptions for leaf in _leaves(inner)]
    return [error]
