"""What really happened, written down by whoever did it or saw it: the only thing, beside the machines, that checkers look at."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from mesolite.agent.records import AgentRecord, ProgressRecord, Record
from mesolite.frameworks.batch.job import JobSpec
from mesolite.frameworks.batch.result import TaskResult
from mesolite.ids import AgentId, ContainerId, ExecutorId, FrameworkId, OfferId, SessionId, TaskId
from mesolite.master.executors import launched_tasks
from mesolite.protocol import CommandBatch, Offer, TaskState, TaskStatus

#: A task of a framework.
TaskKey = tuple[FrameworkId, TaskId]


@dataclass(frozen=True, slots=True)
class Delivery:
    """A scheduler heard this."""

    session: SessionId
    status: TaskStatus


@dataclass(slots=True)
class TaskFacts:
    """Everything that became of one task."""

    #: Its scheduler asked for it, in this session.
    asked_by: SessionId | None = None
    #: Containers that an agent told its containerizer to start for it, or executors that were told to, and where.
    launches: list[tuple[AgentId, ContainerId]] = field(default_factory=list[tuple[AgentId, ContainerId]])
    #: Updates that its agent made durable, in order.
    generated: list[tuple[bytes, TaskState]] = field(default_factory=list[tuple[bytes, TaskState]])
    #: Of these, some that were not synced when the machine went down: they may be delivered or not.
    lost: set[bytes] = field(default_factory=set[bytes])
    delivered: list[Delivery] = field(default_factory=list[Delivery])
    #: Who has it, as soon as that one wrote it down.
    agent_id: AgentId | None = None
    #: A command to launch it came from a master that its agent did not know to be past.
    told_in_time: bool = False
    #: Somebody wanted it to end, or it has a time limit.
    may_be_killed: bool = False
    #: Its container, or its executor, was told to end it.
    killed: bool = False


@dataclass(slots=True)
class Journal:
    """The facts of one run."""

    tasks: dict[TaskKey, TaskFacts] = field(default_factory=dict[TaskKey, TaskFacts])
    #: Tasks about which there is news since the checkers last looked.
    touched: dict[TaskKey, None] = field(default_factory=dict[TaskKey, None])
    #: Frameworks that were torn down: their tasks need no last word.
    ended: set[FrameworkId] = field(default_factory=set[FrameworkId])
    #: The newest epoch that each agent made durable.
    followed: dict[AgentId, int] = field(default_factory=dict[AgentId, int])
    #: Offers in batches that came behind one of a newer epoch.
    void_offers: set[OfferId] = field(default_factory=set[OfferId])
    #: What was seen to go wrong by somebody who is no checker.
    wrongs: list[str] = field(default_factory=list[str])
    #: Frameworks of which two processes lived at once.
    doubled: set[FrameworkId] = field(default_factory=set[FrameworkId])
    #: Agents that left for good: what they had not told is lost, and where not even their leaving was heard of, the task stays
    #: out of sight.
    left: set[AgentId] = field(default_factory=set[AgentId])
    #: Executors that a scheduler wanted to end: with their tasks.
    shut_down: set[tuple[FrameworkId, AgentId, ExecutorId]] = field(
        default_factory=set[tuple[FrameworkId, AgentId, ExecutorId]]
    )
    #: Schedulers that were told that it is over, and why.
    expelled: dict[SessionId, str] = field(default_factory=dict[SessionId, str])
    jobs: dict[tuple[FrameworkId, str], JobSpec] = field(default_factory=dict[tuple[FrameworkId, str], JobSpec])
    results: dict[tuple[FrameworkId, str, int], list[TaskResult]] = field(
        default_factory=dict[tuple[FrameworkId, str, int], list[TaskResult]]
    )
    #: How often a scheduler heard the same update twice within one session.
    repeats: int = 0

    def task(self, key: TaskKey) -> TaskFacts:
        """Return the facts of a task, to add to them."""
        self.touched[key] = None
        facts = self.tasks.get(key)
        if facts is None:
            facts = self.tasks[key] = TaskFacts()
        return facts

    def saved(self, agent_id: AgentId, records: Sequence[Record]) -> None:
        """An agent's checkpoint took these."""
        for record in records:
            if isinstance(record, AgentRecord):
                if record.epoch < self.followed.get(agent_id, 0):
                    self.wrongs.append(f"{agent_id} follows epoch {record.epoch} after {self.followed[agent_id]}")
                self.followed[agent_id] = record.epoch
            if isinstance(record, ProgressRecord):
                facts = self.task((record.framework_id, record.task_id))
                facts.agent_id = agent_id
                known = {uuid for uuid, _ in facts.generated}
                for status in record.pending:
                    assert status.uuid is not None, "an agent's update has a uuid"
                    if status.uuid not in known:
                        facts.generated.append((status.uuid, status.state))

    def lost(self, records: Sequence[Record], kept: Sequence[Record]) -> None:
        """A machine went down with the first, and with the second as its checkpoint."""
        left = {update.uuid for record in kept if isinstance(record, ProgressRecord) for update in record.pending}
        for record in records:
            if isinstance(record, ProgressRecord):
                facts = self.task((record.framework_id, record.task_id))
                facts.lost |= {each.uuid for each in record.pending if each.uuid is not None} - left

    def commanded(self, agent_id: AgentId, batch: CommandBatch) -> None:
        """An agent took commands out of its queue."""
        if batch.epoch >= self.followed.get(agent_id, 0):
            for command in batch.commands:
                if (launch := launched_tasks(command)) is not None:
                    for task in launch[1]:
                        self.task((launch[0].framework_id, task.task_id)).told_in_time = True

    def offered(self, session: SessionId, offers: Iterable[Offer]) -> None:
        """A scheduler was shown these."""
        for offer in offers:
            if offer.offer_id in self.void_offers:
                self.wrongs.append(f"{session} was shown offer {offer.offer_id} of a past master")

    def is_out_of_sight(self, key: TaskKey) -> bool:
        """Whether a task's agent left, and the last that its scheduler heard is that nobody knows."""
        facts = self.tasks.get(key)
        if facts is None or not facts.delivered:
            return False
        last = facts.delivered[-1].status
        return last.agent_id in self.left and last.state in (TaskState.UNREACHABLE, TaskState.UNKNOWN)

    def never_was(self, key: TaskKey) -> bool:
        """Whether a task was asked for by a process that was told that another took over, and was launched nowhere.

        What it says late nobody answers: its scheduler ended, and its successor has never heard of the task.
        """
        facts = self.tasks.get(key)
        return facts is not None and facts.asked_by in self.expelled and not facts.launches

    def heard(self, framework_id: FrameworkId, session: SessionId, statuses: Iterable[TaskStatus]) -> None:
        """A scheduler was told."""
        for status in statuses:
            facts = self.task((framework_id, status.task_id))
            if status.uuid is not None and any(
                each.session == session and each.status.uuid == status.uuid for each in facts.delivered
            ):
                self.repeats += 1
            facts.delivered.append(Delivery(session, status))
