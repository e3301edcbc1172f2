"""What another user may do with a path, judged by mode bits alone.

Access lists are not asked: where they forbid more, the kernel still says no to the task; where they allow more, this is
too strict.
"""

import os
from pathlib import Path

from .containerizer.policy import User

_READ = 4
_EXECUTE = 1


def may_reach(path: Path, user: User) -> bool:
    """Whether a user may pass through all folders above a path, which must be real (without links)."""
    return all(_bits(parent.stat(), user) & _EXECUTE for parent in path.parents)


def may_read(path: Path, found: os.stat_result, user: User) -> bool:
    """Whether a user may reach a real path and read the file found there."""
    return bool(_bits(found, user) & _READ) and may_reach(path, user)


def may_execute(path: Path, user: User) -> bool:
    """Whether a path, links followed, is a file that a user may execute; the folders above are not judged."""
    return path.is_file() and bool(_bits(path.stat(), user) & _EXECUTE)


def _bits(found: os.stat_result, user: User) -> int:
    """Read, write, execute as 4, 2, 1: the class that applies to the user. Root needs an execute bit of any class."""
    mode = found.st_mode
    if user.uid == 0:
        return 6 | (mode | mode >> 3 | mode >> 6) & _EXECUTE
    if found.st_uid == user.uid:
        return (mode >> 6) & 7
    if found.st_gid == user.gid:
        return (mode >> 3) & 7
    return mode & 7
