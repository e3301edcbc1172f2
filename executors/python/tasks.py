"""Tasks of the Python executor: what `TaskInfo.data` says, and what the data of a task's last update does.

    b"C" + plain pickle     a call: the task is one function call; its last update carries the outcome
    b"W"                    a slot: one more worker for as long as the task lives
    b"B"                    a question: where clients reach the block store of the agent; its last update answers

Both ends use this module: the framework that launches the task, and the executor that runs it.
"""

from dataclasses import dataclass, field
from typing import Final, TypeAlias

from .calls import End, Function, Outcome, Payload
from .codec import (
    BadBytes,
    dumps,
    loads,
    pack_function,
    pack_outcome,
    pack_payload,
    unpack_function,
    unpack_outcome,
    unpack_payload,
)

#: `TaskInfo.data` of a slot.
SLOT_DATA: Final = b"W"
#: `TaskInfo.data` of a question for the block store.
STORE_DATA: Final = b"B"
_CALL: Final = b"C"
_OUTCOME: Final = b"O"


@dataclass(frozen=True, slots=True, kw_only=True)
class CallTask:
    """One function call that is a task. The fields are those of `calls.Call`."""

    function: Function
    arguments: Payload
    timeout_ms: int | None = None
    mem_bytes: int | None = None
    by_reference_from: int = 65_536
    environment: dict[str, str] = field(default_factory=dict[str, str])


@dataclass(frozen=True, slots=True)
class SlotTask:
    """One more worker."""


@dataclass(frozen=True, slots=True)
class StoreTask:
    """A question, which is answered without a worker."""


PythonTask: TypeAlias = CallTask | SlotTask | StoreTask


def encode_call(task: CallTask) -> bytes:
    """`TaskInfo.data` of a call."""
    options = (task.timeout_ms, task.mem_bytes, task.by_reference_from, task.environment)
    return _CALL + dumps((pack_function(task.function), pack_payload(task.arguments), *options))


def decode_task(data: bytes) -> PythonTask:
    """What a task is, from its data.

    Raises:
        BadBytes: It is no task of the Python executor; the message is for whoever launched it.
    """
    if data == SLOT_DATA:
        return SlotTask()
    if data == STORE_DATA:
        return StoreTask()
    if data[:1] != _CALL:
        raise BadBytes(
            "the data of a task of the Python executor begins with C (a call), is W (a slot) or B (a question)"
        )
    match loads(memoryview(data)[1:]):
        case (
            function,
            arguments,
            (int() | None) as timeout_ms,
            (int() | None) as mem_bytes,
            int(by_reference_from),
            dict(environment),
        ):
            return CallTask(
                function=unpack_function(function),
                arguments=unpack_payload(arguments),
                timeout_ms=timeout_ms,
                mem_bytes=mem_bytes,
                by_reference_from=by_reference_from,
                environment=checked_environment(environment),
            )
        case _:
            raise BadBytes(
                "the data of this task is no call: framework and executor must run the same version of Mesolite"
            )


def checked_environment(values: dict[object, object]) -> dict[str, str]:
    """Variables that an operating system takes.

    Raises:
        BadBytes: A name or a value is none.
    """
    checked: dict[str, str] = {}
    for name, value in values.items():
        if not isinstance(name, str) or not isinstance(value, str):
            raise BadBytes("names and values of the environment are texts")
        if not name or "=" in name or "\0" in name + value:
            raise BadBytes(f"{name!r} cannot be a variable of the environment")
        checked[name] = value
    return checked


def encode_outcome(outcome: Outcome) -> bytes:
    """The data of the last update of a call's task. Large payloads are blocks by then."""
    return _OUTCOME + dumps(pack_outcome(outcome))


def decode_outcome(data: bytes) -> Outcome | None:
    """The end that a last update carries; None where it carries none, because the executor was over before the call.

    Raises:
        BadBytes: It is something else.
    """
    if not data:
        return None
    if data[:1] != _OUTCOME:
        raise BadBytes("the data of this update is no outcome of a call")
    return unpack_outcome(loads(memoryview(data)[1:]))


def encode_store(url: str, token: str) -> bytes:
    """The data of the last update of a question: where the store is, and what to show there; empty where there is none."""
    return encode_outcome(Outcome(End.RETURNED, dumps((url, token))))


def decode_store(payload: Payload) -> tuple[str, str]:
    """The answer, from the payload of a question's outcome.

    Raises:
        BadBytes: It is something else.
    """
    match loads(payload) if isinstance(payload, bytes) else None:
        case (str(url), str(token)):
            return url, token
        case _:
            raise BadBytes("this says of no block store where it is")


#: The states in which a call's task ends, by the names that travel.
STATE_OF: Final[dict[End, str]] = {
    End.RETURNED: "TASK_FINISHED",
    End.CANCELLED: "TASK_KILLED",
    End.REFUSED: "TASK_DROPPED",
}


def state_of(outcome: Outcome) -> str:
    """The state of the last update of a call's task: what is not in the table is FAILED."""
    return STATE_OF.get(outcome.end, "TASK_FAILED")
