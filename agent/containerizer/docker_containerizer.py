"""Runs containers in a Docker Engine.

The life of a container here, and which thread does what:

    launch --> PREPARING --> STARTING --> RUNNING --> ENDING --> ENDED ----> (gone)
               fetch, pull   create,      died, and   how did    forgotten:
               |             attach,      output      it end     remove
               |             start        all read    |          |
               +-- docker_launch.py       |           +-- ending pool
                                          event and pump threads

An ended container stays in the engine, which alone knows its exit code, until the agent has that on disk and forgets it.

Nothing is polled for: deaths come from the engine's event stream, output over one attached connection a container, read
by one thread. Four requests a container is what it costs (create, attach, start, remove), and one more where it failed.
One more thread keeps time: it samples memory, ends graces, and sweeps, because an event stream can break.

The engine holds the truth. What this process knows is rebuilt by `recover` from labels alone.
"""

import contextlib
import shutil
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final

from mesolite.errors import DockerUnavailable, LaunchError, MesoliteError
from mesolite.ids import AgentId, ContainerId
from mesolite.logs import get_logger

from .cgroups import docker_peak_paths
from .contract import (
    ContainerLaunchFailed,
    ContainerSpec,
    ContainerStarted,
    EventSink,
)
from .docker_config import (
    CONTAINER_LABEL,
    MEMORY_LABEL,
    SANDBOX_LABEL,
    USER_LABEL,
    owner_labels,
)
from .docker_engine import DEAD_STATES, DockerEngine, EventStream, FoundContainer
from .docker_launch import DockerLauncher
from .docker_limits import limit_mib, set_limits
from .docker_output import LogFollower, OutputPump, open_files
from .docker_record import SIGKILL_CODE, Phase, Record
from .docker_watch import EngineWatch
from .policy import ContainerPolicy, default_user, resolve_user
from .pools import Stage, submit
from .resizing import NewLimits, Resizer

#: Removals and kills never wait behind launches.
_ENDING_THREADS: Final = 4
#: Memory peaks are read so often while a container is young, and less often afterwards: the kernel keeps the maximum,
#: so only growth within the last interval before the end can be missed.
_TICK_S: Final = 0.05
_YOUNG_S: Final = 2.0
_OLD_TICK_S: Final = 0.25
#: Output is normally complete before the death is reported; a connection that has not ended so long after it has broken.
_DRAIN_S: Final = 5.0
#: How long a death by a SIGKILL that nobody here sent is held back for the engine to say that memory was the reason.
_CAUSE_S: Final = 0.5
#: An attached connection that ended while its container lives: the engine was restarted under it. Then its log is read.
_REATTACH_S: Final = 2.0
#: The log of an adopted container ends with it. Its death may have been told to an earlier life, while the list, which is behind
#: the events, still showed it running.
_LISTED_S: Final = 0.3
#: How often the engine's list is held against ours, in case an event was missed.
_SWEEP_S: Final = 30.0
_RECONNECT_S: Final = 1.0

_log = get_logger("mesolite.agent")


