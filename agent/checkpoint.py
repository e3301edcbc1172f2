"""What an agent remembers over its own death, on disk.

One SQLite database in the work directory, in WAL mode, one transaction for all that one pass of the shell changed. A commit
survives the agent however it ends. It is synced (`synchronous=FULL`) where something in it must survive the machine, too
(`records.outlives_machine`), and with it all commits before. A machine that goes down takes the newest launches along, of which a
master may not know that they were taken: after a reboot those that it sends again are refused as gone (`Admission.forgetful`).

A database that cannot be read is moved aside, and its agent with it: under the old id the agent would launch again what it
has forgotten to have launched. It begins under a new id, whose queue holds no old commands; the containers of the old one
are ended as nobody's, and the master learns of their tasks' end by the old id's silence.

A full disk must not stop the accounting of what runs, so some space is kept in reserve beside the database: it is given up
when a commit finds no room, and taken back when there is some again.
"""

import os
import sqlite3
from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from itertools import groupby
from pathlib import Path
from typing import Final, Protocol, assert_never

import msgspec

from mesolite.errors import CheckpointFailed
from mesolite.ids import ContainerId, FrameworkId, TaskId

from .records import (
    AgentRecord,
    ExecutorDropped,
    ExecutorRecord,
    FrameworkDropped,
    FrameworkRecord,
    ProgressRecord,
    Put,
    Record,
    SeenDropped,
    SeenRecord,
    TaskDropped,
    TaskRecord,
    outlives_machine,
)
from .settings import RESERVE_MIB

_MIB: Final = 1024 * 1024
#: Raised when the tables or the records change their meaning; a database of another version is moved aside.
SCHEMA_VERSION: Final = 1

