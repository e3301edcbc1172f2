"""Runs containers as plain processes, for hosts without a Docker Engine.

What it can hold a task to depends on the host, and `name` says it. Where the agent may make control groups, CPU, memory
and process counts have hard limits, and all processes of a task end with it. Where it may not, memory is watched and a
task that exceeds its limit is killed some tenths of a second later; CPU is not limited.

It does not pretend: an image, a volume, a read-only root or a network of its own are refused, because a task that asked
for one and ran without would be worse off. There is one network, the host's.

One thread watches all: the shells' pidfds, the ends of graces, memory where it must, and the size of output files.
"""

import contextlib
import os
import selectors
import signal
import socket
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final

from mesolite.errors import FetchError, LaunchError
from mesolite.ids import AgentId, ContainerId
from mesolite.logs import get_logger
from mesolite.protocol import Network

from ..fetcher import Fetcher
from ..permissions import may_reach
from .cgroups import Group, Limits, find_tree
from .contract import (
    ContainerLaunchFailed,
    ContainerPreparing,
    ContainerSpec,
    ContainerStarted,
    EventSink,
)
from .output import bound_in_place, open_output
from .policy import ContainerPolicy, User, check_allowed, default_user, give_sandbox, give_sockets, resolve_user
from .pools import Stage, submit
from .process_members import end_over_limit, members_of, send, set_limits, signal_first, signal_members
from .process_record import ProcessRecord
from .process_run import (
    Notes,
    boot_id,
    discard_notes,
    keep_limit,
    read_exit_code,
    read_notes,
    reap,
    spawn,
    still_runs,
    write_notes,
)
from .process_table import ProcessTable
from .resizing import NewLimits, Resizer

#: Starting takes milliseconds; more threads would only contend.
_LAUNCH_THREADS: Final = 2
#: Fetches wait for the network; so many at once, the rest queue.
_PREPARING_THREADS: Final = 4
#: How often memory is looked at where nothing enforces it: a task can exceed its limit for so long.
_WATCH_S: Final = 0.1
#: How often output files are measured. At a disk's full speed a file exceeds its bound by some hundred MiB.
_OUTPUT_CHECK_S: Final = 1.0
#: Killed processes leave their group within microseconds, unless the kernel is busy writing their pages.
_EMPTY_WITHIN_S: Final = 10.0
_EMPTY_RETRY_S: Final = 0.01

_log = get_logger("mesolite.agent")


