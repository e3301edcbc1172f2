"""What always holds in the DAG scheduler's books."""

from .books import Books
from .records import Run


def check(books: Books) -> None:
    """Assert it."""
    books.outputs.check()
    books.executors.check()
    wanted = [each for each in books.tasks.values() if each.wanted]
    assert books.running == len(wanted)
    assert books.runnable == sum(run.runnable for run in books.runs.values())
    for launched in wanted:
        assert books.runs.get(launched.run.stage_id) is launched.run, (
            f"task {launched.task_id} is of a run that has ended"
        )
        assert launched in launched.run.running[launched.slot]
    assert len(wanted) == sum(len(copies) for run in books.runs.values() for copies in run.running.values())
    for stage_id, run in books.runs.items():
        assert run.stage_id == stage_id
        _check_run(books, run)
    for job_id, job in books.jobs.items():
        assert job.stage_ids, f"job {job_id} waits for nothing"
        for stage_id in job.stage_ids:
            assert job_id in books.runs[stage_id].jobs
    for shuffle_id, stage_ids in books.readers.items():
        for stage_id in stage_ids:
            assert any(shuffle_id in needs for needs in books.runs[stage_id].groups)


def _check_run(books: Books, run: Run) -> None:
    story = f"stage {run.stage_id}, attempt {run.attempt}"
    assert run.jobs, f"{story}: nobody needs it"
    for job_id in run.jobs:
        assert run.stage_id in books.jobs[job_id].stage_ids, f"{story}: job {job_id} does not know that it needs it"
    assert run.left == len(run.waiting) + len(run.running) + len(run.held), f"{story}: slots are lost"
    assert run.left, f"{story}: through, and not ended"
    assert not set(run.waiting) & set(run.running)
    assert sum(len(group.slots) for group in run.groups.values()) == len(run.waiting)
    for slot, group in run.waiting.items():
        assert slot in group.slots
        for shuffle_id in group.needs:
            assert books.outputs.is_complete(shuffle_id) or books.run_making(shuffle_id), f"{story}: waits for nobody"
    for group in run.ready:
        assert group.slots
        assert group.is_open
        assert books.are_complete(group.needs), f"{story}: could run without its input"
    assert run.runnable == sum(len(group.slots) for group in run.ready) + len(run.slow)
    for slot in run.slow:
        assert len(run.running[slot]) == 1
    if run.shuffle_id is not None:
        done = run.total - len(books.outputs.missing(run.shuffle_id))
        assert run.left == run.total - done, f"{story}: outputs and slots differ"
