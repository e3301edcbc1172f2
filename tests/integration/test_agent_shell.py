"""The agent's shell with everything but real containers: order of effects, outages, lives and deaths."""

import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import pytest

from mesolite.agent.checkpoint import MemoryCheckpoint, SqliteCheckpoint, open_checkpoint
from mesolite.agent.containerizer.contract import ContainerSpec
from mesolite.agent.events import TaskEndRequested
from mesolite.agent.executor_links.contract import ExecutorSpoke
from mesolite.agent.inbox import Inbox
from mesolite.agent.launch import LABEL_TASK
from mesolite.agent.reader import CommandReader
from mesolite.agent.records import Record
from mesolite.errors import CheckpointFailed, RedisUnavailable
from mesolite.ids import AgentId, ContainerId, FrameworkId, TaskId
from mesolite.protocol import (
    CommandInfo,
    FrameworkInfo,
    KillTask,
    Reason,
    Registered,
    RunTask,
    ShutdownAgent,
    StatusUpdate,
    TaskInfo,
    TaskState,
    UnregisterAgent,
    decode_dead_letter,
)
from mesolite.resources import Resources
from mesolite.retries import QUICK_ATTEMPTS, QUICK_CAP_MS
from mesolite.transport.contract import BEGINNING
from mesolite.transport.keys import DEAD_LETTERS
from mesolite.transport.memory import MemoryBus, MemoryStore
from tests.waiting import eventually

from .agent_rig import Rig

S = TaskState


@pytest.fixture
def rig(tmp_path: Path) -> Rig:
    rig = Rig(tmp_path)
    rig.join()
    rig.heard()
    return rig


def states(updates: Sequence[StatusUpdate]) -> list[TaskState]:
    return [update.status.state for update in updates]


def test_a_task_runs_from_its_command_to_its_last_word(rig: Rig, tmp_path: Path) -> None:
    rig.run("t", "echo hello")
    assert states(rig.settle(1000)) == [S.RUNNING, S.FINISHED]
    (stdout,) = tmp_path.glob("f/t/*/stdout")
    assert stdout.read_text() == "hello\n"
    assert rig.shell.core.book.tasks == {}
    assert [change.state for change in rig.changes] == [S.STAGING, S.RUNNING, S.FINISHED]


def test_the_header_says_what_is_confirmed_and_counts_its_batches(rig: Rig) -> None:
    rig.run("a", "sleep 100")
    rig.run("b", "sleep 100")
    rig.go(1000)
    batches = rig.heard()
    assert [batch.confirmed for batch in batches][:2] == [2, 3]
    numbers = [batch.number for batch in rig.batches]
    assert numbers == list(range(1, len(numbers) + 1))


def test_one_pass_is_one_batch(rig: Rig) -> None:
    info = FrameworkInfo(framework_id=FrameworkId("f"), name="f")
    tasks = [
        RunTask(
            info,
            TaskInfo(
                task_id=TaskId(f"t{number}"),
                agent_id=AgentId("a1"),
                resources=tuple(Resources.parse("cpus:0.01;mem:4")),
                command=CommandInfo(value="sleep 100"),
            ),
        )
        for number in range(100)
    ]
    rig.say(*tasks)
    rig.go(500)
    launch_report, *start_reports = rig.heard()
    assert launch_report.reports == ()
    assert sum(len(batch.reports) for batch in start_reports) == 100
    assert len(start_reports) == 1


def test_a_kill_ends_the_container(rig: Rig) -> None:
    rig.run("t", "sleep 100")
    rig.settle(1000)
    rig.say(KillTask(FrameworkId("f"), TaskId("t")))
    assert states(rig.settle(1000)) == [S.KILLING, S.KILLED]
    assert rig.host.containers == {}


def test_a_sandbox_that_cannot_be_made_fails_the_task(rig: Rig, tmp_path: Path) -> None:
    (tmp_path / "f").write_text("in the way")
    rig.run("t", "true")
    (update,) = rig.settle(1000)
    assert (update.status.state, update.status.reason) == (S.FAILED, Reason.CONTAINER_LAUNCH_FAILED)
    assert "sandbox" in update.status.message


