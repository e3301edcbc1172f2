"""Hosts for the containerizers' contract: a fake one, this one with plain processes, this one with Docker.

A host outlives the containerizers opened on it, as a machine outlives its agents. `wait_for` lets time pass in the host's
own way: virtual on the fake, real elsewhere.
"""

import os
from abc import ABC, abstractmethod
from collections.abc import Callable
from contextlib import closing
from itertools import count
from pathlib import Path
from typing import Final

import docker

from mesolite.agent.containerizer.contract import ContainerEvent, ContainerExited, Containerizer, ContainerSpec
from mesolite.agent.containerizer.docker_config import container_name
from mesolite.agent.containerizer.docker_containerizer import DockerContainerizer
from mesolite.agent.containerizer.docker_engine import DockerEngine
from mesolite.agent.containerizer.fake import FakeContainerizer, FakeHost
from mesolite.agent.containerizer.policy import ContainerPolicy
from mesolite.agent.containerizer.process import ProcessContainerizer
from mesolite.agent.containerizer.process_run import read_notes
from mesolite.clock import ManualClock
from mesolite.ids import AgentId, ContainerId
from mesolite.protocol import Network, Uri, Volume
from tests.waiting import eventually

IMAGE: Final = os.environ.get("MESOLITE_IMAGE", "python:3.11-slim")
_STEP_MS: Final = 50
_MEBIBYTE: Final = 1024 * 1024
#: Virtual time in which a fake container must have done what is waited for.
_PATIENCE_STEPS: Final = 2000
_numbers = count(1)


class Host(ABC):
    """A machine on which agents come and go."""

    #: Whether real programs run on it.
    is_real = True
    #: What a container executes that ignores SIGTERM for an hour.
    ignores_sigterm: tuple[str, ...] = ("sh", "-c", "trap '' TERM; echo ready; while :; do sleep 0.05; done")
    #: What exceeds any memory limit.
    exhausts_memory: tuple[str, ...] = ("tail", "/dev/zero")
    #: An executable that there is not.
    missing: tuple[str, ...] = ("no-such-executable", "--at-all")
    #: What waits until `let_go`, and then uses 40 MiB or a little more, long enough to be seen by who looks now and then.
    uses_40_mib: tuple[str, ...] = (
        "sh",
        "-c",
        "while [ ! -e go ]; do sleep 0.02; done; { head -c 40m /dev/zero; sleep 0.5; } | tail -n 1 >/dev/null",
    )
    #: What uses some 40 MiB for an hour; it says "ready" when it has them.
    holds_40_mib: tuple[str, ...] = (
        "sh",
        "-c",
        "{ head -c 40m /dev/zero; echo ready >&2; sleep 3600; } | tail -n 1 >/dev/null",
    )

    def __init__(self, tmp_path: Path, policy: ContainerPolicy) -> None:
        self.work_dir = tmp_path / "agent"
        self.work_dir.mkdir()
        self.policy = policy
        #: Its own, so that two runs of the tests on one machine do not share control groups.
        self.agent_id = AgentId(f"contract-{os.getpid()}-{next(_numbers)}")
        self.events: list[ContainerEvent] = []
        self._open: list[Containerizer] = []

    def open(self) -> Containerizer:
        """A containerizer of this host's agent; its events are added to `events`."""
        containerizer = self._make()
        self._open.append(containerizer)
        return containerizer

    def restart(self, containerizer: Containerizer) -> tuple[Containerizer, list[ContainerId]]:
        """End one life of the agent and begin the next; returns what that recovered."""
        containerizer.close()
        following = self.open()
        return following, following.recover()

    def spec(
        self,
        *argv: str,
        mem_mib: int = 64,
        cpus_milli: int = 500,
        environment: dict[str, str] | None = None,
        uris: tuple[Uri, ...] = (),
        image: str | None = None,
        user: str | None = None,
        volumes: tuple[Volume, ...] = (),
        network: Network = Network.BRIDGE,
        privileged: bool = False,
        force_pull_image: bool = False,
        read_only_root: bool = False,
    ) -> ContainerSpec:
        """A container with a sandbox of its own."""
        container_id = ContainerId(f"{os.getpid()}-{next(_numbers)}")
        sandbox = self.work_dir / "sandboxes" / "framework" / "task" / container_id
        sandbox.mkdir(parents=True)
        return ContainerSpec(
            container_id=container_id,
            argv=argv,
            environment=environment or {},
            sandbox=sandbox,
            cpus_milli=cpus_milli,
            mem_mib=mem_mib,
            image=image,
            uris=uris,
            user=user,
            volumes=volumes,
            network=network,
            privileged=privileged,
            force_pull_image=force_pull_image,
            read_only_root=read_only_root,
            labels={"test": "contract"},
        )

    def events_of(self, spec: ContainerSpec) -> list[ContainerEvent]:
        """What was said of one container."""
        return [event for event in list(self.events) if event.container_id == spec.container_id]

    def let_go(self, spec: ContainerSpec) -> None:
        """Let what waits in a container begin."""
        (spec.sandbox / "go").touch()

    @abstractmethod
    def limits_of(self, spec: ContainerSpec) -> tuple[int | None, int]:
        """Thousandths of a CPU (None where they are not limited here) and MiB that a running container is held to."""

    def clean(self) -> None:
        """End whatever a test left running, wait until it has ended, and remove what is left of it."""
        for containerizer in self._open:
            containerizer.close()
        while self._end_some():
            pass

    def _end_some(self) -> bool:
        """End what runs and begin to remove it; false where there was nothing."""
        last = self.open()
        self.events.clear()
        left = set(last.recover())
        for container_id in left:
            last.kill(container_id, grace_ms=0)
        self.wait_for(
            lambda: left <= {event.container_id for event in self.events if isinstance(event, ContainerExited)}
        )
        last.forget(sorted(left))
        last.close()
        return bool(left)

    @abstractmethod
    def wait_for(self, look: Callable[[], object]) -> None:
        """Let time pass until something is so; fails where it takes too long."""

    @abstractmethod
    def _make(self) -> Containerizer: ...


