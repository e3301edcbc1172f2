"""What every containerizer promises (agent/containerizer/contract.py): the fake one, processes, Docker."""

import threading
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Final

import pytest

from mesolite.agent.containerizer.contract import (
    ContainerExited,
    ContainerLaunchFailed,
    ContainerPreparing,
    ContainerResizeFailed,
    ContainerSpec,
    ContainerStarted,
)
from mesolite.agent.containerizer.policy import ContainerPolicy
from mesolite.ids import ContainerId
from mesolite.protocol import Network, Uri
from tests.contract.containerizer_hosts import (
    IMAGE,
    DockerHost,
    GroupedProcessHost,
    Host,
    VirtualHost,
    WatchedProcessHost,
)

POLICY: Final = ContainerPolicy(default_image=IMAGE)


@pytest.fixture(
    params=[
        "fake",
        "process",
        "process-watched",
        pytest.param("docker", marks=pytest.mark.docker),
    ]
)
def host(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Host]:
    """Each kind of host in turn."""
    made: Host
    match request.param:
        case "fake":
            made = VirtualHost(tmp_path, POLICY)
        case "process":
            made = GroupedProcessHost(tmp_path, POLICY)
        case "process-watched":
            made = WatchedProcessHost(tmp_path, POLICY)
        case _:
            request.getfixturevalue("docker_engine")
            made = DockerHost(tmp_path, POLICY)
    yield made
    made.clean()


def started(host: Host, spec: ContainerSpec) -> bool:
    return any(isinstance(event, ContainerStarted) for event in host.events_of(spec))


def ended(host: Host, spec: ContainerSpec) -> ContainerExited | None:
    last = host.events_of(spec)[-1:]
    return next((event for event in last if isinstance(event, ContainerExited)), None)


def exit_of(host: Host, spec: ContainerSpec) -> ContainerExited:
    host.wait_for(lambda: ended(host, spec) or failed(host, spec))
    event = ended(host, spec)
    assert event is not None, host.events_of(spec)
    return event


def failed(host: Host, spec: ContainerSpec) -> ContainerLaunchFailed | None:
    last = host.events_of(spec)[-1:]
    return next((event for event in last if isinstance(event, ContainerLaunchFailed)), None)


def failure_of(host: Host, spec: ContainerSpec) -> ContainerLaunchFailed:
    host.wait_for(lambda: failed(host, spec) or ended(host, spec))
    event = failed(host, spec)
    assert event is not None, host.events_of(spec)
    return event


def output_of(spec: ContainerSpec, stream: str = "stdout") -> str:
    return (spec.sandbox / stream).read_text()


def test_a_container_that_succeeds_is_started_then_exited_with_zero(host: Host) -> None:
    containerizer = host.open()
    spec = host.spec("true")
    containerizer.launch(spec)
    assert exit_of(host, spec).exit_code == 0
    assert [type(event) for event in host.events_of(spec)] == [ContainerStarted, ContainerExited]


def test_the_exit_code_is_the_programs_own(host: Host) -> None:
    containerizer = host.open()
    spec = host.spec("sh", "-c", "exit 7")
    containerizer.launch(spec)
    event = exit_of(host, spec)
    assert (event.exit_code, event.oom_killed) == (7, False)


def test_output_is_complete_when_the_exit_is_reported(host: Host) -> None:
    containerizer = host.open()
    spec = host.spec("echo", "one", "line")
    containerizer.launch(spec)
    exit_of(host, spec)
    assert (output_of(spec), output_of(spec, "stderr")) == ("one line\n", "")


def test_a_missing_executable_fails_at_the_start_and_is_named(host: Host) -> None:
    containerizer = host.open()
    spec = host.spec(*host.missing)
    containerizer.launch(spec)
    event = failure_of(host, spec)
    assert event.stage == "start"
    assert spec.argv[0] in event.message
    assert host.events_of(spec) == [event]


def test_after_a_failed_launch_the_next_one_works(host: Host) -> None:
    containerizer = host.open()
    bad, good = host.spec(*host.missing), host.spec("true")
    containerizer.launch(bad)
    containerizer.launch(good)
    failure_of(host, bad)
    assert exit_of(host, good).exit_code == 0


def test_a_kill_ends_a_container_that_hears_it_long_before_the_grace_is_over(host: Host) -> None:
    containerizer = host.open()
    spec = host.spec("sleep", "3600")
    containerizer.launch(spec)
    host.wait_for(lambda: started(host, spec))
    containerizer.kill(spec.container_id, grace_ms=3_600_000)
    assert exit_of(host, spec).exit_code == 143