def test_bytes_that_are_no_commands_become_a_dead_letter(rig: Rig) -> None:
    rig.send_bytes(b"garbage")
    rig.run("t", "true")
    rig.go(1000)
    (letter,) = MemoryStore(rig.broker).read({DEAD_LETTERS: BEGINNING}, limit=10, wait_ms=0)
    assert decode_dead_letter(letter.payload).payload == b"garbage"
    assert states(rig.updates()) == [S.RUNNING], "its neighbours are not affected"


# -- durable before visible


class WatchfulCheckpoint(MemoryCheckpoint):
    """Notes what had been reported and launched when something was saved."""

    def __init__(self) -> None:
        super().__init__()
        self.rig: Rig | None = None
        self.reported: list[int] = []

    def save(self, records: Sequence[Record]) -> None:
        if self.rig is not None:
            self.reported.append(len(self.rig.heard()))
            assert not self.rig.host.containers
        super().save(records)


def test_nothing_is_visible_before_it_is_durable(tmp_path: Path) -> None:
    checkpoint = WatchfulCheckpoint()
    rig = Rig(tmp_path, checkpoint)
    rig.join()
    rig.heard()
    checkpoint.rig = rig
    rig.run("t", "sleep 100")
    assert checkpoint.reported == [0]
    assert len(rig.heard()) == 1


def test_a_disk_that_takes_nothing_lets_nothing_out(tmp_path: Path) -> None:
    checkpoint = MemoryCheckpoint()
    rig = Rig(tmp_path, checkpoint)
    rig.join()
    rig.heard()
    checkpoint.failure = "no space"
    with pytest.raises(CheckpointFailed):
        rig.run("t", "sleep 100")
    assert rig.heard() == []
    rig.containerizer.advance(1000)
    assert rig.host.containers == {}
    # What was decided is lost with the core; the master, which got no confirmation, says it again to the next life.
    checkpoint.failure = ""
    rig.crash()
    rig.start()
    rig.join()
    rig.run("t", "sleep 100")
    assert states(rig.settle(1000)) == [S.RUNNING]


# -- outages of Redis


def test_tasks_do_not_notice_that_redis_is_away_and_all_is_said_when_it_is_back(rig: Rig) -> None:
    rig.run("short", "sleep 10")
    rig.run("long", "sleep 3600")
    rig.settle(1000)
    rig.broker.available = False
    for _ in range(30):
        rig.clock.advance(1000)
        rig.containerizer.poll(rig.clock.now_ms())
        rig.shell.work(0)
    rig.broker.available = True
    back_ms = rig.clock.now_ms()
    rig.heard()
    while not (updates := rig.updates()):
        rig.go(10)
    assert rig.clock.now_ms() - back_ms <= 2 * QUICK_CAP_MS, "not only when the next repetition is due"
    assert states(updates) == [S.FINISHED]
    assert rig.shell.core.book.tasks.keys() == {("f", "short"), ("f", "long")}


def test_trouble_of_the_containerizer_is_looked_at_and_shown(rig: Rig) -> None:
    rig.host.trouble = "the Docker Engine did not answer"
    rig.shell.work(0)
    assert rig.shell.view()["trouble"] == "the Docker Engine did not answer"
    rig.run("t", "sleep 10")
    assert states(rig.settle(100)) == [S.DROPPED]
    rig.host.trouble = ""
    rig.shell.work(0)
    assert rig.shell.view()["trouble"] == ""


def test_an_absent_redis_is_asked_with_growing_pauses_only(rig: Rig) -> None:
    rig.broker.available = False
    with pytest.raises(RedisUnavailable):
        rig.shell.step()
    for _ in range(2 * QUICK_ATTEMPTS):
        rig.clock.advance(QUICK_CAP_MS)
        rig.shell.work(0)
    asked_ms: list[int] = []
    for _ in range(1000):
        rig.clock.advance(10)
        before = rig.shell._reporter.deadline_ms  # pyright: ignore[reportPrivateUsage]
        rig.shell.work(0)
        if rig.shell._reporter.deadline_ms != before:  # pyright: ignore[reportPrivateUsage]
            asked_ms.append(rig.clock.now_ms())
    assert 5 <= len(asked_ms) <= 12


