"""What has to run: stages behind tasks that wait, as far back as outputs are missing.

A task says itself which shuffles it reads (`PlanView.shuffles_needed`), when it begins to wait and again when it is launched,
because what is kept can come and go between. Behind an incomplete shuffle the stage that makes it gets a run of what is missing,
whose tasks wait in turn. Nothing here recurses: a thousand shuffles may follow each other.
"""

from collections import deque
from collections.abc import Iterable

from ..errors import JobFailed
from .books import Books
from .effects import DropResult, StageEnded, StageStarted
from .records import Run
from .waiting import Waiting


class Demand:
    """Makes, opens and ends runs."""

    def __init__(self, books: Books) -> None:
        self._books = books
        #: Runs that wait for a shuffle that no job has a stage for, with what to tell: they cannot go on.
        self.broken: list[tuple[Run, JobFailed]] = []

    def wait(self, run: Run, slots: Iterable[int], *, first: bool = False) -> None:
        """Let slots wait for what they need now. `require` must follow.

        Args:
            run: Theirs.
            slots: Neither waiting nor running.
            first: Before others that wait: they were tried already.
        """
        for slot in slots:
            group = self._group(run, self._books.needs(run, slot))
            group.slots.add(slot)
            run.waiting[slot] = group
            if group.is_open:
                self._queue(run, group, slot, first=first)

    def require(self, run: Run) -> None:
        """Have made what a run's slots wait for, and let run what can."""
        touched = {run.stage_id: run}
        readers = deque([run])
        while readers:
            reader = readers.popleft()
            for shuffle_id in self._lacking(reader):
                maker = self._books.run_making(shuffle_id) or self._begin(shuffle_id, reader)
                if maker is None:
                    self.broken.append((reader, unplanned(reader, shuffle_id)))
                    break
                if not reader.jobs <= maker.jobs:
                    self._share(maker, reader.jobs)
                    touched[maker.stage_id] = maker
                    readers.append(maker)
        for each in touched.values():
            self.look_again(each)

    def look_again(self, run: Run) -> None:
        """Open the groups whose shuffles are complete, close the others."""
        books = self._books
        run.ready = [group for group in run.groups.values() if group.slots and books.are_complete(group.needs)]
        ready = {id(group) for group in run.ready}
        for group in run.groups.values():
            if group.is_open and id(group) not in ready:
                group.close()
        for group in run.ready:
            if not group.is_open:
                self._open(run, group)
        books.rank(run)
        if run.ready and not run.started:
            run.started = True
            books.effects.append(
                StageStarted(stage_id=run.stage_id, job_id=min(run.jobs), attempt=run.attempt, tasks=run.left)
            )

    def readers_of(self, shuffle_id: int) -> list[Run]:
        """Return the runs that read a shuffle, or are to."""
        return [self._books.runs[stage_id] for stage_id in sorted(self._books.readers.get(shuffle_id, ()))]

    def end(self, run: Run, reason: str = "") -> None:
        """A run is through, or nobody needs it: what still runs of it is cancelled."""
        books = self._books
        for copies in list(run.running.values()):
            for launched in list(copies):
                books.cancel(launched)
        for launched, _ in run.held.values():
            books.effects.append(DropResult(task_id=launched.task_id))
        for needs in run.groups:
            for shuffle_id in needs:
                self._stop_reading(shuffle_id, run.stage_id)
        run.waiting.clear()
        run.ready.clear()
        run.slow.clear()
        books.rank(run)
        del books.runs[run.stage_id]
        for job_id in run.jobs:
            books.jobs[job_id].stage_ids.discard(run.stage_id)
        if run.started:
            books.effects.append(StageEnded(stage_id=run.stage_id, attempt=run.attempt, reason=reason))

    def leave(self, run: Run, job_id: int, reason: str) -> None:
        """A job does not need a run any more."""
        if run.jobs == {job_id}:
            self.end(run, reason)
            return
        run.jobs.discard(job_id)
        self._books.jobs[job_id].stage_ids.discard(run.stage_id)
        self._books.rank(run)

    def _lacking(self, run: Run) -> list[int]:
        """The shuffles that its waiting slots need and cannot read yet."""
        needed = {shuffle_id for needs, group in run.groups.items() if group.slots for shuffle_id in needs}
        return [shuffle_id for shuffle_id in sorted(needed) if not self._books.outputs.is_complete(shuffle_id)]

    def _begin(self, shuffle_id: int, reader: Run) -> Run | None:
        """Make what is missing of a shuffle; of a barrier stage everything, as its tasks only run together."""
        books = self._books
        stage = books.stages.get(shuffle_id)
        if stage is None:
            return None
        partitions = stage.spec.partitions
        if stage.spec.barrier:
            for partition in range(partitions):
                books.outputs.remove(shuffle_id, partition)
        missing = books.outputs.missing(shuffle_id)
        run = Run(
            stage=stage,
            attempt=stage.attempts,
            total=partitions,
            left=len(missing),
            depth=reader.depth + 1,
            jobs=set(),
            partitions=range(partitions),
        )
        stage.attempts += 1
        books.runs[run.stage_id] = run
        self.wait(run, missing)
        return run

    def _share(self, run: Run, job_ids: set[int]) -> None:
        for job_id in sorted(job_ids - run.jobs):
            run.jobs.add(job_id)
            self._books.jobs[job_id].stage_ids.add(run.stage_id)

    def _group(self, run: Run, needs: tuple[int, ...]) -> Waiting:
        group = run.groups.get(needs)
        if group is None:
            group = run.groups[needs] = Waiting(needs)
            for shuffle_id in needs:
                self._books.readers.setdefault(shuffle_id, set()).add(run.stage_id)
        return group

    def _stop_reading(self, shuffle_id: int, stage_id: int) -> None:
        readers = self._books.readers.get(shuffle_id)
        if readers is not None:
            readers.discard(stage_id)
            if not readers:
                del self._books.readers[shuffle_id]

    def _open(self, run: Run, group: Waiting) -> None:
        group.is_open = True
        run.local_ms = self._books.now_ms
        for slot in sorted(group.slots):
            self._queue(run, group, slot, first=False)

    def _queue(self, run: Run, group: Waiting, slot: int, *, first: bool) -> None:
        agents, patient = self._places(run, group, slot)
        group.queue(slot, agents, patient=patient, live=self._books.executors.agents, first=first)

    def _places(self, run: Run, group: Waiting, slot: int) -> tuple[tuple[str, ...], bool]:
        """Where a slot would best run, and whether it waits for that."""
        books = self._books
        partition = run.partition(slot)
        kept = books.view.preferred_agents(run.stage_id, partition)
        if kept or len(books.executors.agents) < 2:
            return kept, True
        sums: dict[str, int] = {}
        for shuffle_id in group.needs:
            for agent_id, size in books.outputs.bytes_by_agent(
                shuffle_id, partition, run.stage.spec.partitions
            ).items():
                sums[agent_id] = sums.get(agent_id, 0) + size
        least = books.settings.reducer_share * sum(sums.values())
        return tuple(
            sorted((each for each in sums if sums[each] >= least), key=lambda each: (-sums[each], each))
        ), False


def unplanned(run: Run, shuffle_id: int) -> JobFailed:
    """What to tell of a plan with a hole: the driver's fault, and no reason to wait for ever."""
    return JobFailed(
        f"{run.stage.spec.name} (stage {run.stage_id}) reads shuffle {shuffle_id}, and no submitted job has the stage that "
        "makes it: this is a defect of sparklite, please report it with the program"
    )
