"""Handlers of every signal of a task's life and of worker processes: each writes its name and its task's on the board."""

import json
from typing import Any

from celery import signals
from celery.signals import worker_process_init

from .board import SIGNALS, board

#: Sent where the task runs, and where messages are taken in.
OF_TASKS = (
    "task_prerun",
    "task_postrun",
    "task_success",
    "task_failure",
    "task_retry",
    "task_revoked",
    "task_internal_error",
)
OF_MESSAGES = ("task_received", "task_rejected", "task_unknown")


def connect() -> None:
    """Connect all handlers; a second time changes nothing."""
    for name in (*OF_TASKS, *OF_MESSAGES):
        getattr(signals, name).connect(HANDLERS[name], weak=False, dispatch_uid=f"parity-{name}")
    worker_process_init.connect(process_began, weak=False, dispatch_uid="parity-process")


def process_began(**_: Any) -> None:
    """A process that runs tasks begins: its attributes say so to tasks."""
    PROCESS["began"] = PROCESS.get("began", 0) + 1


#: What `process_began` did to this process, for a task to tell.
PROCESS: dict[str, int] = {}


def handler(name: str) -> Any:
    """Make the handler of one signal."""

    def write(sender: Any = None, **told: Any) -> None:
        board().rpush(SIGNALS, json.dumps([name, _task_of(name, sender, told), *_facts(name, told)]))

    return write


def _task_of(name: str, sender: Any, told: dict[str, Any]) -> str:
    request: Any = told.get("request")
    if name == "task_unknown":
        return str(told.get("name"))
    if name == "task_received":
        return str(request.name)
    return str(getattr(sender, "name", "?"))


def _facts(name: str, told: dict[str, Any]) -> list[str]:
    """What a handler is told beside the task, as far as it is the same each time."""
    if name == "task_postrun":
        return [str(told["state"]), _shown(told["retval"])]
    if name == "task_failure":
        return [_shown(told["exception"]), str(told["einfo"] is not None)]
    if name == "task_retry":
        return [_shown(told["reason"])]
    if name == "task_success":
        return [_shown(told["result"])]
    if name == "task_revoked":
        return [f"{key}={told[key]}" for key in ("terminated", "signum", "expired")]
    return []


def _shown(value: Any) -> str:
    return type(value).__name__ if isinstance(value, BaseException) else repr(value)[:150]


HANDLERS = {name: handler(name) for name in (*OF_TASKS, *OF_MESSAGES)}