def test_what_a_failover_may_have_forgotten_is_said_again_as_soon_as_commands_can_be_read(rig: Rig) -> None:
    """The reporter, which speaks now and then, may find a new connection and never notice that there was a failover."""
    rig.run("t", "sleep 1")
    rig.go(2000)
    said = rig.updates()
    assert said != []
    inbox = Inbox()
    reader = CommandReader(MemoryBus(rig.broker), "queue", inbox)
    stop = threading.Event()
    rig.broker.available = False
    reading = threading.Thread(target=reader.run, args=(stop,))
    reading.start()
    stop.wait(0.1)
    rig.broker.available = True
    (item,) = eventually(lambda: inbox.take(10))
    stop.set()
    reading.join(10)
    rig.inbox.put(item)
    rig.go(10)
    assert [each.status for each in rig.updates()] == [said[-1].status], "without waiting for its repetition to be due"


def test_an_agent_that_starts_without_redis_registers_as_soon_as_there_is_one(tmp_path: Path) -> None:
    rig = Rig(tmp_path)
    rig.broker.available = False
    for _ in range(100):
        rig.clock.advance(100)
        rig.shell.work(0)
    rig.broker.available = True
    rig.go(QUICK_CAP_MS)
    assert len(rig.registrations()) >= 1


# -- threads


@pytest.fixture
def running(tmp_path: Path) -> Iterator[tuple[Rig, Future[None], list[str]]]:
    """An agent whose shell runs in a thread of its own; what comes of it; and the threads that made sandboxes."""
    makers: list[str] = []

    class Machine(Rig):
        def hold(self) -> None:
            """What the making of a sandbox waits for."""

        def make_sandbox(self, spec: ContainerSpec) -> None:
            makers.append(threading.current_thread().name)
            self.hold()
            if spec.labels[LABEL_TASK] == "bad":
                raise ZeroDivisionError
            super().make_sandbox(spec)

        def go(self, after_ms: int = 0) -> None:
            """The agent's own threads do what is due."""
            self._poll()

    rig, stop = Machine(tmp_path), threading.Event()
    rig.crash()
    rig.start(recover=False)
    with ThreadPoolExecutor(1, thread_name_prefix="agent-run") as threads:
        ended = threads.submit(rig.shell.run, stop)

        def registers() -> bool:
            rig.clock.advance(100)
            return bool(rig.registrations())

        eventually(registers)
        rig.say(Registered(heartbeat_interval_ms=5000))
        yield rig, ended, makers
        stop.set()


def test_commands_that_come_one_by_one_are_taken_up_where_they_were_read(
    running: tuple[Rig, "Future[None]", list[str]],
) -> None:
    rig, _, makers = running
    for name in ("a", "b", "c"):
        before = len(makers)
        rig.run(name, "sleep 60")
        eventually(lambda before=before: len(makers) > before)  # type: ignore[misc]
    assert set(makers) == {"agent-commands"}
    # What follows is the other thread's, which was waiting: that the containers run.
    told: list[TaskState] = []

    def run() -> bool:
        rig.clock.advance(100)
        rig.go()
        told.extend(states(rig.updates()))
        return told.count(S.RUNNING) == 3

    eventually(run)


def strangers_words(number: int) -> ExecutorSpoke:
    """What nobody's executor says on a connection, which is hung up on."""
    return ExecutorSpoke(container_id=ContainerId("nobodys"), connection=number, calls=())


def hangers_up(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, str]]:
    """Which connections are hung up, and the threads that do it."""
    hung_up: list[tuple[int, str]] = []

    def hang_up(_: ContainerId, number: int) -> None:
        hung_up.append((number, threading.current_thread().name))

    monkeypatch.setattr(rig.links, "hang_up", hang_up)
    return hung_up