class DockerContainerizer:
    """See `Containerizer`. Made by `open_containerizer`."""

    def __init__(
        self,
        engine: DockerEngine,
        *,
        policy: ContainerPolicy,
        agent_id: AgentId,
        work_dir: Path,
        sink: EventSink,
        cluster: str = "default",
    ) -> None:
        """Begin to watch; nothing is launched or adopted yet.

        Raises:
            DockerUnavailable: The engine went away.
        """
        self._engine = engine
        self._policy = policy
        self._work_dir = work_dir.resolve()
        self._sink = sink
        self._user = default_user()
        #: What marks the containers of this agent and no other: also not of one of the same name in another work_dir.
        self._labels = owner_labels(agent_id, cluster, self._work_dir)
        self._filters = [f"{key}={value}" for key, value in self._labels.items()]
        self._peak_paths = docker_peak_paths()
        #: Guards the table and every record's fields.
        self._lock = threading.Lock()
        self._records: dict[ContainerId, Record] = {}
        self._recovered = False
        self._closing = threading.Event()
        #: Set when the timekeeper has something to do sooner than it thinks.
        self._due = threading.Event()
        info = engine.info()
        self._version = str(info.get("ServerVersion", ""))
        self._events = engine.events(self._filters, CONTAINER_LABEL)
        self._pump = OutputPump()
        self._watch = EngineWatch(engine.probe)
        self._launcher = DockerLauncher(
            engine,
            self._pump,
            policy=policy,
            user=self._user,
            labels=self._labels,
            notes_dir=self._notes_dir,
            sink=sink,
            started=self._started,
            failed=self._failed,
            output_ended=self._output_ended,
            trouble=lambda: self._watch.trouble,
        )
        self._resizer = Resizer(self._set_limits, sink)
        self._ending = ThreadPoolExecutor(_ENDING_THREADS, thread_name_prefix="docker-end")
        self._threads = [
            threading.Thread(target=self._watch_events, name="docker-events", daemon=True),
            threading.Thread(target=self._keep_time, name="docker-time", daemon=True),
        ]
        for thread in self._threads:
            thread.start()

    @property
    def name(self) -> str:
        """See `Containerizer`."""
        return f"docker {self._version}, hard CPU and memory limits"

    @property
    def trouble(self) -> str:
        """See `Containerizer`."""
        return self._watch.trouble

    # -- what the agent asks ------------------------------------------------------------------------------------------

    def launch(self, spec: ContainerSpec) -> None:
        """See `Containerizer`."""
        record = Record(spec.container_id, spec.sandbox, spec.mem_mib)
        with self._lock:
            if self._closing.is_set() or spec.container_id in self._records:
                return
            self._records[spec.container_id] = record
        self._launcher.launch(record, spec)

    def kill(self, container_id: ContainerId, *, grace_ms: int) -> None:
        """See `Containerizer`."""
        deadline_s = time.monotonic() + grace_ms / 1000
        with self._lock:
            record = self._records.get(container_id)
            if record is None or record.died:
                return
            first = record.kill_at_s is None
            record.kill_at_s = deadline_s if record.kill_at_s is None else min(record.kill_at_s, deadline_s)
            running = record.phase is Phase.RUNNING
        if running and first and grace_ms > 0:
            self._submit(self._terminate, record)
        self._due.set()

    def resize(self, container_id: ContainerId, *, cpus_milli: int, mem_mib: int) -> None:
        """See `Containerizer`."""
        with self._lock:
            record = self._records.get(container_id)
            if record is None or record.died:
                return
            running = record.phase is Phase.RUNNING
            self._resizer.ask(container_id, NewLimits(cpus_milli, mem_mib), running=running)

    def recover(self) -> list[ContainerId]:
        """See `Containerizer`.

        Raises:
            DockerUnavailable: The engine does not answer; try again.
        """
        adopted: list[ContainerId] = []
        for found in self._engine.find_settled(self._filters, self._closing):
            container_id = ContainerId(found.labels.get(CONTAINER_LABEL, ""))
            if found.state in ("created", "removing") or not container_id:
                self._engine.remove(found.engine_id)
                continue
            adopted.append(container_id)
            self._adopt(container_id, found)
        self._recovered = True
        # Whoever died between the listing and the adoption was not in the table when its event came.
        self._submit(self._sweep)
        self._due.set()
        return adopted

    def forget(self, container_ids: Sequence[ContainerId]) -> None:
        """See `Containerizer`."""
        with self._lock:
            known = [self._records.get(container_id) for container_id in container_ids]
            ended = [record for record in known if record is not None and record.phase is Phase.ENDED]
            for record in ended:
                del self._records[record.container_id]
        for record in ended:
            self._submit(self._clear_away, record)

    def close(self) -> None:
        """See `Containerizer`."""
        with self._lock:
            if self._closing.is_set():
                return
            self._closing.set()
        self._due.set()
        self._watch.close()
        self._events.close()
        for thread in self._threads:
            thread.join()
        self._launcher.close()
        self._resizer.close()
        self._ending.shutdown(wait=True, cancel_futures=True)
        self._pump.close()
        for record in self._records.values():
            record.let_go()
            record.close_peak()
        self._engine.close()

    # -- before it runs -----------------------------------------------------------------------------------------------

    def _started(self, record: Record) -> None:
        record.open_peak(self._peak_paths, record.engine_id)
        self._sink(ContainerStarted(container_id=record.container_id))
        with self._lock:
            record.phase = Phase.RUNNING
            kill = record.kill_at_s is not None
        self._resizer.started(record.container_id)
        self._finish_if_over(record)
        self._due.set()
        if kill:
            self._submit(self._terminate, record)

    def _failed(self, record: Record, stage: Stage, message: str) -> None:
        """Nothing runs: say so, as a kill where one was asked for."""
        with self._lock:
            self._records.pop(record.container_id, None)
            self._resizer.ended(record.container_id)
            killed = record.kill_at_s is not None
        record.let_go()
        self._forget_files(record)
        if self._closing.is_set():
            return
        if killed:
            self._sink(record.never_ran())
        else:
            self._sink(ContainerLaunchFailed(container_id=record.container_id, stage=stage, message=message))

    # -- while it runs ------------------------------------------------------------------------------------------------

    def _adopt(self, container_id: ContainerId, found: FoundContainer) -> None:
        sandbox = Path(found.labels.get(SANDBOX_LABEL, ""))
        mem_mib = limit_mib(self._engine, found.engine_id, found.labels.get(MEMORY_LABEL, ""))
        record = Record(container_id, sandbox, mem_mib)
        record.engine_id = found.engine_id
        record.died = found.state in DEAD_STATES
        with self._lock:
            self._records[container_id] = record
        record.open_peak(self._peak_paths, found.engine_id)
        try:
            user = resolve_user(found.labels.get(USER_LABEL), ContainerPolicy(allow_root=True), default=self._user)
            record.files = open_files(
                sandbox, user, self._policy.max_output_bytes, self._notes_dir(record.container_id)
            )
            record.follower = LogFollower(
                self._engine, found.engine_id, record.files, lambda: self._output_ended(record)
            )
        except (OSError, LaunchError) as error:
            _log.warning("output_not_resumed", container_id=container_id, error=str(error))
            self._output_ended(record)
        with self._lock:
            record.phase = Phase.RUNNING
        self._finish_if_over(record)

    def _terminate(self, record: Record) -> None:
        """Ask it to end; where the kernel would keep that from killing its first process, do as it does to any other."""
        with contextlib.suppress(MesoliteError):
            if self._engine.dies_of_sigterm(record.engine_id):
                record.died_as_asked = True
                self._engine.signal(record.engine_id, "SIGKILL")
            else:
                self._engine.signal(record.engine_id, "SIGTERM")

    def _destroy(self, record: Record) -> None:
        try:
            self._engine.signal(record.engine_id, "SIGKILL")
        except MesoliteError as error:
            _log.warning("container_not_killed", container_id=record.container_id, error=str(error))
            with self._lock:
                record.destroyed = False
                record.kill_at_s = time.monotonic() + _RECONNECT_S

    def _set_limits(self, container_id: ContainerId, limits: NewLimits) -> str:
        with self._lock:
            record = self._records.get(container_id)
            if record is None or record.died:
                return ""
        trouble = set_limits(self._engine, record.engine_id, limits)
        if not trouble:
            with self._lock:
                record.mem_mib = limits.mem_mib
            return ""
        # What is ending cannot be changed any more, and the engine says so before it says that it ended.
        give_up_s = time.monotonic() + _CAUSE_S
        while not record.died and time.monotonic() < give_up_s and not self._closing.wait(_TICK_S):
            pass
        return "" if record.died else trouble

    def _watch_events(self) -> None:
        while True:
            try:
                for event in self._events:
                    self._take_event(ContainerId(event.container_id), event.action, event.exit_code)
            except DockerUnavailable as error:
                if not self._closing.is_set():
                    _log.warning("event_stream_broke", error=str(error))
            stream: EventStream | None = None
            while stream is None:
                if self._closing.wait(_RECONNECT_S):
                    return
                with contextlib.suppress(MesoliteError):
                    stream = self._engine.events(self._filters, CONTAINER_LABEL)
            self._events = stream
            if self._closing.is_set():
                stream.close()
            self._submit(self._sweep)

    def _take_event(self, container_id: ContainerId, action: str, exit_code: int | None) -> None:
        with self._lock:
            record = self._records.get(container_id)
            if record is None:
                return
            if action == "oom":
                record.oom_killed = True
                return
            record.mark_dead(exit_code)
        self._finish_if_over(record)
        self._due.set()

    def _output_ended(self, record: Record) -> None:
        with self._lock:
            record.output_ended_s = time.monotonic()
        self._finish_if_over(record)

    # -- afterwards ---------------------------------------------------------------------------------------------------

    def _finish_if_over(self, record: Record) -> None:
        with self._lock:
            if record.phase is not Phase.RUNNING or not record.died or record.output_ended_s is None:
                return
            record.phase = Phase.ENDING
        self._submit(self._finish, record)

    def _finish(self, record: Record) -> None:
        """Learn how it ended where that is in doubt, and report."""
        try:
            if record.exit_code != 0 and not record.oom_killed:
                self._learn_end(record)
        except MesoliteError as error:
            # The engine is away. The next sweep finds the container dead and comes back here.
            _log.warning("end_not_learnt", container_id=record.container_id, error=str(error))
            with self._lock:
                record.phase = Phase.RUNNING
            return
        with self._lock:
            record.phase = Phase.ENDED
            record.close_peak()
        self._resizer.ended(record.container_id)
        event = record.exited()
        record.let_go()
        self._sink(event)

    def _learn_end(self, record: Record) -> None:
        """Ask the engine. That memory was the reason of a kill it may say a moment after the death, as an event or when asked."""
        give_up_s = time.monotonic() + _CAUSE_S
        while True:
            state = self._engine.end_state(record.engine_id)
            with self._lock:
                record.oom_killed = record.oom_killed or state.oom_killed
                record.exit_code = state.exit_code if record.exit_code is None else record.exit_code
                unexplained = record.exit_code == SIGKILL_CODE and record.kill_at_s is None and not record.oom_killed
            if not unexplained or time.monotonic() > give_up_s or self._closing.wait(_TICK_S):
                return

    def _clear_away(self, record: Record) -> None:
        """Remove what nobody needs any more; where the engine is away, a later sweep finds that nobody knows it."""
        self._remove(record.engine_id)
        self._forget_files(record)

    def _keep_time(self) -> None:
        next_sweep_s = time.monotonic() + _SWEEP_S
        while not self._closing.is_set():
            now_s = time.monotonic()
            wait_s = self._tick(now_s)
            if now_s >= next_sweep_s:
                next_sweep_s = now_s + _SWEEP_S
                self._submit(self._sweep)
            self._due.wait(min(wait_s, next_sweep_s - now_s))
            self._due.clear()

    def _tick(self, now_s: float) -> float:
        """Sample memory and act on what is due; returns how long until the next time."""
        wait_s = _SWEEP_S
        with self._lock:
            running = [record for record in self._records.values() if record.phase is Phase.RUNNING]
            for record in running:
                record.sample()
        for record in running:
            young = now_s - record.since_s < _YOUNG_S
            wait_s = min(wait_s, _TICK_S if young else _OLD_TICK_S)
            if record.kill_at_s is not None and not record.died and not record.destroyed:
                if now_s >= record.kill_at_s:
                    record.destroyed = True
                    self._submit(self._destroy, record)
                wait_s = min(wait_s, _TICK_S)
            self._mend_output(record, now_s)
        return wait_s

    def _mend_output(self, record: Record, now_s: float) -> None:
        """A death without the end of the output, or the reverse, does not last: else a connection has broken."""
        ended_s, dead_s = record.output_ended_s, record.dead_since_s
        if dead_s is not None and ended_s is None and now_s - dead_s > _DRAIN_S and record.follower is None:
            if record.stream is not None:
                record.stream.abandon()
        elif ended_s is not None and not record.died and now_s - ended_s > _REATTACH_S and record.follower is None:
            if record.files is None:
                return
            with self._lock:
                record.output_ended_s = None
            record.follower = LogFollower(
                self._engine, record.engine_id, record.files, lambda: self._output_ended(record)
            )
        elif ended_s is not None and not record.died and now_s - ended_s > _LISTED_S and record.follower is not None:
            with self._lock:
                record.output_ended_s = now_s
            self._submit(self._sweep)

    def _sweep(self) -> None:
        """Hold the engine's list against ours: find deaths that no event told of, and remove what nobody knows."""
        with self._lock:
            before = dict(self._records)
        try:
            found = {row.labels.get(CONTAINER_LABEL, ""): row for row in self._engine.find(self._filters)}
        except DockerUnavailable:
            return
        for container_id, record in before.items():
            row = found.get(container_id)
            if record.phase is Phase.RUNNING and (row is None or row.state in DEAD_STATES):
                with self._lock:
                    record.mark_dead(None)
                self._finish_if_over(record)
        with self._lock:
            unknown = [row for name, row in found.items() if name not in before and name not in self._records]
        if self._recovered:
            for row in unknown:
                self._remove(row.engine_id)

    def _remove(self, engine_id: str) -> None:
        try:
            self._engine.remove(engine_id)
        except MesoliteError as error:
            _log.warning("container_left_behind", engine_id=engine_id, error=str(error))

    def _notes_dir(self, container_id: ContainerId) -> Path:
        return self._work_dir / "containers" / container_id

    def _forget_files(self, record: Record) -> None:
        directory = self._notes_dir(record.container_id)
        if directory.exists():
            shutil.rmtree(directory, ignore_errors=True)

    def _submit(self, work: Callable[..., None], *arguments: object) -> None:
        submit(self._ending, work, *arguments)
