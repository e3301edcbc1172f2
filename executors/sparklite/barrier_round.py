"""How the tasks of a barrier stage meet, without the driver: through the block stores of their agents.

    each task       puts its message into its own agent's store, and then how long it is, under names of its own
    partition 0     reads all of them, and puts the list of messages in the same way
    all others      read that list

Who has to wait asks again and again, with pauses that grow to a quarter of a second. Names hold the ids of tasks, which are never
used again, so a stage that is started anew does not meet what is left of the first try. That one task died is for the driver to
see, which ends the others; the limit here is for programs in which not all tasks come.
"""

import pickle
import threading
import time
from typing import TYPE_CHECKING, Final

from .blocks import BlockLost, StoredBlock

if TYPE_CHECKING:
    from .task import Task
    from .task_data import BarrierPlace

#: How long a task waits for the others. Spark waits a year by default (spark.barrier.sync.timeout).
TIMEOUT_S: Final = 3600.0
#: The longest message: all of them pass through one worker.
MAX_MESSAGE_BYTES: Final = 1024 * 1024
_FIRST_PAUSE_S: Final = 0.005
_LAST_PAUSE_S: Final = 0.25
#: A length is so many digits.
_LENGTH_BYTES: Final = 16


def meet(task: "Task", round_number: int, message: str) -> list[str]:
    """Wait for all tasks of the stage; return their messages in order of partitions.

    Args:
        task: Who comes.
        round_number: How many times it has met the others, this time included.
        message: For all of them.

    Raises:
        TypeError: The message is no text.
        ValueError: It is too long.
        TimeoutError: Somebody did not come in time; the text says who.
        BlockLost: This agent's store takes nothing.
    """
    if not isinstance(message, str):  # pyright: ignore[reportUnnecessaryIsInstance] - a user's
        raise TypeError(f"Argument `message` should be str, got {type(message).__name__}")
    data = message.encode()
    if len(data) > MAX_MESSAGE_BYTES:
        raise ValueError(f"a message of a barrier has {len(data):,} bytes; at most {MAX_MESSAGE_BYTES:,}")
    deadline = time.monotonic() + TIMEOUT_S
    places = task.spec.barrier
    leader = places[0]
    mine = next(place for place in places if place.task_id == task.spec.task_id)
    if mine is not leader:
        _put(task, _name(task, mine, round_number, "said"), data)
        return list(pickle.loads(_wait_for(task, leader, round_number, "all", deadline)))
    said = [_wait_for(task, place, round_number, "said", deadline).decode() for place in places[1:]]
    messages = [message, *said]
    _put(task, _name(task, leader, round_number, "all"), pickle.dumps(messages))
    return messages


def _name(task: "Task", place: "BarrierPlace", round_number: int, what: str) -> str:
    return f"barrier-{task.spec.app_id}-{place.task_id}-{round_number}-{what}"


def _put(task: "Task", name: str, data: bytes) -> None:
    task.blocks.put(name, data)
    # Second, so that whoever sees it finds the rest.
    task.blocks.put(f"{name}-length", str(len(data)).zfill(_LENGTH_BYTES).encode())


def _wait_for(task: "Task", place: "BarrierPlace", round_number: int, what: str, deadline: float) -> bytes:
    """Read what a task has left, or will."""
    name = _name(task, place, round_number, what)
    pause = _FIRST_PAUSE_S
    never = threading.Event()
    while True:
        try:
            length = int(task.blocks.read(_block(place, f"{name}-length", _LENGTH_BYTES)))
            return task.blocks.read(_block(place, name, length))
        except BlockLost as lost:
            if time.monotonic() >= deadline:
                index = task.spec.barrier.index(place)
                raise TimeoutError(
                    f"the task of partition {index} did not come to round {round_number} of the barrier: all tasks have to call "
                    f"barrier() or allGather() equally often ({lost})"
                ) from None
        never.wait(pause)
        pause = min(2 * pause, _LAST_PAUSE_S)


def _block(place: "BarrierPlace", name: str, size_bytes: int) -> StoredBlock:
    return StoredBlock(name, size_bytes, place.url.format(name), place.agent_id)
