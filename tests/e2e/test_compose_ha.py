"""Any part of the compose cluster dies, hangs or is cut off while work flows: what runs does not notice, and nothing is lost.

One cluster for all of it, and ten long tasks from beginning to end: each fault finds what the ones before it left behind.
Each test prints how long it took and what it counted. What is judged after each: `trial.py`, `judge.py`.
"""

import os
from collections.abc import Generator
from pathlib import Path
from urllib.parse import urlsplit

import docker
import pytest

from mesolite.errors import MesoliteError

from .compose_rig import MASTERS, REDIS, SENTINELS, ComposeRig, running_cluster
from .conftest import eventually
from .load import LoadProcess
from .load_journal import now_ms
from .trial import Trials, lasts

pytestmark = [
    pytest.mark.docker,
    pytest.mark.redis,
    pytest.mark.flower,
    pytest.mark.slow,
    pytest.mark.xdist_group("docker"),
    # The images are made, the cluster comes up and the long tasks start inside the first test's time.
    pytest.mark.timeout(900),
]

#: Short tasks that come due in a second: 200 of them last longer than each of the faults, so that some flow when it ends.
PACE_PER_S = 5.0
#: So that they flow until the last of the containers has been restarted, and after.
SHORTS_PER_RESTART = 20
#: Sentinel's failover, a lease that lapses, agents that register again.
RECOVERY_S = 60.0

SIGSTOP_S = 20.0
PAUSE_S = 30.0
CUT_OFF_S = 20.0
AGENT_AWAY_S = 15.0


class ComposeSite:
    """A compose cluster, as a site."""

    def __init__(self, rig: ComposeRig) -> None:
        self.rig = rig
        self.redis_url = rig.redis_url
        self.cluster = rig.project
        self.flower_url = rig.flower_url
        self._agent_ids = [row.agent_id for row in rig.operator().agents()]

    def masters(self) -> dict[str, list[str]]:
        """See `Site`."""
        return {
            url: [urlsplit(url).netloc, f"{self.rig.address(service)}:5050"]
            for service, url in zip(MASTERS, self.rig.master_urls, strict=True)
        }

    def agent_ids(self) -> list[str]:
        """See `Site`: those that there were at the beginning; each comes back under its id."""
        return self._agent_ids

    def work_dirs(self) -> list[Path]:
        """See `Site`."""
        return sorted(self.rig.work_dir.glob("agent-*"))


@pytest.fixture(scope="module")
def rig(docker_engine: docker.DockerClient) -> Generator[ComposeRig]:
    """The cluster."""
    with running_cluster() as rig:
        yield rig


@pytest.fixture(scope="module")
def trials(
    rig: ComposeRig, tmp_path_factory: pytest.TempPathFactory, docker_engine: docker.DockerClient
) -> Generator[Trials]:
    """Ten long tasks that run, and short ones when asked for."""
    site = ComposeSite(rig)
    image = os.environ.get("MESOLITE_IMAGE", "python:3.11-slim")
    load = LoadProcess(tmp_path_factory.mktemp("load"), site.redis_url, site.cluster, image, PACE_PER_S)
    trials = Trials(site, load, docker_engine)
    try:
        trials.begin()
        yield trials
    finally:
        load.close()


def leader_of(rig: ComposeRig) -> str:
    leader = rig.leader()
    assert leader is not None, "nobody leads"
    return leader


def primary_of(rig: ComposeRig) -> str:
    primary = rig.primary()
    assert primary is not None, "the Sentinels do not agree"
    return primary


def leads(rig: ComposeRig, service: str) -> bool:
    try:
        return rig.leads(rig.master_urls[MASTERS.index(service)])
    except MesoliteError:
        return False


def another_leads(rig: ComposeRig, before: str) -> None:
    eventually(lambda: rig.leader() not in {None, before}, f"another than {before} leads", within_s=RECOVERY_S)


def another_is_primary(rig: ComposeRig, before: str) -> None:
    eventually(lambda: rig.primary() not in {None, before}, f"another than {before} is primary", within_s=RECOVERY_S)


