"""The Docker Engine, as little of it as a containerizer needs, with types and with our errors.

Every call here is one request of the Engine's HTTP API, made through the `docker` SDK's low-level client: containers a
second are what an agent is measured by, and the high-level client asks twice for most things. Safe from any thread.
"""

import contextlib
import os
import socket
import threading
import time
from collections.abc import Callable, Generator, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

import docker
import docker.constants
import docker.errors
import docker.utils
import requests

from mesolite.errors import DockerUnavailable, LaunchError

#: Creating or starting may take seconds on a busy host, an image's layers longer; a silent minute more is a hang.
REQUEST_TIMEOUT_S: Final = 120
#: For the first word with an engine: it answers in milliseconds or is not there.
PROBE_TIMEOUT_S: Final = 5
#: Idle connections kept: two thread pools' worth (docker_containerizer.py), so that none is opened for each request.
_POOLED_CONNECTIONS: Final = 24
#: SIGTERM is signal 15: bit 14 of the masks of caught and of ignored signals that ps prints in hexadecimal.
_SIGTERM_BIT: Final = 1 << 14
#: States from which a container does not come back; a paused one does.
DEAD_STATES: Final = frozenset({"exited", "dead"})
_MESSAGE_CHARACTERS: Final = 600
#: How long a start that a former life asked for may still be on its way in the Engine: 0.2 s on an idle machine, and 3 s were
#: seen on a busy one. And how often to look.
_STARTING_S: Final = 5.0
_STARTING_LOOK_S: Final = 0.05


