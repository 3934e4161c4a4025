"""A SQLite database owned by one writer thread that commits in groups."""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import apsw

T = TypeVar("T")
Work = Callable[[apsw.Connection], T]

# Another process may hold the file for a moment; only longer than this is an error.
BUSY_TIMEOUT_MS = 10_000
# Keeps one transaction short enough that the first caller of a burst is not held up by the last.
MAX_GROUP = 512


class StoreError(Exception):
    """The database could not do what was asked; path names the file."""

    def __init__(self, path: Path, reason: str) -> None:
        super().__init__(f"{path}: {reason}")
        self.path = path
        self.reason = reason


class _Job:
    __slots__ = ("future", "loop", "work")

    def __init__(self, work: Work[Any], future: asyncio.Future[Any]) -> None:
        self.work = work
        self.future = future
        self.loop = future.get_loop()


class Database:
    """Group-commit writer and reader of one SQLite file.

    Everything that is queued when the writer thread looks goes into one transaction (WAL, synchronous=FULL); a caller
    gets its result after that transaction is on disk. A piece of work that raises is rolled back alone.
    """

    def __init__(self, path: Path, *, migrations: Sequence[str] = (), page_cache_kib: int = 512) -> None:
        self.path = path
        self._migrations = migrations
        self._page_cache_kib = page_cache_kib
        self._queue: deque[_Job] = deque()
        self._wake = threading.Event()
        self._thread: threading.Thread | None = None
        self._closing = False
        self._reader: apsw.Connection | None = None

    def open(self) -> None:
        """Open the file, apply what is missing of the migrations and start the writer.

        Migrations are SQL scripts, applied in order once each (PRAGMA user_version counts them).
        Raises StoreError when the file is no database, is damaged or cannot be opened.
        """
        try:
            writer = self._connect()
            self._migrate(writer)
            self._reader = self._connect()
        except apsw.Error as error:
            raise StoreError(self.path, str(error)) from error
        self._closing = False
        self._thread = threading.Thread(
            target=self._write_groups, args=(writer,), name=f"store-{self.path.name}", daemon=True
        )
        self._thread.start()

    def _connect(self) -> apsw.Connection:
        connection = apsw.Connection(str(self.path))
        connection.set_busy_timeout(BUSY_TIMEOUT_MS)
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=FULL")
        connection.execute(f"PRAGMA cache_size=-{self._page_cache_kib}")
        return connection

    def _migrate(self, connection: apsw.Connection) -> None:
        (version,) = next(iter(connection.execute("PRAGMA user_version")))
        for number, script in enumerate(self._migrations[version:], start=version + 1):
            with connection:
                connection.execute(script)
                connection.execute(f"PRAGMA user_version={number}")

    async def write(self, work: Work[T]) -> T:
        """Run work(connection) inside the next transaction; return its result once that is durable.

        work runs on the writer thread and must only use the connection it is given. What it raises is raised here and
        undoes only its own changes. Raises StoreError when the transaction itself fails (disk full, I/O error).
        """
        if self._thread is None or self._closing:
            raise StoreError(self.path, "database is closed")
        future: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self._queue.append(_Job(work, future))
        self._wake.set()
        return await future

    def read(self, sql: str, bindings: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """Return the rows of a query over committed state; runs on the calling thread, so keep it indexed and small.

        Raises StoreError.
        """
        if self._reader is None:
            raise StoreError(self.path, "database is closed")
        try:
            return self._reader.execute(sql, bindings).fetchall()
        except apsw.Error as error:
            raise StoreError(self.path, str(error)) from error

    async def close(self) -> None:
        """Commit what is queued, checkpoint and close."""
        if self._thread is None:
            return
        self._closing = True
        self._wake.set()
        await asyncio.to_thread(self._thread.join)
        self._thread = None
        if self._reader is not None:
            self._reader.close()
            self._reader = None

    def _write_groups(self, writer: apsw.Connection) -> None:
        while True:
            self._wake.wait()
            self._wake.clear()
            while self._queue:
                self._write_group(writer)
            if self._closing and not self._queue:
                writer.close()
                return

    def _write_group(self, writer: apsw.Connection) -> None:
        jobs: list[_Job] = []
        while self._queue and len(jobs) < MAX_GROUP:
            jobs.append(self._queue.popleft())
        outcomes: list[tuple[_Job, Any, BaseException | None]] = []
        try:
            writer.execute("BEGIN IMMEDIATE")
            for job in jobs:
                outcomes.append(self._run(writer, job))
            writer.execute("COMMIT")
        except apsw.Error as error:
            if writer.in_transaction:
                writer.execute("ROLLBACK")
            failure = StoreError(self.path, str(error))
            outcomes = [(job, None, failure) for job in jobs]
        self._resolve(outcomes)

    @staticmethod
    def _run(writer: apsw.Connection, job: _Job) -> tuple[_Job, Any, BaseException | None]:
        if job.future.cancelled():
            return job, None, None
        writer.execute("SAVEPOINT job")
        try:
            result = job.work(writer)
        except Exception as error:
            # The caller is told; the others of the group go on. A disk error shows again at COMMIT.
            if writer.in_transaction:
                writer.execute("ROLLBACK TO job")
                writer.execute("RELEASE job")
            return job, None, error
        writer.execute("RELEASE job")
        return job, result, None

    @staticmethod
    def _resolve(outcomes: list[tuple[_Job, Any, BaseException | None]]) -> None:
        by_loop: dict[asyncio.AbstractEventLoop, list[tuple[_Job, Any, BaseException | None]]] = {}
        for outcome in outcomes:
            by_loop.setdefault(outcome[0].loop, []).append(outcome)
        for loop, group in by_loop.items():
            try:
                # One wake-up of the loop for the whole group.
                loop.call_soon_threadsafe(_settle, group)
            except RuntimeError:
                # The loop is closed: nobody is left to be told.
                continue


def _settle(outcomes: list[tuple[_Job, Any, BaseException | None]]) -> None:
    for job, result, error in outcomes:
        if job.future.done():
            continue
        if error is not None:
            job.future.set_exception(error)
        else:
            job.future.set_result(result)
