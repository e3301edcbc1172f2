"""Executors: who starts a framework's tasks on an agent. Pure decisions here; the agent carries them out."""

from .command import (
    KillCause,
    Limits,
    Outcome,
    Verdict,
    argv_of,
    command_error,
    container_status_of,
    environment_of,
    grace_of,
    limits_of,
    role_of,
    verdict_of,
)

__all__ = [
    "KillCause",
    "Limits",
    "Outcome",
    "Verdict",
    "argv_of",
    "command_error",
    "container_status_of",
    "environment_of",
    "grace_of",
    "limits_of",
    "role_of",
    "verdict_of",
]