def test_a_container_that_does_not_hear_is_killed_after_the_grace(host: Host) -> None:
    containerizer = host.open()
    spec = host.spec(*host.ignores_sigterm)
    containerizer.launch(spec)
    host.wait_for(lambda: started(host, spec))
    wait_until_deaf(host, spec)
    containerizer.kill(spec.container_id, grace_ms=300)
    assert exit_of(host, spec).exit_code == 137


#: Tells how its child ended, which ends by itself when the first process was asked to; 143 would be by a signal.
PARENT = """
(while [ ! -e asked ]; do sleep 0.05; done; exit 3) & child=$!
trap 'touch asked; trap - TERM; wait $child; echo "child: $?"; exit 0' TERM
echo ready; wait $child
"""


def test_a_kill_for_the_first_process_alone_leaves_its_children_to_it(host: Host) -> None:
    containerizer = host.open()
    # A fake container has no children.
    argv = ("sh", "-c", PARENT) if host.is_real else ("sleep", "3600")
    spec = replace(host.spec(*argv), ends_first_process=True)
    containerizer.launch(spec)
    host.wait_for(lambda: started(host, spec))
    wait_until_deaf(host, spec)
    containerizer.kill(spec.container_id, grace_ms=3_600_000)
    assert exit_of(host, spec).exit_code == (0 if host.is_real else 143)
    if host.is_real:
        assert output_of(spec).split() == ["ready", "child:", "3"]


def test_a_second_kill_may_shorten_the_grace(host: Host) -> None:
    containerizer = host.open()
    spec = host.spec(*host.ignores_sigterm)
    containerizer.launch(spec)
    host.wait_for(lambda: started(host, spec))
    wait_until_deaf(host, spec)
    containerizer.kill(spec.container_id, grace_ms=3_600_000)
    containerizer.kill(spec.container_id, grace_ms=100)
    assert exit_of(host, spec).exit_code == 137


def wait_until_deaf(host: Host, spec: ContainerSpec) -> None:
    """The program says when it has set its trap."""
    if host.is_real:
        host.wait_for(lambda: "ready" in output_of(spec))


def test_a_kill_of_the_unknown_or_the_ended_is_ignored(host: Host) -> None:
    containerizer = host.open()
    spec = host.spec("true")
    containerizer.launch(spec)
    exit_of(host, spec)
    containerizer.kill(spec.container_id, grace_ms=0)
    containerizer.kill(ContainerId("never-seen"), grace_ms=0)
    other = host.spec("true")
    containerizer.launch(other)
    exit_of(host, other)
    assert len(host.events_of(spec)) == 2


def test_a_kill_at_once_after_the_launch_leaves_nothing_running(host: Host) -> None:
    containerizer = host.open()
    spec = host.spec("sleep", "3600")
    containerizer.launch(spec)
    containerizer.kill(spec.container_id, grace_ms=500)
    host.wait_for(lambda: ended(host, spec) or failed(host, spec))
    containerizer.forget([spec.container_id])
    _, recovered = host.restart(containerizer)
    assert recovered == []


def test_a_second_launch_of_a_running_id_is_ignored(host: Host) -> None:
    containerizer = host.open()
    spec = host.spec("sleep", "3600")
    containerizer.launch(spec)
    containerizer.launch(spec)
    host.wait_for(lambda: started(host, spec))
    containerizer.launch(spec)
    containerizer.kill(spec.container_id, grace_ms=0)
    exit_of(host, spec)
    assert [type(event) for event in host.events_of(spec)] == [ContainerStarted, ContainerExited]


def test_exceeding_the_memory_limit_is_told_apart_from_other_deaths(host: Host) -> None:
    containerizer = host.open()
    spec = host.spec(*host.exhausts_memory, mem_mib=32)
    containerizer.launch(spec)
    event = exit_of(host, spec)
    assert event.oom_killed
    assert event.exit_code == 137
    assert event.peak_mem_bytes is not None
    assert event.peak_mem_bytes >= 32 * 1024 * 1024
    assert "32 MiB" in event.message


def test_a_child_killed_for_memory_is_told_even_where_the_program_goes_on(host: Host) -> None:
    containerizer = host.open()
    # A fake container has no children: there the whole program is killed.
    with_child = ("sh", "-c", f"{' '.join(host.exhausts_memory)}; exit 3")
    spec = host.spec(*(with_child if host.is_real else host.exhausts_memory), mem_mib=32)
    containerizer.launch(spec)
    assert exit_of(host, spec).oom_killed


def wait_for_limits(host: Host, spec: ContainerSpec, cpus_milli: int, mem_mib: int) -> None:
    """Wait until it is held to them; CPU is not limited everywhere."""
    host.wait_for(lambda: host.limits_of(spec) in ((cpus_milli, mem_mib), (None, mem_mib)))


