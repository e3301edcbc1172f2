"""`mesolite celery` killed with SIGKILL again and again while tasks flow: each begins once and ends once.

The dispatcher alone dies, so nothing excuses a second run: its workers live, and its next life takes them over, with what they
have. It dies at moments drawn from a seed: as it starts, as it asks its workers what they have, and as it gives them more.
"""

import os
import random
import signal
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import partial
from typing import Any, Final
from uuid import uuid4

import pytest
from billiard.exceptions import WorkerLostError

from tests.source_tree import listed
from tests.waiting import eventually

from .dispatcher_rig import DispatcherRig, dispatcher_rig
from .rabbit_rig import rabbit_server

pytestmark = [
    pytest.mark.redis,
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]

#: More by hand: MESOLITE_CHAOS_KILLS=30.
KILLS: Final = int(os.environ.get("MESOLITE_CHAOS_KILLS", "4"))
SEED: Final = int(os.environ.get("MESOLITE_CHAOS_SEED", "1"))
#: Sent by and by, some before each kill.
TASKS_FOR_EACH_KILL: Final = 7
#: Some are over before the next kill, some live through one or two.
LONGEST_S: Final = 4.0
#: The dispatcher takes two seconds to start. One life in four is so short; the others ask what workers have, and give them more.
START_S: Final = 2.5
SHORT_LIVES: Final = 0.25
#: After it is ready.
LONGEST_LIFE_S: Final = 2.0
#: A search that waits for an executor that never answers is given up after 30 s on Redis, and after 10 s on RabbitMQ.
GIVEN_UP: Final = ("celery.executors_silent", "not every worker has said")
WITHIN_S: Final = 90.0


#: Says how many messages the broker has, in the queue or with the dispatcher.
CountMessages = Callable[[], int]


@pytest.fixture(params=["redis", "rabbitmq"])
def rig(request: pytest.FixtureRequest) -> Iterator[tuple[DispatcherRig, CountMessages]]:
    with ExitStack() as cleanup:
        if request.param == "redis":
            rig = cleanup.enter_context(dispatcher_rig(None, "classic"))
            yield rig, partial(_messages_in_redis, rig)
        else:
            server = cleanup.enter_context(rabbit_server())
            rig = cleanup.enter_context(dispatcher_rig(server.url, "classic"))
            yield rig, lambda: server.message_counts()["classic"]


@pytest.mark.timeout(60 + 30 * KILLS)
def test_each_task_begins_once_and_ends_once_however_often_the_dispatcher_dies(
    rig: tuple[DispatcherRig, CountMessages], capsys: pytest.CaptureFixture[str]
) -> None:
    dispatcher, messages = rig
    rng = random.Random(SEED)
    key = f"often-{uuid4()}"
    sent: list[Any] = []
    began_s = time.monotonic()
    for _ in range(KILLS):
        for _ in range(TASKS_FOR_EACH_KILL):
            task = dispatcher.task(rng.choices(["lasts", "lasts_late", "lasts_alone"], [5, 5, 1])[0])
            sent.append(task.delay(key, round(rng.uniform(0, LONGEST_S), 2)))
        if rng.random() < SHORT_LIVES:
            _pass(rng.uniform(0, START_S))
        else:
            dispatcher.wait_until_ready()
            _pass(rng.uniform(0, LONGEST_LIFE_S))
        dispatcher.kill_and_start()
    killed_s = time.monotonic()
    ends = Counter(str(dispatcher.result(each)) for each in sent)
    eventually(lambda: not messages(), within_s=WITHIN_S)
    settled_s = time.monotonic() - killed_s
    complaints = [
        f"{each.id} {what} {notes.count(each.id)} times: {[line for line in dispatcher.log.splitlines() if each.id in line]}"
        for what, notes in (("began", dispatcher.notes(key)), ("ended", dispatcher.notes(f"{key}-ended")))
        for each in sent
        if notes.count(each.id) != 1
    ]
    complaints += [line for line in dispatcher.log.splitlines() if any(word in line for word in GIVEN_UP)]
    assert not complaints, listed(complaints)
    assert ends == {"lasted": len(sent)}
    with capsys.disabled():
        sys.stdout.write(
            f"\n  {len(sent)} tasks, {KILLS} kills in {killed_s - began_s:.0f} s, settled {settled_s:.1f} s later\n"
        )


@pytest.mark.timeout(180)
def test_tasks_that_wait_for_a_container_of_their_own_when_the_dispatcher_dies_have_not_begun() -> None:
    """Two of them fit at a time. Nobody knows of the others, and that is because they were never launched."""
    key = f"alone-{uuid4()}"
    with dispatcher_rig(None, "classic") as rig:
        sent = [rig.task("alone").delay(key, f"{key}-go") for _ in range(6)]
        rig.wait_for_notes(key, 2)
        rig.kill_and_start()
        rig.wait_until_ready()
        rig.redis.set(f"{key}-go", "1")
        assert [rig.result(each) for each in sent] == ["held"] * 6
        assert sorted(rig.notes(key)) == sorted(each.id for each in sent)


@pytest.mark.timeout(180)
def test_early_tasks_that_ran_when_the_dispatcher_was_stopped_at_once_are_lost_and_late_ones_run_again() -> None:
    """As by `celery worker`, but that there nobody tells of the early ones."""
    key = f"stopped-{uuid4()}"
    with dispatcher_rig(None, "classic") as rig:
        early, late = [[rig.task(name).delay(key, f"{key}-go") for _ in "12"] for name in ("held", "held_late")]
        rig.wait_for_notes(key, 4)
        rig.process.send_signal(signal.SIGQUIT)
        rig.process.wait(WITHIN_S)
        rig.kill_and_start()
        rig.wait_for_notes(key, 6)
        rig.redis.set(f"{key}-go", "1")
        assert [rig.result(each) for each in late] == ["held"] * 2
        for each in early:
            with pytest.raises(WorkerLostError):
                rig.result(each)
        assert Counter(rig.notes(key)) == {**{each.id: 1 for each in early}, **{each.id: 2 for each in late}}


def _pass(seconds: float) -> None:
    """Let the moment come that was drawn."""
    moment_s = time.monotonic() + seconds
    eventually(lambda: time.monotonic() >= moment_s)


def _messages_in_redis(rig: DispatcherRig) -> int:
    owned = rig.redis.scan_iter("*mesolite.owned.*", _type="hash")
    return int(rig.redis.llen("classic")) + sum(int(rig.redis.hlen(key)) for key in owned)
