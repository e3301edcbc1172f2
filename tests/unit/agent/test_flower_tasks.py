"""What Flower is told: views of tasks and endings, the ledger behind inspections, sampling, and the answers."""

import pytest
from msgspec.structs import replace

from mesolite.agent.flower_answers import ControlAnswers
from mesolite.agent.flower_ledger import (
    MAX_COUNTED_NAMES,
    MAX_ENDED_TASKS,
    MAX_LIVE_TASKS,
    MAX_REVOKED,
    OTHER_NAMES,
    TaskLedger,
)
from mesolite.agent.flower_tasks import (
    MAX_COMMAND_CHARS,
    AgentView,
    Outcome,
    TaskEnding,
    TaskView,
    parse_shown_id,
    shown_id,
)
from mesolite.executors.python.tasks import SLOT_DATA
from mesolite.ids import AgentId, ExecutorId, FrameworkId, TaskId
from mesolite.protocol import (
    CommandInfo,
    ContainerInfo,
    ContainerStatus,
    ExecutorInfo,
    FrameworkInfo,
    Reason,
    Source,
    TaskInfo,
    TaskState,
    TaskStatus,
)
from mesolite.resources import Resource, ResourceType
from mesolite.transport.celery_events import TOLD_ELSEWHERE
from mesolite.transport.event_sampler import Sampler

FRAMEWORK = FrameworkInfo(framework_id=FrameworkId("fw-1"), name="batch")


def task(command: CommandInfo | None, name: str = "") -> TaskInfo:
    """A task with half a CPU."""
    return TaskInfo(
        task_id=TaskId("t-1"),
        agent_id=AgentId("a"),
        name=name,
        command=command,
        resources=(
            Resource(name="cpus", type=ResourceType.SCALAR, scalar=250),
            Resource(name="cpus", type=ResourceType.SCALAR, scalar=250, allocation_role="web"),
            Resource(name="ports", type=ResourceType.RANGES),
        ),
        container=ContainerInfo(image="python:3.11"),
    )


def view(number: int, name: str = "sleep") -> TaskView:
    """A small task."""
    return TaskView(
        task_id=TaskId(f"t-{number}"), framework_id=FrameworkId("f"), framework_name="", name=name, command="sleep 1"
    )


def ended(outcome: Outcome, exit_code: int | None = None) -> TaskEnding:
    """An end at a time of no interest."""
    return TaskEnding(outcome=outcome, ended_s=2.0, exit_code=exit_code)


def ledger() -> TaskLedger:
    """A ledger at a time of no interest."""
    return TaskLedger(lambda: 1.0)


@pytest.mark.parametrize(
    ("command", "name", "expected"),
    [
        (CommandInfo(value="/usr/bin/sleep 100"), "", ("sleep", "/usr/bin/sleep 100")),
        (CommandInfo(value="sleep 100"), "nap", ("nap", "sleep 100")),
        (CommandInfo(value="python", shell=False, arguments=("python", "-c", "1")), "", ("python", "python -c 1")),
        (CommandInfo(value="python", shell=False), "", ("python", "python")),
        (None, "", ("t-1", "")),
    ],
)
def test_a_task_is_named_by_itself_or_by_its_command(
    command: CommandInfo | None, name: str, expected: tuple[str, str]
) -> None:
    seen = TaskView.of(FRAMEWORK, task(command, name))
    assert (seen.name, seen.command) == expected


def test_resources_of_all_roles_are_summed_and_shown_readable() -> None:
    assert TaskView.of(FRAMEWORK, task(None)).kwargs() == {"cpus": "0.5", "framework": "batch", "image": "python:3.11"}


def test_a_pools_worker_does_not_count_as_running() -> None:
    """It waits as a rule; what it runs is counted by itself (`flower_totals.py`)."""
    executor = ExecutorInfo(executor_id=ExecutorId("e"), command=CommandInfo(value="python3"))
    ledger = TaskLedger(lambda: 1.0)
    for name, data in (("worker", SLOT_DATA), ("call", b"C...")):
        info = replace(task(None), task_id=TaskId(name), executor=executor, data=data)
        seen = TaskView.of(FRAMEWORK, info)
        ledger.received(seen, shown=True)
        ledger.started(seen.shown_id)
    assert len(ledger.live(running=True)) == 2
    assert ledger.running_count() == 1


