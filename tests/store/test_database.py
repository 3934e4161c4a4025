"""The database: group commit, isolation of callers, refusal and damage, crash safety, take-over of a Go edge's file."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import apsw
import pytest

from kubeedge.store import database as module
from kubeedge.store.database import Database, StoreError

TABLE = "CREATE TABLE IF NOT EXISTS item (key TEXT PRIMARY KEY, value TEXT)"
GOLDEN = Path(__file__).parents[1] / "golden"
INSERT = "INSERT OR REPLACE INTO item VALUES (?, ?)"


@asynccontextmanager
async def opened(path: Path, **options: object) -> AsyncIterator[Database]:
    database = Database(path, schema=[TABLE], **options)  # type: ignore[arg-type]
    database.open()
    try:
        yield database
    finally:
        await database.close()


def put(key: str, value: str = "") -> module.Work[None]:
    def work(connection: apsw.Connection) -> None:
        connection.execute(INSERT, (key, value))

    return work


class SyncCounter(apsw.VFS):
    """A file system under SQLite that counts what is forced to disk."""

    def __init__(self) -> None:
        self.syncs = 0
        self.base = apsw.vfs_names()[0]
        super().__init__("counting", self.base, makedefault=True)

    def xOpen(self, name: object, flags: list[int]) -> apsw.VFSFile:
        return _CountingFile(self, name, flags)


class _CountingFile(apsw.VFSFile):
    def __init__(self, counter: SyncCounter, name: object, flags: list[int]) -> None:
        self._counter = counter
        super().__init__(counter.base, name, flags)

    def xSync(self, flags: int) -> None:
        self._counter.syncs += 1
        super().xSync(flags)


@pytest.fixture
def sync_counter() -> Iterator[SyncCounter]:
    before = apsw.vfs_names()[0]
    counter = SyncCounter()
    yield counter
    counter.unregister()
    assert apsw.vfs_names()[0] == before


async def test_concurrent_writes_share_transactions_and_syncs(tmp_path: Path, sync_counter: SyncCounter) -> None:
    async with opened(tmp_path / "d.db") as database:
        await database.write(put("first"))
        sync_counter.syncs = 0
        await asyncio.gather(*(database.write(put(f"k{number}")) for number in range(500)))
        assert 1 <= sync_counter.syncs <= 20
        assert database.read("SELECT count(*) FROM item") == [(501,)]


async def test_writes_one_after_the_other_are_each_on_disk_when_they_return(
    tmp_path: Path, sync_counter: SyncCounter
) -> None:
    async with opened(tmp_path / "d.db") as database:
        await database.write(put("first"))
        sync_counter.syncs = 0
        for number in range(10):
            await database.write(put(f"k{number}"))
        assert sync_counter.syncs >= 10


async def test_work_that_raises_is_undone_alone(tmp_path: Path) -> None:
    def bad(connection: apsw.Connection) -> None:
        connection.execute(INSERT, ("bad", ""))
        raise KeyError("no")

    async with opened(tmp_path / "d.db") as database:
        results = await asyncio.gather(
            database.write(put("a")), database.write(bad), database.write(put("b")), return_exceptions=True
        )
        assert results[0] is None and results[2] is None
        assert isinstance(results[1], KeyError)
        assert database.read("SELECT key FROM item ORDER BY key") == [("a",), ("b",)]


async def test_wrong_statement_is_a_store_error_that_names_the_file(tmp_path: Path) -> None:
    async with opened(tmp_path / "d.db") as database:
        with pytest.raises(StoreError, match=r"d\.db: .*no such table"):
            await database.write(lambda connection: connection.execute("INSERT INTO absent VALUES (1)").fetchall())
        with pytest.raises(StoreError, match="no such table"):
            database.read("SELECT * FROM absent")
        await database.write(put("still works"))


async def test_result_of_work_is_returned(tmp_path: Path) -> None:
    async with opened(tmp_path / "d.db") as database:
        assert await database.write(lambda connection: connection.execute("SELECT 41 + 1").get) == 42


async def test_reader_sees_only_what_is_committed(tmp_path: Path) -> None:
    loop = asyncio.get_running_loop()
    inside, seen = asyncio.Event(), asyncio.Event()

    def slow(connection: apsw.Connection) -> None:
        connection.execute(INSERT, ("slow", ""))
        loop.call_soon_threadsafe(inside.set)
        asyncio.run_coroutine_threadsafe(seen.wait(), loop).result(10)

    async with opened(tmp_path / "d.db") as database:
        await database.write(put("a"))
        write = asyncio.ensure_future(database.write(slow))
        await inside.wait()
        assert database.read("SELECT key FROM item") == [("a",)]
        seen.set()
        await write
        assert database.read("SELECT key FROM item ORDER BY key") == [("a",), ("slow",)]


async def test_cancelled_caller_loses_only_its_own_work(tmp_path: Path) -> None:
    loop = asyncio.get_running_loop()
    inside, proceed = asyncio.Event(), asyncio.Event()

    def block(connection: apsw.Connection) -> None:
        loop.call_soon_threadsafe(inside.set)
        asyncio.run_coroutine_threadsafe(proceed.wait(), loop).result(10)

    async with opened(tmp_path / "d.db") as database:
        blocking = asyncio.ensure_future(database.write(block))
        await inside.wait()
        waiting = asyncio.ensure_future(database.write(put("cancelled")))
        other = asyncio.ensure_future(database.write(put("kept")))
        await asyncio.sleep(0)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        proceed.set()
        await asyncio.gather(blocking, other)
        assert database.read("SELECT key FROM item") == [("kept",)]


async def test_caller_cancelled_while_its_work_runs_leaves_it_done_whole(tmp_path: Path) -> None:
    loop = asyncio.get_running_loop()
    inside, proceed = asyncio.Event(), asyncio.Event()

    def work(connection: apsw.Connection) -> None:
        connection.execute(INSERT, ("one", ""))
        loop.call_soon_threadsafe(inside.set)
        asyncio.run_coroutine_threadsafe(proceed.wait(), loop).result(10)
        connection.execute(INSERT, ("two", ""))

    async with opened(tmp_path / "d.db") as database:
        caller = asyncio.ensure_future(database.write(work))
        await inside.wait()
        caller.cancel()
        with pytest.raises(asyncio.CancelledError):
            await caller
        proceed.set()
        await database.write(put("three"))
        assert database.read("SELECT count(*) FROM item") == [(3,)]


async def test_close_commits_what_is_queued_and_leaves_one_file(tmp_path: Path) -> None:
    path = tmp_path / "d.db"
    database = Database(path, schema=[TABLE])
    database.open()
    writes = [asyncio.ensure_future(database.write(put(f"k{number}"))) for number in range(50)]
    await asyncio.sleep(0)
    await database.close()
    await database.close()
    await asyncio.gather(*writes)
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["d.db", "d.db.lock"]
    with pytest.raises(StoreError, match="closed"):
        await database.write(put("late"))
    with pytest.raises(StoreError, match="closed"):
        database.read("SELECT 1")
    async with opened(path) as again:
        assert again.read("SELECT count(*) FROM item") == [(50,)]


async def test_full_database_is_told_to_the_caller_and_nothing_half_is_kept(tmp_path: Path) -> None:
    def limit(connection: apsw.Connection) -> None:
        pages = connection.execute("PRAGMA page_count").get
        connection.execute(f"PRAGMA max_page_count={pages + 4}").fetchall()

    def two(connection: apsw.Connection) -> None:
        connection.execute(INSERT, ("small", ""))
        connection.execute(INSERT, ("large", "x" * 100_000))

    async with opened(tmp_path / "d.db") as database:
        await database.write(put("before", "kept"))
        await database.write(limit)
        with pytest.raises(StoreError, match=r"d\.db: .*full"):
            await database.write(two)
        assert database.read("SELECT key FROM item") == [("before",)]
        # A smaller thing still fits, so the writer has survived.
        await database.write(put("after"))
        assert database.read("SELECT count(*) FROM item") == [(2,)]


FULL_DISK = """
import asyncio, resource, sys
from pathlib import Path
from kubeedge.store.database import Database, StoreError

