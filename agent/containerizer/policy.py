"""What tasks may ask of this host: decided here, before anything is fetched, pulled or started.

The operator's word (`ContainerPolicy`) against the task's wish (`ContainerSpec`). Everything that would let a task reach
out of its container is refused unless allowed by name. Both containerizers ask the same question, so that a task refused
by one is refused by the other.

Users. A task runs as `DEFAULT_USER` where the agent is root, else as the agent itself, which cannot become anyone else. A
name in a spec means the user of that name on the agent's host, as in Mesos, never one that an image defines: an image
may call any number root, or root anything.
"""

import os
import pwd
from dataclasses import dataclass
from pathlib import Path
from typing import Final, NamedTuple

from mesolite.errors import LaunchError
from mesolite.protocol import Network, Volume

from .contract import ContainerSpec

#: The sandbox's place inside a container (reference 1.17).
SANDBOX_MOUNT: Final = "/mnt/mesos/sandbox"
#: Where an executor finds the sockets of its agent, and the Python executor.
SOCKETS_MOUNT: Final = "/mnt/mesos/agent"
BUNDLE_MOUNT: Final = "/mnt/mesos/bundle"
#: The socket of the executor protocol among those.
AGENT_SOCKET: Final = "agent.sock"
#: More than any sane task needs, far below the kernel's 32,768, so that one fork bomb leaves the host usable.
DEFAULT_PIDS_LIMIT: Final = 1024
#: Per stream, and once more for the rotated file: what Mesos's logrotate module keeps by default (10 MB).
DEFAULT_MAX_OUTPUT_BYTES: Final = 10 * 1024 * 1024


class User(NamedTuple):
    """A numeric user and group of the agent's host."""

    uid: int
    gid: int

    def __str__(self) -> str:
        return f"{self.uid}:{self.gid}"


#: "nobody" on every Linux: owns nothing.
DEFAULT_USER: Final = User(65534, 65534)


@dataclass(frozen=True, slots=True, kw_only=True)
class ContainerPolicy:
    """The operator's word on what tasks may have. The defaults allow nothing that reaches out of a container."""

    #: For tasks without an image of their own (Docker only).
    default_image: str = "python:3.11-slim"
    #: All devices and capabilities of the host: as good as root on it.
    allow_privileged: bool = False
    #: The host's own network: its ports, and whatever listens on its loopback.
    allow_host_network: bool = False
    #: The Docker network of containers that ask for none: the Engine's own, from which no other is reached. Task containers on
    #: another reach what is on it, for one an application's Redis (compose/README.md).
    bridge_network: str = "bridge"
    #: User 0, in a container or as a plain process.
    allow_root: bool = False
    #: Volumes may lie at or below these, after symbolic links are followed.
    allowed_host_paths: tuple[str, ...] = ()
    #: Processes and threads of one container.
    pids_limit: int = DEFAULT_PIDS_LIMIT
    #: Size of `stdout` and of `stderr` in the sandbox before each is rotated to `stdout.1`, `stderr.1` (bytes).
    max_output_bytes: int = DEFAULT_MAX_OUTPUT_BYTES
    #: `file:` URIs at or below these are fetched with the agent's own rights; all others only where the task's user could
    #: read them itself.
    fetch_file_roots: tuple[str, ...] = ()


def default_user() -> User:
    """The user of tasks that name none: nobody where the agent is root, else the agent's own."""
    if os.geteuid() == 0:
        return DEFAULT_USER
    return User(os.geteuid(), os.getegid())


def resolve_user(text: str | None, policy: ContainerPolicy, *, default: User) -> User:
    """Turn a spec's user into numbers, and refuse what the policy or the agent's own rights do not allow.

    Args:
        text: "uid", "uid:gid", or the name of a user of this host; None means `default`.
        policy: Says whether user 0 is allowed.
        default: For specs without a user; trusted, because it is the operator's choice.

    Raises:
        LaunchError: The user is unknown here, is root and that is not allowed, or the agent cannot become it.
    """
    if text is None:
        return default
    user = _parse_user(text)
    if user.uid == 0 and not policy.allow_root:
        raise LaunchError(
            f"user {text!r} is root, which this agent does not allow; leave `user` out, or set allow_root"
        )
    if os.geteuid() not in (0, user.uid):
        raise LaunchError(
            f"user {text!r} is not possible: the agent runs as uid {os.geteuid()} and cannot become another"
        )
    return user


