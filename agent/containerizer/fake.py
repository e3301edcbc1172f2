"""A containerizer without containers: time and fates are scripted, nothing runs, one thread suffices.

For the simulator and for tests of the agent. It keeps the contract (tests/contract/test_containerizer.py), with time
under the caller's hand: nothing happens, and no event leaves, but within `poll` or `advance`.

What a container does is read from its argument vector, also where `sh -c` wraps it:

    true, false, exit N         ends at once, with that code
    echo WORDS...               writes to stdout and ends
    sleep SECONDS               ends after that time, or of SIGTERM
    ignore-term SECONDS         the same, but only SIGKILL ends it early
    allocate MIB [SECONDS]      uses that much memory at the end of that time; beyond its limit it is killed for it
    hold MIB SECONDS            uses that much memory for that time; its limit cannot be made less
    oom                         exceeds its memory limit
    missing                     there is no such executable
    anything else               as true

An image or URI whose text contains "missing" cannot be had.
"""

import shlex
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from mesolite.clock import ManualClock
from mesolite.errors import LaunchError
from mesolite.ids import ContainerId

from .contract import (
    ContainerEvent,
    ContainerExited,
    ContainerLaunchFailed,
    ContainerPreparing,
    ContainerResizeFailed,
    ContainerSpec,
    ContainerStarted,
    EventSink,
)
from .policy import ContainerPolicy, check_allowed

#: What Docker takes on a quiet two-core machine.
DEFAULT_START_MS: Final = 200
#: A small image from a near registry.
DEFAULT_PREPARE_MS: Final = 1000
_MEBIBYTE: Final = 1024 * 1024
_SIGKILL_CODE: Final = 137
_SIGTERM_CODE: Final = 143


@dataclass(frozen=True, slots=True)
class Fate:
    """What a container will do when left alone."""

    duration_ms: int = 0
    exit_code: int = 0
    #: Memory in use all the time, which a limit cannot take away.
    held_mib: int = 0
    #: Memory that it wants at its end; None: as much as there is, and more.
    wanted_mib: int | None = 0
    hears_sigterm: bool = True
    output: str = ""
    is_missing: bool = False


def fate_of(argv: Sequence[str]) -> Fate:
    """Read a container's fate from what it executes."""
    words = list(argv)
    if len(words) == 3 and words[0].endswith("sh") and words[1] == "-c":
        words = shlex.split(words[2]) or ["true"]
    match words:
        case ["false"]:
            return Fate(exit_code=1)
        case ["exit", code]:
            return Fate(exit_code=int(code))
        case ["echo", *rest]:
            return Fate(output=" ".join(rest) + "\n")
        case ["sleep", seconds]:
            return Fate(duration_ms=int(float(seconds) * 1000))
        case ["ignore-term", seconds]:
            return Fate(duration_ms=int(float(seconds) * 1000), hears_sigterm=False)
        case ["allocate", mib]:
            return Fate(wanted_mib=int(mib))
        case ["allocate", mib, seconds]:
            return Fate(duration_ms=int(float(seconds) * 1000), wanted_mib=int(mib))
        case ["hold", mib, seconds]:
            return Fate(duration_ms=int(float(seconds) * 1000), held_mib=int(mib), wanted_mib=int(mib))
        case ["oom"]:
            return Fate(wanted_mib=None)
        case ["missing"]:
            return Fate(is_missing=True)
        case _:
            return Fate()


@dataclass(slots=True)
class FakeContainer:
    """A container that runs, or has ended and was not yet reported."""

    spec: ContainerSpec
    fate: Fate
    ends_ms: int
    #: Of the signal that ends it early; None where none does.
    signal_code: int | None = None

    def end(self, at_ms: int, exit_code: int) -> None:
        """End it by a signal, if it does not end by itself before."""
        if at_ms < self.ends_ms:
            self.ends_ms, self.signal_code = at_ms, exit_code

    @property
    def oom_killed(self) -> bool:
        """At its end it wants more memory than it may have then."""
        wanted_mib = self.fate.wanted_mib
        return self.signal_code is None and (wanted_mib is None or wanted_mib >= self.spec.mem_mib)

    @property
    def exit_code(self) -> int:
        """What it ends with."""
        if self.signal_code is not None:
            return self.signal_code
        return _SIGKILL_CODE if self.oom_killed else self.fate.exit_code

    @property
    def peak_mem_bytes(self) -> int:
        """The most memory that it had."""
        wanted_mib = 0 if self.signal_code is not None else self.fate.wanted_mib
        mib = self.spec.mem_mib if self.oom_killed or wanted_mib is None else max(1, self.fate.held_mib, wanted_mib)
        return mib * _MEBIBYTE


