"""Celery's tasks on Mesolite keep their promises while everything dies: what runs them, what hands them out, what keeps them.

A chord of 200 and a stream of tasks beside it, while dispatcher, worker, executor, agent, leading master and Redis primary are
killed one after another, in an order drawn from a seed. Then many tasks of which some take all memory and some end their worker.
"""

import os
import random
import sys
import time
from collections.abc import Callable
from typing import Final

import pytest

from tests.source_tree import listed
from tests.waiting import eventually

from .calls_rig import DEADLINE_S
from .celery_judge import accounted, begun_as_promised, chord_done, ended_as_excused
from .celery_kills_rig import EARLY_QUEUE, accounts, at_peace, under_kills, wait_for_beginnings

pytestmark = [pytest.mark.redis, pytest.mark.slow, pytest.mark.xdist_group("kills")]

PARTS: Final = 200
EARLY: Final = 100
#: Four workers take some twenty seconds for all, so that every kill meets tasks at work.
TASK_S: Final = 0.25
#: Tasks that are acknowledged early are told from parts by their numbers.
FIRST_EARLY: Final = 1000
#: That all is up, and again at work after each kill.
SETTLED: Final = 8
#: One worker that was killed, and an executor with its one worker, which may have been sent a task ahead.
LOST_AT_MOST: Final = 3

#: Of the test that counts; 10,000 by hand: MESOLITE_CHAOS_TASKS=10000.
TASKS: Final = int(os.environ.get("MESOLITE_CHAOS_TASKS", "1500"))
#: Tasks a second at the least, and what a cluster and its dead workers take besides.
SLOWEST: Final = 20
BESIDES_S: Final = 120


@pytest.mark.timeout(240)
@pytest.mark.parametrize("seed", [1, 2])
def test_a_chord_has_one_body_with_all_results_whatever_dies(seed: int, capsys: pytest.CaptureFixture[str]) -> None:
    rng = random.Random(seed)
    said: list[str] = []
    with under_kills() as (cluster, rig):
        kills: list[Callable[[], None]] = [
            rig.kill_dispatcher,
            cluster.kill_worker,
            cluster.kill_executor,
            cluster.kill_agent,
            cluster.kill_master,
            cluster.kill_redis,
        ]
        rng.shuffle(kills)
        numbers = range(FIRST_EARLY, FIRST_EARLY + EARLY)
        early = dict(zip(numbers, rig.send("early", [(n, TASK_S) for n in numbers], EARLY_QUEUE), strict=True))
        body = rig.send_chord("late", [(n, TASK_S) for n in range(PARTS)], "gathered")
        for place, kill in enumerate(kills):
            before = len(cluster.began())
            wait_for_beginnings(cluster, max(before + SETTLED, place * (PARTS + EARLY) // (len(kills) + 1)))
            struck_s, before = time.monotonic(), len(cluster.began())
            kill()
            said.append(f"{kill.__name__} at {before}, replaced after {time.monotonic() - struck_s:.1f} s")
        rig.wait_until_ended([body, *early.values()])
        eventually(lambda: not rig.messages_left(), within_s=DEADLINE_S)
        began = cluster.began()
        complaints = [
            *chord_done(PARTS, (cluster.journal.parent / "bodies").read_text().splitlines()),
            *begun_as_promised(began, range(PARTS), numbers, again_at_most=LOST_AT_MOST),
            *ended_as_excused(rig.last_words(early), {"WorkerLostError": LOST_AT_MOST}),
        ]
        assert not complaints, listed([*said, *complaints])
    with capsys.disabled():
        sys.stdout.write(f"\n  seed {seed}: {'; '.join(said)}; {len(began) - PARTS - EARLY:+d} beginnings\n")


@pytest.mark.timeout(BESIDES_S + TASKS // SLOWEST)
def test_every_task_is_accounted_for_once_where_some_take_all_memory_and_some_end_their_worker(
    capsys: pytest.CaptureFixture[str],
) -> None:
    # One in a hundred takes all memory, and one ends its worker.
    dying = {0: "greedy", 50: "exits", 100: "greedy", 150: "killed"}
    hows = [dying.get(number % 200, "fine") for number in range(TASKS)]
    random.Random(1).shuffle(hows)
    with at_peace() as (rig, counters):
        began_s = time.monotonic()
        ids = rig.send("counted", list(enumerate(hows)))
        rig.wait_until_ended(ids)
        took_s = time.monotonic() - began_s
        eventually(lambda: not rig.messages_left(), within_s=DEADLINE_S)
        complaints = accounted(accounts(rig, counters, dict(zip(ids, enumerate(hows), strict=True))))
        assert not complaints, listed(complaints)
    with capsys.disabled():
        died = {how: hows.count(how) for how in ("greedy", "exits", "killed")}
        sys.stdout.write(f"\n  {TASKS} tasks, of them {died}, in {took_s:.0f} s\n")