class NoSuchImage(LaunchError):
    """The image is not on this host."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundContainer:
    """A container that bears our label."""

    engine_id: str
    labels: Mapping[str, str]
    #: "created", "running", "exited", "dead", ...
    state: str


@dataclass(frozen=True, slots=True, kw_only=True)
class EndState:
    """What the engine knows of a container that ended."""

    exit_code: int | None
    oom_killed: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class LiveState:
    """What the engine knows of a container that may run."""

    running: bool
    #: 0 where it has no limit, or is gone.
    memory_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineEvent:
    """A container of ours died, or a process of it was killed for memory."""

    action: str
    container_id: str
    exit_code: int | None


@dataclass(slots=True)
class AttachedStream:
    """A raw connection that carries a container's output until it ends."""

    socket: socket.socket
    #: Closing, or losing, the response would close the connection.
    response: Any

    def abandon(self) -> None:
        """End it from any thread: whoever reads it sees the end and closes it."""
        with contextlib.suppress(OSError):
            self.socket.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Let go, in the thread that reads it; the container does not notice."""
        with contextlib.suppress(OSError):
            self.socket.close()
        with contextlib.suppress(OSError):
            self.response.close()


class DockerEngine:
    """One engine at one address."""

    def __init__(self, client: docker.APIClient, probe: docker.APIClient) -> None:
        """Speak through two clients of one engine.

        Args:
            client: For work, which may take long.
            probe: For signs of life, with a short timeout and connections of its own.
        """
        self._client = client
        self._probe = probe
        #: The same: some of its methods have no types in the SDK's stubs.
        self._untyped: Any = client

    @classmethod
    def connect(cls) -> "DockerEngine":
        """Reach the engine that DOCKER_HOST and its companions name, else the local socket.

        Raises:
            DockerUnavailable: Nothing answers there, or it may not be used by this user.
        """
        settings = dict[str, Any](docker.utils.kwargs_from_env())
        _knock(str(settings.get("base_url") or docker.constants.DEFAULT_UNIX_SOCKET))
        try:
            with contextlib.closing(docker.APIClient(**settings, timeout=PROBE_TIMEOUT_S)) as probe:
                version = str(probe.version()["ApiVersion"])
            client = docker.APIClient(
                **settings, version=version, timeout=REQUEST_TIMEOUT_S, max_pool_size=_POOLED_CONNECTIONS
            )
            watch = docker.APIClient(**settings, version=version, timeout=PROBE_TIMEOUT_S)
        except (docker.errors.DockerException, requests.RequestException, OSError) as error:
            raise DockerUnavailable(f"no Docker Engine answers: {_first_cause(error)}") from None
        return cls(client, watch)

    def info(self) -> dict[str, Any]:
        """The engine's description of itself (`GET /info`)."""
        with _translated("info"):
            return self._client.info()

    def probe(self) -> None:
        """Ask for a sign of life.

        Raises:
            DockerUnavailable: None came within PROBE_TIMEOUT_S.
        """
        with _translated("one container"):
            self._probe.containers(limit=1, all=True)

    def has_image(self, image: str) -> bool:
        """Whether it is on this host."""
        with _translated(image):
            try:
                self._untyped.inspect_image(image)
            except docker.errors.NotFound:
                return False
            return True

    def pull(self, image: str, cancelled: Callable[[], bool]) -> None:
        """Fetch an image; without a tag it is `latest`, as with `docker pull`.

        Raises:
            LaunchError: It cannot be had, or `cancelled` became true.
        """
        repository, tag = docker.utils.parse_repository_tag(image)
        with _translated(image):
            lines: Iterator[dict[str, Any]] = self._client.pull(
                repository, tag=tag or "latest", stream=True, decode=True
            )
            for line in lines:
                if "error" in line:
                    raise LaunchError(str(line["error"])[:_MESSAGE_CHARACTERS])
                if cancelled():
                    raise LaunchError("the task was killed while its image was pulled")

    def create(self, name: str, config: Mapping[str, Any]) -> str:
        """Make a container; the body is the Engine API's own (`POST /containers/create`). Returns its id.

        Raises:
            NoSuchImage: Pull it first.
            LaunchError: The engine refused.
        """
        with _translated(name):
            try:
                return str(self._untyped.create_container_from_config(dict(config), name)["Id"])
            except docker.errors.ImageNotFound as error:
                raise NoSuchImage(str(error.explanation)) from None

    def attach(self, engine_id: str) -> AttachedStream:
        """A connection that will carry all output from the start on; to be made before the start."""
        with _translated(engine_id):
            url = f"{self._url(engine_id)}/attach"
            headers = {"Connection": "Upgrade", "Upgrade": "tcp"}
            parameters = {"stdout": 1, "stderr": 1, "stream": 1}
            response = self._client.post(
                url, params=parameters, headers=headers, stream=True, timeout=REQUEST_TIMEOUT_S
            )
            _raise_for(response)
            # Nothing has been started, so nothing past the headers can sit in the response's own buffer.
            connection = _connection_of(response)
            connection.setblocking(False)
            return AttachedStream(connection, response)

    def open_log(self, engine_id: str, *, stream: str, follow: bool, since_s: float | None) -> "LogStream":
        """One stream ("stdout" or "stderr") of the engine's own log, to its end or, following, the container's end."""
        parameters: dict[str, str | int] = {stream: 1, "follow": int(follow), "tail": "all"}
        if since_s is not None:
            parameters["since"] = f"{since_s:.9f}"
        with _translated(engine_id):
            timeout = None if follow else REQUEST_TIMEOUT_S
            url = f"{self._url(engine_id)}/logs"
            response = self._client.get(url, params=parameters, stream=True, timeout=timeout)
            _raise_for(response)
            return LogStream(response)

    def start(self, engine_id: str) -> None:
        """Start it.

        Raises:
            LaunchError: It could not, for example because there is no such executable.
        """
        with _translated(engine_id):
            self._client.start(engine_id)

    def signal(self, engine_id: str, signal_name: str) -> None:
        """Send a signal to its first process; one that has ended is ignored."""
        with _translated(engine_id), _ignoring(404, 409):
            self._client.kill(engine_id, signal_name)

    def dies_of_sigterm(self, engine_id: str) -> bool:
        """Whether the first process leaves SIGTERM to its default, which is to die; False where that cannot be learnt.

        The kernel spares the first process of a PID namespace from that default: the signal is lost on it.
        """
        with contextlib.suppress(docker.errors.DockerException, requests.RequestException, ValueError, LookupError):
            rows = self._client.top(engine_id, ps_args="-o pid,caught,ignored")["Processes"]
            first = min(rows or (), key=lambda row: int(row[0]))
            return not (int(first[1], 16) | int(first[2], 16)) & _SIGTERM_BIT
        return False

    def update(self, engine_id: str, limits: Mapping[str, int]) -> None:
        """Give it other limits (`POST /containers/ID/update`), all or none; one that is gone is ignored.

        Raises:
            LaunchError: The kernel or the engine refused.
        """
        with _translated(engine_id), _ignoring(404):
            response = self._client.post(f"{self._url(engine_id)}/update", json=dict(limits), timeout=REQUEST_TIMEOUT_S)
            _raise_for(response)

    def remove(self, engine_id: str) -> None:
        """Remove it with its anonymous volumes, by force where it runs; one that is gone, or going, is ignored."""
        with _translated(engine_id), _ignoring(404, 409):
            self._client.remove_container(engine_id, v=True, force=True)

    def end_state(self, engine_id: str) -> EndState:
        """How it ended."""
        with _translated(engine_id):
            try:
                state = self._client.inspect_container(engine_id)["State"]
            except docker.errors.NotFound:
                return EndState(exit_code=None, oom_killed=False)
            return EndState(exit_code=int(state["ExitCode"]), oom_killed=bool(state["OOMKilled"]))

    def state(self, engine_id: str) -> "LiveState":
        """Whether it runs, and its memory limit of this moment: labels keep the one it was made with."""
        with _translated(engine_id):
            try:
                found = self._client.inspect_container(engine_id)
            except docker.errors.NotFound:
                return LiveState(running=False, memory_bytes=0)
            return LiveState(running=bool(found["State"]["Running"]), memory_bytes=int(found["HostConfig"]["Memory"]))

    def find(self, labels: list[str]) -> list[FoundContainer]:
        """All containers that bear all these labels, running or not."""
        with _translated("containers"):
            rows: list[dict[str, Any]] = self._client.containers(all=True, filters={"label": labels})
        return [
            FoundContainer(engine_id=str(row["Id"]), labels=dict(row["Labels"]), state=str(row["State"]))
            for row in rows
        ]

    def find_settled(self, labels: list[str], hurry: threading.Event) -> list[FoundContainer]:
        """All containers that bear all these labels, once the engine is done with what a former life of the agent asked of it.

        A start that was under way when the agent was killed goes on without it: what is listed as created may run a moment
        later, and to take it for never started would be to deny a task that ran.

        Args:
            labels: As in `find`.
            hurry: Set where nobody waits any more.
        """
        deadline_s = time.monotonic() + _STARTING_S
        while True:
            found = self.find(labels)
            if all(each.state != "created" for each in found) or time.monotonic() >= deadline_s:
                return found
            hurry.wait(_STARTING_LOOK_S)

    def events(self, labels: list[str], container_label: str) -> "EventStream":
        """Deaths and out-of-memory kills of labelled containers from now on.

        Args:
            labels: Only containers that bear all of them.
            container_label: The name of the label that holds our container id.
        """
        with _translated("events"):
            filters = {"type": ["container"], "event": ["die", "oom"], "label": labels}
            return EventStream(self._client.events(decode=True, filters=filters), container_label)

    def close(self) -> None:
        """Close idle connections."""
        self._client.close()
        self._probe.close()

    def _url(self, engine_id: str) -> str:
        return f"{self._client.base_url}/v{self._client.api_version}/containers/{engine_id}"