class ProcessContainerizer:
    """See `Containerizer`. Made by `open_containerizer`."""

    def __init__(
        self,
        *,
        policy: ContainerPolicy,
        agent_id: AgentId,
        work_dir: Path,
        sink: EventSink,
        use_groups: bool = True,
    ) -> None:
        """Begin to watch; nothing is launched or adopted yet.

        Args:
            policy: The operator's word.
            agent_id: Names the control groups.
            work_dir: Notes on live containers go below `containers` in it.
            sink: Takes the events.
            use_groups: False keeps off control groups even where they could be made.
        """
        self._policy = policy
        self._sink = sink
        self._containers_dir = work_dir.resolve() / "containers"
        self._containers_dir.mkdir(parents=True, exist_ok=True)
        self._fetcher = Fetcher(file_roots=policy.fetch_file_roots)
        self._tree = find_tree(agent_id) if use_groups else None
        self._table = ProcessTable()
        self._user = default_user()
        #: Users of the host other than root cannot reach a work_dir below root's home: then tasks run as root.
        self._user_is_agent = not may_reach(self._containers_dir, self._user)
        if self._user_is_agent:
            self._user = User(os.geteuid(), os.getegid())
        self._lock = threading.Lock()
        self._records: dict[ContainerId, ProcessRecord] = {}
        #: Ended and not forgotten yet: their notes hold the exit code.
        self._ended: set[ContainerId] = set()
        self._closing = threading.Event()
        #: Never set: what waits on it only lets a moment pass.
        self._pause = threading.Event()
        self._selector = selectors.DefaultSelector()
        self._wake_reader, self._wake_writer = socket.socketpair()
        for end in (self._wake_reader, self._wake_writer):
            end.setblocking(False)
        self._selector.register(self._wake_reader, selectors.EVENT_READ)
        self._new: list[ProcessRecord] = []
        self._preparing = ThreadPoolExecutor(_PREPARING_THREADS, thread_name_prefix="process-prepare")
        self._launching = ThreadPoolExecutor(_LAUNCH_THREADS, thread_name_prefix="process-launch")
        self._ending = ThreadPoolExecutor(_LAUNCH_THREADS, thread_name_prefix="process-end")
        self._resizer = Resizer(self._set_limits, sink)
        self._thread = threading.Thread(target=self._watch, name="process-watch", daemon=True)
        self._thread.start()

    @property
    def name(self) -> str:
        """See `Containerizer`."""
        if self._tree is not None:
            limits = f"hard CPU and memory limits by cgroup v{self._tree.version}"
        else:
            limits = "memory watched, CPU not limited"
        user = f", tasks run as uid {self._user.uid}: others cannot reach the work_dir" if self._user_is_agent else ""
        return f"process, {limits}{user}"

    # -- what the agent asks ------------------------------------------------------------------------------------------

    @property
    def trouble(self) -> str:
        """See `Containerizer`."""
        return ""

    def launch(self, spec: ContainerSpec) -> None:
        """See `Containerizer`."""
        record = ProcessRecord(spec.container_id, spec.sandbox, spec.mem_mib)
        record.ends_first_process = spec.ends_first_process
        with self._lock:
            if self._closing.is_set() or spec.container_id in self._records:
                return
            self._records[spec.container_id] = record
        if spec.uris:
            submit(self._preparing, self._prepare, record, spec)
        else:
            submit(self._launching, self._start, record, spec)

    def kill(self, container_id: ContainerId, *, grace_ms: int) -> None:
        """See `Containerizer`."""
        deadline_s = time.monotonic() + grace_ms / 1000
        with self._lock:
            record = self._records.get(container_id)
            if record is None or record.ending:
                return
            record.kill_at_s = deadline_s if record.kill_at_s is None else min(record.kill_at_s, deadline_s)
        self._wake()

    def resize(self, container_id: ContainerId, *, cpus_milli: int, mem_mib: int) -> None:
        """See `Containerizer`."""
        with self._lock:
            record = self._records.get(container_id)
            if record is None or record.ending:
                return
            self._resizer.ask(container_id, NewLimits(cpus_milli, mem_mib), running=record.pidfd is not None)

    def recover(self) -> list[ContainerId]:
        """See `Containerizer`."""
        adopted: list[ContainerId] = []
        for notes_dir in sorted(self._containers_dir.iterdir()):
            notes = read_notes(notes_dir)
            if notes is None:
                continue
            record = ProcessRecord(notes.container_id, Path(notes.sandbox), notes.mem_mib)
            with contextlib.suppress(OSError):
                self._open_output(record, User(*notes.user))
            record.shell_pid = notes.pid
            record.ends_first_process = notes.ends_first_process
            if notes.group:
                folders = {controller: Path(folder) for controller, folder in notes.group.items()}
                record.group = Group(notes.group_version, folders)
            self._begin_watching(record, alive=still_runs(notes))
            adopted.append(notes.container_id)
        return adopted

    def forget(self, container_ids: Sequence[ContainerId]) -> None:
        """See `Containerizer`."""
        with self._lock:
            ended = [container_id for container_id in container_ids if container_id in self._ended]
            self._ended.difference_update(ended)
        for container_id in ended:
            discard_notes(self._containers_dir / container_id)

    def close(self) -> None:
        """See `Containerizer`."""
        with self._lock:
            if self._closing.is_set():
                return
            self._closing.set()
        for pool in (self._preparing, self._launching, self._ending):
            pool.shutdown(wait=True, cancel_futures=True)
        self._resizer.close()
        self._wake()
        self._thread.join()
        self._selector.close()
        self._wake_reader.close()
        self._wake_writer.close()
        for record in self._records.values():
            record.let_go()
        if self._tree is not None:
            self._tree.remove()

    # -- before it runs -----------------------------------------------------------------------------------------------

    def _prepare(self, record: ProcessRecord, spec: ContainerSpec) -> None:
        try:
            user = self._admit(spec)
            self._sink(ContainerPreparing(container_id=spec.container_id, message=f"fetching {len(spec.uris)} file(s)"))
            for uri in spec.uris:
                self._fetcher.fetch(uri, spec.sandbox, user, cancelled=record.is_unwanted)
        except FetchError as error:
            self._fail(record, "fetch", str(error))
        except LaunchError as error:
            self._fail(record, "start", str(error))
        else:
            submit(self._launching, self._start, record, spec)

    def _admit(self, spec: ContainerSpec) -> User:
        check_allowed(spec, self._policy)
        wishes = {
            "a volume": bool(spec.volumes),
            "a read-only root": spec.read_only_root,
            "privileged mode": spec.privileged,
            "no network": spec.network is Network.NONE,
        }
        for wish, wanted in wishes.items():
            if wanted:
                raise LaunchError(f"{wish} was asked for, which needs an agent with a Docker Engine")
        user = resolve_user(spec.user, self._policy, default=self._user)
        give_sandbox(spec.sandbox, user)
        if spec.socket_dir is not None:
            give_sockets(spec.socket_dir, user)
        return user

    def _start(self, record: ProcessRecord, spec: ContainerSpec) -> None:
        if spec.image is not None:
            self._fail(
                record,
                "image",
                f"image {spec.image}: this agent runs plain processes (no Docker Engine answers); "
                "leave the image out, or run the task on an agent with Docker",
            )
            return
        notes_dir = self._containers_dir / spec.container_id
        try:
            user = self._admit(spec)
            notes_dir.mkdir(parents=True, exist_ok=True)
            self._open_output(record, user)
            waiting = spawn(spec, user, notes_dir)
        except (LaunchError, OSError) as error:
            self._fail(record, "start", str(error))
            return
        record.shell_pid = waiting.pid
        try:
            self._enclose(record, spec, waiting.pid)
            write_notes(notes_dir, self._notes(record, spec, waiting.start_ticks))
        except OSError as error:
            waiting.abort()
            self._fail(record, "start", f"the limits could not be set: {error}")
            return
        if record.is_unwanted():
            waiting.abort()
            self._fail(record, "start", "killed before it started")
            return
        self._sink(ContainerStarted(container_id=record.container_id))
        self._begin_watching(record, alive=True)
        waiting.go()

    def _open_output(self, record: ProcessRecord, user: User) -> None:
        record.user = user
        for stream in ("stdout", "stderr"):
            path = record.sandbox / stream
            record.outputs[path] = open_output(path, user)

    def _enclose(self, record: ProcessRecord, spec: ContainerSpec, pid: int) -> None:
        if self._tree is None:
            return
        record.group = self._tree.group(spec.container_id)
        record.group.create(Limits(cpus_milli=spec.cpus_milli, mem_mib=spec.mem_mib, pids=self._policy.pids_limit))
        record.group.enter(pid)

    def _notes(self, record: ProcessRecord, spec: ContainerSpec, start_ticks: int) -> Notes:
        group = record.group
        return Notes(
            container_id=spec.container_id,
            sandbox=str(spec.sandbox),
            mem_mib=spec.mem_mib,
            user=(record.user.uid, record.user.gid),
            boot_id=boot_id(),
            pid=record.shell_pid,
            start_ticks=start_ticks,
            group={name: str(folder) for name, folder in group.directories.items()} if group is not None else {},
            group_version=group.version if group is not None else 0,
            ends_first_process=record.ends_first_process,
        )

    def _fail(self, record: ProcessRecord, stage: Stage, message: str) -> None:
        with self._lock:
            self._records.pop(record.container_id, None)
        self._resizer.ended(record.container_id)
        record.let_go()
        self._remove_group(record)
        discard_notes(self._containers_dir / record.container_id)
        if self._closing.is_set():
            return
        if record.is_unwanted():
            self._sink(record.exited(None, "killed before it started"))
        else:
            self._sink(ContainerLaunchFailed(container_id=record.container_id, stage=stage, message=message))

    # -- while it runs ------------------------------------------------------------------------------------------------

    def _begin_watching(self, record: ProcessRecord, *, alive: bool) -> None:
        """From here on it belongs to the watching thread, until it ends."""
        if alive:
            with contextlib.suppress(ProcessLookupError):
                record.pidfd = os.pidfd_open(record.shell_pid)
        with self._lock:
            self._records[record.container_id] = record
            self._new.append(record)
        self._resizer.started(record.container_id)
        self._wake()

    def _set_limits(self, container_id: ContainerId, limits: NewLimits) -> str:
        with self._lock:
            record = self._records.get(container_id)
        if record is None:
            return ""
        trouble = set_limits(record, limits)
        with self._lock:
            # Of one that has ended nothing may be written down: it may be forgotten already.
            if record.ending or container_id not in self._records:
                return ""
            if not trouble:
                keep_limit(self._containers_dir / container_id, limits.mem_mib)
        return trouble

    def _wake(self) -> None:
        with contextlib.suppress(OSError):
            self._wake_writer.send(b"\0")

    def _watch(self) -> None:
        watched: dict[ContainerId, ProcessRecord] = {}
        next_output_check_s = 0.0
        while not self._closing.is_set():
            for record in self._take_new():
                watched[record.container_id] = record
                if record.pidfd is None:
                    del watched[record.container_id]
                    submit(self._ending, self._finish, record)
                else:
                    self._selector.register(record.pidfd, selectors.EVENT_READ, record)
            now_s = time.monotonic()
            end_over_limit([record for record in watched.values() if record.group is None], self._table)
            self._act_on_kills(watched, now_s)
            if now_s >= next_output_check_s:
                next_output_check_s = now_s + _OUTPUT_CHECK_S
                self._bound_outputs(watched)
            for key, _ in self._selector.select(self._patience_s(watched)):
                if isinstance(key.data, ProcessRecord):
                    self._selector.unregister(key.fd)
                    del watched[key.data.container_id]
                    submit(self._ending, self._finish, key.data)
                else:
                    self._wake_reader.recv(4096)

    def _take_new(self) -> list[ProcessRecord]:
        with self._lock:
            new, self._new = self._new, []
        return new

    def _patience_s(self, watched: dict[ContainerId, ProcessRecord]) -> float | None:
        """How long nothing needs to be looked at."""
        if not watched:
            return None
        kills = [record.kill_at_s for record in watched.values() if record.kill_at_s is not None]
        patience_s = _WATCH_S if kills or self._tree is None else _OUTPUT_CHECK_S
        return max(0.0, min([patience_s, *(kill_s - time.monotonic() for kill_s in kills)]))

    def _act_on_kills(self, watched: dict[ContainerId, ProcessRecord], now_s: float) -> None:
        for record in watched.values():
            if record.kill_at_s is None:
                continue
            if now_s >= record.kill_at_s:
                signal_members(record, signal.SIGKILL)
            elif not record.asked_to_end:
                # The task may not be there yet: then nobody has heard, and the next round asks again.
                ask = signal_first if record.ends_first_process else signal_members
                record.asked_to_end = ask(record, signal.SIGTERM) > 0

    def _bound_outputs(self, watched: dict[ContainerId, ProcessRecord]) -> None:
        for record in watched.values():
            for path, descriptor in record.outputs.items():
                with contextlib.suppress(OSError):
                    bound_in_place(descriptor, path, record.user, self._policy.max_output_bytes)

    # -- afterwards ---------------------------------------------------------------------------------------------------

    def _finish(self, record: ProcessRecord) -> None:
        """The shell ended: end whatever the task left behind, and report."""
        with self._lock:
            record.ending = True
        reap(record.shell_pid)
        notes_dir = self._containers_dir / record.container_id
        exit_code = read_exit_code(notes_dir)
        if not self._empty(record):
            _log.warning("processes_left_behind", container_id=record.container_id)
        oom_killed = record.over_limit
        if record.group is not None:
            oom_killed = oom_killed or record.group.oom_kills() > 0
            record.peak_bytes = record.group.peak_bytes()
            self._remove_group(record)
        if oom_killed:
            record.peak_bytes = max(record.peak_bytes or 0, record.mem_limit_bytes)
        message = f"memory limit of {record.mem_mib} MiB exceeded" if oom_killed else ""
        record.let_go()
        with self._lock:
            self._records.pop(record.container_id, None)
            self._ended.add(record.container_id)
        self._resizer.ended(record.container_id)
        self._sink(record.exited(exit_code, message, oom_killed=oom_killed))

    def _remove_group(self, record: ProcessRecord) -> None:
        """The kernel lets go of a group some moments after its last process was reaped."""
        deadline_s = time.monotonic() + _EMPTY_WITHIN_S
        while record.group is not None and not record.group.remove():
            if time.monotonic() > deadline_s:
                _log.warning("group_left_behind", container_id=record.container_id)
                return
            self._pause.wait(_EMPTY_RETRY_S)

    def _empty(self, record: ProcessRecord) -> bool:
        deadline_s = time.monotonic() + _EMPTY_WITHIN_S
        while pids := members_of(record):
            for pid in pids:
                send(pid, signal.SIGKILL)
            if time.monotonic() > deadline_s:
                return False
            self._pause.wait(_EMPTY_RETRY_S)
        return True
