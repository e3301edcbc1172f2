"""Makes a context's jobs, stages and tasks appear in Flower.

Tasks of sparklite run in slots that the cluster sees as a whole, so no agent could tell of them: the driver does, and names
the agent that each ran on. It never waits for Flower's broker (`transport/celery_events`), and shows a bounded number of
new things a second; of what was left out, failures are shown after all (as many again as a quarter of that).
"""

import random
import socket
import threading
import time
from functools import partial
from typing import Final, assert_never

from mesolite.transport.celery_broker import open_broker
from mesolite.transport.celery_events import EventPublisher
from mesolite.transport.event_repeats import Event, Repeats
from mesolite.transport.event_sampler import Sampler
from mesolite.transport.keys import key_prefix

from .flower_stories import SaidTasks
from .flower_words import Words
from .history import History
from .listener import (
    ExecutorSeen,
    JobBegan,
    JobFinished,
    SparkEvent,
    StageBegan,
    StageFinished,
    StageWasSkipped,
    TaskFinished,
    TaskStarted,
)
from .recorder import Recorder
from .records import DONE

#: Importing Celery takes a tenth of a second of the driver's time, which the first job needs more.
START_DELAY_S: Final = 1.0
#: How often what lives is said again. A driver does not hear that somebody began to listen, as agents do.
REPEAT_EVERY_S: Final = 60.0
#: Stages that are remembered for the names of their tasks; far more than run at the same time.
MAX_STAGES: Final = 1_000

#: The end of a key of Redis: the sorted set of who sends events, agents included (`agent/flower.py`).
_ALIVE: Final = "flower"


class FlowerListener:
    """A `SparkListener` that tells Flower.

    Args:
        redis_url: The cluster's Redis, which Flower reads too.
        cluster: The cluster's name.
        app_id: Begins the ids in Flower; no slash in it.
        recorder: What is known of stages and jobs; it must hear events before this does.
        shown_per_s: New tasks, stages and jobs a second that are shown; at least 1 is best, more than 0 is needed.
    """

    def __init__(
        self,
        redis_url: str,
        cluster: str,
        app_id: str,
        recorder: Recorder,
        shown_per_s: float,
    ) -> None:
        self._recorder: Final = recorder
        self._words: Final = Words(app_id)
        self._said: Final = SaidTasks()
        self._sampler: Final = Sampler(shown_per_s, time.monotonic)
        #: For failures of what was left out, which would find no room among all the rest.
        self._failures: Final = Sampler(max(1.0, shown_per_s / 4), time.monotonic)
        repeats = Repeats(
            self._said,
            shown_per_s,
            clock_s=time.monotonic,
            wall_clock_s=time.time,
            random=random.random,
            repeat_every_s=REPEAT_EVERY_S,
        )
        self._publisher: Final = EventPublisher(
            driver_worker(socket.gethostname()),
            partial(open_broker, redis_url),
            self._heartbeat,
            repeats,
            f"{key_prefix(cluster)}{_ALIVE}",
        )
        self._starting: Final = threading.Lock()
        self._started = False
        #: Runs from the first event until the publisher starts.
        self._timer: threading.Timer | None = None
        #: Stages that began, for the names of their tasks; oldest first.
        self._stages: Final[dict[tuple[int, int], StageBegan]] = {}
        #: Tasks that run, shown or not.
        self._tasks: Final[dict[int, TaskStarted]] = {}

    def heard(self, event: SparkEvent) -> None:
        """See `SparkListener`."""
        match event:
            case JobBegan():
                self._start_soon()
                self._began(self._words.job_id(event.job_id), self._words.job_began(event))
            case StageBegan():
                self._stage_began(event)
            case TaskStarted():
                self._task_started(event)
            case TaskFinished():
                self._task_finished(event)
            case StageFinished():
                self._stage_finished(event)
            case JobFinished():
                self._job_finished(event)
            case StageWasSkipped() | ExecutorSeen():
                pass
            case _:
                assert_never(event)

    def close(self) -> None:
        """Say what waits and goodbye, within a few seconds whatever the broker does."""
        if self._timer is not None:
            self._timer.cancel()
            self._start()
            self._publisher.close()

    def dropped_events(self) -> int:
        """Count the events lost because the broker was away for too long."""
        return self._publisher.dropped()

    def _start_soon(self) -> None:
        if self._timer is None:
            self._timer = threading.Timer(START_DELAY_S, self._start)
            self._timer.daemon = True
            self._timer.start()

    def _start(self) -> None:
        with self._starting:
            if not self._started:
                self._started = True
                self._publisher.start()

    def _stage_began(self, event: StageBegan) -> None:
        self._stages[event.stage_id, event.attempt] = event
        if len(self._stages) > MAX_STAGES:
            del self._stages[next(iter(self._stages))]
        self._began(self._words.stage_id(event.stage_id, event.attempt), self._words.stage_began(event))

    def _task_started(self, event: TaskStarted) -> None:
        stage = self._stages.get((event.stage_id, event.stage_attempt))
        if stage is None:
            return
        self._tasks[event.task_id] = event
        if self._sampler.admit():
            self._say_begun(self._words.task_id(event.task_id), self._words.task_started(stage, event))

    def _task_finished(self, event: TaskFinished) -> None:
        started = self._tasks.pop(event.task_id, None)
        if started is None:
            return
        shown, ending = self._words.task_id(event.task_id), partial(self._words.task_finished, started, event)
        if self._said.lives(shown):
            self._say_ended(shown, ending(), event.at_ms)
        elif event.outcome not in (DONE, "killed") and self._failures.admit():
            stage = self._stages.get((started.stage_id, started.stage_attempt))
            if stage is not None:
                self._say_begun(shown, self._words.task_started(stage, started))
                self._say_ended(shown, ending(), event.at_ms)

    def _stage_finished(self, event: StageFinished) -> None:
        shown = self._words.stage_id(event.stage_id, event.attempt)
        if not self._said.lives(shown):
            return

        def ending(history: History) -> Event | None:
            stage = history.stages.get((event.stage_id, event.attempt))
            return None if stage is None else self._words.stage_finished(stage)

        said = self._recorder.read(ending)
        if said is not None:
            self._say_ended(shown, said, event.at_ms)

    def _job_finished(self, event: JobFinished) -> None:
        shown = self._words.job_id(event.job_id)
        if not self._said.lives(shown):
            return

        def ending(history: History) -> Event | None:
            job = history.jobs.get(event.job_id)
            return None if job is None else self._words.job_finished(job)

        said = self._recorder.read(ending)
        if said is not None:
            self._say_ended(shown, said, event.at_ms)

    def _began(self, shown: str, events: list[Event]) -> None:
        if self._sampler.admit():
            self._say_begun(shown, events)

    def _say_begun(self, shown: str, events: list[Event]) -> None:
        self._said.began(shown, events)
        self._publisher.put(*events)

    def _say_ended(self, shown: str, ending: Event, at_ms: int) -> None:
        self._said.ended(shown, ending, at_ms / 1000)
        self._publisher.put(ending)

    def _heartbeat(self) -> dict[str, object]:
        return {**self._said.figures(), "sw_ident": "mesolite-sparklite", "sw_ver": "0", "sw_sys": "Linux"}


def driver_worker(host: str) -> str:
    """Return the name under which contexts of a host appear among Flower's workers.

    One for all of them: Flower goes on to list, as offline, every worker that it ever heard of.
    """
    return f"sparklite@{host}"