class LogStream:
    """An open log: iterate in one thread, close from another."""

    def __init__(self, response: requests.Response) -> None:
        self._response = response
        self._connection = _connection_of(response)

    def __iter__(self) -> Iterator[bytes]:
        """Raw frames; raises `DockerUnavailable` where the engine went away or the log was closed."""
        with _translated("a log"):
            yield from self._response.iter_content(chunk_size=None)

    def close(self) -> None:
        """End the iteration and let go of the connection."""
        with contextlib.suppress(OSError):
            self._connection.shutdown(socket.SHUT_RDWR)
        self._connection.close()
        self._response.close()


class EventStream:
    """An open stream of events: iterate in one thread, close from another."""

    def __init__(self, stream: Any, container_label: str) -> None:
        self._stream = stream
        self._container_label = container_label

    def __iter__(self) -> Iterator[EngineEvent]:
        """Ends when closed; raises `DockerUnavailable` where the engine went away."""
        with _translated("events"):
            for event in self._stream:
                attributes = event.get("Actor", {}).get("Attributes", {})
                code = attributes.get("exitCode")
                yield EngineEvent(
                    action=str(event.get("Action", "")),
                    container_id=str(attributes.get(self._container_label, "")),
                    exit_code=int(code) if code is not None else None,
                )

    def close(self) -> None:
        """End the iteration."""
        with contextlib.suppress(OSError, AttributeError):
            self._stream.close()


def _connection_of(response: requests.Response) -> socket.socket:
    """A second handle on a response's connection: the SDK finds it on the same path (`_get_raw_response_socket`)."""
    raw: Any = response.raw
    return socket.socket(fileno=os.dup(raw._fp.fp.raw.fileno()))


def _raise_for(response: requests.Response) -> None:
    try:
        response.raise_for_status()
    except requests.HTTPError as error:
        docker.errors.create_api_error_from_http_exception(error)


@contextlib.contextmanager
def _translated(about: str) -> Generator[None, None, None]:
    """The SDK's errors as ours: refusals are the task's fault, silence the engine's."""
    try:
        yield
    except docker.errors.APIError as error:
        raise LaunchError(str(error.explanation or error)[:_MESSAGE_CHARACTERS]) from None
    except (requests.RequestException, docker.errors.DockerException, OSError) as error:
        raise DockerUnavailable(f"the Docker Engine did not answer about {about}: {_first_cause(error)}") from None


@contextlib.contextmanager
def _ignoring(*statuses: int) -> Generator[None, None, None]:
    try:
        yield
    except docker.errors.APIError as error:
        if error.response is None or error.response.status_code not in statuses:
            raise


def _knock(address: str) -> None:
    """Try a local socket before the SDK does: that says less clearly why it cannot, and leaves the socket open."""
    path = address.removeprefix("http+").removeprefix("unix://")
    if not path.startswith("/"):
        return
    with socket.socket(socket.AF_UNIX) as probe:
        probe.settimeout(PROBE_TIMEOUT_S)
        try:
            probe.connect(path)
        except OSError as error:
            raise DockerUnavailable(f"no Docker Engine answers at {path}: {error.strerror}") from None


def _first_cause(error: BaseException) -> str:
    return str(error)[:_MESSAGE_CHARACTERS]
