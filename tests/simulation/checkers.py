"""What must hold whatever happens (DESIGN 5), judged by what really happened: machines, streams, what schedulers were told.

Checkers believe nothing that a core believes, with one exception that says so. The numbers are those of DESIGN 5.
"""

from collections.abc import Sequence
from typing import Final

from mesolite.agent.launch import LABEL_EXECUTOR
from mesolite.frameworks.driver.settings import MAX_HELD_OFFERS
from mesolite.ids import ContainerId, SessionId
from mesolite.protocol import TERMINAL_STATES, decode_events
from mesolite.transport.contract import BEGINNING
from mesolite.transport.keys import DEAD_LETTERS, MAX_FRAMEWORK_LENGTH, calls_stream, reports_stream
from mesolite.transport.memory_broker import parse_entry_id

from .agent_process import AgentProcess
from .cluster import Cluster
from .executors import Executors
from .journal import Delivery, TaskFacts, TaskKey
from .master_process import KeeperThread, MasterProcess
from .servers import Server

#: No run has so many tasks, frameworks or agents that anything should ever wait longer than this.
MAX_STREAM_LENGTH: Final = 1_500
MAX_QUEUE_LENGTH: Final = 600
MAX_UNSENT: Final = 600
#: Lengths are looked at after each so-manieth turn.
_LOOK_EVERY: Final = 20


class Violation(AssertionError):
    """Something happened that never should."""


class Checker:
    """One property."""

    def check(self, cluster: Cluster) -> None:
        """Look at the world between two turns.

        Raises:
            Violation: The property does not hold.
        """

    def settled(self, cluster: Cluster) -> None:
        """Look at the world when everything has come to rest."""


class NoOverCommit(Checker):
    """1: on no machine do containers hold more than there is, and in no master's books."""

    def check(self, cluster: Cluster) -> None:
        """See `Checker`."""
        moved = cluster.world.moved
        if isinstance(moved, Executors):
            moved = moved.agent
        if isinstance(moved, AgentProcess):
            self._check_machine(moved, cluster.world.now_ms)
        elif isinstance(moved, MasterProcess):
            self._check_books(moved)

    def settled(self, cluster: Cluster) -> None:
        """See `Checker`."""
        for agent in cluster.agents:
            self._check_machine(agent, cluster.world.now_ms)

    def _check_machine(self, agent: AgentProcess, now_ms: int) -> None:
        running = [each.spec for each in agent.host.containers.values() if each.ends_ms > now_ms]
        alone = [each for each in running if LABEL_EXECUTOR not in each.labels]
        cpus_milli, mem_milli = sum(each.cpus_milli for each in alone), sum(each.mem_mib * 1000 for each in alone)
        for each in running:
            # Its limits shrink some time after its tasks have ended; what counts is what was promised to those that live.
            if LABEL_EXECUTOR in each.labels:
                held_cpus_milli, held_mem_milli = agent.executors.held_milli(each.container_id, now_ms)
                cpus_milli, mem_milli = cpus_milli + held_cpus_milli, mem_milli + held_mem_milli
        mem_mib = mem_milli / 1000
        if cpus_milli > agent.shape.cpus * 1000 or mem_mib > agent.shape.mem_mib:
            raise Violation(
                f"{agent.name} runs containers of {cpus_milli} thousandths of CPUs and {mem_mib} MiB; "
                f"it has {agent.shape.cpus} CPUs and {agent.shape.mem_mib} MiB"
            )

    def _check_books(self, master: MasterProcess) -> None:
        core = master.core
        for booked in core.state.agents.values() if core is not None else ():
            # The exception: what is offered exists nowhere but in the books.
            if not booked.total.contains((booked.offered + booked.used).unallocated()):
                raise Violation(f"the master gives away more of {booked.info.agent_id} than it has")


class OneLaunch(Checker):
    """2: whatever is sent twice, a task's container is started once at most, on one agent."""

    def check(self, cluster: Cluster) -> None:
        """See `Checker`."""
        for key in cluster.world.journal.touched:
            launches = cluster.world.journal.tasks[key].launches
            if len(launches) > 1:
                raise Violation(f"task {key} was launched {len(launches)} times: {launches}")


class OneEnd(Checker):
    """3: a scheduler hears of at most one end of a task, and nothing after it that says the task lives.

    Of two processes under one framework id, each is judged by itself: what the one knows to be over the other may hear late, or
    ask about when nobody remembers it any more.
    """

    def check(self, cluster: Cluster) -> None:
        """See `Checker`."""
        journal = cluster.world.journal
        for key in journal.touched:
            delivered = journal.tasks[key].delivered
            if key[0] not in journal.doubled:
                self._check(cluster, key, delivered)
                continue
            for session in {each.session: None for each in delivered}:
                self._check(cluster, key, [each for each in delivered if each.session == session])
        for (_, job_id, index), results in journal.results.items() if journal.touched else ():
            if len(results) > 1:
                raise Violation(f"task {index} of job {job_id} has {len(results)} results: {results}")

    def _check(self, cluster: Cluster, key: TaskKey, delivered: Sequence[Delivery]) -> None:
        states = [each.status.state for each in delivered]
        ends = [state for state in states if state in TERMINAL_STATES]
        if len(set(ends)) > 1:
            raise Violation(f"task {key} ended in several ways: {_words(cluster, key)}")
        if ends and any(state not in TERMINAL_STATES for state in states[states.index(ends[0]) :]):
            raise Violation(f"task {key} lives after its end: {_words(cluster, key)}")