def _parse_user(text: str) -> User:
    name, _, group = text.partition(":")
    if name.isascii() and name.isdigit():
        gid = group if group else name
        if not (gid.isascii() and gid.isdigit()) or max(int(name), int(gid)) >= 2**32 - 1:
            raise LaunchError(f"user {text!r} is neither uid, uid:gid nor a name")
        return User(int(name), int(gid))
    try:
        entry = pwd.getpwnam(name)
    except KeyError:
        raise LaunchError(
            f"user {text!r} is unknown on the agent's host; name one of its users, or a uid:gid"
        ) from None
    if group and group != str(entry.pw_gid):
        raise LaunchError(f"user {text!r} gives a name a group; write uid:gid instead")
    return User(entry.pw_uid, entry.pw_gid)


def check_allowed(spec: ContainerSpec, policy: ContainerPolicy) -> None:
    """Refuse what the policy does not allow.

    Raises:
        LaunchError: Says what was refused and which setting would allow it.
    """
    if spec.privileged and not policy.allow_privileged:
        raise LaunchError("privileged containers are not allowed on this agent; set allow_privileged to change that")
    if spec.network is Network.HOST and not policy.allow_host_network:
        raise LaunchError("the host's network is not allowed on this agent; set allow_host_network to change that")
    if not spec.argv or not spec.argv[0]:
        raise LaunchError("there is nothing to execute: the argument vector is empty")
    for text in (*spec.argv, *spec.environment, *spec.environment.values()):
        if "\0" in text:
            raise LaunchError("an argument or variable contains a NUL byte, which no process can be given")
    for name in spec.environment:
        if not name or "=" in name:
            raise LaunchError(f"{name!r} cannot name an environment variable")


def allowed_volume(volume: Volume, spec: ContainerSpec, policy: ContainerPolicy) -> tuple[Path, str]:
    """Where a volume really is on the host, and where it goes in the container.

    A relative host path lies in the sandbox and needs nobody's leave; a relative container path lies below the
    sandbox's mount (reference 1.17). Symbolic links are followed before the check, so that none leads around it.

    Raises:
        LaunchError: The path is outside of everything allowed.
    """
    sandbox = spec.sandbox.resolve()
    relative = not volume.host_path.startswith("/")
    host_path = (sandbox / volume.host_path).resolve() if relative else Path(volume.host_path).resolve()
    roots = [sandbox] if relative else [Path(root).resolve() for root in policy.allowed_host_paths]
    if not any(host_path.is_relative_to(root) for root in roots):
        what = "leaves the sandbox" if relative else "is not below any of this agent's allowed_host_paths"
        raise LaunchError(f"volume {volume.host_path!r} {what}")
    container_path = os.path.normpath(volume.container_path)
    if not container_path.startswith("/"):
        container_path = os.path.normpath(f"{SANDBOX_MOUNT}/{container_path}")
        if not container_path.startswith(f"{SANDBOX_MOUNT}/"):
            raise LaunchError(f"volume path {volume.container_path!r} leaves the sandbox")
    if ":" in str(host_path) or ":" in container_path:
        raise LaunchError(f"volume {volume.host_path!r} has a colon, which the engine takes for a separator")
    return host_path, container_path


def give_sandbox(sandbox: Path, user: User) -> None:
    """Make the task's user the owner of its sandbox, where the agent may; not of what is in it.

    Raises:
        LaunchError: There is no such directory.
    """
    try:
        found = os.lstat(sandbox)
        if os.geteuid() == 0 and (found.st_uid, found.st_gid) != user:
            os.chown(sandbox, user.uid, user.gid, follow_symlinks=False)
    except OSError as error:
        raise LaunchError(f"the sandbox {sandbox} cannot be given to user {user}: {error.strerror}") from None


def give_sockets(socket_dir: Path, user: User) -> None:
    """Make the task's user the owner of the sockets by which its executor reaches the agent, where the agent may.

    Others cannot connect to them: whoever reaches a socket is taken for the executor. The directory stays the agent's.

    Raises:
        LaunchError: There is no such directory.
    """
    try:
        for path in socket_dir.iterdir():
            if os.geteuid() == 0:
                os.chown(path, user.uid, user.gid, follow_symlinks=False)
    except OSError as error:
        raise LaunchError(f"the sockets in {socket_dir} cannot be given to user {user}: {error.strerror}") from None


def executor_environment(spec: ContainerSpec, *, sockets: str, bundle: str) -> dict[str, str]:
    """How an executor finds its agent and the Python executor; empty for a container that is none.

    Args:
        spec: The container.
        sockets: Where it sees its `socket_dir`.
        bundle: Where it sees its `bundle_dir`.
    """
    variables: dict[str, str] = {}
    if spec.socket_dir is not None:
        variables |= {"MESOS_DOMAIN_SOCKET": f"{sockets}/{AGENT_SOCKET}", "MESOLITE_SOCKETS": sockets}
    if spec.bundle_dir is not None:
        variables["MESOLITE_BUNDLE"] = bundle
    return variables
