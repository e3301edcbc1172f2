"""What the operator API shows: one row per task, agent, offer, framework and dead letter, and an explanation.

The master's shell fills these in, the CLI and other programs read them as JSON. Fields are only ever added. Times are
milliseconds since 1970, 0 where it has not happened. Amounts are as people write them: {"cpus": 0.5, "mem": 64,
"ports": "[31000-31005]"}.
"""

from typing import TypeAlias

from msgspec import Struct

Amounts: TypeAlias = dict[str, float | str]


class HealthRow(Struct, frozen=True, kw_only=True):
    """A master's word about itself: GET /health; every master answers."""

    healthy: bool
    #: Whether it is the leading one.
    leads: bool = False
    version: str = ""


class ClusterRow(Struct, frozen=True, kw_only=True):
    """What a client of the cluster needs to know: GET /cluster; every master answers."""

    #: The cluster's name.
    name: str
    principal: str = "default"
    #: Its Redis, without passwords: `discovery.public_redis_url`.
    redis_url: str
    #: Where people find Flower; None where the master was not told.
    flower_url: str | None = None


class TaskRow(Struct, frozen=True, kw_only=True):
    """A task: GET /tasks?task_id=&framework_id=&executor_id=&all=1; newest first, ended ones only with `all`."""

    task_id: str
    framework_id: str
    framework_name: str = ""
    name: str = ""
    #: "TASK_RUNNING".
    state: str
    role: str = "*"
    agent_id: str
    hostname: str = ""
    #: Where its agent serves files; empty where the agent is not registered.
    agent_url: str = ""
    #: Its sandbox, as the agent's files API names it; its executor's where it has one.
    sandbox: str = ""
    resources: Amounts = {}
    #: The executor that it runs in; empty where it has a container to itself.
    executor_id: str = ""
    command: str = ""
    image: str = ""
    accepted_ms: int = 0
    ended_ms: int = 0
    exit_code: int | None = None
    #: Highest memory seen; None where it was not measured.
    peak_mem_bytes: int | None = None
    #: "REASON_CONTAINER_LIMITATION_MEMORY".
    reason: str = ""
    message: str = ""
    healthy: bool | None = None


class AgentRow(Struct, frozen=True, kw_only=True):
    """An agent: GET /agents."""

    agent_id: str
    hostname: str
    url: str = ""
    #: "active", "quiet", "recovering" (not back yet after a change of master), "unreachable" or "gone" (an operator said so).
    status: str
    total: Amounts = {}
    used: Amounts = {}
    offered: Amounts = {}
    attributes: dict[str, str] = {}
    #: Tasks that have not ended.
    tasks: int = 0
    executors: int = 0
    containerizer: str = ""
    version: str = ""
    registered_ms: int = 0
    last_heard_ms: int = 0


class OfferRow(Struct, frozen=True, kw_only=True):
    """An outstanding offer: GET /offers."""

    offer_id: str
    framework_id: str
    framework_name: str = ""
    agent_id: str
    hostname: str = ""
    role: str = "*"
    resources: Amounts = {}
    made_ms: int = 0
    age_ms: int = 0


class FrameworkRow(Struct, frozen=True, kw_only=True):
    """A framework: GET /frameworks?all=1; ended ones only with `all`."""

    framework_id: str
    name: str = ""
    #: "connected", "disconnected" or "completed".
    status: str
    roles: tuple[str, ...] = ()
    principal: str = ""
    hostname: str = ""
    webui_url: str = ""
    used: Amounts = {}
    offered: Amounts = {}
    #: Tasks by state.
    tasks: dict[str, int] = {}
    #: Of its own, on all agents.
    executors: int = 0
    offers: int = 0
    #: What it asked for and does not have, in words: "3 x cpus:1;mem:64".
    demand: tuple[str, ...] = ()
    dominant_share: float = 0.0
    registered_ms: int = 0
    last_heard_ms: int = 0


class DeadLetterRow(Struct, frozen=True, kw_only=True):
    """A message that could not be understood or was refused: GET /dead_letters; newest first."""

    entry_id: str
    time_ms: int = 0
    stream: str = ""
    sender: str = ""
    reason: str
    #: The beginning of what was sent, readable.
    excerpt: str = ""


class Why(Struct, frozen=True, kw_only=True):
    """One reason why a framework was not offered something."""

    reason: str
    #: The agents that it is about; empty where it is about the framework itself.
    agents: tuple[str, ...] = ()
    role: str = ""
    since_ms: int = 0


class Explanation(Struct, frozen=True, kw_only=True):
    """Why a framework's tasks do not start: GET /explain?framework_id=."""

    framework_id: str
    name: str = ""
    #: One sentence with the whole answer.
    summary: str
    reasons: tuple[Why, ...] = ()
