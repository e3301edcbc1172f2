"""What the master refuses, as small pure functions in a fixed order; the first that objects wins (reference 2)."""

from .agent import agent_error, life_error
from .executor import executor_error
from .framework import framework_error, roles_error
from .group import group_error
from .offers import offers_error
from .task import BroughtExecutor, Launch, task_error

__all__ = [
    "BroughtExecutor",
    "Launch",
    "agent_error",
    "executor_error",
    "framework_error",
    "group_error",
    "life_error",
    "offers_error",
    "roles_error",
    "task_error",
]