async def main():
    table = "CREATE TABLE IF NOT EXISTS item (key TEXT PRIMARY KEY, value TEXT)"
    database = Database(Path(sys.argv[1]), schema=[table])
    database.open()
    insert = "INSERT INTO item VALUES (?, ?)"
    await database.write(lambda c: c.execute(insert, ("before", "x")).fetchall())
    resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, resource.RLIM_INFINITY))
    outcomes = await asyncio.gather(
        *(database.write(lambda c, n=n: c.execute(insert, (f"k{n}", "x" * 50_000)).fetchall()) for n in range(8)),
        return_exceptions=True)
    refused = [o for o in outcomes if isinstance(o, StoreError)]
    stored = {key for (key,) in database.read("SELECT key FROM item")}
    promised = {f"k{n}" for n, o in enumerate(outcomes) if not isinstance(o, StoreError)} | {"before"}
    print(len(refused), stored == promised)
    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    await database.write(lambda c: c.execute(insert, ("after", "x")).fetchall())
    await database.close()

import signal
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
asyncio.run(main())
"""


def test_full_disk_refuses_what_it_cannot_hold_and_serves_again_when_there_is_room(tmp_path: Path) -> None:
    path = tmp_path / "d.db"
    process = subprocess.run(
        [sys.executable, "-c", FULL_DISK, str(path)], capture_output=True, text=True, timeout=60, check=False
    )
    assert process.returncode == 0, process.stderr
    refused, consistent = process.stdout.split()
    assert int(refused) > 0
    assert consistent == "True"
    connection = apsw.Connection(str(path))
    assert connection.execute("SELECT count(*) FROM item WHERE key IN ('before', 'after')").get == 2


CRASH = """
import asyncio, sys
from pathlib import Path
from kubeedge.store.database import Database

