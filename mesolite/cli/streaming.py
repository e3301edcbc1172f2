"""Shows the output of a job's tasks while they run: finds each attempt as it starts and reads its files until it ended.

The master says where an attempt runs, its agent serves the files, a task's result says that it is over. One task is shown
byte for byte; tasks of an array line by line, each line with its index in front.
"""

import sys
import threading
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Final, Literal, TypeAlias

import click

from mesolite.errors import MesoliteError
from mesolite.operator import OperatorClient
from mesolite.sandbox_client import follow_output

from .tasks import ENDED_STATES

#: Files read at once. Each is a thread that mostly waits; what exceeds it is shown when another ends.
MAX_STREAMS: Final = 32
#: How often the master is asked for new attempts. Half of a person's idea of "at once".
LOOK_INTERVAL_S: Final = 0.25
#: Tasks up to which the master is asked at all; the output of larger arrays is shown as tasks end.
MAX_WATCHED_TASKS: Final = 2000
#: A line that is longer is shown in parts.
MAX_LINE_BYTES: Final = 64 * 1024
#: How long one read of a file waits: the longest time until the end of a task is seen.
READ_WAIT_MS: Final = 500

Channel: TypeAlias = Literal["stdout", "stderr"]


class TaskStreams:
    """The output of the tasks of one framework. Use as a context manager: leaving it waits for what is being read."""

    def __init__(self, client: OperatorClient, framework_id: str, *, count: int) -> None:
        """Prepare.

        Args:
            client: The cluster.
            framework_id: Whose tasks.
            count: How many tasks the job has; with more than one each line shows its task's index.
        """
        self._client = client
        self._framework_id = framework_id
        self._count = count
        self._pool = ThreadPoolExecutor(MAX_STREAMS, thread_name_prefix="task-output")
        self._lock = threading.Lock()
        self._seen: set[str] = set()
        self._ended: set[str] = set()
        #: Where the agent of each attempt serves files, as last heard: an agent that was restarted may be elsewhere.
        self._agent_urls: dict[str, str] = {}
        self._closing = threading.Event()
        self._watcher = threading.Thread(target=self._watch, name="task-watcher", daemon=True)

    @property
    def seen_any(self) -> bool:
        """Say whether any task was placed so far."""
        return bool(self._seen)

    def __enter__(self) -> "TaskStreams":
        if self._count <= MAX_WATCHED_TASKS:
            self._watcher.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._closing.set()
        if self._watcher.is_alive():
            self._watcher.join()
        self._pool.shutdown(wait=True, cancel_futures=kind is not None)

    def ended(self, task_id: str, agent_url: str) -> None:
        """Say that an attempt is over: what is left of its output is shown, then its streams end."""
        with self._lock:
            self._ended.add(task_id)
        self._show(task_id, agent_url)

    def _watch(self) -> None:
        while not self._closing.wait(LOOK_INTERVAL_S):
            try:
                rows = self._client.tasks(include_ended=True, framework_id=self._framework_id)
            except MesoliteError:
                # No master leads just now; results still come in their own way.
                continue
            for row in rows:
                if row.state in ENDED_STATES:
                    self.ended(row.task_id, row.agent_url)
                elif row.state not in {"TASK_STAGING", "TASK_UNREACHABLE"}:
                    self._show(row.task_id, row.agent_url)

    def _show(self, task_id: str, agent_url: str) -> None:
        with self._lock:
            if not agent_url:
                return
            self._agent_urls[task_id] = agent_url
            if task_id in self._seen:
                return
            self._seen.add(task_id)
        channels: tuple[Channel, ...] = ("stdout", "stderr")
        for channel in channels:
            self._pool.submit(self._copy, task_id, agent_url, channel)

    def _copy(self, task_id: str, agent_url: str, channel: Channel) -> None:
        path = f"/{self._framework_id}/{task_id}/latest/{channel}"
        parts = follow_output(
            agent_url,
            path,
            lambda: self._is_over(task_id),
            wait_ms=READ_WAIT_MS,
            whereabouts=lambda: self._agent_urls[task_id],
        )
        try:
            if self._count == 1:
                self._copy_bytes(parts, channel)
            else:
                self._copy_lines(parts, channel, prefix=f"[{index_of(task_id)}] ")
        except MesoliteError as error:
            with self._lock:
                click.echo(f"the {channel} of {task_id} cannot be read: {error}", err=True)

    def _is_over(self, task_id: str) -> bool:
        with self._lock:
            return task_id in self._ended or self._closing.is_set()

    def _copy_bytes(self, parts: Iterable[bytes], channel: Channel) -> None:
        target = sys.stdout if channel == "stdout" else sys.stderr
        for data in parts:
            with self._lock:
                target.buffer.write(data)
                target.buffer.flush()

    def _copy_lines(self, parts: Iterable[bytes], channel: Channel, *, prefix: str) -> None:
        rest = b""
        for data in parts:
            *lines, rest = (rest + data).split(b"\n")
            if len(rest) > MAX_LINE_BYTES:
                lines.append(rest)
                rest = b""
            self._write_lines(lines, channel, prefix)
        if rest:
            self._write_lines([rest], channel, prefix)

    def _write_lines(self, lines: list[bytes], channel: Channel, prefix: str) -> None:
        text = "".join(f"{prefix}{line.decode('utf-8', 'replace')}\n" for line in lines)
        # Looked up each time: a progress bar puts its own in their place.
        target = sys.stdout if channel == "stdout" else sys.stderr
        with self._lock:
            target.write(text)
            target.flush()


def index_of(task_id: str) -> str:
    """Return a task's index in its job: batch calls tasks JOB-INDEX-ATTEMPT."""
    return task_id.rsplit("-", maxsplit=2)[-2]