_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS agent (one INTEGER PRIMARY KEY CHECK (one = 1), record BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS frameworks (framework_id TEXT PRIMARY KEY, record BLOB NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS executors (
    number INTEGER PRIMARY KEY, container_id TEXT NOT NULL UNIQUE, record BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS tasks (
    number INTEGER PRIMARY KEY, framework_id TEXT NOT NULL, task_id TEXT NOT NULL, record BLOB NOT NULL,
    UNIQUE (framework_id, task_id));
CREATE TABLE IF NOT EXISTS progress (
    framework_id TEXT NOT NULL, task_id TEXT NOT NULL, record BLOB NOT NULL,
    PRIMARY KEY (framework_id, task_id)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS seen (
    number INTEGER PRIMARY KEY, framework_id TEXT NOT NULL, task_id TEXT NOT NULL,
    UNIQUE (framework_id, task_id));
"""

_encode = msgspec.msgpack.Encoder().encode
_agent = msgspec.msgpack.Decoder(AgentRecord)
_framework = msgspec.msgpack.Decoder(FrameworkRecord)
_executor = msgspec.msgpack.Decoder(ExecutorRecord)
_task = msgspec.msgpack.Decoder(TaskRecord)
_progress = msgspec.msgpack.Decoder(ProgressRecord)


class CheckpointStore(Protocol):
    """Keeps records. One instance is used by one thread at a time."""

    def load(self) -> list[Put]:
        """Return all: the agent, frameworks, executors, tasks, their progress, then the seen, each in order of arrival."""
        ...

    def save(self, records: Sequence[Record]) -> None:
        """Put and drop in order, all or nothing; on return it survives the process, and where it must the machine.

        Raises:
            CheckpointFailed: Nothing was changed.
        """
        ...

    def clear(self) -> None:
        """Drop everything: the agent left the cluster for good."""
        ...

    def close(self) -> None:
        """Let go of the disk."""
        ...


class MemoryCheckpoint:
    """A checkpoint for tests and the simulator: it outlives cores and shells, as a disk would, but no process."""

    def __init__(self) -> None:
        self._agent: AgentRecord | None = None
        self._frameworks: dict[FrameworkId, FrameworkRecord] = {}
        self._executors: dict[ContainerId, ExecutorRecord] = {}
        self._tasks: dict[tuple[FrameworkId, TaskId], TaskRecord] = {}
        self._progress: dict[tuple[FrameworkId, TaskId], ProgressRecord] = {}
        self._seen: dict[tuple[FrameworkId, TaskId], SeenRecord] = {}
        #: Set by tests: every save fails with this message.
        self.failure = ""

    def load(self) -> list[Put]:
        """See `CheckpointStore`."""
        return [
            *([self._agent] if self._agent is not None else []),
            *self._frameworks.values(),
            *self._executors.values(),
            *self._tasks.values(),
            *self._progress.values(),
            *self._seen.values(),
        ]

    def save(self, records: Sequence[Record]) -> None:
        """See `CheckpointStore`."""
        if self.failure:
            raise CheckpointFailed(self.failure)
        for record in records:
            self._apply(record)

    def clear(self) -> None:
        """See `CheckpointStore`."""
        self._agent = None
        for table in (self._frameworks, self._executors, self._tasks, self._progress, self._seen):
            table.clear()

    def close(self) -> None:
        """See `CheckpointStore`."""

    def _apply(self, record: Record) -> None:
        match record:
            case ProgressRecord():
                self._progress[record.framework_id, record.task_id] = record
            case TaskRecord():
                self._tasks[record.framework_id, record.task.task_id] = record
            case TaskDropped():
                self._tasks.pop((record.framework_id, record.task_id), None)
                self._progress.pop((record.framework_id, record.task_id), None)
            case SeenRecord():
                self._seen.setdefault((record.framework_id, record.task_id), record)
            case SeenDropped():
                self._seen.pop((record.framework_id, record.task_id), None)
            case ExecutorRecord():
                self._executors[record.container_id] = record
            case ExecutorDropped():
                self._executors.pop(record.container_id, None)
            case FrameworkRecord():
                self._frameworks[record.framework.framework_id] = record
            case FrameworkDropped():
                self._frameworks.pop(record.framework_id, None)
                if record.with_seen:
                    for key in [key for key in self._seen if key[0] == record.framework_id]:
                        del self._seen[key]
            case AgentRecord():
                self._agent = record
            case _:
                assert_never(record)


class SqliteCheckpoint:
    """The checkpoint of a real agent."""

    def __init__(self, path: Path) -> None:
        """Open or make the database.

        Raises:
            CheckpointFailed: The disk does not let us.
            sqlite3.DatabaseError: The file is no database of ours; see `open_checkpoint`.
        """
        self._reserve: Final = path.with_name(path.name + ".reserve")
        #: The reserve was given up: the disk is full.
        self.short_of_space = False
        try:
            # Whichever thread does the agent's pass uses it, one at a time.
            self._connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        except sqlite3.OperationalError as error:
            raise CheckpointFailed(f"{path} cannot be opened: {error}") from error
        #: Whether commits are synced at this moment.
        self._synced = True
        with ExitStack() as on_failure:
            on_failure.callback(self._connection.close)
            self._prepare()
            on_failure.pop_all()
        self.regain_reserve()

    def load(self) -> list[Put]:
        """See `CheckpointStore`.

        Raises:
            sqlite3.DatabaseError: The database is damaged.
            msgspec.MsgspecError: A record is not of this version.
        """
        rows = self._connection.execute
        return [
            *(_agent.decode(blob) for (blob,) in rows("SELECT record FROM agent")),
            *(_framework.decode(blob) for (blob,) in rows("SELECT record FROM frameworks ORDER BY framework_id")),
            *(_executor.decode(blob) for (blob,) in rows("SELECT record FROM executors ORDER BY number")),
            *(_task.decode(blob) for (blob,) in rows("SELECT record FROM tasks ORDER BY number")),
            *(_progress.decode(blob) for (blob,) in rows("SELECT record FROM progress ORDER BY framework_id, task_id")),
            *(SeenRecord(*row) for row in rows("SELECT framework_id, task_id FROM seen ORDER BY number")),
        ]

    def save(self, records: Sequence[Record]) -> None:
        """See `CheckpointStore`. On a full disk the reserve is given up for it."""
        try:
            self._transact(records)
        except sqlite3.OperationalError as error:
            if not _is_full(error) or not self._reserve.exists():
                raise CheckpointFailed(
                    f"the checkpoint cannot be written: {error}; make room or mend the disk"
                ) from error
            self._reserve.unlink()
            self.short_of_space = True
            try:
                self._transact(records)
            except sqlite3.OperationalError as again:
                raise CheckpointFailed(f"the checkpoint cannot be written: {again}; make room on its disk") from again

    def regain_reserve(self) -> None:
        """Take the reserve back where there is room for it, at start and when the disk has space again."""
        try:
            with self._reserve.open("wb") as file:
                os.posix_fallocate(file.fileno(), 0, RESERVE_MIB * _MIB)
        except OSError:
            self._reserve.unlink(missing_ok=True)
            self.short_of_space = True
        else:
            self.short_of_space = False

    def clear(self) -> None:
        """See `CheckpointStore`. An agent that has left must not be back after a power cut."""
        self._sync_commits(True)
        self._connection.executescript(
            "BEGIN; DELETE FROM agent; DELETE FROM frameworks; DELETE FROM executors; DELETE FROM tasks;"
            "DELETE FROM progress; DELETE FROM seen; COMMIT;"
        )

    def close(self) -> None:
        """See `CheckpointStore`."""
        self._connection.close()
        self._reserve.unlink(missing_ok=True)

    def _prepare(self) -> None:
        execute = self._connection.execute
        execute("PRAGMA journal_mode=WAL")
        execute("PRAGMA synchronous=FULL")
        (version,) = execute("PRAGMA user_version").fetchone()
        if version not in (0, SCHEMA_VERSION):
            raise sqlite3.DatabaseError(f"its version is {version}, this is version {SCHEMA_VERSION}")
        (verdict,) = execute("PRAGMA quick_check(1)").fetchone()
        if verdict != "ok":
            raise sqlite3.DatabaseError(str(verdict))
        self._connection.executescript(_SCHEMA)
        execute(f"PRAGMA user_version={SCHEMA_VERSION}")

    def _sync_commits(self, synced: bool) -> None:
        if synced is not self._synced:
            self._connection.execute(f"PRAGMA synchronous={'FULL' if synced else 'NORMAL'}")
            self._synced = synced

    def _transact(self, records: Sequence[Record]) -> None:
        self._sync_commits(any(map(outlives_machine, records)))
        # The connection, as a context, commits at its end or rolls back.
        with self._connection:
            self._connection.execute("BEGIN IMMEDIATE")
            # Stable: what concerns one table stays in its order, and between tables order means nothing in one transaction. The
            # more of a kind stand together, the fewer statements it takes.
            for kind, group in groupby(sorted(records, key=_table), type):
                self._write(kind, group)

    def _write(self, kind: type[Record], group: Iterable[Record]) -> None:
        """Write consecutive records of one kind with one prepared statement."""
        rows: list[tuple[object, ...]] = [_row(record) for record in group]
        for statement in _STATEMENTS[kind]:
            self._connection.executemany(statement, rows)


#: Per kind of record: the statements for its row.
_STATEMENTS: Final[dict[type[Record], tuple[str, ...]]] = {
    AgentRecord: ("INSERT OR REPLACE INTO agent VALUES (1, ?1)",),
    FrameworkRecord: ("INSERT OR REPLACE INTO frameworks VALUES (?1, ?2)",),
    # A later put keeps its place.
    ExecutorRecord: (
        "INSERT INTO executors (container_id, record) VALUES (?1, ?2) "
        "ON CONFLICT (container_id) DO UPDATE SET record = ?2",
    ),
    TaskRecord: ("INSERT OR REPLACE INTO tasks (framework_id, task_id, record) VALUES (?1, ?2, ?3)",),
    ProgressRecord: ("INSERT OR REPLACE INTO progress VALUES (?1, ?2, ?3)",),
    SeenRecord: ("INSERT OR IGNORE INTO seen (framework_id, task_id) VALUES (?1, ?2)",),
    TaskDropped: (
        "DELETE FROM tasks WHERE framework_id = ?1 AND task_id = ?2",
        "DELETE FROM progress WHERE framework_id = ?1 AND task_id = ?2",
    ),
    SeenDropped: ("DELETE FROM seen WHERE framework_id = ?1 AND task_id = ?2",),
    ExecutorDropped: ("DELETE FROM executors WHERE container_id = ?1",),
    FrameworkDropped: (
        "DELETE FROM frameworks WHERE framework_id = ?1 AND ?2 = ?2",
        "DELETE FROM seen WHERE framework_id = ?1 AND ?2",
    ),
}


#: Per kind of record: which records it must not overtake, those with the same number. A framework may take its seen along.
_TABLES: Final[dict[type[Record], int]] = {
    AgentRecord: 0,
    FrameworkRecord: 1,
    FrameworkDropped: 1,
    SeenRecord: 1,
    SeenDropped: 1,
    ExecutorRecord: 2,
    ExecutorDropped: 2,
    TaskRecord: 3,
    TaskDropped: 3,
    ProgressRecord: 3,
}


def open_checkpoint(path: Path, now_ms: int) -> tuple[SqliteCheckpoint, list[Put], str]:
    """Open an agent's checkpoint and read it, moving aside one that cannot be read.

    Returns:
        The checkpoint, what it keeps, and why an earlier one was moved aside (empty where none was).

    Raises:
        CheckpointFailed: The disk does not let us.
    """
    try:
        checkpoint = SqliteCheckpoint(path)
        with ExitStack() as on_failure:
            on_failure.callback(checkpoint.close)
            records = checkpoint.load()
            on_failure.pop_all()
        return checkpoint, records, ""
    except (sqlite3.DatabaseError, msgspec.MsgspecError) as error:
        damage = str(error)
    for ending in ("", "-wal", "-shm"):
        file = path.with_name(path.name + ending)
        if file.exists():
            file.rename(path.with_name(f"{path.name}.damaged-{now_ms}{ending}"))
    return SqliteCheckpoint(path), [], damage


def _table(record: Record) -> int:
    return _TABLES[type(record)]


def _row(record: Record) -> tuple[object, ...]:
    match record:
        case ProgressRecord():
            return record.framework_id, record.task_id, _encode(record)
        case TaskRecord():
            return record.framework_id, record.task.task_id, _encode(record)
        case SeenRecord() | SeenDropped() | TaskDropped():
            return record.framework_id, record.task_id
        case ExecutorRecord():
            return record.container_id, _encode(record)
        case ExecutorDropped():
            return (record.container_id,)
        case FrameworkRecord():
            return record.framework.framework_id, _encode(record)
        case FrameworkDropped():
            return record.framework_id, record.with_seen
        case AgentRecord():
            return (_encode(record),)
        case _:
            assert_never(record)


def _is_full(error: sqlite3.OperationalError) -> bool:
    return error.sqlite_errorcode in (sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR_WRITE, sqlite3.SQLITE_IOERR_SHMSIZE)