def test_what_executors_say_one_by_one_is_taken_up_where_it_was_heard(
    running: tuple[Rig, "Future[None]", list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    rig, _, _ = running
    hung_up = hangers_up(rig, monkeypatch)
    for number in range(1, 21):
        rig.shell.heard(strangers_words(number))
        eventually(lambda number=number: len(hung_up) == number)  # type: ignore[misc]
    assert [number for number, _ in hung_up] == list(range(1, 21))
    here = [thread for _, thread in hung_up].count(threading.current_thread().name)
    assert here > 10, "the others have little to do, and are seldom at it"


def test_what_executors_say_during_a_pass_waits_in_its_order_and_keeps_nobody(
    running: tuple[Rig, "Future[None]", list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    rig, _, makers = running
    hung_up = hangers_up(rig, monkeypatch)
    goes_on = threading.Event()
    monkeypatch.setattr(rig, "hold", goes_on.wait)
    rig.run("slow", "sleep 60")
    eventually(lambda: makers)
    for number in range(1, 6):
        rig.shell.heard(strangers_words(number))
    assert hung_up == []
    goes_on.set()
    eventually(lambda: len(hung_up) == 5)
    assert hung_up == [(number, "agent-run_0") for number in range(1, 6)]


def test_after_a_pass_that_was_lost_no_thread_does_another(
    running: tuple[Rig, "Future[None]", list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    rig, ended, _ = running

    def lose(_: object) -> None:
        raise CheckpointFailed("no space")

    monkeypatch.setattr(rig.shell, "handle", lose)
    # Taken up by the thread of `run`: nobody else looks at the time.
    rig.inbox.put(TaskEndRequested(now_ms=rig.clock.now_ms(), task_id=TaskId("t"), framework_id=FrameworkId("f")))
    ended.result(timeout=10)
    monkeypatch.undo()
    hung_up = hangers_up(rig, monkeypatch)
    rig.shell.heard(strangers_words(1))
    assert hung_up == []


def test_what_ends_a_pass_of_the_reader_ends_the_agent(running: tuple[Rig, "Future[None]", list[str]]) -> None:
    rig, ended, makers = running
    rig.run("bad", "sleep 60")
    with pytest.raises(ZeroDivisionError):
        ended.result(timeout=10)
    assert makers == ["agent-commands"]


# -- lives


def test_a_new_life_adopts_what_runs_and_repeats_what_was_not_acknowledged(rig: Rig) -> None:
    rig.run("long", "sleep 60")
    rig.run("short", "sleep 5")
    rig.go(2000)
    rig.crash()
    rig.clock.advance(10_000)
    rig.start()
    rig.heard()
    rig.go()
    (registration,) = rig.registrations()
    listed = {task.task.task_id: task.latest_state for task in registration.tasks}
    assert listed == {"long": S.RUNNING, "short": S.FINISHED}, "what ended meanwhile is known to have"
    rig.say(Registered(heartbeat_interval_ms=5000))
    updates = rig.settle(60_000)
    told = {(update.status.task_id, update.status.state) for update in updates}
    assert told == {("long", S.RUNNING), ("short", S.RUNNING), ("long", S.FINISHED), ("short", S.FINISHED)}
    assert rig.shell.core.book.tasks == {}


def test_a_launch_cut_off_by_a_crash_is_dropped_not_repeated(rig: Rig) -> None:
    rig.run("t", "sleep 60")
    rig.crash()
    rig.start()
    rig.join()
    rig.run("t", "sleep 60")
    (update,) = rig.settle(1000)
    assert (update.status.state, update.status.reason) == (S.DROPPED, Reason.AGENT_RESTARTED)
    assert rig.host.containers == {}


def test_the_same_lives_on_a_real_disk(tmp_path: Path) -> None:
    checkpoint = SqliteCheckpoint(tmp_path / "c")
    rig = Rig(tmp_path / "sandboxes", checkpoint)
    rig.join()
    rig.run("t", "sleep 60")
    rig.go(1000)
    rig.crash()
    checkpoint.close()
    rig.checkpoint, records, damage = open_checkpoint(tmp_path / "c", 0)
    assert damage == ""
    assert len(records) > 0
    rig.start()
    rig.heard()
    rig.join()
    assert states(rig.settle(60_000)) == [S.RUNNING, S.FINISHED]
    rig.checkpoint.close()


def test_an_agent_that_is_told_to_go_ends_its_tasks_and_says_goodbye(rig: Rig) -> None:
    rig.run("t", "sleep 100")
    rig.settle(1000)
    rig.say(ShutdownAgent("declared gone"))
    rig.go(5000)
    assert rig.shell.left
    assert any(isinstance(report, UnregisterAgent) for batch in rig.heard() for report in batch.reports)
    assert rig.checkpoint.load() == []


def test_the_view_is_a_picture_of_the_whole(rig: Rig) -> None:
    rig.run("t", "sleep 100")
    rig.go(1000)
    view = rig.shell.view()
    assert view["registered"] is True
    assert view["held_milli"] == {"cpus": 1000, "mem": 64_000}
    assert view["tasks"] == [
        {
            "framework_id": "f",
            "task_id": "t",
            "container_id": "0000000000000001-1",
            "executor_id": None,
            "state": "TASK_RUNNING",
            "unacknowledged_updates": 1,
        }
    ]
