"""What every checkpoint keeps, on the fake and on the real one; and what only a real disk can do."""

import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from mesolite.agent.checkpoint import CheckpointStore, MemoryCheckpoint, SqliteCheckpoint, open_checkpoint
from mesolite.agent.executor_lifecycle import ExecutorPhase
from mesolite.agent.lifecycle import Phase
from mesolite.agent.records import (
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
)
from mesolite.errors import CheckpointFailed
from mesolite.executors.command import KillCause
from mesolite.ids import AgentId, ContainerId, ExecutorId, FrameworkId, TaskId
from mesolite.protocol import CommandInfo, ExecutorInfo, FrameworkInfo, Source, TaskInfo, TaskState, TaskStatus

F = FrameworkId("f")
AGENT = AgentRecord(AgentId("a"), 3, "boot")
FRAMEWORK = FrameworkRecord(FrameworkInfo(framework_id=F, name="f", labels={"x": "ü"}))


def task(name: str) -> TaskRecord:
    info = TaskInfo(
        task_id=TaskId(name),
        agent_id=AgentId("a"),
        command=CommandInfo(value="true"),
        data=b"\0\xff",
        labels={"k": "v"},
    )
    return TaskRecord(F, ContainerId(f"c-{name}"), info)


def executor(name: str, phase: ExecutorPhase = ExecutorPhase.RUNNING, exit_code: int | None = None) -> ExecutorRecord:
    info = ExecutorInfo(executor_id=ExecutorId("e"), command=CommandInfo(value="run"), data=b"\0\xff")
    return ExecutorRecord(
        framework_id=F,
        container_id=ContainerId(name),
        executor=info,
        launched_by=TaskId("a"),
        phase=phase,
        exit_code=exit_code,
    )


def progress(name: str, phase: Phase = Phase.STAGING, *states: TaskState) -> ProgressRecord:
    pending = tuple(
        TaskStatus(task_id=TaskId(name), state=state, source=Source.AGENT, timestamp_ms=1, uuid=bytes([number]))
        for number, state in enumerate(states)
    )
    return ProgressRecord(F, TaskId(name), phase, KillCause.REQUEST, 3000, None, pending, None)


Reopen = Callable[[], CheckpointStore]


@pytest.fixture(params=["memory", "sqlite"])
def reopen(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Reopen]:
    """Give the same checkpoint as a new life of the agent finds it."""
    if request.param == "memory":
        kept = MemoryCheckpoint()
        yield lambda: kept
        return
    opened: list[SqliteCheckpoint] = []

    def again() -> CheckpointStore:
        for each in opened:
            each.close()
        opened.append(SqliteCheckpoint(tmp_path / "checkpoint.sqlite"))
        return opened[-1]

    yield again
    opened[-1].close()


def test_a_new_one_is_empty(reopen: Reopen) -> None:
    assert reopen().load() == []


def test_what_was_put_is_found_by_the_next_life_by_kind_and_in_order(reopen: Reopen) -> None:
    reopen().save([task("b"), SeenRecord(F, TaskId("z")), progress("b"), AGENT, FRAMEWORK])
    reopen().save([task("a"), progress("a", Phase.ENDED, TaskState.RUNNING, TaskState.FINISHED)])
    reopen().save([SeenRecord(F, TaskId("y"))])
    found = reopen().load()
    assert found[:4] == [AGENT, FRAMEWORK, task("b"), task("a")]
    assert sorted(record.task_id for record in found if isinstance(record, ProgressRecord)) == ["a", "b"]
    assert [record.task_id for record in found if isinstance(record, SeenRecord)] == ["z", "y"]
    assert progress("a", Phase.ENDED, TaskState.RUNNING, TaskState.FINISHED) in found


def test_a_put_replaces_what_its_key_had(reopen: Reopen) -> None:
    reopen().save([AGENT, FRAMEWORK, task("a"), progress("a")])
    newer: list[Put] = [
        AgentRecord(AgentId("a"), 4, "boot"),
        FrameworkRecord(FRAMEWORK.framework, True),
        task("a"),
        progress("a", Phase.RUNNING, TaskState.RUNNING),
    ]
    reopen().save(newer)
    assert reopen().load() == newer


