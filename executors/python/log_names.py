"""How the log of a call is named: `calls/NAME.log` in the sandbox of its executor, so that whoever knows the call finds it.

    a call that is a task       the task's id, where a file can be called that; else TASK_PREFIX and a digest of it
    a call of a pool            its number in its client's session

Whoever looks for a log (`mesolite logs`) uses the same functions as whoever writes it.
"""

import re
from typing import Final

#: In the sandbox.
DIRECTORY: Final = "calls"
SUFFIX: Final = ".log"
#: The longest name that a call may ask for: it travels to the worker with each call.
MAX_NAME_BYTES: Final = 120
#: Logs that an executor keeps, the newest, and of these so many bytes: whoever wants more of them collects them elsewhere.
MAX_LOGS: Final = 1_000
MAX_LOGS_BYTES: Final = 256 * 1024 * 1024
TASK_PREFIX: Final = "task-"
#: Of the digest, in hexadecimal: 128 bits, so that no two tasks share a log.
_DIGEST_LETTERS: Final = 32
#: Letters that no shell and no file system minds; neither a hidden file nor an option.
_NAME: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.:@+-]*")


def log_name(name: str, number: int) -> str:
    """The file of a call's log: named as its sender asked where that can be a file's name, else by the call's number."""
    return f"{name if _can_be_file(name) else number}{SUFFIX}"


def task_log_name(task_id: str) -> str:
    """What a call that is a task asks for: its id, or something as unique where a file cannot be called by the id."""
    if _can_be_file(task_id):
        return task_id
    # Not at the top: OpenSSL's half a MiB in each executor, for names that few frameworks give.
    import hashlib

    return TASK_PREFIX + hashlib.sha256(task_id.encode()).hexdigest()[:_DIGEST_LETTERS]


def _can_be_file(name: str) -> bool:
    return len(name) <= MAX_NAME_BYTES and _NAME.fullmatch(name) is not None