async def main():
    table = "CREATE TABLE IF NOT EXISTS item (key TEXT PRIMARY KEY, value TEXT)"
    database = Database(Path(sys.argv[1]), schema=[table])
    database.open()

    async def write(n):
        def work(c):
            c.execute("INSERT INTO item VALUES (?, ?)", (f"{n}a", "x" * 500))
            c.execute("INSERT INTO item VALUES (?, ?)", (f"{n}b", "x" * 500))
        await database.write(work)
        sys.stdout.write(f"{n}\\n")
        sys.stdout.flush()

    n = 0
    while True:
        await asyncio.gather(*(write(n + i) for i in range(20)))
        n += 20

asyncio.run(main())
"""


def test_nothing_that_was_confirmed_is_lost_when_the_process_is_killed(tmp_path: Path) -> None:
    path = tmp_path / "d.db"
    process = subprocess.Popen([sys.executable, "-c", CRASH, str(path)], stdout=subprocess.PIPE)
    assert process.stdout is not None
    confirmed = [process.stdout.readline() for _ in range(200)]
    os.kill(process.pid, signal.SIGKILL)
    confirmed += process.stdout.readlines()
    process.wait()
    promised = {int(line) for line in confirmed if line.endswith(b"\n")}
    connection = apsw.Connection(str(path))
    stored = {key for (key,) in connection.execute("SELECT key FROM item")}
    assert {f"{number}{half}" for number in promised for half in "ab"} <= stored
    # What was not confirmed is there whole or not at all.
    assert {key[:-1] for key in stored if key[-1] == "a"} == {key[:-1] for key in stored if key[-1] == "b"}


async def test_write_ahead_log_stays_small(tmp_path: Path) -> None:
    log_file = tmp_path / "d.db-wal"
    async with opened(tmp_path / "d.db") as database:
        for round_ in range(30):
            await asyncio.gather(*(database.write(put(f"k{number}", f"{round_}" * 4000)) for number in range(40)))
        await database.write(put("last"))
        # One transaction past the checkpoint mark is the most that can stand in the file.
        assert log_file.stat().st_size < 2 * module.LOG_SIZE_LIMIT_BYTES


async def test_second_process_is_told_who_has_the_file(tmp_path: Path) -> None:
    path = tmp_path / "d.db"
    program = (
        "import sys; from pathlib import Path; from kubeedge.store.database import *\n"
        "try: Database(Path(sys.argv[1])).open()\n"
        "except StoreError as error: print(error)"
    )
    async with opened(path):
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-c", program, str(path), stdout=asyncio.subprocess.PIPE
        )
        output, _ = await process.communicate()
        assert f"in use: {path}.lock is held by another process (pid {os.getpid()})" in output.decode()
    async with opened(path):
        pass


@pytest.mark.parametrize("content", [b"this is no database at all" * 100, b"SQLite format 3\x00" + b"\xff" * 5000])
async def test_file_that_is_no_database_is_left_as_it_is(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "d.db"
    path.write_bytes(content)
    database = Database(path, schema=[TABLE])
    with pytest.raises(StoreError, match=r"d\.db: database is damaged .*move the file away") as caught:
        database.open()
    assert caught.value.is_damaged
    assert path.read_bytes() == content
    with pytest.raises(StoreError):
        Database(path).open()


async def test_damaged_page_is_found_at_open(tmp_path: Path) -> None:
    path = tmp_path / "d.db"
    async with opened(path) as database:
        await asyncio.gather(*(database.write(put(f"k{number}", "x" * 900)) for number in range(200)))
    content = bytearray(path.read_bytes())
    content[5 * 4096 : 6 * 4096] = b"\xa5" * 4096
    path.write_bytes(content)
    with pytest.raises(StoreError, match="damaged"):
        Database(path).open()
    assert path.read_bytes() == bytes(content)


async def test_folder_that_does_not_exist_is_named(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match=r"absent/d\.db: database cannot be opened"):
        Database(tmp_path / "absent" / "d.db").open()


async def test_migrations_run_once_each_in_order(tmp_path: Path) -> None:
    path = tmp_path / "d.db"
    first = "INSERT INTO item VALUES ('one', '')"
    async with opened(path, migrations=[first]) as database:
        assert database.read("SELECT key FROM item") == [("one",)]
    async with opened(path, migrations=[first, "INSERT INTO item VALUES ('two', '')"]) as database:
        assert database.read("SELECT key FROM item ORDER BY key") == [("one",), ("two",)]
    with pytest.raises(StoreError, match="written by a newer version"):
        Database(path, migrations=[first]).open()


async def test_failed_migration_leaves_the_file_at_the_one_before(tmp_path: Path) -> None:
    path = tmp_path / "d.db"
    broken = ["CREATE TABLE extra (x)", "CREATE TABLE more (x); INSERT INTO nowhere VALUES (1)"]
    with pytest.raises(StoreError, match="nowhere"):
        Database(path, migrations=broken).open()
    async with opened(path, migrations=[broken[0], "CREATE TABLE more (x)"]) as database:
        assert database.read("SELECT name FROM sqlite_master WHERE name IN ('extra', 'more')") == [
            ("extra",),
            ("more",),
        ]


async def test_database_of_a_go_edge_is_taken_over_and_stays_readable_for_it(tmp_path: Path) -> None:
    path = tmp_path / "edgecore.db"
    go = apsw.Connection(str(path))
    go.execute((GOLDEN / "db" / "dump.sql").read_text())
    tables = go.execute("SELECT name, sql FROM sqlite_master ORDER BY name").fetchall()
    rows = go.execute("SELECT * FROM meta ORDER BY key").fetchall()
    assert go.execute("PRAGMA journal_mode").get == "delete"
    go.close()
    own = "CREATE TABLE IF NOT EXISTS kubeedge_token (key TEXT PRIMARY KEY)"
    database = Database(path, schema=[own])
    database.open()
    assert database.read("SELECT * FROM meta ORDER BY key") == rows
    await database.close()
    go = apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READWRITE)
    assert go.execute("SELECT * FROM meta ORDER BY key").fetchall() == rows
    after = go.execute("SELECT name, sql FROM sqlite_master WHERE name NOT LIKE '%kubeedge_token%' ORDER BY name")
    assert after.fetchall() == tables
    go.execute("INSERT OR REPLACE INTO meta VALUES ('a/b/c', 'b', '{}')")
    go.close()
