"""A container's way to its start in a Docker Engine: admitted, fetched, pulled, created, attached, started.

What waits for the network has a pool of its own, so that a slow registry does not hold up containers whose image is at
hand. Whether an image is at hand is not asked: creating a container tells, for nothing.
"""

from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final

from mesolite.errors import FetchError, LaunchError, MesoliteError
from mesolite.ids import ContainerId
from mesolite.logs import get_logger

from ..fetcher import Fetcher
from .contract import ContainerPreparing, ContainerSpec, EventSink
from .docker_config import container_body, container_name
from .docker_engine import DockerEngine, NoSuchImage
from .docker_output import OutputPump, open_files
from .docker_record import Record
from .policy import ContainerPolicy, User, check_allowed, give_sandbox, give_sockets, resolve_user
from .pools import Stage, submit

#: Where direct requests to the engine reach their best rate on two cores; more threads only queue inside the engine.
_LAUNCH_THREADS: Final = 8
#: Fetches and pulls may take minutes; so many at once, the rest queue.
_PREPARING_THREADS: Final = 4

_log = get_logger("mesolite.agent")


class DockerLauncher:
    """Brings containers to their start. Each ends in exactly one of `started` and `failed`, in a pool's thread."""

    def __init__(
        self,
        engine: DockerEngine,
        pump: OutputPump,
        *,
        policy: ContainerPolicy,
        user: User,
        labels: Mapping[str, str],
        notes_dir: Callable[[ContainerId], Path],
        sink: EventSink,
        started: Callable[[Record], None],
        failed: Callable[[Record, Stage, str], None],
        output_ended: Callable[[Record], None],
        trouble: Callable[[], str],
    ) -> None:
        """Open the pools.

        Args:
            engine: Where containers are made.
            pump: Takes over their output.
            policy: The operator's word.
            user: For specs that name none.
            labels: What marks this agent's containers.
            notes_dir: Where notes on a container are kept, out of its reach.
            sink: Takes `ContainerPreparing`.
            started: It runs.
            failed: It does not, and nothing is left of it.
            output_ended: All its output is on disk; may come before `started`.
            trouble: Why the engine does nothing; empty while it does. What is queued then need not wait for it in its turn.
        """
        self._engine = engine
        self._pump = pump
        self._policy = policy
        self._user = user
        self._labels = dict(labels)
        self._notes_dir = notes_dir
        self._sink = sink
        self._started = started
        self._failed = failed
        self._output_ended = output_ended
        self._trouble = trouble
        self._fetcher = Fetcher(file_roots=policy.fetch_file_roots)
        self._preparing = ThreadPoolExecutor(_PREPARING_THREADS, thread_name_prefix="docker-prepare")
        self._launching = ThreadPoolExecutor(_LAUNCH_THREADS, thread_name_prefix="docker-launch")

    def launch(self, record: Record, spec: ContainerSpec) -> None:
        """Begin; returns at once."""
        if spec.uris or spec.force_pull_image:
            submit(self._preparing, self._prepare, record, spec)
        else:
            submit(self._launching, self._start, record, spec, True)

    def close(self) -> None:
        """Finish what is being done, forget what is queued."""
        for pool in (self._preparing, self._launching):
            pool.shutdown(wait=True, cancel_futures=True)

    def _admit(self, spec: ContainerSpec) -> User:
        check_allowed(spec, self._policy)
        user = resolve_user(spec.user, self._policy, default=self._user)
        give_sandbox(spec.sandbox, user)
        if spec.socket_dir is not None:
            give_sockets(spec.socket_dir, user)
        return user

    def _prepare(self, record: Record, spec: ContainerSpec) -> None:
        """Fetch and pull, then queue for the start."""
        try:
            user = self._admit(spec)
            if spec.uris:
                self._say_preparing(record, f"fetching {len(spec.uris)} file(s)")
                for uri in spec.uris:
                    self._fetcher.fetch(uri, spec.sandbox, user, cancelled=record.is_unwanted)
        except FetchError as error:
            self._failed(record, "fetch", str(error))
        except LaunchError as error:
            self._failed(record, "start", str(error))
        else:
            if spec.force_pull_image:
                self._pull(record, spec)
            else:
                submit(self._launching, self._start, record, spec, True)

    def _pull(self, record: Record, spec: ContainerSpec) -> None:
        """Pull the image, then queue for the start."""
        image = self._image_of(spec)
        self._say_preparing(record, f"pulling image {image}")
        try:
            self._engine.pull(image, cancelled=record.is_unwanted)
        except MesoliteError as error:
            advice = f"check the name, or bring it to the agent's host with `docker pull {image}` or `docker load`"
            self._failed(record, "image", f"image {image} cannot be pulled: {error}; {advice}")
            return
        submit(self._launching, self._start, record, spec, False)

    def _start(self, record: Record, spec: ContainerSpec, may_pull: bool) -> None:
        """Create, attach, start: the part that is measured."""
        if record.is_unwanted():
            self._failed(record, "start", "killed before it started")
            return
        if trouble := self._trouble():
            self._failed(record, "start", trouble)
            return
        try:
            user = self._admit(spec)
            body = container_body(spec, self._policy, user, self._labels)
            engine_id = self._engine.create(container_name(spec.container_id), body)
        except NoSuchImage as error:
            if may_pull:
                submit(self._preparing, self._pull, record, spec)
            else:
                self._failed(record, "image", f"image {self._image_of(spec)}: {error}")
            return
        except MesoliteError as error:
            self._failed(record, "start", str(error))
            return
        record.engine_id = engine_id
        try:
            notes_dir = self._notes_dir(spec.container_id)
            files = record.files = open_files(spec.sandbox, user, self._policy.max_output_bytes, notes_dir)
            record.stream = self._engine.attach(engine_id)
            self._pump.add(record.stream, files, lambda: self._output_ended(record))
            self._engine.start(engine_id)
        except (MesoliteError, OSError) as error:
            self._discard(engine_id)
            self._failed(record, "start", f"{spec.argv[0]!r} could not be started: {error}")
            return
        self._started(record)

    def _image_of(self, spec: ContainerSpec) -> str:
        return spec.image or self._policy.default_image

    def _say_preparing(self, record: Record, message: str) -> None:
        if not record.said_preparing:
            record.said_preparing = True
            self._sink(ContainerPreparing(container_id=record.container_id, message=message))

    def _discard(self, engine_id: str) -> None:
        """Where the engine does not answer now, the containerizer's sweep finds the container later."""
        try:
            self._engine.remove(engine_id)
        except MesoliteError as error:
            _log.warning("container_left_behind", engine_id=engine_id, error=str(error))
