"""What the master refuses, as small pure functions in a fixed order; the first that objects wins (reference 2)."""

from .agent import agent_error, life_error
from .framework import framework_error, roles_error
from .offers import offers_error
from .task import Launch, task_error

__all__ = ["Launch", "agent_error", "framework_error", "life_error", "offers_error", "roles_error", "task_error"]