class FinalWord(Checker):
    """3: every task that a scheduler launched, and every task of a job, comes to an end that is told."""

    def settled(self, cluster: Cluster) -> None:
        """See `Checker`."""
        journal = cluster.world.journal
        for key, facts in journal.tasks.items():
            told = any(each.status.state in TERMINAL_STATES for each in facts.delivered)
            if facts.asked_by is None or told or key[0] in journal.ended or journal.never_was(key):
                continue
            if not journal.is_out_of_sight(key):
                raise Violation(f"task {key} never ended: {_words(cluster, key)}")
        for (framework_id, job_id), spec in journal.jobs.items():
            for index in range(spec.count):
                if (framework_id, job_id, index) not in journal.results:
                    raise Violation(f"task {index} of job {job_id} has no result")


class NoUpdateLost(Checker):
    """4: what an agent made durable about a task is delivered in that order, without a hole, and in the end completely.

    But for what went down with the machine: then the task is said to be gone.
    """

    def check(self, cluster: Cluster) -> None:
        """See `Checker`."""
        for key in cluster.world.journal.touched:
            facts = cluster.world.journal.tasks[key]
            if _in_order(facts) is None:
                raise Violation(f"updates of task {key} got lost or out of order: {_words(cluster, key)}")

    def settled(self, cluster: Cluster) -> None:
        """See `Checker`."""
        journal = cluster.world.journal
        for key, facts in journal.tasks.items():
            if key[0] in journal.ended or facts.agent_id in journal.left:
                continue
            if _in_order(facts) != len(facts.generated):
                raise Violation(f"updates of task {key} were never delivered: {_words(cluster, key)}")


class OneWriter(Checker):
    """5: one master at a time. Behind a word of a newer epoch no server has one of an older, and each word once.

    Where nothing can make two masters believe that they lead (`Plan.leases_are_exact`), none do; an epoch is never had by
    two. No agent goes back to an older epoch or carries out what was said in one, and no scheduler is shown an offer of one.
    """

    def __init__(self) -> None:
        #: Per server and stream, how far it was read, and the epoch and number of the newest word.
        self._read: dict[tuple[int, str], tuple[str, int, int]] = {}
        #: Who had an epoch, and those that two had.
        self._had: dict[int, str] = {}
        self._shared: set[int] = set()

    def check(self, cluster: Cluster) -> None:
        """See `Checker`."""
        world = cluster.world
        if world.moved is None or isinstance(world.moved, MasterProcess):
            for server in world.servers.living:
                self._check_streams(server)
        if isinstance(world.moved, KeeperThread):
            self._check_grants(cluster)
        for key in world.journal.touched:
            facts = world.journal.tasks[key]
            if facts.launches and not facts.told_in_time:
                raise Violation(f"task {key} was launched on the word of a past master")
        if world.journal.wrongs:
            raise Violation(world.journal.wrongs[0])

    def _check_streams(self, server: Server) -> None:
        for name, stream in server.broker.streams.items():
            if not name.startswith("framework:"):
                continue
            position, before, last = self._read.get((server.number, name), (BEGINNING, 0, 0))
            if stream.last_id() == position:
                continue
            for entry in stream.after(parse_entry_id(position), MAX_FRAMEWORK_LENGTH):
                batch = decode_events(entry.payload)
                if batch.epoch < before:
                    raise Violation(f"{name}: a word of epoch {batch.epoch} came behind one of epoch {before}")
                # 0 is outside the numbering: said to somebody whom the master does not know.
                if batch.epoch == before and 0 < batch.number <= last and before not in self._shared:
                    raise Violation(f"{name}: word {batch.number} of epoch {before} came behind word {last}")
                last = batch.number or (last if batch.epoch == before else 0)
                position, before = entry.entry_id, batch.epoch
            self._read[server.number, name] = position, before, last

    def _check_grants(self, cluster: Cluster) -> None:
        grants = [(grant.epoch, master) for master in cluster.masters if (grant := master.grant()) is not None]
        for epoch, master in grants:
            had = self._had.setdefault(epoch, master.session)
            if had == master.session:
                continue
            # Without WAIT two servers may give out one number, the old primary and the new.
            self._shared.add(epoch)
            if cluster.world.plan.waits_for_replicas:
                raise Violation(f"epoch {epoch} is had by {master.session}, and was by {had}")
        if len(grants) > 1 and cluster.world.plan.leases_are_exact:
            raise Violation(f"two masters lead at once: {[(epoch, master.name) for epoch, master in grants]}")


