"""The batch framework's core: jobs, offers and updates in; launches and results out.

Every task of a job gets exactly one result. What keeps that true whatever is lost, doubled or late on the way is one map:
from the task ids of attempts that still count to their tasks. An attempt enters it when it is launched and leaves it when it
is given up or has ended; words about ids that are not in it change nothing, except that an attempt which lives although it
was given up is killed. The table in `lifecycle.py` says the rest.

A core that remembers says what must be durable (`Remember`) before anything that follows from it, and `recover` makes a core
of that again: no attempt that may have been launched is launched a second time, and no result is found twice.
"""

import heapq
from collections.abc import Iterable, Mapping
from typing import assert_never

from mesolite.ids import AgentId, FrameworkId, TaskId
from mesolite.protocol import Demand, Offer, TaskInfo, TaskState, TaskStatus
from mesolite.resources import Resources

from ..driver.placement import Placement
from ..driver.scheduling import DeclineOffers, Offered, ReviveOffers, StateDemand, Ticked, TooLarge, Updated
from .backlog import Backlog, Group
from .effects import BatchEffect, KillTask, LaunchTasks, Refused, Remember, ReportResult, ReportSummary
from .events import BatchEvent, JobCancelled, JobSubmitted
from .job import Job, JobSpec, TaskSlot
from .lifecycle import CAUSE_OF_STATE, TaskCause, TaskPhase, TaskStep, step_for
from .records import JobRecord, TaskRecord
from .result import JobSummary, TaskResult
from .retry import is_loss
from .settings import REFUSE_MS