def test_lives_of_an_executor_are_kept_beside_each_other_and_each_keeps_its_place(reopen: Reopen) -> None:
    reopen().save([task("a"), executor("z"), executor("y")])
    reopen().save([executor("z", ExecutorPhase.ENDED, 137)])
    assert reopen().load() == [executor("z", ExecutorPhase.ENDED, 137), executor("y"), task("a")]
    reopen().save([ExecutorDropped(ContainerId("z")), ExecutorDropped(ContainerId("never-seen"))])
    assert reopen().load() == [executor("y"), task("a")]


def test_drops_take_out_exactly_what_they_name(reopen: Reopen) -> None:
    reopen().save(
        [task("a"), task("b"), progress("a"), progress("b"), SeenRecord(F, TaskId("c")), SeenRecord(F, TaskId("d"))]
    )
    reopen().save([TaskDropped(F, TaskId("a")), SeenDropped(F, TaskId("c"))])
    assert reopen().load() == [task("b"), progress("b"), SeenRecord(F, TaskId("d"))]


def test_dropping_nothing_is_nothing(reopen: Reopen) -> None:
    reopen().save([TaskDropped(F, TaskId("a")), SeenDropped(F, TaskId("c")), FrameworkDropped(F)])
    assert reopen().load() == []


@pytest.mark.parametrize("with_seen", [True, False])
def test_a_framework_goes_with_or_without_its_seen(reopen: Reopen, with_seen: bool) -> None:
    other = SeenRecord(FrameworkId("g"), TaskId("t"))
    reopen().save([FRAMEWORK, SeenRecord(F, TaskId("t")), other])
    reopen().save([FrameworkDropped(F, with_seen)])
    assert reopen().load() == ([other] if with_seen else [SeenRecord(F, TaskId("t")), other])


def test_records_of_one_save_apply_in_order(reopen: Reopen) -> None:
    reopen().save([FRAMEWORK, FrameworkDropped(F), FRAMEWORK, task("a"), TaskDropped(F, TaskId("a"))])
    assert reopen().load() == [FRAMEWORK]


def test_what_a_framework_takes_along_and_what_comes_after_it_are_told_apart(reopen: Reopen) -> None:
    seen, later = SeenRecord(F, TaskId("t")), SeenRecord(F, TaskId("u"))
    reopen().save(
        [seen, FRAMEWORK, FrameworkDropped(F, True), task("a"), later, progress("a"), TaskDropped(F, TaskId("a"))]
    )
    assert reopen().load() == [later]


def test_a_seen_id_keeps_its_place(reopen: Reopen) -> None:
    reopen().save([SeenRecord(F, TaskId("a")), SeenRecord(F, TaskId("b"))])
    reopen().save([SeenRecord(F, TaskId("a"))])
    assert reopen().load() == [SeenRecord(F, TaskId("a")), SeenRecord(F, TaskId("b"))]


def test_clear_forgets_everything(reopen: Reopen) -> None:
    reopen().save([AGENT, FRAMEWORK, executor("c"), task("a"), progress("a"), SeenRecord(F, TaskId("z"))])
    reopen().clear()
    assert reopen().load() == []


# -- what only a real disk can do


def test_a_save_is_all_or_nothing(tmp_path: Path) -> None:
    checkpoint = SqliteCheckpoint(tmp_path / "c")
    unwritable = TaskRecord(F, ContainerId("c"), TaskInfo(task_id=TaskId("\ud800"), agent_id=AgentId("a")))
    with pytest.raises(UnicodeEncodeError):
        checkpoint.save([task("a"), unwritable])
    assert checkpoint.load() == []
    checkpoint.save([task("a")])
    assert checkpoint.load() == [task("a")]
    checkpoint.close()