def test_a_container_that_was_given_more_memory_may_use_it(host: Host) -> None:
    containerizer = host.open()
    spec = host.spec(*host.uses_40_mib, mem_mib=16)
    containerizer.launch(spec)
    host.wait_for(lambda: started(host, spec))
    containerizer.resize(spec.container_id, cpus_milli=800, mem_mib=128)
    wait_for_limits(host, spec, 800, 128)
    host.let_go(spec)
    event = exit_of(host, spec)
    assert (event.exit_code, event.oom_killed) == (0, False)


def test_the_limit_that_a_death_for_memory_names_is_the_one_of_then(host: Host) -> None:
    """Also in a life of the agent after the one in which it was set."""
    containerizer = host.open()
    spec = host.spec(*host.uses_40_mib, mem_mib=128)
    containerizer.launch(spec)
    host.wait_for(lambda: started(host, spec))
    containerizer.resize(spec.container_id, cpus_milli=500, mem_mib=24)
    wait_for_limits(host, spec, 500, 24)
    _, recovered = host.restart(containerizer)
    assert recovered == [spec.container_id]
    host.let_go(spec)
    event = exit_of(host, spec)
    assert event.oom_killed
    assert event.message == "memory limit of 24 MiB exceeded"


def test_less_memory_than_is_in_use_is_refused_and_the_container_runs_on(host: Host) -> None:
    containerizer = host.open()
    spec = host.spec(*host.holds_40_mib, mem_mib=96)
    containerizer.launch(spec)
    host.wait_for(lambda: started(host, spec))
    if host.is_real:
        host.wait_for(lambda: "ready" in output_of(spec, "stderr"))
    containerizer.resize(spec.container_id, cpus_milli=500, mem_mib=16)
    host.wait_for(lambda: isinstance(host.events_of(spec)[-1], ContainerResizeFailed))
    event = host.events_of(spec)[-1]
    assert isinstance(event, ContainerResizeFailed)
    assert "16 MiB" in event.message
    assert host.limits_of(spec)[1] == 96
    containerizer.resize(spec.container_id, cpus_milli=300, mem_mib=80)
    wait_for_limits(host, spec, 300, 80)
    containerizer.kill(spec.container_id, grace_ms=0)
    assert not exit_of(host, spec).oom_killed


def test_a_container_that_is_still_starting_gets_its_new_limits_then(host: Host) -> None:
    containerizer = host.open()
    spec = host.spec("sleep", "3600")
    containerizer.launch(spec)
    containerizer.resize(spec.container_id, cpus_milli=700, mem_mib=80)
    host.wait_for(lambda: started(host, spec))
    wait_for_limits(host, spec, 700, 80)


def test_of_many_new_limits_the_last_counts(host: Host) -> None:
    containerizer = host.open()
    spec = host.spec("sleep", "3600")
    containerizer.launch(spec)
    host.wait_for(lambda: started(host, spec))
    for mem_mib in range(32, 96):
        containerizer.resize(spec.container_id, cpus_milli=10 * mem_mib, mem_mib=mem_mib)
    wait_for_limits(host, spec, 950, 95)
    # The next is done after all that came before it.
    containerizer.resize(spec.container_id, cpus_milli=600, mem_mib=60)
    wait_for_limits(host, spec, 600, 60)
    assert [type(event) for event in host.events_of(spec)] == [ContainerStarted]


def test_new_limits_for_the_unknown_or_the_ended_are_ignored(host: Host) -> None:
    containerizer = host.open()
    spec, other = host.spec("true"), host.spec("true")
    containerizer.resize(ContainerId("never-seen"), cpus_milli=100, mem_mib=32)
    containerizer.launch(spec)
    exit_of(host, spec)
    containerizer.resize(spec.container_id, cpus_milli=100, mem_mib=32)
    containerizer.launch(other)
    exit_of(host, other)
    assert [type(event) for event in host.events] == 2 * [ContainerStarted, ContainerExited]


def test_new_limits_that_meet_the_end_of_a_container_are_no_failure(host: Host) -> None:
    """Nobody can know, when asking, whether it still runs."""
    containerizer = host.open()
    specs = [host.spec("true") for _ in range(8)]
    for spec in specs:
        containerizer.launch(spec)

    def all_ended() -> bool:
        for spec in specs:
            containerizer.resize(spec.container_id, cpus_milli=200, mem_mib=48)
        return all(ended(host, spec) for spec in specs)

    host.wait_for(all_ended)
    assert {type(event) for event in host.events} == {ContainerStarted, ContainerExited}


