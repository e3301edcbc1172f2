"""Which waiting task goes to which executor: stages in turn, workers that are idle first, places where the input is.

Tasks go ahead of workers only where all workers are busy, the stage's tasks are known to be short, and there are more of them
than workers: so at its end, or with long tasks, none waits behind another while some worker is idle.
"""

from collections.abc import Sequence

from .books import Books
from .demand import Demand
from .effects import LaunchTask
from .executors import Executor
from .records import Launched, Run
from .waiting import Waiting

#: Tasks that usually take less, from launch to success, are short: the way to the driver and back is a part of that.
SHORT_TASK_MS = 500


class Placing:
    """Launches tasks."""

    def __init__(self, books: Books, demand: Demand) -> None:
        self._books = books
        self._demand = demand
        #: When a task that waits for a place will go anywhere, or a barrier stage give up; None: nothing to wait for.
        self.deadline_ms: int | None = None
        #: Barrier stages that have waited too long for a cluster that is large enough.
        self.hopeless: list[Run] = []

    def launch(self) -> None:
        """Send all that can be sent now."""
        self.deadline_ms = None
        executors = self._books.executors
        for stage_id in sorted(self._books.barriers):
            # Looked at whether or not a worker is idle: it is the size of the cluster that they wait for.
            self._is_large_enough(self._books.runs[stage_id])
        while executors.idle_workers and self._books.order:
            if not self._launch_one(executors.idle()):
                return
        while not executors.idle_workers and self._books.order:
            roomy = executors.roomy()
            if not roomy or not self._launch_ahead(roomy):
                return

    def _launch_one(self, idle: Sequence[Executor]) -> bool:
        for stage_id in self._books.order.in_turn():
            run = self._books.runs[stage_id]
            if run.is_barrier:
                if self._launch_barrier(run, idle):
                    return True
                if self._is_next(run):
                    # It needs many workers at once. If others took each that gets idle, it would never have them.
                    return False
            elif self._offer(run, idle, copies=True):
                return True
        return False

    def _launch_ahead(self, roomy: Sequence[Executor]) -> bool:
        for stage_id in self._books.order.in_turn():
            run = self._books.runs[stage_id]
            if run.is_barrier:
                if self._is_next(run):
                    return False
            elif self._goes_ahead(run) and self._offer(run, roomy, copies=False):
                return True
        return False

    def _goes_ahead(self, run: Run) -> bool:
        is_short = run.usual_ms is not None and run.usual_ms < SHORT_TASK_MS
        return is_short and run.runnable > self._books.executors.workers

    def _offer(self, run: Run, among: Sequence[Executor], *, copies: bool) -> bool:
        """Launch one task of a run on one of these executors, a second copy only with `copies`.

        Returns:
            Whether one was, or what could run has changed: then the turn is to be looked at anew.
        """
        executors = self._usable(run, among)
        if not executors:
            return False
        for group in list(run.ready):
            if (picked := self._pick(run, group, executors)) is not None:
                slot, executor = picked
                self._books.note_taken(run, group, slot)
                if self._books.needs(run, slot) == group.needs:
                    self._send(run, group, slot, executor)
                    return True
                # What it reads has changed since it began to wait: it waits for that now.
                self._demand.wait(run, [slot], first=True)
                self._demand.require(run)
                return True
        return copies and self._copy(run, executors)

    def _pick(self, run: Run, group: Waiting, executors: Sequence[Executor]) -> tuple[int, Executor] | None:
        if group.has_places:
            for executor in executors:
                slot = group.take_at(executor.agent_id)
                if slot is not None:
                    run.local_ms = self._books.now_ms
                    return slot, executor
        slot = group.take_anywhere()
        if slot is None and group.has_patient:
            deadline_ms = run.local_ms + self._books.settings.locality_wait_ms
            if deadline_ms <= self._books.now_ms:
                slot = group.take_patient()
            else:
                self._remind(deadline_ms)
        return None if slot is None else (slot, executors[0])

    def _usable(self, run: Run, among: Sequence[Executor]) -> Sequence[Executor]:
        """Without executors that fail this stage's tasks, unless there are no others."""
        if not run.excluded or all(
            each.executor_id in run.excluded for each in self._books.executors.all() if each.workers
        ):
            return among
        return [each for each in among if each.executor_id not in run.excluded]

    def _copy(self, run: Run, executors: Sequence[Executor]) -> bool:
        """Launch a second copy of a slow task, somewhere else."""
        for slot in list(run.slow):
            [first] = run.running[slot]
            if not self._books.are_complete(self._books.needs(run, slot)):
                continue
            elsewhere = len(self._books.executors.agents) > 1
            for executor in executors:
                if executor.executor_id == first.executor_id or (elsewhere and executor.agent_id == first.agent_id):
                    continue
                del run.slow[slot]
                self._send(run, None, slot, executor)
                self._books.rank(run)
                return True
        return False

    def _send(self, run: Run, group: Waiting | None, slot: int, executor: Executor) -> None:
        books = self._books
        launched = Launched(
            task_id=books.next_task_id,
            run=run,
            slot=slot,
            executor_id=executor.executor_id,
            agent_id=executor.agent_id,
            pool=books.pool_of(run),
            launched_ms=books.now_ms,
            speculative=group is None,
        )
        attempt = run.stage.launches.get(slot, 0)
        run.stage.launches[slot] = attempt + 1
        books.next_task_id += 1
        books.note_launch(launched)
        books.effects.append(
            LaunchTask(
                task_id=launched.task_id,
                stage_id=run.stage_id,
                attempt=attempt,
                partition=run.partition(slot),
                executor_id=executor.executor_id,
                speculative=launched.speculative,
                local=group is None or group.is_local(slot, executor.agent_id),
            )
        )

    # Stages whose tasks run together

    def _launch_barrier(self, run: Run, idle: Sequence[Executor]) -> bool:
        """Launch all tasks of a barrier stage, if that many workers are idle."""
        if not self._is_together(run) or not self._is_large_enough(run):
            return False
        if self._books.executors.idle_workers < run.total:
            return False
        changed = [slot for slot, group in run.waiting.items() if self._books.needs(run, slot) != group.needs]
        if changed:
            for slot in changed:
                group = run.waiting[slot]
                group.slots.discard(slot)
                self._books.note_taken(run, group, slot)
            self._demand.wait(run, changed)
            self._demand.require(run)
            return True
        places = [executor for executor in idle for _ in range(executor.idle)]
        for slot, executor in zip(sorted(run.waiting), places, strict=False):
            group = run.waiting[slot]
            group.slots.discard(slot)
            self._books.note_taken(run, group, slot)
            self._send(run, group, slot, executor)
        return True

    def _is_together(self, run: Run) -> bool:
        """Whether all its tasks could run now."""
        return len(run.waiting) == run.runnable == run.total

    def _is_large_enough(self, run: Run) -> bool:
        if run.total <= self._books.executors.workers:
            run.too_small_ms = None
            return True
        if run.too_small_ms is None:
            run.too_small_ms = self._books.now_ms
        deadline_ms = run.too_small_ms + self._books.settings.barrier_wait_ms
        if deadline_ms > self._books.now_ms:
            self._remind(deadline_ms)
        elif run not in self.hopeless:
            self.hopeless.append(run)
        return False

    def _is_next(self, run: Run) -> bool:
        """Whether it only waits for workers to become idle."""
        return self._is_together(run) and run.total <= self._books.executors.workers

    def _remind(self, at_ms: int) -> None:
        self.deadline_ms = at_ms if self.deadline_ms is None else min(self.deadline_ms, at_ms)
