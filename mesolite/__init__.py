"""Mesolite: one pool of CPU and memory, shared by several Python frameworks.

Here are the kernel's names: what a framework or a tool of one's own is written with. Frameworks that are ready to use are in
`mesolite.frameworks`.
"""

from .errors import (
    BadInput,
    ConfigError,
    DockerUnavailable,
    FetchError,
    FrameworkError,
    LaunchError,
    MasterUnavailable,
    MesoliteError,
    NotFound,
    ProtocolError,
    RedisUnavailable,
    ResourceError,
    Unavailable,
)
from .ids import AgentId, ContainerId, ExecutorId, FrameworkId, OfferId, SessionId, TaskId
from .protocol import (
    TERMINAL_STATES,
    AgentInfo,
    Attribute,
    CommandInfo,
    ContainerInfo,
    ContainerStatus,
    Demand,
    ExecutorInfo,
    Filters,
    FrameworkInfo,
    KillPolicy,
    Network,
    Offer,
    Reason,
    Source,
    TaskInfo,
    TaskState,
    TaskStatus,
    Uri,
    Volume,
)
from .resources import Quantities, Range, Resource, Resources, ResourceType, scalars

__all__ = [
    # ids
    "AgentId",
    "ContainerId",
    "ExecutorId",
    "FrameworkId",
    "OfferId",
    "SessionId",
    "TaskId",
    # resources
    "Quantities",
    "Range",
    "Resource",
    "ResourceType",
    "Resources",
    "scalars",
    # tasks
    "CommandInfo",
    "ContainerInfo",
    "ContainerStatus",
    "ExecutorInfo",
    "KillPolicy",
    "Network",
    "Reason",
    "Source",
    "TERMINAL_STATES",
    "TaskInfo",
    "TaskState",
    "TaskStatus",
    "Uri",
    "Volume",
    # frameworks, agents, offers
    "AgentInfo",
    "Attribute",
    "Demand",
    "Filters",
    "FrameworkInfo",
    "Offer",
    # errors
    "BadInput",
    "ConfigError",
    "DockerUnavailable",
    "FetchError",
    "FrameworkError",
    "LaunchError",
    "MasterUnavailable",
    "MesoliteError",
    "NotFound",
    "ProtocolError",
    "RedisUnavailable",
    "ResourceError",
    "Unavailable",
]