def test_a_running_container_survives_the_agent_and_is_adopted(host: Host) -> None:
    first = host.open()
    spec = host.spec("sleep", "3600")
    first.launch(spec)
    host.wait_for(lambda: started(host, spec))
    second, recovered = host.restart(first)
    assert recovered == [spec.container_id]
    assert ended(host, spec) is None
    second.kill(spec.container_id, grace_ms=3_600_000)
    assert exit_of(host, spec).exit_code == 143


def test_a_container_that_ended_while_nobody_watched_is_reported_at_once(host: Host) -> None:
    first = host.open()
    spec = host.spec("sleep", "1")
    first.launch(spec)
    host.wait_for(lambda: started(host, spec))
    first.close()
    # Another one's life is longer than the first's: real time passes without a clock being read.
    bystander_host = host.spec("true")
    second = host.open()
    assert second.recover() == [spec.container_id]
    second.launch(bystander_host)
    assert exit_of(host, spec).exit_code == 0
    exit_of(host, bystander_host)
    second.forget([spec.container_id, bystander_host.container_id])
    third, recovered = host.restart(second)
    assert recovered == []
    third.close()


def test_an_end_is_reported_in_each_life_until_it_is_forgotten(host: Host) -> None:
    """An agent may die after it heard of an end and before it has written it down."""
    containerizer = host.open()
    spec = host.spec("sh", "-c", "exit 7")
    containerizer.launch(spec)
    assert exit_of(host, spec).exit_code == 7
    for _ in range(2):
        host.events.clear()
        containerizer, recovered = host.restart(containerizer)
        assert recovered == [spec.container_id]
        assert exit_of(host, spec).exit_code == 7
    containerizer.forget([spec.container_id])
    containerizer.forget([spec.container_id])
    _, recovered = host.restart(containerizer)
    assert recovered == []


def test_what_runs_is_not_forgotten(host: Host) -> None:
    first = host.open()
    spec = host.spec("sleep", "3600")
    first.launch(spec)
    host.wait_for(lambda: started(host, spec))
    first.forget([spec.container_id])
    _, recovered = host.restart(first)
    assert recovered == [spec.container_id]


def test_an_uri_that_cannot_be_had_fails_the_fetch_and_is_named(host: Host) -> None:
    containerizer = host.open()
    spec = host.spec("true", uris=(Uri(value=str(host.work_dir / "missing.txt")),))
    containerizer.launch(spec)
    event = failure_of(host, spec)
    assert event.stage == "fetch"
    assert "missing.txt" in event.message
    assert [type(seen) for seen in host.events_of(spec)] == [ContainerPreparing, ContainerLaunchFailed]


def test_fetching_shows_as_preparing_before_the_start(host: Host, web: str) -> None:
    containerizer = host.open()
    spec = host.spec("cat", "greeting.txt", uris=(Uri(value=f"{web}/greeting.txt"),))
    containerizer.launch(spec)
    assert exit_of(host, spec).exit_code == 0
    kinds = [type(event) for event in host.events_of(spec)]
    assert kinds == [ContainerPreparing, ContainerStarted, ContainerExited]
    if host.is_real:
        assert output_of(spec) == "hello\n"


def test_an_image_that_cannot_be_had_fails_and_is_named(host: Host) -> None:
    containerizer = host.open()
    spec = host.spec("true", image="localhost:1/missing:none")
    containerizer.launch(spec)
    event = failure_of(host, spec)
    assert event.stage == "image"
    assert "localhost:1/missing:none" in event.message


def test_what_the_policy_does_not_allow_is_refused_with_the_setting_that_would(host: Host) -> None:
    containerizer = host.open()
    privileged = host.spec("true", privileged=True)
    on_host = host.spec("true", network=Network.HOST)
    for spec, setting in ((privileged, "allow_privileged"), (on_host, "allow_host_network")):
        containerizer.launch(spec)
        event = failure_of(host, spec)
        assert (event.stage, setting in event.message) == ("start", True)


def test_no_event_comes_after_the_close(host: Host) -> None:
    containerizer = host.open()
    spec = host.spec("sleep", "3600")
    containerizer.launch(spec)
    host.wait_for(lambda: started(host, spec))
    containerizer.close()
    containerizer.launch(host.spec("true"))
    containerizer.kill(spec.container_id, grace_ms=0)
    seen = list(host.events)
    following = host.open()
    assert following.recover() == [spec.container_id]
    assert host.events == seen


def test_the_name_says_how_limits_are_held(host: Host) -> None:
    assert host.open().name.partition(",")[0].split()[0] in {"fake", "process", "docker"}


class Greeting(BaseHTTPRequestHandler):
    """Says hello, whatever is asked."""

    def do_GET(self) -> None:
        """Answer."""
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b"hello\n")

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing on the test's stderr."""


@pytest.fixture
def web() -> Iterator[str]:
    """The address of a server on this machine."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Greeting)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    server.server_close()
    thread.join()