class FakeHost:
    """A machine: its containers outlive the containerizers, and so the agents, that started them."""

    def __init__(
        self, clock: ManualClock, *, start_ms: int = DEFAULT_START_MS, prepare_ms: int = DEFAULT_PREPARE_MS
    ) -> None:
        """An idle machine.

        Args:
            clock: Its time; `poll` moves it on where it is behind.
            start_ms: From launch to start.
            prepare_ms: What fetching and pulling add.
        """
        self.clock = clock
        self.start_ms = start_ms
        self.prepare_ms = prepare_ms
        self.containers: dict[ContainerId, FakeContainer] = {}
        #: Why nothing can be started; set by tests.
        self.trouble = ""
        #: Ended, reported, and not forgotten.
        self.ended: dict[ContainerId, FakeContainer] = {}

    def reboot(self) -> None:
        """Everything that ran is gone, without a word."""
        self.containers.clear()
        self.ended.clear()


@dataclass(slots=True)
class _Launch:
    """A container on its way to its start; dies with the containerizer."""

    spec: ContainerSpec
    #: Events still to come, each with its time.
    steps: list[tuple[int, ContainerEvent]]


class FakeContainerizer:
    """See `Containerizer`."""

    def __init__(self, host: FakeHost, sink: EventSink, *, policy: ContainerPolicy | None = None) -> None:
        self._host = host
        self._sink = sink
        self._policy = policy or ContainerPolicy()
        self._launches: dict[ContainerId, _Launch] = {}
        #: Containers whose end is to be reported by this one.
        self._watched: set[ContainerId] = set()
        #: Resizes that failed and were not reported yet, each with its time.
        self._refused: list[tuple[int, ContainerResizeFailed]] = []
        self._closed = False

    @property
    def name(self) -> str:
        """See `Containerizer`."""
        return "fake, limits by script"

    @property
    def trouble(self) -> str:
        """See `Containerizer`."""
        return self._host.trouble

    def launch(self, spec: ContainerSpec) -> None:
        """See `Containerizer`."""
        container_id = spec.container_id
        if self._closed or container_id in self._launches or container_id in self._watched:
            return
        self._launches[container_id] = _Launch(spec, self._plan(spec))

    def kill(self, container_id: ContainerId, *, grace_ms: int) -> None:
        """See `Containerizer`."""
        now_ms = self._host.clock.now_ms()
        launch = self._launches.get(container_id)
        if launch is not None:
            launch.steps = [(now_ms, _exited(container_id, None, message="killed before it started"))]
        if container_id not in self._watched:
            return
        container = self._host.containers.get(container_id)
        if container is None:
            return
        if container.fate.hears_sigterm:
            container.end(now_ms, _SIGTERM_CODE)
        container.end(now_ms + grace_ms, _SIGKILL_CODE)

    def resize(self, container_id: ContainerId, *, cpus_milli: int, mem_mib: int) -> None:
        """See `Containerizer`."""
        launch = self._launches.get(container_id)
        if launch is not None:
            launch.spec = replace(launch.spec, cpus_milli=cpus_milli, mem_mib=mem_mib)
        container = self._host.containers.get(container_id) if container_id in self._watched else None
        if container is None:
            return
        held_mib = container.fate.held_mib
        if held_mib > mem_mib:
            message = f"memory cannot be limited to {mem_mib} MiB: {held_mib} MiB are in use"
            failed = ContainerResizeFailed(container_id=container_id, message=message)
            self._refused.append((self._host.clock.now_ms(), failed))
            return
        container.spec = replace(container.spec, cpus_milli=cpus_milli, mem_mib=mem_mib)

    def recover(self) -> list[ContainerId]:
        """See `Containerizer`."""
        self._host.containers |= self._host.ended
        self._host.ended.clear()
        self._watched |= set(self._host.containers)
        return sorted(self._watched)

    def forget(self, container_ids: Sequence[ContainerId]) -> None:
        """See `Containerizer`."""
        for container_id in container_ids:
            self._host.ended.pop(container_id, None)

    def close(self) -> None:
        """See `Containerizer`. A crash of the agent is the same thing."""
        self._closed = True
        self._launches.clear()
        self._refused.clear()
        self._watched.clear()

    # -- time ---------------------------------------------------------------------------------------------------------

    def advance(self, by_ms: int) -> None:
        """Let time pass, and report what happens in it."""
        self.poll(self._host.clock.now_ms() + by_ms)

    def poll(self, now_ms: int) -> None:
        """Report all that is due by a time, in order of time, then of container ids."""
        while (due := self._next()) is not None and due[0] <= now_ms:
            at_ms, container_id = due
            self._host.clock.advance(max(0, at_ms - self._host.clock.now_ms()))
            self._step(at_ms, container_id)
        self._host.clock.advance(max(0, now_ms - self._host.clock.now_ms()))

    def next_due_ms(self) -> int | None:
        """When something happens next; None where nothing will."""
        due = self._next()
        return due[0] if due is not None else None

    def _next(self) -> tuple[int, ContainerId] | None:
        starting = [(launch.steps[0][0], container_id) for container_id, launch in self._launches.items()]
        ends = [
            (self._host.containers[container_id].ends_ms, container_id)
            for container_id in self._watched
            if container_id in self._host.containers
        ]
        refused = [(at_ms, failed.container_id) for at_ms, failed in self._refused]
        return min(starting + ends + refused, default=None)

    def _step(self, at_ms: int, container_id: ContainerId) -> None:
        for due_ms, failed in self._refused:
            if due_ms == at_ms and failed.container_id == container_id:
                self._refused.remove((due_ms, failed))
                self._sink(failed)
                return
        launch = self._launches.get(container_id)
        if launch is None:
            self._end(container_id)
            return
        event = launch.steps.pop(0)[1]
        if isinstance(event, ContainerStarted):
            fate = fate_of(launch.spec.argv)
            self._host.containers[container_id] = FakeContainer(launch.spec, fate, at_ms + fate.duration_ms)
            self._watched.add(container_id)
        if not launch.steps:
            del self._launches[container_id]
        self._sink(event)

    def _end(self, container_id: ContainerId) -> None:
        container = self._host.ended[container_id] = self._host.containers.pop(container_id)
        self._watched.discard(container_id)
        _write_output(container.spec.sandbox, container.fate.output)
        self._sink(
            _exited(
                container_id,
                container.exit_code,
                oom_killed=container.oom_killed,
                peak_mem_bytes=container.peak_mem_bytes,
                message=f"memory limit of {container.spec.mem_mib} MiB exceeded" if container.oom_killed else "",
            )
        )

    def _plan(self, spec: ContainerSpec) -> list[tuple[int, ContainerEvent]]:
        """The events up to the start, or to the failure."""
        container_id = spec.container_id
        at_ms = self._host.clock.now_ms()
        try:
            check_allowed(spec, self._policy)
        except LaunchError as error:
            return [(at_ms, ContainerLaunchFailed(container_id=container_id, stage="start", message=str(error)))]
        steps: list[tuple[int, ContainerEvent]] = []
        image = spec.image or ""
        if spec.uris or spec.force_pull_image or "missing" in image:
            steps.append((at_ms, ContainerPreparing(container_id=container_id, message="fetching or pulling")))
            at_ms += self._host.prepare_ms
        failed = self._failure(spec)
        if failed is not None:
            return [*steps, (at_ms, failed)]
        return [*steps, (at_ms + self._host.start_ms, ContainerStarted(container_id=container_id))]

    def _failure(self, spec: ContainerSpec) -> ContainerLaunchFailed | None:
        container_id = spec.container_id
        for uri in spec.uris:
            if "missing" in uri.value:
                message = f"{uri.value}: there is no such file"
                return ContainerLaunchFailed(container_id=container_id, stage="fetch", message=message)
        if spec.image is not None and "missing" in spec.image:
            message = f"image {spec.image} cannot be pulled"
            return ContainerLaunchFailed(container_id=container_id, stage="image", message=message)
        if fate_of(spec.argv).is_missing:
            message = f"there is no executable {spec.argv[0]!r}"
            return ContainerLaunchFailed(container_id=container_id, stage="start", message=message)
        return None


def _exited(
    container_id: ContainerId,
    exit_code: int | None,
    *,
    oom_killed: bool = False,
    peak_mem_bytes: int | None = None,
    message: str = "",
) -> ContainerExited:
    return ContainerExited(
        container_id=container_id,
        exit_code=exit_code,
        oom_killed=oom_killed,
        peak_mem_bytes=peak_mem_bytes,
        message=message,
    )


def _write_output(sandbox: Path, text: str) -> None:
    """Only where there is a sandbox: a simulated one has no disk."""
    if sandbox.is_dir():
        (sandbox / "stdout").write_text(text)
        (sandbox / "stderr").write_text("")