@pytest.mark.parametrize("outcome", ["succeeded", "failed", "killed"])
def test_a_task_that_its_framework_tells_of_is_counted_and_never_shown(outcome: Outcome) -> None:
    """Neither when it fails, nor where an earlier life of the agent had it."""
    executor = ExecutorInfo(
        executor_id=ExecutorId("e"), command=CommandInfo(value="python3"), labels=dict(TOLD_ELSEWHERE)
    )
    seen = TaskView.of(FRAMEWORK, replace(task(None, "proj.work"), executor=executor, data=b"C..."))
    books = ledger()
    assert books.received(seen, shown=True, since_s=0.5) is None
    books.started(seen.shown_id)
    assert (books.running_count(), books.totals()) == (1, {"proj.work": 1})
    assert books.live(running=True) == []
    assert books.to_repeat(0.0) == []
    for known in (books.ended(seen, ended(outcome)), ledger().ended(seen, ended(outcome))):
        assert known is not None
        assert not known.shown
    assert (books.running_count(), books.to_repeat(0.0), books.revoked()) == (0, [], [])


def test_a_long_command_is_cut() -> None:
    seen = TaskView.of(FRAMEWORK, task(CommandInfo(value="x" * 100_000)))
    assert len(seen.command) == MAX_COMMAND_CHARS


@pytest.mark.parametrize(
    ("state", "outcome"),
    [
        (TaskState.FINISHED, "succeeded"),
        (TaskState.KILLED, "killed"),
        (TaskState.FAILED, "failed"),
        (TaskState.ERROR, "failed"),
        (TaskState.DROPPED, "failed"),
        (TaskState.GONE, "failed"),
    ],
)
def test_every_terminal_state_has_an_outcome(state: TaskState, outcome: str) -> None:
    status = TaskStatus(task_id=TaskId("t"), state=state, source=Source.AGENT, timestamp_ms=1500)
    ending = TaskEnding.of(status)
    assert (ending.outcome, ending.ended_s) == (outcome, 1.5)


def test_a_failure_shows_reason_and_message() -> None:
    status = TaskStatus(
        task_id=TaskId("t"),
        state=TaskState.FAILED,
        source=Source.AGENT,
        timestamp_ms=1,
        reason=Reason.CONTAINER_LIMITATION_MEMORY,
        message="used 65 of 64 MiB",
        container_status=ContainerStatus(exit_code=137),
    )
    ending = TaskEnding.of(status)
    assert ending.exception() == "CONTAINER_LIMITATION_MEMORY: used 65 of 64 MiB"
    assert ending.exit_code == 137


def test_a_failure_without_words_shows_its_exit_code() -> None:
    assert ended("failed", 3).exception() == "exit code 3"


def test_two_frameworks_may_use_one_task_id() -> None:
    """Goal: Flower shows two rows. The id it shows leads back to framework and task; a bare task id means any framework's."""
    ids = {shown_id(FrameworkId(framework), TaskId("t")) for framework in ("f", "g")}
    assert ids == {"f/t", "g/t"}
    assert [parse_shown_id(each) for each in sorted(ids)] == [("f", "t"), ("g", "t")]
    assert parse_shown_id("t") == (None, "t")


def test_repeating_a_word_about_a_task_changes_nothing() -> None:
    books = ledger()
    assert books.received(view(1), shown=True) is not None
    assert books.received(view(1), shown=True) is None
    assert books.started("f/t-1") is not None
    assert books.started("f/t-1") is None
    assert books.ended(view(1), ended("succeeded", 0)) is not None
    assert books.ended(view(1), ended("succeeded", 0)) is None
    assert books.started("f/never-seen") is None
    assert books.totals() == {"sleep": 1}


def test_a_task_of_a_former_life_keeps_its_times() -> None:
    """The agent was started again: the task did not begin then."""
    books = ledger()
    books.received(view(1), shown=True, since_s=0.25)
    books.started("f/t-1", since_s=0.5)
    known = books.find("f/t-1")
    assert known is not None
    assert (known.received_s, known.started_s) == (0.25, 0.5)


def test_an_end_is_told_even_of_a_task_that_this_life_never_saw() -> None:
    """It ended while the agent was away, and Flower saw it start."""
    task = ledger().ended(view(1), ended("failed"))
    assert task is not None
    assert task.shown
    assert task.received_s == 2.0


def test_only_shown_tasks_are_repeated_and_a_hidden_one_that_failed_counts_as_shown() -> None:
    books = ledger()
    for number, shown in ((1, True), (2, False), (3, False), (4, False), (5, True)):
        books.received(view(number), shown=shown)
    books.ended(view(3), ended("failed"))
    books.ended(view(4), ended("succeeded"))
    books.ended(view(5), ended("succeeded"))
    assert books.to_repeat(ended_after_s=0.0) == ["f/t-1", "f/t-5", "f/t-3"]
    assert books.to_repeat(ended_after_s=3.0) == ["f/t-1"], "what ended long ago is not repeated"


