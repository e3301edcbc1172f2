"""What the fake containerizer promises beyond the contract: time under the caller's hand, and the same run every time."""

from collections.abc import Sequence
from pathlib import Path

import pytest

from mesolite.agent.containerizer.contract import (
    ContainerEvent,
    ContainerExited,
    ContainerLaunchFailed,
    ContainerPreparing,
    ContainerSpec,
    ContainerStarted,
)
from mesolite.agent.containerizer.fake import FakeContainer, FakeContainerizer, FakeHost, fate_of
from mesolite.clock import ManualClock
from mesolite.ids import ContainerId
from mesolite.protocol import Uri


def make_spec(name: str, argv: Sequence[str], uris: tuple[Uri, ...] = (), image: str | None = None) -> ContainerSpec:
    """Name a container of 32 MiB without a sandbox on disk."""
    return ContainerSpec(
        container_id=ContainerId(name),
        argv=tuple(argv),
        environment={},
        sandbox=Path("/nowhere"),
        cpus_milli=100,
        mem_mib=32,
        image=image,
        uris=uris,
    )


class Agent:
    """A fake containerizer that keeps its events with their times."""

    def __init__(self, host: FakeHost) -> None:
        self.host = host
        self.events: list[tuple[int, ContainerEvent]] = []
        self.fake = FakeContainerizer(host, self.note)

    def note(self, event: ContainerEvent) -> None:
        """Keep an event."""
        self.events.append((self.host.clock.now_ms(), event))

    def launch(self, name: str, *argv: str, uris: tuple[Uri, ...] = (), image: str | None = None) -> None:
        """Launch without a sandbox on disk."""
        self.fake.launch(make_spec(name, argv, uris, image))

    def story(self) -> list[tuple[int, str, str]]:
        """Time, container, kind of event."""
        return [(at_ms, event.container_id, type(event).__name__) for at_ms, event in self.events]


@pytest.fixture
def host() -> FakeHost:
    """A machine at time 0 where a start takes 100 ms and a fetch 1000."""
    return FakeHost(ManualClock(0), start_ms=100, prepare_ms=1000)


def test_nothing_happens_until_time_passes(host: FakeHost) -> None:
    agent = Agent(host)
    agent.launch("a", "true")
    assert agent.events == []
    assert agent.fake.next_due_ms() == 100
    agent.fake.poll(99)
    assert agent.events == []
    agent.fake.poll(100)
    assert agent.story() == [(100, "a", "ContainerStarted"), (100, "a", "ContainerExited")]


def test_events_come_in_order_of_time_then_id_whatever_the_order_of_launches(host: FakeHost) -> None:
    agent = Agent(host)
    agent.launch("b", "sleep", "1")
    agent.launch("a", "sleep", "1")
    agent.launch("c", "sleep", "0.5")
    agent.fake.advance(5000)
    ends = [(at_ms, name) for at_ms, name, kind in agent.story() if kind == "ContainerExited"]
    assert ends == [(600, "c"), (1100, "a"), (1100, "b")]
    assert host.clock.now_ms() == 5000


def test_preparing_takes_its_time_before_the_start(host: FakeHost) -> None:
    agent = Agent(host)
    agent.launch("a", "true", uris=(Uri(value="http://host/file"),))
    agent.fake.advance(5000)
    assert [at_ms for at_ms, _, _ in agent.story()] == [0, 1100, 1100]
    assert isinstance(agent.events[0][1], ContainerPreparing)


@pytest.mark.parametrize(
    ("argv", "uris", "image", "stage"),
    [
        (("missing",), (), None, "start"),
        (("true",), (Uri(value="http://host/missing"),), None, "fetch"),
        (("true",), (), "missing:1", "image"),
    ],
)
def test_each_stage_can_be_made_to_fail(
    host: FakeHost, argv: tuple[str, ...], uris: tuple[Uri, ...], image: str | None, stage: str
) -> None:
    agent = Agent(host)
    agent.launch("a", *argv, uris=uris, image=image)
    agent.fake.advance(5000)
    last = agent.events[-1][1]
    assert isinstance(last, ContainerLaunchFailed)
    assert last.stage == stage


def test_containers_go_on_while_no_agent_watches_and_end_when_they_end(host: FakeHost) -> None:
    first = Agent(host)
    first.launch("a", "sleep", "10")
    first.fake.advance(1000)
    first.fake.close()
    host.clock.advance(60_000)
    second = Agent(host)
    assert second.fake.recover() == ["a"]
    second.fake.advance(0)
    assert [type(event) for _, event in second.events] == [ContainerExited]
    assert len(first.events) == 1


def test_what_had_not_started_dies_with_its_agent(host: FakeHost) -> None:
    first = Agent(host)
    first.launch("a", "true")
    first.fake.close()
    assert Agent(host).fake.recover() == []


def test_a_reboot_takes_everything_without_a_word(host: FakeHost) -> None:
    agent = Agent(host)
    agent.launch("a", "sleep", "10")
    agent.fake.advance(1000)
    host.reboot()
    agent.fake.advance(60_000)
    assert [type(event) for _, event in agent.events] == [ContainerStarted]
    assert Agent(host).fake.recover() == []


def test_a_killed_container_ends_now_and_a_deaf_one_after_the_grace(host: FakeHost) -> None:
    agent = Agent(host)
    agent.launch("a", "sleep", "100")
    agent.launch("b", "ignore-term", "100")
    agent.fake.advance(1000)
    agent.fake.kill(ContainerId("a"), grace_ms=3000)
    agent.fake.kill(ContainerId("b"), grace_ms=3000)
    agent.fake.advance(5000)
    ends = [(at_ms, event.exit_code) for at_ms, event in agent.events if isinstance(event, ContainerExited)]
    assert ends == [(1000, 143), (4000, 137)]


@pytest.mark.parametrize(
    ("argv", "code", "oom"),
    [
        (["true"], 0, False),
        (["false"], 1, False),
        (["exit", "9"], 9, False),
        (["sh", "-c", "exit 9"], 9, False),
        (["/bin/sh", "-c", ""], 0, False),
        (["allocate", "16"], 0, False),
        (["allocate", "64"], 137, True),
        (["oom"], 137, True),
        (["python", "job.py"], 0, False),
    ],
)
def test_a_fate_is_read_from_the_arguments(argv: list[str], code: int, oom: bool) -> None:
    container = FakeContainer(make_spec("a", argv), fate_of(argv), ends_ms=0)
    assert (container.exit_code, container.oom_killed) == (code, oom)
