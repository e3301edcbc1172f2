"""What follows when a task ends: its value counts, or it is tried again, or its jobs fail."""

from collections.abc import Iterable

from ..errors import JobFailed, TaskError
from . import faults
from .books import Books
from .demand import Demand
from .effects import AcceptOutput, AcceptResult, DropResult, JobEnded
from .events import FetchMissed, InputMissed, TaskFailed, TaskLost, TaskSucceeded
from .records import Launched, Run

#: The second output that cannot be read at an agent gives up all that it has: it may be gone, with nobody knowing yet, and to
#: find its outputs missing one by one would take as many rounds as there are.
MAX_MISSES_AT = 2


class Endings:
    """Ends of tasks, runs and jobs."""

    def __init__(self, books: Books, demand: Demand) -> None:
        self._books = books
        self._demand = demand

    # Tasks

    def succeeded(self, event: TaskSucceeded) -> None:
        """A task went through."""
        launched = self._books.note_end(event.task_id)
        if launched is None or not launched.wanted:
            self._drop(event.task_id)
            return
        run, output = launched.run, event.output
        self._forget_slow(launched)
        if run.shuffle_id is not None and output is None:
            self._failed(launched, faults.lost(run, launched, "it went through, and left no output of its shuffle"))
        elif output is not None and output.block.agent_id in self._books.lost_agents:
            self._drop(event.task_id)
            self._again(launched)
        elif run.is_barrier:
            run.held[launched.slot] = (launched, output)
            if len(run.held) == run.total:
                self._release(run)
        else:
            run.misses = 0
            self._accept(launched, event)

    def failed(self, event: TaskFailed) -> None:
        """A task failed."""
        launched = self._end_wanted(event.task_id)
        if launched is not None:
            self._failed(launched, event.error, fatal=event.fatal)

    def lost(self, event: TaskLost) -> None:
        """A task is lost with its executor, or was refused."""
        launched = self._end_wanted(event.task_id)
        if launched is None:
            return
        if event.begun:
            error = faults.lost(launched.run, launched, event.reason)
            self._failed(launched, error, weight=faults.LOSS_WEIGHT)
        else:
            faults.count_at(launched.run, launched)
            self._not_its_fault(launched, event.reason)

    def input_missed(self, event: InputMissed) -> None:
        """A task could not read something kept or broadcast."""
        launched = self._end_wanted(event.task_id)
        if launched is not None:
            self._failed(launched, faults.lost(launched.run, launched, event.reason))

    def fetch_missed(self, event: FetchMissed) -> None:
        """A task could not read an output of a shuffle."""
        launched = self._books.note_end(event.task_id)
        if launched is None:
            return
        made_by = self._made_by(event)
        gone = self._give_up(event)
        self.outputs_lost(gone)
        if not launched.wanted:
            return
        self._forget_slow(launched)
        run = launched.run
        if not gone:
            # Somebody else missed it before, or its agent is gone: that is known, and nothing new to count.
            self._not_its_fault(launched, event.reason)
            return
        faults.count_miss(run, launched, made_by, self._books.next_task_id)
        if run.misses >= self._books.settings.max_stage_attempts:
            self.fail(run, faults.missed_too_often(run, event.shuffle_id, event.reason))
        else:
            self._again(launched)

    def outputs_lost(self, lost: Iterable[tuple[int, int]]) -> None:
        """Outputs were struck out: have made again what somebody waits for."""
        changed = dict[int, None]()
        for shuffle_id, partition in lost:
            changed[shuffle_id] = None
            run = self._books.run_making(shuffle_id)
            if run is not None and partition not in run.waiting and partition not in run.running:
                run.left += 1
                self._demand.wait(run, [partition])
        for shuffle_id in changed:
            run = self._books.run_making(shuffle_id)
            if run is not None:
                self._demand.require(run)
            for reader in self._demand.readers_of(shuffle_id):
                self._demand.require(reader)

    # Runs and jobs

    def fail(self, run: Run, error: JobFailed) -> None:
        """A run cannot go on: its jobs fail."""
        for job_id in sorted(run.jobs):
            # Each job's caller raises an error of its own: two threads that raise the same one would mix their tracebacks.
            own = JobFailed(*error.args)
            own.__cause__ = error.__cause__
            self.end_job(job_id, own)

    def end_job(self, job_id: int, error: JobFailed | None) -> None:
        """A job is over; what runs only for it is cancelled."""
        books = self._books
        reason = "its job needs it no more" if error is None else "its job failed"
        for stage_id in sorted(books.jobs[job_id].stage_ids):
            self._demand.leave(books.runs[stage_id], job_id, reason)
        job = books.jobs.pop(job_id)
        books.effects.append(JobEnded(job_id=job_id, error=error))
        self.forget(sorted(books.forgettable & job.shuffle_ids))

    def forget(self, shuffle_ids: Iterable[int]) -> None:
        """Nobody can name these shuffles any more; what jobs still read goes when they end."""
        books = self._books
        used = {shuffle_id for job in books.jobs.values() for shuffle_id in job.shuffle_ids}
        for shuffle_id in shuffle_ids:
            if shuffle_id in used:
                books.forgettable.add(shuffle_id)
            else:
                books.forgettable.discard(shuffle_id)
                books.outputs.forget(shuffle_id)
                books.stages.pop(shuffle_id, None)

    # What an end leads to

    def _accept(self, launched: Launched, event: TaskSucceeded) -> None:
        run = launched.run
        run.note_time(launched, event.now_ms, keep=self._books.settings.speculation)
        for copy in list(run.running.get(launched.slot, ())):
            self._books.cancel(copy)
        self._count_in(launched, event)
        self._done_if_all(run)

    def _count_in(self, launched: Launched, event: TaskSucceeded) -> None:
        run, slot, books = launched.run, launched.slot, self._books
        run.left -= 1
        if run.shuffle_id is None:
            [job_id] = run.jobs
            books.effects.append(AcceptResult(job_id=job_id, index=slot, task_id=event.task_id))
        else:
            assert event.output is not None, "looked at before"
            books.outputs.put(run.shuffle_id, slot, event.output)
            run.stage.made_by[slot] = event.task_id
            books.effects.append(AcceptOutput(shuffle_id=run.shuffle_id, partition=slot, task_id=event.task_id))

    def _done_if_all(self, run: Run) -> None:
        if run.left:
            return
        self._demand.end(run)
        if run.shuffle_id is None:
            [job_id] = run.jobs
            self.end_job(job_id, None)
            return
        for reader in self._demand.readers_of(run.shuffle_id):
            self._demand.look_again(reader)

    def _failed(
        self, launched: Launched, error: TaskError, *, weight: int = faults.FAILURE_WEIGHT, fatal: bool = False
    ) -> None:
        run = launched.run
        weighted = faults.count_failure(run, launched, weight)
        if fatal or faults.is_too_many(weighted, self._books.settings):
            self.fail(run, faults.task_failed(run, launched, error))
        else:
            self._again(launched)

    def _not_its_fault(self, launched: Launched, reason: str) -> None:
        """Try again without counting a failure; yet not for ever."""
        run, slot = launched.run, launched.slot
        run.refusals[slot] = run.refusals.get(slot, 0) + 1
        if run.refusals[slot] >= faults.MAX_REFUSALS:
            self.fail(run, faults.task_failed(run, launched, faults.lost(run, launched, reason)))
        else:
            self._again(launched)

    def _again(self, launched: Launched) -> None:
        """Try a slot again, unless another copy runs; of a barrier stage all."""
        run, slot = launched.run, launched.slot
        if run.is_barrier:
            self._all_again(run)
        elif slot not in run.running:
            self._demand.wait(run, [slot], first=True)
        self._demand.require(run)

    def _all_again(self, run: Run) -> None:
        for copies in list(run.running.values()):
            for launched in list(copies):
                self._books.cancel(launched)
        for launched, _ in run.held.values():
            self._drop(launched.task_id)
        run.held.clear()
        self._demand.wait(run, [slot for slot in range(run.total) if slot not in run.waiting])

    def _release(self, run: Run) -> None:
        """All tasks of a barrier stage went through: they count, together."""
        held = [run.held[slot] for slot in sorted(run.held)]
        run.misses = 0
        if any(output is not None and output.block.agent_id in self._books.lost_agents for _, output in held):
            self._again(held[0][0])
            return
        run.held.clear()
        for launched, output in held:
            done = TaskSucceeded(now_ms=self._books.now_ms, task_id=launched.task_id, output=output)
            self._count_in(launched, done)
        self._done_if_all(run)

    def _made_by(self, event: FetchMissed) -> int:
        """The task that made what was missed; -1 for what never was."""
        stage = self._books.stages.get(event.shuffle_id)
        return -1 if stage is None else stage.made_by.get(event.map_partition, -1)

    def _give_up(self, event: FetchMissed) -> list[tuple[int, int]]:
        """Strike out the output that could not be read, if it is still that; return what is gone."""
        books = self._books
        output = books.outputs.get(event.shuffle_id, event.map_partition)
        if output is None or output.block.block_id != event.block_id:
            return []
        agent_id = output.block.agent_id
        gone = [(event.shuffle_id, event.map_partition)]
        books.missed_at[agent_id] = books.missed_at.get(agent_id, 0) + 1
        if books.missed_at[agent_id] >= MAX_MISSES_AT:
            gone = books.outputs.at(agent_id)
            del books.missed_at[agent_id]
        for shuffle_id, partition in gone:
            books.outputs.remove(shuffle_id, partition)
        return gone

    def _end_wanted(self, task_id: int) -> Launched | None:
        """Note a task's end; None where it changes nothing else."""
        launched = self._books.note_end(task_id)
        if launched is None or not launched.wanted:
            return None
        self._forget_slow(launched)
        return launched

    def _forget_slow(self, launched: Launched) -> None:
        if launched.slot in launched.run.slow:
            del launched.run.slow[launched.slot]
            self._books.rank(launched.run)

    def _drop(self, task_id: int) -> None:
        self._books.effects.append(DropResult(task_id=task_id))
