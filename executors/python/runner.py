"""Runs calls in worker processes: carries out what `assignment` decides, and looks after the workers.

All in the main loop's thread. What came in one turn of the loop is dealt at its end. Every so often (`LOOK_EVERY_MS`, while
there is work) the runner looks: takes answers that woke nobody, takes calls back from workers that were silent, ends calls
whose time or memory is used up.
"""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

from ..driver.loop import Loop, Timer
from .assignment import CHUNK_US, Assignment, Lane, Ticket
from .call_logs import CallLogs
from .calls import BlockRef, Call, End, Outcome
from .codec import BadBytes, loads, unpack_payload
from .crew import Crew, CrewNews
from .endings import Intent, WorkerEnd, out_of_memory, outcome_of, shown_status, timed_out
from .frames import PAYLOAD_IN_BLOCK, RETIRING, AnswerFrame, BadFrame
from .limits import Limits
from .memory import container_limit_bytes, oom_kills, peak_bytes, resident_bytes
from .staffing import MAX_FALSE_STARTS, has_grown, pause_ms, share_bytes, to_dismiss, to_hire
from .worker_link import WorkerLink
from .zygote import Zygote

#: How often the runner looks while workers are busy. What turns out long holds others up for two looks at most.
LOOK_EVERY_MS: Final = 20
#: How often while nothing runs: for the memory of idle workers.
LOOK_IDLE_EVERY_MS: Final = 1_000
#: Memory and logs are looked at every so many looks.
_LOOKS_PER_MEASURE: Final = 3
#: Calls with less time than this wait behind no other: their time would be up before a look.
_LEAST_SHARED_TIMEOUT_MS: Final = 200
_BLOCK_REF_BYTES: Final = 256
_HEAD_BYTES: Final = 128
_KIBIBYTE: Final = 1024