class LeaderReturns(Checker):
    """5: once the faults have stopped, nobody waits long for a leader."""

    def __init__(self) -> None:
        self._led_ms = 0

    def check(self, cluster: Cluster) -> None:
        """See `Checker`."""
        world = cluster.world
        if world.peace_ms is None or not isinstance(world.moved, KeeperThread | MasterProcess):
            return
        if cluster.leading:
            self._led_ms = world.now_ms
        without_ms = world.now_ms - max(self._led_ms, world.peace_ms)
        if without_ms > world.plan.leaderless_ms:
            raise Violation(f"nobody has led for {without_ms} ms, though all is well")


class OneScheduler(Checker):
    """5: of several processes under one framework id, one goes on in the end, and the others were told why they do not."""

    def settled(self, cluster: Cluster) -> None:
        """See `Checker`."""
        journal = cluster.world.journal
        for framework_id in {program.framework_id: None for program in cluster.programs}:
            programs = [program for program in cluster.programs if program.framework_id == framework_id]
            if framework_id in journal.ended:
                continue
            living = [each.name for each in programs if each.driver is not None and not each.driver.ended]
            if len(living) != 1:
                raise Violation(f"processes of {framework_id} that go on: {living}")
            for program in programs:
                why = journal.expelled.get(SessionId(program.session), "")
                if program.name not in living and "scheduler subscribed" not in why:
                    raise Violation(f"{program.name} was not told that another took over, but: {why!r}")


class Undisturbed(Checker):
    """6: no container is told to end but where its scheduler, its job or its time limit wants that."""

    def check(self, cluster: Cluster) -> None:
        """See `Checker`."""
        journal = cluster.world.journal
        for key in journal.touched:
            facts = journal.tasks[key]
            if facts.killed and not facts.may_be_killed and key[0] not in journal.ended:
                raise Violation(f"task {key} was killed though nobody wanted it: {_words(cluster, key)}")


class Bounds(Checker):
    """7: no stream, queue or buffer grows beyond what the few of this world can fill."""

    def __init__(self) -> None:
        self._looks = 0

    def check(self, cluster: Cluster) -> None:
        """See `Checker`."""
        # Nothing grows fast; and to look costs as much as anything else here.
        self._looks += 1
        if self._looks % _LOOK_EVERY:
            return
        self._look(cluster)

    def _look(self, cluster: Cluster) -> None:
        broker = cluster.world.broker
        for name, stream in broker.streams.items():
            # What frameworks are told is trimmed by its length alone.
            if len(stream) > (MAX_FRAMEWORK_LENGTH if name.startswith("framework:") else MAX_STREAM_LENGTH):
                raise Violation(f"stream {name} has {len(stream)} entries")
        for name, queue in broker.queues.items():
            if len(queue) > MAX_QUEUE_LENGTH:
                raise Violation(f"queue {name} has {len(queue)} messages")
        for program in cluster.programs:
            if program.unsent > MAX_UNSENT:
                raise Violation(f"{program.name} has {program.unsent} payloads to send")
            if program.driver is not None and len(program.driver.core.offers) > MAX_HELD_OFFERS:
                raise Violation(f"{program.name} holds {len(program.driver.core.offers)} offers")
        letters = len(broker.streams.get(DEAD_LETTERS, ()))
        if letters:
            raise Violation(f"somebody said something that was set aside: {cluster.dead_letters()}")

    def settled(self, cluster: Cluster) -> None:
        """See `Checker`."""
        self._look(cluster)
        for name in (calls_stream(), reports_stream()):
            # The commit trims behind its cursor, up to the last entry it read.
            left = len(cluster.world.broker.streams.get(name, ()))
            if left > len(cluster.agents) + len(cluster.programs) + 1:
                raise Violation(f"{left} entries of {name} are left over")


def all_checkers() -> list[Checker]:
    """Return one of each."""
    return [
        NoOverCommit(),
        OneLaunch(),
        OneEnd(),
        FinalWord(),
        NoUpdateLost(),
        OneWriter(),
        LeaderReturns(),
        OneScheduler(),
        Undisturbed(),
        Bounds(),
    ]


def _in_order(facts: TaskFacts) -> int | None:
    """Return how many of the generated updates were delivered, in order and repeats aside; None if not in order."""
    generated = [uuid for uuid, _ in facts.generated]
    count = 0

    def pass_over(uuid: bytes | None) -> int:
        past = count
        while past < len(generated) and generated[past] != uuid and generated[past] in facts.lost:
            past += 1
        return past

    for delivery in facts.delivered:
        uuid = delivery.status.uuid
        if uuid is None or uuid in generated[:count]:
            continue
        count = pass_over(uuid)
        if count == len(generated) or generated[count] != uuid:
            return None
        count += 1
    return pass_over(None)


def _words(cluster: Cluster, key: TaskKey) -> str:
    facts = cluster.world.journal.tasks[key]
    generated = ", ".join(state.name for _, state in facts.generated) or "nothing"
    delivered = ", ".join(
        each.status.state.name + ("" if each.status.uuid is not None else " (master's)") for each in facts.delivered
    )
    containers: list[ContainerId] = [container_id for _, container_id in facts.launches]
    return f"its agent said {generated}; its scheduler heard {delivered or 'nothing'}; containers {containers}"
