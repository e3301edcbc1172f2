"""What every batch journal keeps, in memory and in a file; and what only a file can do."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from mesolite.errors import ConfigError, Unavailable
from mesolite.frameworks import batch
from mesolite.frameworks.batch.lifecycle import TaskPhase
from mesolite.frameworks.batch.records import JobRecord, Kept, TaskRecord
from mesolite.frameworks.batch.spec_codec import decode_spec, encode_spec
from mesolite.ids import AgentId, FrameworkId, OfferId, TaskId
from mesolite.protocol import Offer

F = FrameworkId("f")
RICH = batch.JobSpec(
    job_id="rich",
    name="name",
    count=3,
    retry=batch.RetryPolicy(max_attempts=2, exit_codes=frozenset({3, 1, 2}), reasons=frozenset(batch.Reason)),
    after=["other"],
    task=batch.TaskSpec(
        command=["a", "b"],
        cpus=0.1,
        mem_mib=33,
        disk_mib=1,
        gpus=1,
        image="i",
        env={"b": "1", "a": "2"},
        uris=["http://x/y", batch.Uri("file:///z")],
        volumes=[batch.Volume(host_path="/h", container_path="/c")],
        network=batch.Network.HOST,
        user="1000",
        kill_policy=batch.KillPolicy(5),
        max_time_ms=9,
        role="r",
        constraints=[batch.AttributeEquals("rack", "a1")],
        labels={"k": "v"},
    ),
)


def spec(job_id: str = "j") -> batch.JobSpec:
    return batch.JobSpec(job_id=job_id, task=batch.TaskSpec(command="true"), count=2)


def job(job_id: str = "j", *, cancelled: bool = False, ended: bool = False) -> JobRecord:
    summary = batch.JobSummary(
        job_id=job_id,
        name="batch",
        count=2,
        states={batch.TaskState.FINISHED: 2},
        attempts=2,
        submitted_ms=5,
        finished_ms=9,
    )
    return JobRecord(spec=spec(job_id), submitted_ms=5, cancelled=cancelled, summary=summary if ended else None)


def result(index: int, job_id: str = "j") -> batch.TaskResult:
    return batch.TaskResult(
        job_id=job_id,
        index=index,
        state=batch.TaskState.FINISHED,
        reason=None,
        message="ü",
        exit_code=0,
        task_id=TaskId(f"{job_id}-{index}-1"),
        framework_id=F,
        agent_id=AgentId("a"),
        agent_url="http://a",
        container_id=None,
        attempts=1,
        started_ms=1,
        finished_ms=2,
        peak_mem_bytes=None,
    )


def task(index: int, job_id: str = "j", *, done: bool = False) -> TaskRecord:
    return TaskRecord(
        job_id=job_id,
        index=index,
        phase=TaskPhase.DONE if done else TaskPhase.LAUNCHED,
        attempts=1,
        failures=0,
        losses=0,
        task_id=TaskId(f"{job_id}-{index}-1"),
        agent_id=AgentId("a"),
        agent_url="http://a",
        started_ms=1,
        deadline_ms=None,
        result=result(index, job_id) if done else None,
    )


Reopen = Callable[[], batch.Journal]


@pytest.fixture(params=["memory", "sqlite"])
def reopen(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Reopen]:
    """Give the same journal as a new life of its program finds it."""
    if request.param == "memory":
        kept = batch.MemoryJournal()
        yield lambda: kept
        return
    opened: list[batch.SqliteJournal] = []

    def another() -> batch.Journal:
        for journal in opened:
            journal.close()
        opened[:] = [batch.SqliteJournal(tmp_path / "j")]
        return opened[0]

    yield another
    for journal in opened:
        journal.close()


def test_a_new_journal_remembers_nothing(reopen: Reopen) -> None:
    assert reopen().load() == Kept()


def test_the_framework_is_kept_until_it_ends(reopen: Reopen) -> None:
    reopen().begin(F)
    assert reopen().load().framework_id == F
    reopen().begin(FrameworkId("g"))
    assert reopen().load().framework_id == "g"
    reopen().end()
    assert reopen().load().framework_id is None


def test_what_is_put_replaces_what_was_there(reopen: Reopen) -> None:
    journal = reopen()
    journal.save([job("b"), job("a")], [task(1, "b"), task(0, "a")])
    journal.save([job("b", cancelled=True)], [task(1, "b", done=True)])
    kept = reopen().load()
    assert kept.jobs == (job("b", cancelled=True), job("a")), "in the order of submission"
    assert sorted(kept.tasks, key=lambda each: each.job_id) == [task(0, "a"), task(1, "b", done=True)]
    assert kept.results == (result(1, "b"),)


def test_a_result_comes_until_the_program_is_done_with_it(reopen: Reopen) -> None:
    journal = reopen()
    journal.save([job()], [task(0, done=True), task(1, done=True)])
    journal.handed(result(0))
    kept = reopen().load()
    assert kept.results == (result(1),)
    assert len(kept.tasks) == 2, "a task that has its result must not be launched again"


def test_of_an_ended_job_only_its_summary_stays_once_all_its_results_were_handed_over(reopen: Reopen) -> None:
    journal = reopen()
    journal.save([job(ended=True), job("other")], [task(0, done=True), task(1, done=True), task(0, "other", done=True)])
    journal.handed(result(1))
    assert len(reopen().load().tasks) == 3
    reopen().handed(result(0))
    kept = reopen().load()
    assert kept.tasks == (task(0, "other", done=True),)
    assert kept.jobs == (job(ended=True), job("other"))


def test_a_description_survives_as_it_was() -> None:
    again = decode_spec(encode_spec(RICH))
    assert encode_spec(again) == encode_spec(RICH)
    assert (again.task.template("x"), again.task.shape) == (RICH.task.template("x"), RICH.task.shape)
    assert (again.retry, again.count, list(again.after), list(again.task.constraints)) == (
        RICH.retry,
        3,
        ["other"],
        [batch.AttributeEquals("rack", "a1")],
    )
    assert encode_spec(spec()) != encode_spec(RICH)


def test_a_constraint_of_the_programs_own_cannot_be_kept() -> None:
    class Own:
        def admits(self, offer: Offer) -> bool:
            return offer.offer_id == OfferId("o")

    with pytest.raises(ConfigError, match="only AttributeEquals"):
        encode_spec(batch.JobSpec(job_id="j", task=batch.TaskSpec(command="true", constraints=[Own()])))


# -- a file


def test_one_program_uses_a_file(tmp_path: Path) -> None:
    first = batch.SqliteJournal(tmp_path / "j")
    with pytest.raises(ConfigError, match="another program"):
        batch.SqliteJournal(tmp_path / "j")
    first.close()
    batch.SqliteJournal(tmp_path / "j").close()


def test_a_file_that_is_no_journal_is_left_alone(tmp_path: Path) -> None:
    path, content = tmp_path / "j", b"something else" * 1000
    path.write_bytes(content)
    with pytest.raises(ConfigError, match="not a journal"):
        batch.SqliteJournal(path)
    assert path.read_bytes() == content


def test_a_place_where_nothing_can_be_made_is_said(tmp_path: Path) -> None:
    with pytest.raises(Unavailable, match="cannot be opened"):
        batch.SqliteJournal(tmp_path / "missing" / "j")
