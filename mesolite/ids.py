"""Typed identifiers.

An id is a string to the wire and a distinct type to the checkers, so that a task id is never passed where an agent id is
meant. Ids are chosen by whoever owns the thing (a framework names its tasks, an agent names itself) and never reused.

The rule for every id is Mesos's (mesos `src/common/validation.cpp`, `validateID`): 1 to 255 characters, neither "." nor
"..", no control character, no "/" and no "\\", because ids become file names in the sandbox tree and parts of Redis keys.
"""

from typing import Final, NewType

FrameworkId = NewType("FrameworkId", str)
AgentId = NewType("AgentId", str)
TaskId = NewType("TaskId", str)
ExecutorId = NewType("ExecutorId", str)
OfferId = NewType("OfferId", str)
#: One run of one task's or executor's container on one agent. Ours, unique over all agents and restarts.
ContainerId = NewType("ContainerId", str)
#: One life of a process: drawn afresh at each start, so that two claimants of one id can be told apart.
SessionId = NewType("SessionId", str)

MAX_ID_LENGTH: Final = 255


def id_error(value: str) -> str | None:
    """Say what is wrong with an id, or None where it is well formed.

    Args:
        value: The id as a peer sent it.

    Returns:
        A sentence fragment that completes "id ... ", for example "is empty".
    """
    if not value:
        return "is empty"
    if len(value) > MAX_ID_LENGTH:
        return f"has {len(value)} characters; at most {MAX_ID_LENGTH} are allowed"
    if value in {".", ".."}:
        return f"is {value!r}, which names a directory"
    if "/" in value or "\\" in value:
        return "contains a slash or backslash"
    if not value.isprintable():
        return "contains a control or unprintable character"
    return None