class BatchCore:
    """All jobs of one framework."""

    def __init__(self, framework_id: FrameworkId, *, remembers: bool = False) -> None:
        """Begin without any job.

        Args:
            framework_id: Whose jobs these are.
            remembers: Say what must be durable. Without anybody to keep it that would only cost.
        """
        self._framework_id = framework_id
        self._remembers = remembers
        #: Jobs that have not ended.
        self._jobs: dict[str, Job] = {}
        #: Ended jobs that others may wait for: whether they succeeded. Grows with the jobs of one program, 100 bytes each.
        self._ended: dict[str, bool] = {}
        self._backlog = Backlog()
        #: Attempts that count.
        self._attempts: dict[TaskId, TaskSlot] = {}
        #: (deadline, order, task), earliest first; entries whose task has another deadline by now are void.
        self._deadlines: list[tuple[int, int, TaskSlot]] = []
        self._order = 0
        #: Where agents show their sandboxes, as their newest offer said.
        self._agent_urls: dict[AgentId, str] = {}
        #: The demand as last stated; None before the first.
        self._stated: tuple[Demand, ...] | None = None
        #: Offers were declined with a filter since the last revival.
        self._filtered = False
        self._effects: list[BatchEffect] = []
        #: To be done with the next event: kills whose asking was forgotten with an earlier life.
        self._owed: list[BatchEffect] = []
        #: What the event being applied changed and must be durable; dicts for their order.
        self._changed_jobs: dict[str, JobRecord] = {}
        self._changed_slots: dict[TaskSlot, None] = {}

    @classmethod
    def recover(cls, framework_id: FrameworkId, jobs: Iterable[JobRecord], tasks: Iterable[TaskRecord]) -> "BatchCore":
        """Go on from what an earlier life had remembered, in the order in which it was first said."""
        core = cls(framework_id, remembers=True)
        kept = list(jobs)
        for record in kept:
            if record.summary is not None:
                core._ended[record.spec.job_id] = record.summary.succeeded
            else:
                job = core._jobs[record.spec.job_id] = Job(record.spec, record.submitted_ms)
                job.cancelled = record.cancelled
        recorded: set[TaskSlot] = set()
        for task in tasks:
            if task.job_id in core._jobs:
                slot = core._jobs[task.job_id].slots[task.index]
                core._restore(slot, task)
                recorded.add(slot)
        for job in core._jobs.values():
            job.blocked_by = {each for each in job.spec.after if each in core._jobs}
            if not job.blocked_by:
                core._enqueue(
                    slot
                    for slot in job.slots
                    if slot.phase is TaskPhase.QUEUED or (slot not in recorded and slot.phase is TaskPhase.BLOCKED)
                )
        core._changed_slots.clear()
        return core

    @property
    def counting_attempts(self) -> tuple[tuple[TaskId, AgentId | None], ...]:
        """Attempts that may be alive, with their agents: what a scheduler that takes over has to ask about."""
        return tuple((task_id, slot.agent_id) for task_id, slot in self._attempts.items())

    @property
    def unfinished_jobs(self) -> tuple[str, ...]:
        """Jobs that have not ended, oldest first."""
        return tuple(self._jobs)

    def apply(self, event: BatchEvent) -> list[BatchEffect]:
        """Take one event in. Total: what makes no sense changes nothing."""
        effects, self._owed = self._owed, []
        self._effects = effects
        match event:
            case Updated():
                self._update(event.statuses, event.now_ms)
            case Offered():
                self._offer(event.offers, event.now_ms)
            case JobSubmitted():
                self._submit(event.job, event.now_ms)
            case JobCancelled():
                self._cancel(event.job_id, event.now_ms)
            case TooLarge():
                self._refuse_shape(event)
            case Ticked():
                self._tick(event.now_ms)
            case _:
                assert_never(event)
        self._state_demand()
        self._effects = []
        if self._changed_jobs or self._changed_slots:
            tasks = tuple(_record(slot, self._agent_urls) for slot in self._changed_slots)
            effects.insert(0, Remember(jobs=tuple(self._changed_jobs.values()), tasks=tasks))
            for slot in self._changed_slots:
                slot.result = None  # it is somebody else's now
            self._changed_jobs.clear()
            self._changed_slots.clear()
        return effects

    def next_deadline_ms(self) -> int | None:
        """When the core wants a `Ticked` at the latest."""
        while self._deadlines and self._deadlines[0][2].deadline_ms != self._deadlines[0][0]:
            heapq.heappop(self._deadlines)
        return self._deadlines[0][0] if self._deadlines else None

    def check(self) -> None:
        """Assert every invariant."""
        for task_id, slot in self._attempts.items():
            assert slot.task_id == task_id, f"{task_id} leads to a task whose attempt is {slot.task_id}"
            assert slot.phase in {TaskPhase.LAUNCHED, TaskPhase.UNREACHABLE}, f"{task_id} counts while {slot.phase}"
        for job in self._jobs.values():
            unfinished = [slot for slot in job.slots if slot.phase is not TaskPhase.DONE]
            assert len(unfinished) == job.unfinished > 0, f"job {job.spec.job_id} miscounts its tasks"
            assert sum(job.states.values()) == job.spec.count - job.unfinished
            for slot in unfinished:
                self._check_slot(slot)

    def _check_slot(self, slot: TaskSlot) -> None:
        alive = slot.phase in {TaskPhase.LAUNCHED, TaskPhase.UNREACHABLE}
        assert alive == (slot.task_id is not None and self._attempts.get(slot.task_id) is slot)
        assert (slot.phase is TaskPhase.QUEUED) == (slot in self._backlog), "a queued task is not in the backlog"
        timed = slot.phase in {TaskPhase.WAITING, TaskPhase.UNREACHABLE}
        assert timed == (slot.deadline_ms is not None), f"a deadline while {slot.phase}"

    # Jobs

    def _submit(self, spec: JobSpec, now_ms: int) -> None:
        if spec.job_id in self._jobs or spec.job_id in self._ended:
            self._effects.append(Refused(job_id=spec.job_id, reason="the job id was used before"))
            return
        unknown = [each for each in spec.after if each not in self._jobs and each not in self._ended]
        if unknown:
            self._effects.append(Refused(job_id=spec.job_id, reason=f"it waits for unknown jobs: {unknown}"))
            return
        job = self._jobs[spec.job_id] = Job(spec, now_ms)
        self._job_changed(job, None)
        job.blocked_by = {each for each in spec.after if each in self._jobs}
        failed = [each for each in spec.after if self._ended.get(each) is False]
        if failed:
            self._finish_unlaunched(job.slots, TaskState.KILLED, f"job {failed[0]} did not succeed", now_ms)
        elif not job.blocked_by:
            self._enqueue(job.slots)
        if self._filtered:
            self._filtered = False
            self._effects.append(ReviveOffers())

    def _cancel(self, job_id: str, now_ms: int) -> None:
        job = self._jobs.get(job_id)
        if job is None or job.cancelled:
            return
        job.cancelled = True
        self._job_changed(job, None)
        self._backlog.remove_job(job)
        unlaunched: list[TaskSlot] = []
        for slot in job.slots:
            step = step_for(slot.phase, TaskCause.CANCELLED)
            if step is TaskStep.FINISH_UNLAUNCHED:
                unlaunched.append(slot)
            elif step is TaskStep.KILL and slot.task_id is not None:
                self._effects.append(KillTask(task_id=slot.task_id))
        self._finish_unlaunched(unlaunched, TaskState.KILLED, "killed before it was launched", now_ms)

    def _refuse_shape(self, event: TooLarge) -> None:
        slots = self._backlog.remove_shape(event.demand.role, event.demand.shape)
        asked, largest = Resources.of(event.demand.shape), Resources.of(event.largest).unallocated()
        message = f"no agent is large enough: a task asks for {asked}, and the largest agent has {largest} in all"
        self._finish_unlaunched(slots, TaskState.ERROR, message, event.now_ms)

    # Launching

    def _enqueue(self, slots: Iterable[TaskSlot]) -> None:
        queued = list(slots)
        for slot in queued:
            if slot.attempts:
                self._slot_changed(slot)
            slot.phase = TaskPhase.QUEUED
            slot.deadline_ms = None
        self._backlog.add(queued)

    def _offer(self, offers: tuple[Offer, ...], now_ms: int) -> None:
        plan = self._backlog.place(offers)
        for placement in plan.placements:
            self._launch(placement, now_ms)
        if plan.unused:
            wanted = len(self._backlog) > 0
            self._filtered = self._filtered or wanted
            self._effects.append(DeclineOffers(offer_ids=plan.unused, refuse_ms=REFUSE_MS if wanted else 0))

    def _launch(self, placement: Placement[Group], now_ms: int) -> None:
        agent_id = placement.agent_id
        self._agent_urls[agent_id] = placement.offers[0].agent_url
        tasks: list[TaskInfo] = []
        for fill in placement.fills:
            for slot in self._backlog.take(fill.key, fill.count):
                job = slot.job
                slot.attempts += 1
                job.attempts += 1
                task_id = TaskId(f"{job.spec.job_id}-{slot.index}-{slot.attempts}")
                slot.phase = TaskPhase.LAUNCHED
                slot.task_id = task_id
                slot.agent_id = agent_id
                slot.started_ms = now_ms
                self._attempts[task_id] = slot
                self._slot_changed(slot)
                tasks.append(job.template.stamp(task_id, agent_id, fill.resources, job.own_environment(slot)))
        self._effects.append(LaunchTasks(offer_ids=placement.offer_ids, tasks=tuple(tasks)))

    # Hearing

    def _update(self, statuses: Iterable[TaskStatus], now_ms: int) -> None:
        for status in statuses:
            slot = self._attempts.get(status.task_id)
            cause = CAUSE_OF_STATE[status.state]
            if slot is None:
                if cause is TaskCause.ALIVE:
                    self._effects.append(KillTask(task_id=status.task_id))
                continue
            step = step_for(slot.phase, cause)
            if step is TaskStep.NOTE:
                self._note(slot, status)
            else:
                slot.status = status
                self._do(step, slot, now_ms)

    def _note(self, slot: TaskSlot, status: TaskStatus) -> None:
        if slot.phase is TaskPhase.UNREACHABLE:
            self._slot_changed(slot)
            slot.phase = TaskPhase.LAUNCHED
            slot.deadline_ms = None
        if status.state is TaskState.RUNNING and slot.status is None:
            self._slot_changed(slot)
            slot.started_ms = status.timestamp_ms
            slot.status = status

    def _do(self, step: TaskStep, slot: TaskSlot, now_ms: int) -> None:
        """Take a step that ends an attempt or its being seen."""
        match step:
            case TaskStep.FINISH:
                self._finish(slot, now_ms)
            case TaskStep.RETRY_OR_FINISH:
                self._retry_or_finish(slot, now_ms)
            case TaskStep.WATCH:
                slot.phase = TaskPhase.UNREACHABLE
                self._set_deadline(slot, now_ms + slot.job.spec.retry.unreachable_ms)
            case _:
                pass

    def _retry_or_finish(self, slot: TaskSlot, now_ms: int) -> None:
        status = slot.status
        assert status is not None, "an attempt ended without a word"
        if is_loss(status):
            slot.losses += 1
        else:
            slot.failures += 1
        job = slot.job
        wait_ms = job.spec.retry.wait_ms(status, failures=slot.failures, losses=slot.losses)
        if wait_ms is None or job.cancelled:
            self._finish(slot, now_ms)
            return
        self._strike_out(slot)
        slot.status = None
        if wait_ms == 0:
            self._enqueue((slot,))
        else:
            slot.phase = TaskPhase.WAITING
            self._set_deadline(slot, now_ms + wait_ms)

    def _tick(self, now_ms: int) -> None:
        while (due_ms := self.next_deadline_ms()) is not None and due_ms <= now_ms:
            slot = heapq.heappop(self._deadlines)[2]
            slot.deadline_ms = None
            step = step_for(slot.phase, TaskCause.TIMED_OUT)
            if step is TaskStep.ENQUEUE:
                self._enqueue((slot,))
            else:
                self._do(step, slot, now_ms)

    def _set_deadline(self, slot: TaskSlot, at_ms: int) -> None:
        self._slot_changed(slot)
        slot.deadline_ms = at_ms
        self._order += 1
        heapq.heappush(self._deadlines, (at_ms, self._order, slot))

    # Ending

    def _strike_out(self, slot: TaskSlot) -> None:
        """The attempt does not count any more."""
        slot.deadline_ms = None
        if slot.task_id is not None:
            self._attempts.pop(slot.task_id, None)

    def _finish(self, slot: TaskSlot, now_ms: int) -> None:
        status = slot.status
        assert status is not None, "a task ends with a status"
        self._strike_out(slot)
        container = status.container_status
        self._report(
            slot,
            TaskResult(
                job_id=slot.job.spec.job_id,
                index=slot.index,
                state=status.state,
                reason=status.reason,
                message=status.message,
                exit_code=container.exit_code if container is not None else None,
                task_id=slot.task_id,
                framework_id=self._framework_id,
                agent_id=slot.agent_id,
                agent_url=self._agent_urls.get(slot.agent_id, "") if slot.agent_id is not None else "",
                container_id=container.container_id if container is not None else None,
                attempts=slot.attempts,
                started_ms=slot.started_ms,
                finished_ms=status.timestamp_ms,
                peak_mem_bytes=container.peak_mem_bytes if container is not None else None,
            ),
            now_ms,
        )

    def _finish_unlaunched(self, slots: Iterable[TaskSlot], state: TaskState, message: str, now_ms: int) -> None:
        for slot in slots:
            slot.deadline_ms = None
            result = TaskResult(
                job_id=slot.job.spec.job_id,
                index=slot.index,
                state=state,
                reason=None,
                message=message,
                exit_code=None,
                task_id=slot.task_id,
                framework_id=self._framework_id,
                agent_id=slot.agent_id,
                agent_url=self._agent_urls.get(slot.agent_id, "") if slot.agent_id is not None else "",
                container_id=None,
                attempts=slot.attempts,
                started_ms=slot.started_ms,
                finished_ms=now_ms,
                peak_mem_bytes=None,
            )
            self._report(slot, result, now_ms)

    def _report(self, slot: TaskSlot, result: TaskResult, now_ms: int) -> None:
        job = slot.job
        slot.phase = TaskPhase.DONE
        slot.status = None
        if self._remembers:
            slot.result = result
        self._slot_changed(slot)
        job.unfinished -= 1
        job.states[result.state] = job.states.get(result.state, 0) + 1
        self._effects.append(ReportResult(result=result))
        if job.unfinished == 0:
            self._end(job, now_ms)

    def _end(self, job: Job, now_ms: int) -> None:
        job_id = job.spec.job_id
        summary = job.summary(now_ms)
        self._job_changed(job, summary)
        del self._jobs[job_id]
        self._ended[job_id] = summary.succeeded
        self._effects.append(ReportSummary(summary=summary))
        for waiting in [each for each in self._jobs.values() if job_id in each.blocked_by]:
            waiting.blocked_by.discard(job_id)
            blocked = [slot for slot in waiting.slots if slot.phase is TaskPhase.BLOCKED]
            if not summary.succeeded:
                self._finish_unlaunched(blocked, TaskState.KILLED, f"job {job_id} did not succeed", now_ms)
            elif not waiting.blocked_by:
                self._enqueue(blocked)

    # Remembering

    def _job_changed(self, job: Job, summary: JobSummary | None) -> None:
        if self._remembers:
            record = JobRecord(spec=job.spec, submitted_ms=job.submitted_ms, cancelled=job.cancelled, summary=summary)
            self._changed_jobs[job.spec.job_id] = record

    def _slot_changed(self, slot: TaskSlot) -> None:
        if self._remembers:
            self._changed_slots[slot] = None

    def _restore(self, slot: TaskSlot, kept: TaskRecord) -> None:
        """Put a task back to where it was. One that was out of sight counts as launched until somebody says so again."""
        job = slot.job
        slot.phase = TaskPhase.LAUNCHED if kept.phase is TaskPhase.UNREACHABLE else kept.phase
        slot.attempts, slot.failures, slot.losses = kept.attempts, kept.failures, kept.losses
        slot.task_id, slot.agent_id, slot.started_ms = kept.task_id, kept.agent_id, kept.started_ms
        job.attempts += kept.attempts
        if kept.agent_id is not None and kept.agent_url:
            self._agent_urls[kept.agent_id] = kept.agent_url
        if kept.result is not None:
            job.unfinished -= 1
            job.states[kept.result.state] = job.states.get(kept.result.state, 0) + 1
        elif slot.phase is TaskPhase.WAITING:
            assert kept.deadline_ms is not None, "what waits has a time"
            self._set_deadline(slot, kept.deadline_ms)
        if slot.phase is TaskPhase.LAUNCHED:
            assert kept.task_id is not None, "an attempt has an id"
            self._attempts[kept.task_id] = slot
            if job.cancelled:
                self._owed.append(KillTask(task_id=kept.task_id))

    def _state_demand(self) -> None:
        demands = self._backlog.demands()
        if demands != self._stated:
            self._stated = demands
            self._effects.append(StateDemand(demands=demands))


def _record(slot: TaskSlot, agent_urls: Mapping[AgentId, str]) -> TaskRecord:
    return TaskRecord(
        job_id=slot.job.spec.job_id,
        index=slot.index,
        phase=slot.phase,
        attempts=slot.attempts,
        failures=slot.failures,
        losses=slot.losses,
        task_id=slot.task_id,
        agent_id=slot.agent_id,
        agent_url=agent_urls.get(slot.agent_id, "") if slot.agent_id is not None else "",
        started_ms=slot.started_ms,
        deadline_ms=slot.deadline_ms,
        result=slot.result,
    )
