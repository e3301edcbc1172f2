"""Many agents in one process, for `bench/rebuild.py`: what they say is real, what they would do on their hosts is left out.

Each agent has a real `MasterLink`, which decides when it registers, repeats itself, confirms and beats; it hears only what
it finds in its own kombu queue. Two things are done in bulk that agents on their own hosts do each for itself: one script
empties all queues that have something in them, and another appends what several agents say at the same time.
What an agent lists is encoded before anybody asks, since on a host of its own that costs the master nothing.
"""

import base64
import heapq
import json
import random
import time
from typing import Final, cast

import msgspec
import redis
from msgspec import Struct

from mesolite.agent.link import Intake, MasterLink
from mesolite.ids import AgentId, ContainerId, FrameworkId, SessionId, TaskId
from mesolite.master import registry
from mesolite.protocol import (
    AgentHeartbeat,
    AgentInfo,
    Attribute,
    CommandInfo,
    ContainerInfo,
    ContainerStatus,
    FrameworkInfo,
    RegisterAgent,
    Registered,
    RegisteredTask,
    Reregister,
    Source,
    TaskInfo,
    TaskState,
    TaskStatus,
    decode_commands,
)
from mesolite.protocol.batches import PROTOCOL_VERSION
from mesolite.resources import Resources, scalars
from mesolite.transport.keys import (
    DEFAULT_CLUSTER,
    DEFAULT_PRINCIPAL,
    MAX_REPORTS_LENGTH,
    agent_queue,
    key_prefix,
    reports_stream,
)

#: As in the benchmark of Mesos that is compared with: so many frameworks share the tasks, and each task has so many labels.
FRAMEWORKS: Final = 5
LABELS: Final = 10
#: How often the queues are looked at. A kombu consumer would be woken at once; looking costs the one Redis little.
LOOK_EVERY_S: Final = 0.01
#: What one script appends: few enough that nobody else waits for it.
APPENDS_AT_ONCE: Final = 200

#: KEYS: none, since no queue exists that is empty. ARGV[1]: what the names of queues begin with. Answers name, messages, name...
_EMPTY_QUEUES: Final = """
local found = {}
local at = '0'
repeat
  local step = redis.call('SCAN', at, 'MATCH', ARGV[1] .. '*', 'COUNT', 10000)
  at = step[1]
  for _, queue in ipairs(step[2]) do
    local messages = redis.call('LRANGE', queue, 0, -1)
    redis.call('DEL', queue)
    found[#found + 1] = queue
    found[#found + 1] = messages
  end
until at == '0'
return found
"""

#: KEYS[1]: the stream. ARGV[1]: how long it may grow; then the payloads.
_APPEND: Final = """
for n = 2, #ARGV do
  redis.call('XADD', KEYS[1], 'MAXLEN', '~', ARGV[1], '*', 'p', ARGV[n])
end
"""

_encoder: Final = msgspec.msgpack.Encoder()


class _Batch(Struct, frozen=True, kw_only=True):
    """`ReportBatch` with a report that is encoded already."""

    version: int = PROTOCOL_VERSION
    agent_id: AgentId
    session: SessionId
    number: int
    epoch: int
    confirmed: int
    gap: bool = False
    reports: tuple[msgspec.Raw, ...]


_HEARTBEAT: Final = msgspec.Raw(_encoder.encode(AgentHeartbeat()))


def frameworks() -> list[FrameworkInfo]:
    """Return the frameworks whose tasks run."""
    return [
        FrameworkInfo(framework_id=FrameworkId(f"framework-{n}"), name=f"framework {n}", roles=(f"role-{n}",))
        for n in range(FRAMEWORKS)
    ]


def agent_id(n: int) -> AgentId:
    """Name the n-th agent."""
    return AgentId(f"agent-{n:05}")


def session(n: int) -> SessionId:
    """Name the life of the n-th agent."""
    return SessionId(f"{n:032x}")


def admitted(n: int) -> registry.AgentEntry:
    """What the registry says of the n-th agent."""
    return registry.AgentEntry(
        hostname=_hostname(n), session=session(n), principal=DEFAULT_PRINCIPAL, checkpoint_id=f"{n:016x}", incarnation=1
    )


def _hostname(n: int) -> str:
    return f"host-{n:05}.example.org"


class SimulatedAgent:
    """One agent of the fleet."""

    def __init__(self, n: int, tasks_each: int) -> None:
        self.n = n
        self.link = MasterLink(agent_id(n), session(n), 0)
        self.number = 1
        self.registration = msgspec.Raw(_encoder.encode(_registration(n, tasks_each)))
        self.registrations = 0

    def batch(self, report: msgspec.Raw) -> bytes:
        """Encode one report as this agent's next batch."""
        self.number += 1
        return _encoder.encode(
            _Batch(
                agent_id=agent_id(self.n),
                session=session(self.n),
                number=self.number,
                epoch=self.link.epoch,
                confirmed=self.link.confirmed,
                reports=(report,),
            )
        )