def test_a_power_cut_undoes_no_end_that_was_told_but_perhaps_a_launch(tmp_path: Path) -> None:
    """Method: what SQLite was told to do at a commit; a sync takes all commits before it along."""
    checkpoint = SqliteCheckpoint(tmp_path / "c")

    def is_synced(*records: Record) -> bool:
        checkpoint.save(records)
        return commits_are_synced()

    def commits_are_synced() -> bool:
        (how,) = checkpoint._connection.execute("PRAGMA synchronous").fetchone()  # pyright: ignore[reportPrivateUsage]
        assert how in (1, 2), "less would damage the database"
        return bool(how == 2)

    assert is_synced(AGENT)
    assert not is_synced(task("a"), progress("a"))
    assert not is_synced(progress("a", Phase.RUNNING, TaskState.RUNNING))
    assert is_synced(task("b"), progress("a", Phase.ENDED, TaskState.RUNNING, TaskState.FINISHED))
    assert not is_synced(TaskDropped(F, TaskId("a")), SeenRecord(F, TaskId("a")))
    assert is_synced(executor("e"))
    assert not is_synced(task("c"), progress("c"))
    checkpoint.clear()
    assert commits_are_synced(), "who has left stays away"
    assert checkpoint._connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)  # pyright: ignore[reportPrivateUsage]
    checkpoint.close()


@pytest.mark.parametrize("damage", [b"not a database at all, but long enough to have a header" * 40, b""])
def test_a_file_that_is_no_checkpoint_is_moved_aside(tmp_path: Path, damage: bytes) -> None:
    path = tmp_path / "c"
    path.write_bytes(damage)
    checkpoint, records, reason = open_checkpoint(path, 17)
    assert records == []
    assert bool(reason) == bool(damage), "an empty file is a new database"
    assert (tmp_path / "c.damaged-17").exists() == bool(damage)
    checkpoint.save([AGENT])
    assert checkpoint.load() == [AGENT]
    checkpoint.close()


def test_a_damaged_page_is_noticed_at_the_start(tmp_path: Path) -> None:
    path = tmp_path / "c"
    checkpoint = SqliteCheckpoint(path)
    checkpoint.save([task(f"t{number}") for number in range(500)])
    checkpoint.close()
    with path.open("r+b") as file:
        file.seek(3 * 4096)
        file.write(b"\xff" * 8192)
    checkpoint, records, reason = open_checkpoint(path, 17)
    assert (records, bool(reason)) == ([], True)
    checkpoint.close()


def test_records_of_another_version_are_moved_aside(tmp_path: Path) -> None:
    path = tmp_path / "c"
    SqliteCheckpoint(path).close()
    with sqlite3.connect(path) as connection:
        connection.execute("PRAGMA user_version=99")
    connection.close()
    checkpoint, _, reason = open_checkpoint(path, 17)
    assert "version is 99" in reason
    checkpoint.close()


def test_a_record_that_cannot_be_read_is_damage(tmp_path: Path) -> None:
    path = tmp_path / "c"
    SqliteCheckpoint(path).close()
    with sqlite3.connect(path) as connection:
        connection.execute("INSERT INTO agent VALUES (1, ?)", (b"\xc1",))
    connection.close()
    checkpoint, records, reason = open_checkpoint(path, 17)
    assert (records, bool(reason)) == ([], True)
    checkpoint.close()


def fill_up(checkpoint: SqliteCheckpoint, pages: int) -> None:
    """Let SQLite find its disk full after so many pages: its own way to say it (PRAGMA max_page_count)."""
    checkpoint._connection.execute(f"PRAGMA max_page_count={pages}")  # pyright: ignore[reportPrivateUsage]


def test_on_a_full_disk_the_reserve_is_given_up_and_then_the_failure_is_said(tmp_path: Path) -> None:
    checkpoint = SqliteCheckpoint(tmp_path / "c")
    reserve = tmp_path / "c.reserve"
    assert reserve.stat().st_size > 0
    fill_up(checkpoint, 1)
    many = [task(f"t{number}") for number in range(1000)]
    with pytest.raises(CheckpointFailed, match="full"):
        checkpoint.save(many)
    assert (checkpoint.short_of_space, reserve.exists()) == (True, False)
    assert checkpoint.load() == [], "nothing of it was kept"
    fill_up(checkpoint, 1_000_000)
    checkpoint.save(many)
    checkpoint.regain_reserve()
    assert (checkpoint.short_of_space, reserve.exists()) == (False, True)
    assert len(checkpoint.load()) == 1000
    checkpoint.close()


def test_a_disk_that_cannot_be_written_is_said_so(tmp_path: Path) -> None:
    with pytest.raises(CheckpointFailed, match="cannot be opened"):
        SqliteCheckpoint(tmp_path / "missing" / "c")