def test_nothing_in_the_ledger_grows_without_bound() -> None:
    books = ledger()
    for number in range(MAX_LIVE_TASKS + 1):
        books.received(view(number, name=f"name-{number}"), shown=True)
    for number in range(MAX_REVOKED + 1):
        books.ended(view(-1 - number), ended("killed"))
    assert len(books.live(running=False)) == MAX_LIVE_TASKS
    assert len(books.totals()) == MAX_COUNTED_NAMES + 1
    assert books.totals()[OTHER_NAMES] == MAX_LIVE_TASKS + 1 - MAX_COUNTED_NAMES
    assert len(books.revoked()) == MAX_REVOKED
    assert books.revoked()[0] == "f/t--2"
    assert len(books.to_repeat(ended_after_s=0.0)) == MAX_LIVE_TASKS + MAX_ENDED_TASKS


def test_the_sampler_lets_a_burst_through_and_then_its_rate() -> None:
    now_s = 100.0
    sampler = Sampler(10, lambda: now_s)
    assert [sampler.admit() for _ in range(12)] == [True] * 10 + [False] * 2
    now_s += 0.5
    assert [sampler.admit() for _ in range(6)] == [True] * 5 + [False]
    now_s += 1000
    assert sum(sampler.admit() for _ in range(100)) == 10, "what was not used is not saved up"


class Control:
    """The answers of one agent with two tasks: f/t-1 runs, f/t-2 waits."""

    def __init__(self) -> None:
        self.terminated: list[tuple[str | None, str]] = []
        self.heard: list[str] = []
        books = ledger()
        books.received(view(1), shown=True)
        books.received(view(2), shown=True)
        books.started("f/t-1")
        self.answers = ControlAnswers(
            worker="mesolite@a",
            queue="mesolite.agent.a",
            transport="redis",
            ledger=books,
            details=lambda: AgentView(
                hostname="h", containerizer="process", resources_milli=(("cpus", 2500), ("mem", 64_000))
            ),
            on_terminate=lambda framework_id, task_id: self.terminated.append((framework_id, task_id)),
            listeners=self,
        )

    def listener_came(self) -> None:
        """See `Listeners`."""
        self.heard.append("came")

    def enable_asked(self) -> None:
        """See `Listeners`."""
        self.heard.append("enable")


def test_signs_of_life_of_listeners_are_passed_on() -> None:
    """Celery's receiver broadcasts "heartbeat" when it begins (events/receiver.py, `wakeup_workers`)."""
    control = Control()
    for method in ("heartbeat", "ping", "enable_events"):
        control.answers.answer(method, {})
    assert control.heard == ["came", "enable"]


def test_every_question_of_flower_is_answered() -> None:
    """Goal: nothing that Flower asks at each refresh is refused (flower/inspector.py, `inspect_methods`)."""
    control = Control()
    for method in (
        "ping",
        "stats",
        "active_queues",
        "registered",
        "scheduled",
        "active",
        "reserved",
        "revoked",
        "conf",
    ):
        answer = control.answers.answer(method, {})
        assert not (isinstance(answer, dict) and "error" in answer), method


def test_running_and_waiting_tasks_are_told_apart() -> None:
    control = Control()

    def ids(method: str) -> list[object]:
        rows = control.answers.answer(method, {})
        assert isinstance(rows, list)
        return [row["id"] for row in rows]

    assert ids("active") == ["f/t-1"]
    assert ids("reserved") == ["f/t-2"]


def test_statistics_say_how_many_tasks_fit() -> None:
    stats = Control().answers.answer("stats", {})
    assert isinstance(stats, dict)
    assert stats["pool"]["max-concurrency"] == 2
    assert stats["total"] == {"sleep": 2}
    assert stats["broker"] == {"transport": "redis", "hostname": "h"}


@pytest.mark.parametrize(
    ("arguments", "terminated"),
    [
        ({"task_id": "f/t-1", "terminate": True}, [("f", "t-1")]),
        ({"task_id": ["f/t-1", "f/t-2"], "terminate": True, "signal": "SIGKILL"}, [("f", "t-1"), ("f", "t-2")]),
        ({"task_id": "f/elsewhere", "terminate": True}, [("f", "elsewhere")]),
        ({"task_id": "t-1", "terminate": True}, [(None, "t-1")]),
        ({"task_id": "f/t-1"}, []),
        ({"task_id": "f/t-2"}, [("f", "t-2")]),
        ({"task_id": [5, None], "terminate": True}, []),
        ({"terminate": True}, []),
        ({}, []),
    ],
)
def test_revoke_does_what_celerys_would(arguments: dict[str, object], terminated: list[tuple[str | None, str]]) -> None:
    """A running task ends only with `terminate`; one that waits ends anyway; nonsense does nothing."""
    control = Control()
    control.answers.answer("revoke", arguments)
    assert control.terminated == terminated


def test_what_an_agent_does_not_do_is_refused_with_a_sentence() -> None:
    answer = Control().answers.answer("pool_grow", {"n": 1})
    assert answer == {"error": "a mesolite agent does not do 'pool_grow'"}