def test_kill_9_of_the_leading_master(rig: ComposeRig, trials: Trials, capsys: pytest.CaptureFixture[str]) -> None:
    with trials.of("kill -9 the leading master", capsys):
        leader = leader_of(rig)
        rig.kill(leader)
        another_leads(rig, leader)
        rig.start(leader)
        rig.wait_until_ready()


def test_a_leading_master_that_is_stopped_for_20_s_and_wakes(
    rig: ComposeRig, trials: Trials, capsys: pytest.CaptureFixture[str]
) -> None:
    with trials.of(f"SIGSTOP the leading master for {SIGSTOP_S:g} s", capsys) as fault:
        leader = leader_of(rig)
        epoch = rig.operator().state()["epoch"]
        rig.stop_process(leader)
        lasts(SIGSTOP_S)
        another_leads(rig, leader)
        rig.continue_process(leader)
        eventually(lambda: not leads(rig, leader), "the one that slept leads no more", within_s=RECOVERY_S)
        rig.wait_until_ready()
        assert leader_of(rig) != leader, "it slept past its lease, and took it back from the one that leads"
        fault.remarks.append(f"epoch {epoch}, then {rig.operator().state()['epoch']}")


def test_kill_9_of_the_redis_primary(rig: ComposeRig, trials: Trials, capsys: pytest.CaptureFixture[str]) -> None:
    with trials.of("kill -9 the Redis primary", capsys):
        primary = primary_of(rig)
        rig.kill(primary)
        another_is_primary(rig, primary)
        rig.start(primary)
        rig.wait_until_ready()


def test_a_redis_primary_that_is_frozen_for_30_s(
    rig: ComposeRig, trials: Trials, capsys: pytest.CaptureFixture[str]
) -> None:
    with trials.of(f"pause the primary's container for {PAUSE_S:g} s", capsys):
        primary = primary_of(rig)
        rig.pause(primary)
        lasts(PAUSE_S)
        another_is_primary(rig, primary)
        rig.unpause(primary)
        rig.wait_until_ready()


def test_a_redis_primary_that_is_cut_off_from_the_network(
    rig: ComposeRig, trials: Trials, capsys: pytest.CaptureFixture[str]
) -> None:
    with trials.of(f"cut the primary off from the network for {CUT_OFF_S:g} s", capsys):
        primary = primary_of(rig)
        rig.disconnect(primary)
        lasts(CUT_OFF_S)
        another_is_primary(rig, primary)
        rig.connect(primary)
        rig.wait_until_ready()


def test_kill_9_of_an_agent_for_15_s(rig: ComposeRig, trials: Trials, capsys: pytest.CaptureFixture[str]) -> None:
    with trials.of(f"kill -9 an agent for {AGENT_AWAY_S:g} s", capsys):
        rig.kill("agent", 1)
        lasts(AGENT_AWAY_S)
        rig.start("agent", 1)
        rig.wait_until_ready()


def test_kill_9_of_the_frameworks_scheduler(trials: Trials, capsys: pytest.CaptureFixture[str]) -> None:
    with trials.of("kill -9 the framework's scheduler and start it again", capsys) as fault:
        trials.load.kill()
        lives = trials.load.story().lives
        trials.load.start()
        eventually(lambda: trials.load.story().lives == lives + 1, "it runs again")
        fault.remarks.append(f"its life number {lives + 1}")


def test_every_container_is_restarted_one_after_another(
    rig: ComposeRig, trials: Trials, capsys: pytest.CaptureFixture[str]
) -> None:
    with trials.of("restart every container, one after another", capsys) as fault:
        agents = [("agent", number + 1) for number in range(rig.agents)]
        once = [(service, 1) for service in (*REDIS, *SENTINELS, *MASTERS, "flower")]
        for service, number in [*once, *agents]:
            trials.load.push(SHORTS_PER_RESTART)
            rig.restart(service, number)
            rig.wait_until_ready()
        fault.flower_began_ms = now_ms()
        trials.load.push(SHORTS_PER_RESTART)
        fault.remarks.append(f"{len(once) + len(agents)} containers restarted")
