"""Listening unix sockets in a directory of their own, for one user: made, taken over by the next life, removed.

Whoever reaches a socket is taken for the executor that it was made for. So each belongs to the user of that executor's tasks
and is closed to all others, and the directory is the agent's, so that nobody can put another in its place.
"""

import contextlib
import os
import shutil
import socket
from pathlib import Path
from typing import Final

from ..containerizer.policy import User

#: Connections that wait to be accepted; an executor makes a handful at its start.
BACKLOG: Final = 128


def open_doors(directory: Path, names: tuple[str, ...], user: User) -> dict[str, socket.socket]:
    """Listen on sockets in a directory, which is made where there is none.

    Sockets that an earlier life of the agent left there are replaced by new ones under the same names, for the same user: a
    container that has the directory mounted sees the new ones.

    Args:
        directory: Where. Its path may be longer than that of a socket can be.
        names: What they are called.
        user: Who may connect, where none were there before.

    Returns:
        A socket for each name, listening, not blocking.

    Raises:
        OSError: The host does not let us.
    """
    directory.mkdir(parents=True, exist_ok=True)
    directory.chmod(0o755)
    handle = os.open(directory, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    opened: dict[str, socket.socket] = {}
    try:
        for name in names:
            opened[name] = _listen(handle, name, user)
    except OSError:
        for door in opened.values():
            door.close()
        raise
    finally:
        os.close(handle)
    return opened


def sockets_dir(work_dir: Path) -> Path:
    """The directory of an agent that holds one with sockets for each executor."""
    return work_dir / "sockets"


def remove_doors(directory: Path) -> None:
    """Remove a directory with the sockets in it; gone already is fine."""
    shutil.rmtree(directory, ignore_errors=True)


def _listen(handle: int, name: str, user: User) -> socket.socket:
    """Make a socket under another name, give it away, and put it in its place whole."""
    draft = f"{name}.new"
    with contextlib.suppress(FileNotFoundError):
        os.unlink(draft, dir_fd=handle)
    door = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        # The kernel leads the short path to the directory, however long its own is.
        door.bind(f"/proc/self/fd/{handle}/{draft}")
        os.chmod(draft, 0o600, dir_fd=handle)
        if os.geteuid() == 0:
            os.chown(draft, *_owner(handle, name, user), dir_fd=handle)
        # Until now nobody could connect.
        door.listen(BACKLOG)
        door.setblocking(False)
        os.rename(draft, name, src_dir_fd=handle, dst_dir_fd=handle)
    except OSError:
        door.close()
        raise
    return door


def _owner(handle: int, name: str, user: User) -> User:
    """The one of an earlier life's socket: its executor may run as another user than most."""
    with contextlib.suppress(FileNotFoundError):
        found = os.stat(name, dir_fd=handle, follow_symlinks=False)
        return User(found.st_uid, found.st_gid)
    return user
