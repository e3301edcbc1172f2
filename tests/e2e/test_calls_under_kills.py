"""Five thousand calls flow while a worker, an executor, an agent, the leading master and the Redis primary are killed.

Every call has one end, none begins twice, only a worker's and an executor's death excuse failures, and the pool goes on.
In which order things die, and after how many calls, is drawn from a seed.
"""

import random
import sys
import time
from typing import Final, Literal

import pytest

from mesolite.frameworks.futures import Executor
from tests.source_tree import listed
from tests.waiting import eventually

from .calls_judge import Returned, verdict
from .calls_rig import DEADLINE_S, Flow, KillsCluster, kills_cluster

pytestmark = [pytest.mark.redis, pytest.mark.slow, pytest.mark.xdist_group("kills"), pytest.mark.timeout(180)]

CALLS: Final = 5000
#: Afterwards: what was mended works.
MORE_CALLS: Final = 200
#: So many calls that have ended show that all is up.
SETTLED_CALLS: Final = 50
#: Of an executor that was killed everything is lost that it had been given and not been heard to end: short calls are sent
#: ahead, and an agent has room for twenty that are tasks. Forty more are those that a master took to its grave: it had written
#: down that it launches them and not said so to any agent, and its successor can but say that they are not there (1.9).
LOST_AT_MOST: Final = {"coarse": 64, "fine": 20 + 40}
#: One that was killed itself, and those of the executor that was killed.
DIED_AT_MOST: Final = 3


@pytest.mark.parametrize("seed", [1, 2, 3])
@pytest.mark.parametrize("mode", ["coarse", "fine"])
def test_every_call_has_one_end_and_none_begins_twice_whatever_dies(
    mode: Literal["coarse", "fine"], seed: int, capsys: pytest.CaptureFixture[str]
) -> None:
    rng = random.Random(seed)
    kills = [
        KillsCluster.kill_worker,
        KillsCluster.kill_executor,
        KillsCluster.kill_agent,
        KillsCluster.kill_master,
        KillsCluster.kill_redis,
    ]
    rng.shuffle(kills)
    # Spread over the first four fifths; what remains flows after the last.
    places = sorted(rng.sample(range(SETTLED_CALLS, CALLS * 4 // 5), len(kills)))
    said: list[str] = []
    with kills_cluster() as cluster, _executor(cluster, mode) as executor:
        flow = Flow(executor, cluster.journal)
        with flow.of(range(CALLS)):
            for place, kill in zip(places, kills, strict=True):
                # What was replaced last is at work again.
                flow.wait_for(max(place, flow.count() + SETTLED_CALLS))
                struck_s, before = time.monotonic(), flow.count()
                assert before < CALLS, listed(["nothing flows any more", *said])
                kill(cluster)
                said.append(f"{kill.__name__} at {before}, replaced after {time.monotonic() - struck_s:.1f} s")
        excused = {"CallLost": LOST_AT_MOST[mode], "WorkerDied": DIED_AT_MOST}
        complaints = verdict(CALLS, cluster.began(), flow.ended(), excused)
        assert not complaints, listed([*said, *complaints])
        failed = sum(not isinstance(end, Returned) for end in flow.ended())
        with flow.of(range(CALLS, CALLS + MORE_CALLS)):
            pass
        again = [end for end in flow.ended()[CALLS:] if not isinstance(end, Returned)]
        assert not again, listed([*said, *map(str, again[:3])])
        executor.shutdown()
        eventually(cluster.at_rest, within_s=DEADLINE_S)
    with capsys.disabled():
        sys.stdout.write(f"\n  {mode}, seed {seed}: {'; '.join(said)}; {failed} of {CALLS} calls failed\n")


def _executor(cluster: KillsCluster, mode: Literal["coarse", "fine"]) -> Executor:
    """Workers of half a CPU, or calls of a tenth."""
    return Executor(
        cluster.redis.url, mode=mode, cpus=0.5 if mode == "coarse" else 0.1, mem_mib=64, name=f"kills-{mode}"
    )