class Fleet:
    """All agents, on one thread."""

    def __init__(self, url: str, count: int, tasks_each: int, *, seed: int) -> None:
        client = redis.Redis.from_url(url, protocol=2)
        self._look = client.register_script(_EMPTY_QUEUES)
        self._append = client.register_script(_APPEND)
        self._stream = key_prefix(DEFAULT_CLUSTER) + reports_stream()
        self._rng = random.Random(seed)
        self.agents = [SimulatedAgent(n, tasks_each) for n in range(count)]
        self._by_queue = {agent_queue(agent_id(agent.n)).encode(): agent for agent in self.agents}
        #: (when an agent means to speak, which); entries that are out of date are skipped.
        self._due: list[tuple[int, int]] = []
        self._saying: list[bytes] = []

    @property
    def registrations(self) -> int:
        """How many registrations were sent, repeats among them."""
        return sum(agent.registrations for agent in self.agents)

    @property
    def payload_bytes(self) -> int:
        """The size of one registration."""
        return len(bytes(self.agents[0].registration))

    def step(self) -> None:
        """Hear what there is, say what is due."""
        began_s = time.perf_counter()
        now_ms = _now_ms()
        found = cast("list[object]", self._look(args=["mesolite.agent."]))
        for queue, messages in zip(found[::2], found[1::2], strict=True):
            agent = self._by_queue[cast(bytes, queue)]
            # LPUSH by the sender: the oldest is last.
            for message in reversed(cast("list[bytes]", messages)):
                self._hear(agent, _body(message), now_ms)
        while self._due and self._due[0][0] <= now_ms:
            _, n = heapq.heappop(self._due)
            self._speak_if_due(self.agents[n], now_ms)
        self._flush()
        time.sleep(max(0.0, LOOK_EVERY_S - (time.perf_counter() - began_s)))

    def _hear(self, agent: SimulatedAgent, payload: bytes, now_ms: int) -> None:
        batch = decode_commands(payload)
        decision = agent.link.take(batch, now_ms)
        for command in decision.commands:
            if isinstance(command, Reregister):
                agent.link.asked_to_register(now_ms, command.spread_ms, self._rng.random())
            elif isinstance(command, Registered):
                agent.link.join(command.heartbeat_interval_ms, now_ms)
        if decision.intake is not Intake.REFUSED and batch.first_number > 0:
            # A real agent confirms with its next report, and makes one for it.
            self._say(agent, _HEARTBEAT)
            agent.link.note_report(now_ms)
        self._plan(agent)

    def _speak_if_due(self, agent: SimulatedAgent, now_ms: int) -> None:
        link = agent.link
        if link.registration_is_due(now_ms):
            link.note_registration(now_ms, self._rng.random())
            agent.registrations += 1
            self._say(agent, agent.registration)
            self._plan(agent)
        elif link.heartbeat_is_due(now_ms):
            self._say(agent, _HEARTBEAT)
            link.note_report(now_ms)
            self._plan(agent)

    def _plan(self, agent: SimulatedAgent) -> None:
        deadline_ms = agent.link.deadline_ms
        if deadline_ms is not None:
            heapq.heappush(self._due, (deadline_ms, agent.n))

    def _say(self, agent: SimulatedAgent, report: msgspec.Raw) -> None:
        self._saying.append(agent.batch(report))
        if len(self._saying) >= APPENDS_AT_ONCE:
            self._flush()

    def _flush(self) -> None:
        if self._saying:
            self._append(keys=[self._stream], args=[MAX_REPORTS_LENGTH, *self._saying])
            self._saying.clear()


def _registration(n: int, tasks_each: int) -> RegisterAgent:
    """List what an agent has: resources, attributes, and running tasks, evenly of all frameworks."""
    infos = frameworks()
    return RegisterAgent(
        agent_info=AgentInfo(
            agent_id=agent_id(n),
            hostname=_hostname(n),
            url=f"http://10.{n >> 16}.{n >> 8 & 255}.{n & 255}:5051",
            resources=Resources.parse("cpus:32;mem:131072;disk:1000000;ports:[31000-32000]").to_wire(),
            attributes=(Attribute("rack", f"rack:{n // 40}"), Attribute("os", "os:linux")),
            containerizer="docker 20.10, hard CPU and memory limits",
            version="0.1.0",
        ),
        frameworks=tuple(infos[: min(FRAMEWORKS, tasks_each)]),
        tasks=tuple(_task(n, m, infos[m % FRAMEWORKS]) for m in range(tasks_each)),
        checkpoint_id=admitted(n).checkpoint_id,
        incarnation=1,
    )


def _task(n: int, m: int, framework: FrameworkInfo) -> RegisteredTask:
    """One running task, as an agent lists it whose framework has acknowledged that it runs."""
    task_id = TaskId(f"task-{n:05}-{m:03}")
    container_id = ContainerId(f"{n:08x}{m:08x}")
    return RegisteredTask(
        framework_id=framework.framework_id,
        task=TaskInfo(
            task_id=task_id,
            agent_id=agent_id(n),
            name=f"task {m}",
            resources=scalars(cpus=1, mem_mib=2048).allocated_to(framework.roles[0]).to_wire(),
            command=CommandInfo(value="exec python -m shop.worker --queue orders"),
            container=ContainerInfo(image="registry.example.org/shop/worker:1.4.2"),
            labels={f"label-{k}": f"value-{k}" for k in range(LABELS)},
        ),
        latest_state=TaskState.RUNNING,
        sent_status=TaskStatus(
            task_id=task_id,
            state=TaskState.RUNNING,
            source=Source.AGENT,
            timestamp_ms=_now_ms(),
            agent_id=agent_id(n),
            uuid=n.to_bytes(8, "big") + m.to_bytes(8, "big"),
            container_status=ContainerStatus(container_id=container_id, mem_limit_mib=2048),
        ),
    )


def _body(message: bytes) -> bytes:
    """Take kombu's envelope off."""
    return base64.b64decode(json.loads(message)["body"])


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
