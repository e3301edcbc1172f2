"""The agent's directory: who may use it, and who it belongs to.

    lock                held as long as the process lives: one agent per directory
    agent_id            the agent's id, once it is chosen
    retired_ids         ids that must not be used from here again
    containerizer       what its tasks run in: docker or process
    checkpoint.sqlite   see `checkpoint`
    sandboxes/          see `sandbox`

An id is retired when what it has launched was forgotten: its checkpoint was damaged, or it left the cluster for good. Under
a retired id tasks could be launched a second time.

Agents that are made and removed as containers have no directory of their own to name. They share a pattern with `{slot}` in
it, and each takes the first free number: whoever comes after a dead agent finds its directory, and with that goes on as
that agent, with its id, its checkpoint and its running containers. A lock of the kernel's (flock(2)) belongs to the file
itself, so it counts between containers that mount one directory of their host, and ends with whoever holds it.
"""

import contextlib
import fcntl
import os
import secrets
from pathlib import Path
from typing import Final

from mesolite.errors import ConfigError
from mesolite.ids import AgentId, id_error

#: Longest part of the host's name in a chosen id, so that ids stay readable and within their limit.
_MAX_HOST_PART: Final = 64
#: What `work_dir` may hold in place of a number.
SLOT: Final = "{slot}"
#: Agents that share one pattern: far beyond what one machine is divided into, and soon tried through.
MAX_SLOTS: Final = 64


class DirectoryHeld(ConfigError):
    """Another agent uses this work_dir; give each agent its own."""


def open_work_dir(setting: str) -> "WorkDir":
    """Lock the directory that a setting names; with `{slot}` in it, the first from 1 that nobody holds.

    Raises:
        ConfigError: Another agent uses it, all slots are held, or it cannot be used.
    """
    if SLOT not in setting:
        return WorkDir(Path(setting))
    for slot in range(1, MAX_SLOTS + 1):
        with contextlib.suppress(DirectoryHeld):
            return WorkDir(Path(setting.replace(SLOT, str(slot))))
    raise ConfigError(f"all {MAX_SLOTS} slots of work_dir {setting} are held by other agents; choose another pattern")


class WorkDir:
    """A locked directory."""

    def __init__(self, path: Path) -> None:
        """Make the directory where there is none, and lock it until `close`.

        Raises:
            DirectoryHeld: Another agent uses it.
            ConfigError: It cannot be used.
        """
        self.path: Final = path.absolute()
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            (self.path / "sandboxes").mkdir(exist_ok=True)
            self._lock: Final = os.open(self.path / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise ConfigError(f"work_dir {self.path} cannot be used: {error.strerror}; choose another") from error
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(self._lock)
            raise DirectoryHeld(
                f"another agent uses work_dir {self.path}; give each agent its own --work-dir"
            ) from None

    @property
    def checkpoint_path(self) -> Path:
        """Where the checkpoint is."""
        return self.path / "checkpoint.sqlite"

    @property
    def sandbox_root(self) -> Path:
        """Where the sandboxes are."""
        return self.path / "sandboxes"

    def stored_id(self) -> AgentId | None:
        """Return the id that this directory belongs to; None where it is nobody's."""
        return AgentId(_line(self.path / "agent_id")) or None

    def stored_containerizer(self) -> str:
        """Return what the last life ran its tasks in; empty before any."""
        return _line(self.path / "containerizer")

    def keep_containerizer(self, kind: str) -> None:
        """Remember what this life runs its tasks in."""
        if kind != self.stored_containerizer():
            _replace(self.path / "containerizer", f"{kind}\n")

    def identify(self, wanted: str | None, hostname: str) -> AgentId:
        """Return the agent's id, and keep it: the wanted one, else the stored one, else a new one.

        Raises:
            ConfigError: The wanted id is not one, is retired, or the directory is another agent's.
        """
        stored = self.stored_id()
        if wanted is not None:
            self._check(wanted, stored)
        agent_id = AgentId(wanted or stored or f"{hostname[:_MAX_HOST_PART]}-{secrets.token_hex(4)}")
        _replace(self.path / "agent_id", f"{agent_id}\n")
        return agent_id

    def retire(self, agent_id: AgentId) -> None:
        """See that an id is not used from here again."""
        retired = self._retired() | {agent_id}
        _replace(self.path / "retired_ids", "".join(f"{each}\n" for each in sorted(retired)))
        (self.path / "agent_id").unlink(missing_ok=True)

    def close(self) -> None:
        """Let others use the directory."""
        os.close(self._lock)

    def _check(self, wanted: str, stored: AgentId | None) -> None:
        if error := id_error(wanted):
            raise ConfigError(f"agent_id {error}")
        if wanted in self._retired():
            raise ConfigError(
                f"agent {wanted!r} was retired in work_dir {self.path}: what it launched is no longer known; choose "
                "another --agent-id, or none"
            )
        if stored is not None and stored != wanted:
            raise ConfigError(
                f"work_dir {self.path} belongs to agent {stored!r}, not {wanted!r}; leave --agent-id out, or choose "
                "another --work-dir"
            )

    def _retired(self) -> set[str]:
        try:
            return set((self.path / "retired_ids").read_text(encoding="utf-8").split("\n")) - {""}
        except FileNotFoundError:
            return set()


def _line(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8").strip()
    except FileNotFoundError:
        return ""


def _replace(path: Path, text: str) -> None:
    """Write a small file whole or not at all, and durably: an id must not be forgotten by a power cut."""
    draft = path.with_name(path.name + ".new")
    with draft.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    draft.replace(path)
