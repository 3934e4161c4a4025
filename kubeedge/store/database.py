"""A SQLite database owned by one writer thread that commits in groups."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import apsw

from kubeedge import metrics
from kubeedge.store.job import Job
from kubeedge.store.lock import LockedError, LockFile

T = TypeVar("T")
Work = Callable[[apsw.Connection], T]

log = logging.getLogger(__name__)

# Another process may read the file for a moment (keadm's diagnosis); only longer than this is an error.
BUSY_TIMEOUT_MS = 10_000
# Keeps one transaction short enough that the first caller of a burst is not held up by the last.
MAX_GROUP = 512
# Pages of the write-ahead log after which it is copied back, and the size that its file is cut to then: what a
# reader has to search, what a crash leaves to recover and what the log takes on disk stay near 1 MiB.
CHECKPOINT_PAGES = 256
LOG_SIZE_LIMIT_BYTES = 1 << 20
# Reading a whole file to check it is quick up to this size; larger ones are checked where they are read.
CHECK_LIMIT_BYTES = 64 << 20

_DAMAGED = (apsw.CorruptError, apsw.NotADBError)

_commits = metrics.Counter("kubeedge_store_commits_total", "Transactions committed to databases", ("database",))
_failures = metrics.Counter("kubeedge_store_failures_total", "Transactions that databases refused", ("database",))


class StoreError(Exception):
    """The database could not do what was asked. path names the file; is_damaged says that its content is broken."""

    def __init__(self, path: Path, reason: str, *, is_damaged: bool = False) -> None:
        super().__init__(f"{path}: {reason}")
        self.path = path
        self.reason = reason
        self.is_damaged = is_damaged


class Database:
    """Group-commit writer and reader of one SQLite file.

    Everything that is queued when the writer thread looks goes into one transaction (WAL, synchronous=FULL); a caller
    gets its result after that transaction is on disk. A piece of work that raises is rolled back alone. No other
    process of ours may have the file open meanwhile: `<file>.lock` beside it sees to that.
    """

    def __init__(
        self,
        path: Path,
        *,
        schema: Sequence[str] = (),
        migrations: Sequence[str] = (),
        page_cache_kib: int = 512,
    ) -> None:
        """schema are SQL scripts that change nothing when run again (`CREATE TABLE IF NOT EXISTS`), run at each open.

        migrations are SQL scripts that run once each, in this order, after schema (PRAGMA user_version counts them).
        """
        self.path = path
        self._schema = schema
        self._migrations = migrations
        self._page_cache_kib = page_cache_kib
        self._lock = LockFile(path.with_name(f"{path.name}.lock"))
        self._queue: deque[Job[apsw.Connection]] = deque()
        self._wake = threading.Event()
        self._thread: threading.Thread | None = None
        self._closing = False
        self._reader: apsw.Connection | None = None

    def open(self) -> None:
        """Open the file, check it, apply schema and migrations and start the writer.

        Raises StoreError when another process has it, it is no database, is damaged, is newer than this program or
        cannot be opened. What is in the file is never thrown away: a damaged one is left for a person to move.
        """
        try:
            self._lock.acquire()
        except LockedError as error:
            raise StoreError(self.path, f"database is in use: {error}") from None
        except OSError as error:
            raise StoreError(self.path, f"database cannot be opened: {error}") from None
        writer: apsw.Connection | None = None
        try:
            writer = self._connect()
            self._check(writer)
            self._migrate(writer)
            self._reader = self._connect()
        except BaseException as error:
            if writer is not None:
                writer.close()
            self._lock.release()
            if isinstance(error, apsw.Error):
                raise self._failure(error) from error
            raise
        self._closing = False
        self._thread = threading.Thread(
            target=self._write_groups, args=(writer,), name=f"store-{self.path.name}", daemon=True
        )
        self._thread.start()

    def _connect(self) -> apsw.Connection:
        connection = apsw.Connection(str(self.path))
        try:
            connection.set_busy_timeout(BUSY_TIMEOUT_MS)
            connection.execute("PRAGMA journal_mode=WAL")
            connection.execute("PRAGMA synchronous=FULL")
            connection.execute(f"PRAGMA cache_size=-{self._page_cache_kib}")
            connection.execute(f"PRAGMA wal_autocheckpoint={CHECKPOINT_PAGES}")
            connection.execute(f"PRAGMA journal_size_limit={LOG_SIZE_LIMIT_BYTES}")
        except apsw.Error:
            connection.close()
            raise
        return connection

    def _check(self, connection: apsw.Connection) -> None:
        if self.path.stat().st_size > CHECK_LIMIT_BYTES:
            return
        answer = connection.execute("PRAGMA quick_check(1)").get
        if answer != "ok":
            raise StoreError(self.path, _damage(str(answer)), is_damaged=True)

    def _migrate(self, connection: apsw.Connection) -> None:
        with connection:
            for script in self._schema:
                connection.execute(script)
        version = int(connection.execute("PRAGMA user_version").get)
        if version > len(self._migrations):
            raise StoreError(
                self.path, f"database was written by a newer version (schema {version}, known {len(self._migrations)})"
            )
        for number, script in enumerate(self._migrations[version:], start=version + 1):
            with connection:
                connection.execute(script)
                connection.execute(f"PRAGMA user_version={number}")

    async def write(self, work: Work[T]) -> T:
        """Run work(connection) inside the next transaction; return its result once that is durable.

        work runs on the writer thread and must only use the connection it is given and return plain values. What it
        raises is raised here and undoes only its own changes. Raises StoreError when the transaction itself fails
        (disk full, I/O error): then nothing of it was kept. A caller that is cancelled while it waits leaves its work
        undone if that had not begun, else it is done whole.
        """
        return await self.submit(work)

    def submit(self, work: Work[T]) -> asyncio.Future[T]:
        """Queue work as write() does and return at once; work is done, and the futures end, in the order of the calls.

        Raises StoreError when the database is closed.
        """
        if self._thread is None or self._closing:
            raise StoreError(self.path, "database is closed")
        future: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self._queue.append(Job(work, future))
        self._wake.set()
        return future

    def read(self, sql: str, bindings: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """Return the rows of a query over committed state; runs on the calling thread, so keep it indexed and small.

        Raises StoreError.
        """
        if self._reader is None:
            raise StoreError(self.path, "database is closed")
        try:
            return self._reader.execute(sql, bindings).fetchall()
        except apsw.Error as error:
            raise self._failure(error) from error

    async def close(self) -> None:
        """Commit what is queued, empty the write-ahead log into the file and close. Can be called twice."""
        if self._thread is None:
            return
        self._closing = True
        self._wake.set()
        thread = self._thread
        try:
            await asyncio.to_thread(thread.join)
        finally:
            # The thread ends by itself, also when waiting for it was cancelled.
            self._thread = None
            if self._reader is not None:
                self._reader.close()
                self._reader = None

    def _failure(self, error: apsw.Error) -> StoreError:
        damaged = isinstance(error, _DAMAGED)
        return StoreError(self.path, _damage(str(error)) if damaged else str(error), is_damaged=damaged)

    # The writer thread

    def _write_groups(self, writer: apsw.Connection) -> None:
        try:
            while True:
                self._wake.wait()
                self._wake.clear()
                while self._queue:
                    self._write_group(writer)
                if self._closing and not self._queue:
                    return
        finally:
            try:
                writer.execute("PRAGMA wal_checkpoint(TRUNCATE)")
                writer.close()
            except apsw.Error as error:
                # Nothing is lost: the log is read again at the next open.
                log.warning("checkpoint failed path=%s reason=%s", self.path, error)
            self._lock.release()

    def _write_group(self, writer: apsw.Connection) -> None:
        jobs: list[Job[apsw.Connection]] = []
        while self._queue and len(jobs) < MAX_GROUP:
            job = self._queue.popleft()
            if not job.future.cancelled():
                jobs.append(job)
        if not jobs:
            return
        try:
            writer.execute("BEGIN IMMEDIATE")
            for job in jobs:
                self._run(writer, job)
            writer.execute("COMMIT")
        except Exception as error:
            failure = self._failure(error) if isinstance(error, apsw.Error) else StoreError(self.path, repr(error))
            log.error("transaction failed path=%s jobs=%d reason=%s", self.path, len(jobs), failure.reason)
            _failures.inc(self.path.name)
            self._roll_back(writer)
            for job in jobs:
                job.error = failure
        else:
            _commits.inc(self.path.name)
        _deliver(jobs)

    def _run(self, writer: apsw.Connection, job: Job[apsw.Connection]) -> None:
        """Run one job inside the open transaction; raises only when the transaction is lost."""
        writer.execute("SAVEPOINT job")
        try:
            job.result = job.work(writer)
        except Exception as error:
            # SQLite itself ends the transaction on a full disk and the like: then all of the group is lost.
            if not writer.in_transaction:
                raise
            writer.execute("ROLLBACK TO job")
            job.error = self._failure(error) if isinstance(error, apsw.Error) else error
        writer.execute("RELEASE job")

    def _roll_back(self, writer: apsw.Connection) -> None:
        try:
            if writer.in_transaction:
                writer.execute("ROLLBACK")
        except apsw.Error as error:
            log.error("rollback failed path=%s reason=%s", self.path, error)


def _damage(reason: str) -> str:
    return f"database is damaged ({reason}); move the file away to start with an empty one"


def _deliver(jobs: list[Job[apsw.Connection]]) -> None:
    """Hand the outcomes to the callers, with one wake-up of each loop for the whole group."""
    for loop in {job.future.get_loop() for job in jobs}:
        try:
            loop.call_soon_threadsafe(_settle, [job for job in jobs if job.future.get_loop() is loop])
        except RuntimeError:
            # The loop is closed: nobody is left to be told.
            continue


def _settle(jobs: list[Job[apsw.Connection]]) -> None:
    for job in jobs:
        job.settle()
