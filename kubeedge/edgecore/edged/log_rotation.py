"""Keeps the logs of running containers within their size (spec 05 §5.10)."""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections.abc import Callable
from pathlib import Path

from kubeedge.edgecore.edged.runtime.interface import Runtime, RuntimeCallError, RuntimeUnavailableError
from kubeedge.metrics import Counter

log = logging.getLogger("kubeedge.edged")

LOOK_S = 10.0
MAX_SIZE_BYTES = 10 << 20
# The log that is being written counts.
MAX_FILES = 5

_rotations = Counter("kubeedge_edged_log_rotations_total", "Rotations of container logs", ("outcome",))


class LogRotation:
    """Looks at the logs of running containers. running gives container id and log file of each."""

    def __init__(
        self,
        runtime: Runtime,
        running: Callable[[], list[tuple[str, str]]],
        now: Callable[[], float],
        *,
        max_size_bytes: int = MAX_SIZE_BYTES,
        max_files: int = MAX_FILES,
        look_s: float = LOOK_S,
    ) -> None:
        self._runtime = runtime
        self._running = running
        self._now = now
        self._max_size_bytes = max_size_bytes
        self._max_files = max_files
        self._look_s = look_s

    async def run(self) -> None:
        """Look and rotate until cancelled."""
        while True:
            await asyncio.sleep(self._look_s)
            for container_id, path in self._running():
                try:
                    if os.stat(path).st_size > self._max_size_bytes:
                        await self._rotate(container_id, Path(path))
                except FileNotFoundError:
                    # The container has not written anything yet, or it and its logs have gone.
                    continue
                except (OSError, RuntimeCallError, RuntimeUnavailableError) as error:
                    _rotations.inc("failed")
                    log.warning("log not rotated path=%s reason=%s", path, error)

    async def _rotate(self, container_id: str, path: Path) -> None:
        await asyncio.to_thread(self._make_room, path)
        aside = path.with_name(f"{path.name}.{time.strftime('%Y%m%d-%H%M%S', time.gmtime(self._now()))}")
        path.rename(aside)
        try:
            await self._runtime.reopen_log(container_id)
        except (RuntimeCallError, RuntimeUnavailableError):
            # The container goes on writing to the old file: it has to keep its name.
            aside.rename(path)
            raise
        _rotations.inc("ok")
        log.debug("log rotated path=%s", path)

    def _make_room(self, path: Path) -> None:
        """Compress what was rotated before, and remove the oldest so that one more fits."""
        rotated = sorted(entry for entry in path.parent.glob(f"{path.name}.*") if entry.suffix != ".tmp")
        for entry in rotated[: max(len(rotated) - (self._max_files - 2), 0)]:
            entry.unlink(missing_ok=True)
        for entry in rotated:
            if entry.exists() and entry.suffix != ".gz":
                _compress(entry)


def _compress(path: Path) -> None:
    # Imported here: few nodes ever have a log to rotate, all would carry it in memory.
    import gzip
    import shutil

    part = path.with_name(f"{path.name}.tmp")
    with path.open("rb") as source, gzip.open(part, "wb", compresslevel=6) as target:
        shutil.copyfileobj(source, target)
    part.rename(path.with_name(f"{path.name}.gz"))
    path.unlink()