class Runner:
    """The executor's `CallRunner`.

    Args:
        loop: The main loop.
        zygote: Forked before anything else was there.
        sandbox: Where workers are, and the logs of calls.
        limits: What results are bounded by.
        mem_bytes_per_worker: What one may use; 0: an equal share of the container.
        shown_as: FRAMEWORK/EXECUTOR, by which people ask for logs of calls.
        chunk_us: Work that may wait in a worker behind what it runs (`assignment`).
        preloads: What workers are forked with decides when one has grown too much, and hears of its end.
        changed: Called when a worker is up or over.
        log: Told what people may want to know.
    """

    def __init__(
        self,
        loop: Loop,
        zygote: Zygote,
        sandbox: Path,
        limits: Limits,
        *,
        mem_bytes_per_worker: int = 0,
        chunk_us: int = CHUNK_US,
        shown_as: str = "",
        preloads: bool = False,
        changed: Callable[[], None] = lambda: None,
        log: Callable[[str], None] = lambda text: None,
    ) -> None:
        self._loop: Final = loop
        self._changed: Final = changed
        self._log: Final = log
        self._mem_bytes_per_worker: Final = mem_bytes_per_worker
        self._assignment: Final = Assignment(chunk_us)
        self._preloads: Final = preloads
        news = CrewNews(self._started, self._ended, self._answering)
        self._crew: Final = Crew(loop, zygote, sandbox, limits, news, preloads=preloads)
        self._logs: Final = CallLogs(sandbox, shown_as)
        #: Why we end workers that have not ended, by their numbers.
        self._intents: Final[dict[int, Intent]] = {}
        #: Resident memory of idle workers when they were first looked at.
        self._first_bytes: Final[dict[int, int]] = {}
        #: Workers that have answered.
        self._proven: Final[set[int]] = set()
        self._wanted = 0
        self._false_starts = 0
        self._container_bytes = container_limit_bytes()
        self._oom_kills = oom_kills()
        self._dealing = False
        self._looks = 0
        self._look_timer: Timer | None = None
        self._hire_timer: Timer | None = None
        #: Called once all workers are over; None while the executor runs.
        self._stopped: Callable[[], None] | None = None
        self.succeeded = 0
        self.failed = 0

    # What others ask

    @property
    def workers(self) -> int:
        """Worker processes that there are to be."""
        return self._wanted

    @property
    def waiting(self) -> int:
        """Calls taken that no worker has begun, as far as known."""
        return self._assignment.waiting

    @property
    def active(self) -> int:
        """Workers that run something."""
        return self._assignment.active

    @property
    def ready(self) -> list[int]:
        """Numbers of workers that are up and stay."""
        return [lane.worker for lane in self._assignment.lanes.values() if lane.ready and not lane.closing]

    def submit(self, calls: list[Call]) -> None:
        """Take calls; each ends by its `done`, in any order."""
        if self._stopped is not None:
            for call in calls:
                self._end(call, _refused("the executor is shutting down"))
            return
        for call in calls:
            timeout_ms = call.timeout_ms
            short_of_time = timeout_ms is not None and timeout_ms < _LEAST_SHARED_TIMEOUT_MS
            alone = short_of_time or call.mem_bytes is not None
            self._assignment.submit(call, _weight(call), alone=alone)
        self._deal_soon()

    def cancel(self, key: object, *, kill: bool) -> None:
        """End a call that has not begun; with `kill` also one that has, by ending its worker. Unknown keys are ignored."""
        lane = self._assignment.lane_of(key)
        if lane is not None:
            # In this order: what is still in flight after both is the call that the worker runs, and no answer of it has come.
            self._take_back(lane)
            self._hear(lane, WorkerLink.hear_all)
        ticket = self._assignment.withdraw(key)
        if ticket is not None:
            self._end(ticket.call, Outcome(End.CANCELLED, message="cancelled before it began", begun=False))
        elif kill and lane is not None and self._assignment.lane_of(key) is lane:
            self._kill(lane, Intent(end=End.CANCELLED, message="cancelled while it ran"))

    def resize(self, workers: int) -> list[int]:
        """Have so many workers.

        Returns:
            Those that are to end, once they have ended what they run; `dismiss` ends one at once.
        """
        self._wanted = workers
        surplus = to_dismiss(workers, self._assignment.lanes.values())
        for lane in surplus:
            self._retire(lane)
        self._staff()
        return [lane.worker for lane in surplus]

    def container_resized(self, mem_bytes: int) -> None:
        """The container may use so much memory now."""
        self._container_bytes = mem_bytes

    def dismiss(self, worker: int, end: End, why: str) -> None:
        """End a worker now, and with it, in this way, what it runs; unknown ones are ignored."""
        lane = self._assignment.lanes.get(worker)
        if lane is not None:
            self._take_back(lane)
            self._kill(lane, Intent(end=end, message=why))

    def dismiss_all(self) -> None:
        """End all workers now, because the executor ends."""
        for worker in list(self._assignment.lanes):
            self.dismiss(worker, End.CANCELLED, "the executor was shut down while it ran")

    def lives(self, worker: int) -> bool:
        """Whether a worker is not over."""
        return worker in self._assignment.lanes

    def stop(self, stopped: Callable[[], None]) -> None:
        """Begin nothing more, give back what has not begun, and call back once all workers are over."""
        self._stopped = stopped
        self._wanted = 0
        for lane in list(self._assignment.lanes.values()):
            self._retire(lane)
        self._refuse_waiting("the executor is shutting down")
        self._stopped_if_over()

    def close(self) -> None:
        """End everything that runs; for whoever does not wait for `stop`."""
        for timer in (self._look_timer, self._hire_timer):
            if timer is not None:
                timer.cancel()
        self._crew.close()

    # Dealing

    def _deal_soon(self) -> None:
        if not self._dealing:
            self._dealing = True
            self._loop.call_at_turn_end(self._deal)

    def _deal(self) -> None:
        self._dealing = False
        dealt = self._assignment.deal(_now_us())
        for lane, tickets in dealt:
            if not self._crew.links[lane.worker].give(tickets):
                self._crew.send_more_later(lane.worker)
            if len(lane.in_flight) == 1 and not self._assignment.is_short(tickets[0]):
                self._tell_begun(tickets[0])
        if dealt:
            self._look_again()

    def _tell_begun(self, ticket: Ticket) -> None:
        if not ticket.told:
            ticket.told = True
            if ticket.call.begun is not None:
                ticket.call.begun(ticket.call)

    # Answers

    def _answering(self, worker: int) -> None:
        self._hear(self._assignment.lanes[worker], WorkerLink.hear)
        self._deal_soon()

    def _hear(self, lane: Lane, hear: Callable[[WorkerLink], list[AnswerFrame]]) -> None:
        try:
            answers = hear(self._crew.links[lane.worker])
        except BadFrame as error:
            self._garbage(lane.worker, error)
            return
        for answer in answers:
            self._answered(lane, answer)

    def _garbage(self, worker: int, error: Exception) -> None:
        text = f"something in the worker wrote into the descriptors by which it answers ({error})"
        self._kill(self._assignment.lanes[worker], Intent(end=End.DIED, message=text))

    def _answered(self, lane: Lane, answer: AnswerFrame) -> None:
        ticket = self._assignment.answered(lane, answer.number, answer.ran_us, _now_us())
        if ticket is None:
            return
        link = self._crew.links[lane.worker]
        self._false_starts = 0
        self._proven.add(lane.worker)
        if answer.log_bytes:
            link.generation += 1
            self._logs.kept(ticket.call.name, ticket.number, answer.log_bytes)
        if answer.end in (End.UNPICKLABLE, End.BLOCK_LOST):
            link.forget_functions()
        if answer.flags & RETIRING:
            self._intents.setdefault(lane.worker, _RECYCLED)
            self._take_back_from(lane)
            self._staff()
        self._end(ticket.call, _outcome_of(answer))

    def _end(self, call: Call, outcome: Outcome) -> None:
        if outcome.end is End.RETURNED:
            self.succeeded += 1
        elif outcome.end is not End.REFUSED:
            self.failed += 1
        call.done(call, outcome)

    # Workers

    def _staff(self) -> None:
        """Start the workers that are missing, with a pause after some that came to nothing."""
        if self._hire_timer is not None and self._hire_timer.pending:
            return
        missing = to_hire(self._wanted, self._assignment.lanes.values())
        if not missing:
            return
        wait_ms = pause_ms(self._false_starts)
        if wait_ms:
            self._hire_timer = self._loop.call_later(wait_ms, self._hire)
        else:
            self._hire()

    def _hire(self) -> None:
        for _ in range(to_hire(self._wanted, self._assignment.lanes.values())):
            try:
                self._assignment.add_worker(self._crew.hire())
            except OSError as error:
                self._false_start(f"no descriptors are left: {error}")
                return

    def _started(self, worker: int) -> None:
        lane = self._assignment.lanes[worker]
        lane.ready = True
        if lane.closing:
            self._retire(lane)
        self._look_again()
        self._changed()
        self._deal_soon()

    def _retire(self, lane: Lane) -> None:
        """End a worker when it has nothing to do any more."""
        lane.closing = True
        self._hear(lane, WorkerLink.hear_quiet)
        self._take_back(lane)
        if lane.idle and lane.ready:
            self._crew.end(lane.worker)

    def _take_back_from(self, lane: Lane) -> None:
        """The worker ends by itself."""
        lane.closing = True
        self._take_back(lane)

    def _take_back(self, lane: Lane) -> None:
        back = self._crew.links[lane.worker].take_back()
        if back:
            self._assignment.take_back(lane.worker, back)
            self._deal_soon()

    def _kill(self, lane: Lane, intent: Intent) -> None:
        lane.closing = True
        self._intents.setdefault(lane.worker, intent)
        self._crew.kill(lane.worker)
        self._staff()

    def _ended(self, worker: int, status: int, peak_kib: int) -> None:
        lane, link = self._assignment.lanes[worker], self._crew.links[worker]
        try:
            for answer in link.hear_all():
                self._answered(lane, answer)
        except BadFrame as error:
            self._log(f"worker {worker} left what is no answer: {error}")
        lost = self._assignment.remove_worker(worker, link.take_back(over=True))
        intent = self._intents.pop(worker, None)
        known = WorkerEnd(
            status=status,
            peak_bytes=peak_kib * _KIBIBYTE,
            oom_killed=self._kernel_killed(),
            container_bytes=self._container_bytes,
            intent=intent,
        )
        ran_us = max(0, _now_us() - lane.since_us)
        outputs = [self._logs.save(worker, link.generation, ticket.call.name, ticket.number) for ticket in lost]
        self._logs.discard(worker, link.generation)
        self._crew.let_go(worker)
        self._first_bytes.pop(worker, None)
        if worker in self._proven:
            self._proven.discard(worker)
        elif not lost and intent is None and not lane.closing:
            self._false_start(f"a worker {shown_status(status)}")
        for ticket, output in zip(lost, outputs, strict=True):
            self._end(ticket.call, outcome_of(known, ran_us, output))
        self._staff()
        self._changed()
        self._deal_soon()
        self._stopped_if_over()

    def _kernel_killed(self) -> bool:
        before, self._oom_kills = self._oom_kills, oom_kills()
        return self._oom_kills > before

    def _false_start(self, why: str) -> None:
        self._false_starts += 1
        self._log(f"{why}, before it answered anything ({self._false_starts} in a row)")
        if self._false_starts >= MAX_FALSE_STARTS:
            self._refuse_waiting(f"no worker can be started: {why}")
        self._staff()

    def _refuse_waiting(self, why: str) -> None:
        for ticket in self._assignment.withdraw_all():
            self._end(ticket.call, _refused(why))

    def _stopped_if_over(self) -> None:
        if self._stopped is not None and not self._assignment.lanes:
            stopped, self._stopped = self._stopped, lambda: None
            stopped()

    # Looking

    def _look_again(self) -> None:
        if self._look_timer is None or not self._look_timer.pending:
            self._plan_look(LOOK_EVERY_MS)
        elif self._look_timer.when_ms > self._loop.now_ms() + LOOK_EVERY_MS:
            self._look_timer.cancel()
            self._plan_look(LOOK_EVERY_MS)

    def _plan_look(self, delay_ms: int) -> None:
        self._look_timer = self._loop.call_later(delay_ms, self._look)

    def _look(self) -> None:
        self._looks += 1
        measure = self._looks % _LOOKS_PER_MEASURE == 0
        busy = [lane for lane in self._assignment.lanes.values() if lane.in_flight]
        for lane in busy:
            self._hear(lane, WorkerLink.hear_quiet)
        for lane in self._assignment.silent():
            self._take_back(lane)
        now_us = _now_us()
        for lane in busy:
            if len(lane.in_flight) == 1:
                self._look_at_call(lane, next(iter(lane.in_flight.values())), now_us, measure=measure)
        if measure or not busy:
            self._look_at_idle()
        for lane in [lane for lane in self._assignment.lanes.values() if lane.closing and lane.idle and lane.ready]:
            self._crew.end(lane.worker)
        if self._assignment.lanes:
            self._plan_look(LOOK_EVERY_MS if self._assignment.active else LOOK_IDLE_EVERY_MS)
        self._deal_soon()

    def _look_at_call(self, lane: Lane, ticket: Ticket, now_us: int, *, measure: bool) -> None:
        """Look at a call that its worker runs, and nothing else with it."""
        call, ran_us = ticket.call, now_us - lane.since_us
        if ran_us < LOOK_EVERY_MS * 1000:
            return
        self._tell_begun(ticket)
        if call.timeout_ms is not None and ran_us >= call.timeout_ms * 1000:
            self._kill(lane, timed_out(call))
            return
        if not measure:
            return
        link = self._crew.links[lane.worker]
        self._logs.adopt(lane.worker, link.generation, call.name, ticket.number)
        limit_bytes, pid = self._limit_bytes(call.mem_bytes), self._crew.pids.get(lane.worker)
        if not limit_bytes or pid is None:
            return
        # The interpreter is the executor's to pay for: a call that may use 8 MiB may really use them.
        bare_bytes = self._crew.bare_bytes()
        if resident_bytes(pid) - bare_bytes > limit_bytes:
            self._kill(lane, out_of_memory(limit_bytes, peak_bytes(pid) - bare_bytes))

    def _limit_bytes(self, asked: int | None) -> int:
        return asked or self._mem_bytes_per_worker or share_bytes(self._container_bytes, self._wanted)

    def _look_at_idle(self) -> None:
        """Replace workers that have nothing to do and hold much more than at first."""
        if self._preloads:
            return
        for lane in list(self._assignment.lanes.values()):
            pid = self._crew.pids.get(lane.worker)
            if pid is None or lane.closing or lane.in_flight:
                continue
            now_bytes = resident_bytes(pid)
            if has_grown(self._first_bytes.setdefault(lane.worker, now_bytes), now_bytes, self._limit_bytes(None)):
                self._retire(lane)
                self._staff()


_RECYCLED: Final = Intent(end=End.DIED, message="the worker was replaced")


def _refused(why: str) -> Outcome:
    return Outcome(End.REFUSED, message=why, begun=False)


def _weight(call: Call) -> int:
    """About how many bytes of a socket a call takes; the function's come along at most once."""
    arguments = _BLOCK_REF_BYTES if isinstance(call.arguments, BlockRef) else len(call.arguments)
    pickled = call.function.pickled
    function = _BLOCK_REF_BYTES if isinstance(pickled, BlockRef) else len(pickled)
    return arguments + function + _HEAD_BYTES


def _outcome_of(answer: AnswerFrame) -> Outcome:
    if not answer.flags & PAYLOAD_IN_BLOCK:
        return Outcome(answer.end, answer.payload, answer.message, ran_us=answer.ran_us)
    try:
        return Outcome(answer.end, unpack_payload(loads(answer.payload)), answer.message, ran_us=answer.ran_us)
    except BadBytes as error:
        return Outcome(End.BLOCK_LOST, message=f"the worker named no block: {error}", ran_us=answer.ran_us)


def _now_us() -> int:
    return time.monotonic_ns() // 1000
