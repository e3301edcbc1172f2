"""What an executor may say (reference 2.8, X1). What it may not is answered with ERROR, and it is hung up on.

An executor that says the same again when it comes back is hung up on again, and a SUBSCRIBE that cannot be taken is none: so one
that insists is ended when the time to come back is over.
"""

from collections.abc import Iterable
from typing import Final

from mesolite.protocol import (
    EXECUTOR_PROTOCOL_VERSION,
    MAX_EXECUTOR_DATA_BYTES,
    MAX_UPDATE_ID_LENGTH,
    REPORTABLE_STATES,
    ExecutorCall,
    ExecutorSaid,
    ExecutorSubscribe,
    ExecutorUpdate,
)

#: Characters of an update's message that travel; what is longer is cut, for it is for people.
MAX_MESSAGE_LENGTH: Final = 16_384
_SHOWN_CHARS: Final = 64


def calls_error(calls: Iterable[ExecutorCall]) -> str | None:
    """Say what is wrong with the first call that cannot be taken, or None."""
    for call in calls:
        if isinstance(call, ExecutorUpdate):
            error = update_error(call)
        elif isinstance(call, ExecutorSaid):
            error = _data_error("a message", call.data)
        elif isinstance(call, ExecutorSubscribe):
            error = _subscribe_error(call)
        else:
            error = None
        if error is not None:
            return error
    return None


def update_error(update: ExecutorUpdate) -> str | None:
    """X1: say what is wrong with an update, or None."""
    if update.state not in REPORTABLE_STATES:
        return f"an update of task {update.task_id[:_SHOWN_CHARS]!r} says {update.state.value}, which is not an executor's to say"
    if not 0 < len(update.update_id) <= MAX_UPDATE_ID_LENGTH or not update.update_id.isprintable():
        return (
            f"an update of task {update.task_id[:_SHOWN_CHARS]!r} has the id {update.update_id[:_SHOWN_CHARS]!r}; "
            f"an id is 1 to {MAX_UPDATE_ID_LENGTH} printable characters"
        )
    if len(update.data) > MAX_EXECUTOR_DATA_BYTES:
        return _data_error(f"an update of task {update.task_id[:_SHOWN_CHARS]!r}", update.data)
    return None


def _subscribe_error(subscribe: ExecutorSubscribe) -> str | None:
    if subscribe.version != EXECUTOR_PROTOCOL_VERSION:
        return (
            f"this agent speaks version {EXECUTOR_PROTOCOL_VERSION} of the executor protocol, not {subscribe.version}; "
            "give the executor a driver of the agent's version"
        )
    return calls_error(subscribe.unacknowledged_updates)


def _data_error(what: str, data: bytes) -> str | None:
    if len(data) <= MAX_EXECUTOR_DATA_BYTES:
        return None
    return f"{what} carries {len(data)} bytes; at most {MAX_EXECUTOR_DATA_BYTES} are allowed: pass a reference"