class VirtualHost(Host):
    """Nothing runs; time is virtual."""

    is_real = False
    ignores_sigterm = ("ignore-term", "3600")
    exhausts_memory = ("oom",)
    missing = ("missing",)
    uses_40_mib = ("allocate", "40", "30")
    holds_40_mib = ("hold", "40", "3600")

    def __init__(self, tmp_path: Path, policy: ContainerPolicy) -> None:
        super().__init__(tmp_path, policy)
        self._host = FakeHost(ManualClock())
        self._fakes: list[FakeContainerizer] = []

    def wait_for(self, look: Callable[[], object]) -> None:
        for _ in range(_PATIENCE_STEPS):
            if look():
                return
            self._fakes[-1].advance(_STEP_MS)
        raise AssertionError(f"did not happen; the events were {self.events}")

    def limits_of(self, spec: ContainerSpec) -> tuple[int | None, int]:
        held = self._host.containers[spec.container_id].spec
        return held.cpus_milli, held.mem_mib

    def _make(self) -> Containerizer:
        fake = FakeContainerizer(self._host, self.events.append, policy=self.policy)
        self._fakes.append(fake)
        return fake


class RealHost(Host):
    """This machine, in real time."""

    def wait_for(self, look: Callable[[], object]) -> None:
        eventually(look, within_s=30)


class GroupedProcessHost(RealHost):
    """Plain processes in control groups where this machine lets us make them."""

    def limits_of(self, spec: ContainerSpec) -> tuple[int | None, int]:
        notes = read_notes(self.work_dir / "containers" / spec.container_id)
        assert notes is not None, "it runs"
        if not notes.group:
            return None, notes.mem_mib
        memory, cpu = Path(notes.group["memory"]), Path(notes.group["cpu"])
        if notes.group_version == 2:
            quota, period = (cpu / "cpu.max").read_text().split()
            return int(quota) * 1000 // int(period), int((memory / "memory.max").read_text()) // _MEBIBYTE
        quota_us = int((cpu / "cpu.cfs_quota_us").read_text())
        period_us = int((cpu / "cpu.cfs_period_us").read_text())
        return quota_us * 1000 // period_us, int((memory / "memory.limit_in_bytes").read_text()) // _MEBIBYTE

    def _make(self) -> Containerizer:
        return ProcessContainerizer(
            policy=self.policy, agent_id=self.agent_id, work_dir=self.work_dir, sink=self.events.append
        )


class WatchedProcessHost(RealHost):
    """Plain processes without control groups."""

    def limits_of(self, spec: ContainerSpec) -> tuple[int | None, int]:
        notes = read_notes(self.work_dir / "containers" / spec.container_id)
        assert notes is not None, "it runs"
        return None, notes.mem_mib

    def _make(self) -> Containerizer:
        return ProcessContainerizer(
            policy=self.policy,
            agent_id=self.agent_id,
            work_dir=self.work_dir,
            sink=self.events.append,
            use_groups=False,
        )


class DockerHost(RealHost):
    """Docker on this machine."""

    def limits_of(self, spec: ContainerSpec) -> tuple[int | None, int]:
        with closing(docker.APIClient()) as client:
            config: dict[str, int] = client.inspect_container(container_name(spec.container_id))["HostConfig"]
        return config["CpuQuota"] * 1000 // config["CpuPeriod"], config["Memory"] // _MEBIBYTE

    def _make(self) -> Containerizer:
        return DockerContainerizer(
            DockerEngine.connect(),
            policy=self.policy,
            agent_id=self.agent_id,
            work_dir=self.work_dir,
            sink=self.events.append,
        )
