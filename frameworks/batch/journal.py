"""What a batch program remembers over its own death: its framework's id, its jobs, and how far they are.

A launch is in the journal before it leaves, and a result before its last update is acknowledged: so whenever the program
dies, the next one knows every attempt that may exist and loses no result that the cluster has forgotten. One program at a
time uses a journal.

A result is forgotten once it was handed to the program and the program came back for more, which shows that it is done with it.
The result that the program had in hand when it died comes again.
"""

import contextlib
import fcntl
import os
import sqlite3
import threading
from collections.abc import Generator, Sequence
from pathlib import Path
from typing import Final

import msgspec
from msgspec import Struct

from mesolite.errors import ConfigError, Unavailable
from mesolite.ids import FrameworkId

from .records import JobRecord, Kept, TaskRecord
from .result import JobSummary, TaskResult
from .spec_codec import decode_spec, encode_spec

#: Raised when the tables or records change their meaning.
SCHEMA_VERSION: Final = 1
#: Two connections write, each for milliseconds at a time; a longer wait is a disk that hangs.
_BUSY_TIMEOUT_S: Final = 60

_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS framework (one INTEGER PRIMARY KEY CHECK (one = 1), framework_id TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS jobs (
    number INTEGER PRIMARY KEY AUTOINCREMENT, job_id TEXT NOT NULL UNIQUE, spec BLOB NOT NULL, state BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS tasks (
    job_id TEXT NOT NULL, task_index INTEGER NOT NULL, record BLOB NOT NULL, handed INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (job_id, task_index)) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS unhanded ON tasks (job_id) WHERE handed = 0;
"""
# `handed` stays: a task has its result but once, and nothing is said of it afterwards.
_PUT_JOB: Final = """
INSERT INTO jobs (job_id, spec, state) VALUES (?1, ?2, ?3) ON CONFLICT (job_id) DO UPDATE SET state = ?3
"""
_PUT_TASK: Final = """
INSERT INTO tasks (job_id, task_index, record) VALUES (?1, ?2, ?3)
ON CONFLICT (job_id, task_index) DO UPDATE SET record = ?3
"""


class _JobState(Struct, frozen=True):
    """What of a job changes."""

    submitted_ms: int
    cancelled: bool
    summary: JobSummary | None


_encode = msgspec.msgpack.Encoder().encode
_state = msgspec.msgpack.Decoder(_JobState)
_task = msgspec.msgpack.Decoder(TaskRecord)


class MemoryJournal:
    """A journal for tests: it outlives what uses it, but no process."""

    def __init__(self) -> None:
        self._framework_id: FrameworkId | None = None
        self._jobs: dict[str, JobRecord] = {}
        self._tasks: dict[tuple[str, int], TaskRecord] = {}
        self._handed: set[tuple[str, int]] = set()

    def load(self) -> Kept:
        """See `Journal`."""
        return Kept(
            framework_id=self._framework_id,
            jobs=tuple(self._jobs.values()),
            tasks=tuple(self._tasks.values()),
            results=tuple(
                task.result for key, task in self._tasks.items() if task.result is not None and key not in self._handed
            ),
        )

    def begin(self, framework_id: FrameworkId) -> None:
        """See `Journal`."""
        self._framework_id = framework_id

    def end(self) -> None:
        """See `Journal`."""
        self._framework_id = None

    def save(self, jobs: Sequence[JobRecord], tasks: Sequence[TaskRecord]) -> None:
        """See `Journal`."""
        self._jobs.update((job.spec.job_id, job) for job in jobs)
        self._tasks.update(((task.job_id, task.index), task) for task in tasks)

    def handed(self, result: TaskResult) -> None:
        """See `Journal`."""
        self._handed.add((result.job_id, result.index))
        own = [key for key in self._tasks if key[0] == result.job_id]
        if self._jobs[result.job_id].summary is not None and self._handed.issuperset(own):
            for key in own:
                del self._tasks[key]

    def close(self) -> None:
        """See `Journal`."""


class SqliteJournal:
    """A journal in one file, with SQLite's own beside it and a lock."""

    def __init__(self, path: Path) -> None:
        """Open or make it.

        Raises:
            ConfigError: Another program uses it, or the file is not a journal.
            Unavailable: The disk does not let us.
        """
        self._path: Final = path
        #: Held for one statement or transaction.
        self._guard: Final = threading.Lock()
        with contextlib.ExitStack() as on_failure:
            self._lock: Final = _locked(path)
            on_failure.callback(os.close, self._lock)
            try:
                self._facts: Final = _opened(path, "FULL")
                on_failure.callback(self._facts.close)
                # A mark that a power cut takes back makes a result come twice, which is no reason to wait for the disk each time.
                self._marks: Final = _opened(path, "NORMAL")
                on_failure.callback(self._marks.close)
            except sqlite3.OperationalError as error:
                raise Unavailable(f"the journal {path} cannot be opened: {error}") from None
            except sqlite3.DatabaseError as error:
                raise ConfigError(f"{path} is not a journal: {error}; choose another file") from None
            on_failure.pop_all()

    def load(self) -> Kept:
        """See `Journal`.

        Raises:
            ConfigError: The file holds what this version does not understand.
        """
        with self._guard:
            rows = self._facts.execute
            framework = rows("SELECT framework_id FROM framework").fetchone()
            jobs = rows("SELECT spec, state FROM jobs ORDER BY number").fetchall()
            tasks = rows("SELECT record, handed FROM tasks ORDER BY job_id, task_index").fetchall()
        try:
            records = [(_task.decode(blob), bool(handed)) for blob, handed in tasks]
            return Kept(
                framework_id=FrameworkId(framework[0]) if framework is not None else None,
                jobs=tuple(_job_record(spec, state) for spec, state in jobs),
                tasks=tuple(record for record, _ in records),
                results=tuple(record.result for record, handed in records if record.result is not None and not handed),
            )
        except msgspec.MsgspecError as error:
            raise ConfigError(f"{self._path} cannot be understood: {error}; choose another file") from None

    def begin(self, framework_id: FrameworkId) -> None:
        """See `Journal`."""
        with self._transaction() as connection:
            connection.execute("INSERT OR REPLACE INTO framework VALUES (1, ?1)", (framework_id,))

    def end(self) -> None:
        """See `Journal`."""
        with self._transaction() as connection:
            connection.execute("DELETE FROM framework")

    def save(self, jobs: Sequence[JobRecord], tasks: Sequence[TaskRecord]) -> None:
        """See `Journal`."""
        job_rows = [
            (job.spec.job_id, encode_spec(job.spec), _encode(_JobState(job.submitted_ms, job.cancelled, job.summary)))
            for job in jobs
        ]
        with self._transaction() as connection:
            connection.executemany(_PUT_JOB, job_rows)
            connection.executemany(_PUT_TASK, [(task.job_id, task.index, _encode(task)) for task in tasks])

    def handed(self, result: TaskResult) -> None:
        """See `Journal`."""
        key = (result.job_id, result.index)
        with self._guard, _translated(self._path), self._marks:
            self._marks.execute("BEGIN IMMEDIATE")
            self._marks.execute("UPDATE tasks SET handed = 1 WHERE job_id = ?1 AND task_index = ?2", key)
            left = self._marks.execute("SELECT 1 FROM tasks WHERE job_id = ?1 AND handed = 0 LIMIT 1", key[:1])
            if left.fetchone() is None:
                (state,) = self._marks.execute("SELECT state FROM jobs WHERE job_id = ?1", key[:1]).fetchone()
                if _state.decode(state).summary is not None:
                    self._marks.execute("DELETE FROM tasks WHERE job_id = ?1", key[:1])

    def close(self) -> None:
        """See `Journal`."""
        with self._guard:
            self._marks.close()
            self._facts.close()
            os.close(self._lock)

    @contextlib.contextmanager
    def _transaction(self) -> Generator[sqlite3.Connection]:
        with self._guard, _translated(self._path), self._facts:
            self._facts.execute("BEGIN IMMEDIATE")
            yield self._facts


def _job_record(spec: bytes, state: bytes) -> JobRecord:
    kept = _state.decode(state)
    return JobRecord(
        spec=decode_spec(spec), submitted_ms=kept.submitted_ms, cancelled=kept.cancelled, summary=kept.summary
    )


def _locked(path: Path) -> int:
    """Take the journal for this program until the returned file is closed.

    Not the database itself: closing a file that SQLite has open would take SQLite's own locks away (fcntl(2)).
    """
    try:
        lock = os.open(path.with_name(path.name + ".lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise Unavailable(f"the journal {path} cannot be opened: {error.strerror}; choose another file") from None
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(lock)
        raise ConfigError(
            f"another program uses the journal {path}; wait for its end, or choose another file"
        ) from None
    return lock


def _opened(path: Path, synchronous: str) -> sqlite3.Connection:
    connection = sqlite3.connect(path, timeout=_BUSY_TIMEOUT_S, isolation_level=None, check_same_thread=False)
    with contextlib.ExitStack() as on_failure:
        on_failure.callback(connection.close)
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute(f"PRAGMA synchronous={synchronous}")
        (version,) = connection.execute("PRAGMA user_version").fetchone()
        if version not in (0, SCHEMA_VERSION):
            raise sqlite3.DatabaseError(f"its version is {version}, this is version {SCHEMA_VERSION}")
        connection.executescript(_SCHEMA)
        connection.execute(f"PRAGMA user_version={SCHEMA_VERSION}")
        on_failure.pop_all()
    return connection


@contextlib.contextmanager
def _translated(path: Path) -> Generator[None]:
    try:
        yield
    except sqlite3.Error as error:
        raise Unavailable(f"the journal {path} cannot be written: {error}; make room or mend the disk") from error
