"""Jobs: launched as offers come, one result per task, whatever becomes of its attempts."""

import pytest

from mesolite.frameworks.batch.effects import LaunchTasks, Refused
from mesolite.frameworks.batch.retry import RetryPolicy
from mesolite.frameworks.batch.settings import REFUSE_MS
from mesolite.frameworks.batch.task import TaskSpec
from mesolite.frameworks.driver.placement import AttributeEquals
from mesolite.frameworks.driver.scheduling import DeclineOffers, ReviveOffers, StateDemand, TooLarge
from mesolite.ids import AgentId, ContainerId, OfferId, TaskId
from mesolite.protocol import (
    CommandInfo,
    ContainerInfo,
    ContainerStatus,
    Demand,
    KillPolicy,
    Reason,
    Source,
    TaskState,
    TaskStatus,
    Uri,
)
from mesolite.resources import scalars
from tests.unit.batch.workbench import FRAMEWORK_ID, Bench, job, killed, launched, names, offer, status

SHAPE = scalars(cpus=1, mem_mib=64).to_wire()
FAILURES_THRICE = RetryPolicy(max_attempts=3, backoff_ms=1000)


def of_type(effects: list[object], kind: type) -> list[object]:
    return [effect for effect in effects if isinstance(effect, kind)]


# Launching


def test_a_job_states_its_demand_and_is_launched_when_offers_come() -> None:
    bench = Bench()
    assert bench.submit(job(count=6)) == [StateDemand(demands=(Demand(role="*", shape=SHAPE, count=6),))]
    effects = bench.offer(offer("offer-1"))
    assert names(effects) == ["job-1-0-1", "job-1-1-1", "job-1-2-1", "job-1-3-1"]
    assert StateDemand(demands=(Demand(role="*", shape=SHAPE, count=2),)) in effects
    effects = bench.offer(offer("offer-2"))
    assert names(effects) == ["job-1-4-1", "job-1-5-1"]
    assert effects[-1] == StateDemand(demands=())


def test_the_first_word_is_a_demand_even_for_nothing() -> None:
    """Without a demand a framework is offered everything."""
    bench = Bench()
    assert bench.tick() == [StateDemand(demands=())]
    assert bench.tick() == []


def test_a_task_carries_what_its_spec_says() -> None:
    spec = TaskSpec(
        command=["python", "-c", "print(1)"],
        cpus=0.5,
        mem_mib=32,
        image="python:3.12",
        env={"COLOUR": "red", "MESOLITE_INDEX": "nonsense"},
        uris=["http://example/a.tgz"],
        user="nobody",
        kill_policy=KillPolicy(100),
        max_time_ms=60_000,
        labels={"team": "ads"},
    )
    bench = Bench()
    bench.submit(job(count=2, task=spec))
    task = launched(bench.offer(offer("offer-1")))[1]
    assert task.agent_id == "agent-1"
    assert task.command == CommandInfo(
        value="python",
        shell=False,
        arguments=("python", "-c", "print(1)"),
        environment={
            "COLOUR": "red",
            "MESOLITE_JOB": "job-1",
            "MESOLITE_INDEX": "1",
            "MESOLITE_COUNT": "2",
            "MESOLITE_ATTEMPT": "1",
        },
        uris=(Uri("http://example/a.tgz"),),
        user="nobody",
    )
    assert task.container == ContainerInfo(image="python:3.12")
    assert (task.max_completion_time_ms, task.kill_policy, task.labels) == (60_000, KillPolicy(100), {"team": "ads"})
    assert {(each.name, each.scalar, each.allocation_role) for each in task.resources} == {
        ("cpus", 500, "*"),
        ("mem", 32_000, "*"),
    }


def test_a_command_of_text_is_for_the_shell() -> None:
    bench = Bench()
    bench.submit(job(task=TaskSpec(command="echo $HOME | wc")))
    [task] = launched(bench.offer(offer("offer-1")))
    assert task.command is not None
    assert (task.command.shell, task.command.value, task.command.arguments) == (True, "echo $HOME | wc", ())
    assert task.container is None


def test_jobs_share_offers_in_the_order_in_which_they_came() -> None:
    bench = Bench()
    bench.submit(job("first", 3))
    bench.submit(job("second", 3))
    assert names(bench.offer(offer("offer-1"))) == ["first-0-1", "first-1-1", "first-2-1", "second-0-1"]


def test_offers_that_fit_nothing_wanted_are_refused_for_a_while() -> None:
    bench = Bench()
    bench.submit(job())
    effects = bench.offer(offer("small", "cpus:0.1;mem:4096"))
    assert effects == [DeclineOffers(offer_ids=(OfferId("small"),), refuse_ms=REFUSE_MS)]


def test_offers_when_nothing_is_wanted_go_back_without_being_refused() -> None:
    bench = Bench()
    bench.tick()
    assert bench.offer(offer("idle")) == [DeclineOffers(offer_ids=(OfferId("idle"),), refuse_ms=0)]


def test_a_new_job_asks_again_for_what_was_refused() -> None:
    bench = Bench()
    bench.submit(job("first"))
    bench.offer(offer("small", "cpus:0.1;mem:4096"))
    assert ReviveOffers() in bench.submit(job("second", task=TaskSpec(command="true", cpus=0.1, mem_mib=1)))
    assert ReviveOffers() not in bench.submit(job("third"))


def test_constraints_are_kept() -> None:
    bench = Bench()
    only = TaskSpec(command="true", cpus=1, constraints=(AttributeEquals("hostname", "agent-2"),))
    bench.submit(job(task=only))
    assert names(bench.offer(offer("offer-1"))) == []
    assert names(bench.offer(offer("offer-2", agent="agent-2"))) == ["job-1-0-1"]


def test_the_offers_of_one_agent_are_accepted_together() -> None:
    bench = Bench()
    bench.submit(job(count=8))
    effects = bench.offer(offer("offer-1"), offer("offer-2"))
    [launch] = of_type([*effects], LaunchTasks)
    assert isinstance(launch, LaunchTasks)
    assert launch.offer_ids == ("offer-1", "offer-2")
    assert len(launch.tasks) == 8


# Results


def test_a_task_that_finishes_has_its_result_and_ends_the_job() -> None:
    bench = Bench()
    bench.submit(job())
    bench.offer(offer("offer-1"))
    bench.hear(status("job-1-0-1", TaskState.STARTING), status("job-1-0-1", TaskState.RUNNING, timestamp_ms=70))
    bench.hear(
        TaskStatus(
            task_id=TaskId("job-1-0-1"),
            state=TaskState.FINISHED,
            source=Source.EXECUTOR,
            timestamp_ms=90,
            agent_id=AgentId("agent-1"),
            container_status=ContainerStatus(ContainerId("container-1"), exit_code=0, peak_mem_bytes=4096),
        )
    )
    [result] = bench.results
    assert result.succeeded
    assert (result.index, result.exit_code, result.attempts, result.peak_mem_bytes) == (0, 0, 1, 4096)
    assert (result.started_ms, result.finished_ms) == (70, 90)
    assert (result.agent_id, result.container_id) == ("agent-1", "container-1")
    assert result.sandbox_url == f"http://agent-1:5051/files/browse?path=/{FRAMEWORK_ID}/job-1-0-1/latest"
    assert result.stdout_url == f"http://agent-1:5051/files/download?path=/{FRAMEWORK_ID}/job-1-0-1/latest/stdout"
    [summary] = bench.summaries
    assert summary.succeeded
    assert (summary.count, summary.attempts, summary.states) == (1, 1, {TaskState.FINISHED: 1})
    assert bench.core.unfinished_jobs == ()


def test_a_job_ends_with_its_last_task() -> None:
    bench = Bench().running(job(count=3))
    bench.hear(status("job-1-0-1", TaskState.FINISHED), status("job-1-2-1", TaskState.FAILED, exit_code=7))
    assert bench.summaries == []
    bench.hear(status("job-1-1-1", TaskState.FINISHED))
    assert [result.index for result in bench.results] == [0, 2, 1]
    assert bench.summaries[0].states == {TaskState.FINISHED: 2, TaskState.FAILED: 1}
    assert not bench.summaries[0].succeeded


@pytest.mark.parametrize("state", [TaskState.FAILED, TaskState.ERROR, TaskState.KILLED])
def test_by_default_what_the_task_did_itself_is_final(state: TaskState) -> None:
    bench = Bench().running(job())
    bench.hear(status("job-1-0-1", state, reason=Reason.TASK_INVALID))
    [result] = bench.results
    assert (result.state, result.reason, result.message) == (state, Reason.TASK_INVALID, f"it is {state.name}")


def test_the_same_end_heard_twice_gives_one_result() -> None:
    bench = Bench().running(job(count=2))
    for _ in range(2):
        bench.hear(status("job-1-0-1", TaskState.FINISHED))
    bench.hear(status("job-1-0-1", TaskState.FAILED))
    assert [(result.index, result.state) for result in bench.results] == [(0, TaskState.FINISHED)]


# Trying again


@pytest.mark.parametrize("state", [TaskState.DROPPED, TaskState.GONE, TaskState.GONE_BY_OPERATOR, TaskState.UNKNOWN])
def test_a_lost_task_is_launched_again_under_a_new_id_at_once(state: TaskState) -> None:
    bench = Bench().running(job())
    bench.hear(status("job-1-0-1", state))
    assert bench.results == []
    effects = bench.offer()
    assert names(effects) == ["job-1-0-2"]
    environment = launched(effects)[0].command
    assert environment is not None
    assert environment.environment["MESOLITE_ATTEMPT"] == "2"


def test_a_task_lost_too_often_ends_as_what_it_was_lost_as() -> None:
    bench = Bench().running(job(retry=RetryPolicy(max_losses=2, backoff_ms=1000)))
    bench.hear(status("job-1-0-1", TaskState.DROPPED))
    bench.offer()
    bench.hear(status("job-1-0-2", TaskState.DROPPED))
    assert names(bench.offer()) == []
    bench.tick(1000)
    assert names(bench.offer()) == ["job-1-0-3"]
    bench.hear(status("job-1-0-3", TaskState.GONE))
    assert [(result.state, result.attempts) for result in bench.results] == [(TaskState.GONE, 3)]


def test_a_failed_task_is_tried_as_often_as_the_policy_says_with_growing_pauses() -> None:
    bench = Bench().running(job(retry=FAILURES_THRICE))
    bench.hear(status("job-1-0-1", TaskState.FAILED, exit_code=1))
    assert bench.core.next_deadline_ms() == bench.now_ms + 1000
    bench.tick(999)
    assert names(bench.offer()) == []
    bench.tick(1)
    assert names(bench.offer()) == ["job-1-0-2"]
    bench.hear(status("job-1-0-2", TaskState.FAILED, exit_code=1))
    assert bench.core.next_deadline_ms() == bench.now_ms + 2000
    bench.tick(2000)
    bench.offer()
    bench.hear(status("job-1-0-3", TaskState.FAILED, exit_code=3))
    assert [(result.state, result.exit_code, result.attempts) for result in bench.results] == [(TaskState.FAILED, 3, 3)]


def test_words_about_a_struck_out_attempt_change_nothing() -> None:
    bench = Bench().running(job(retry=FAILURES_THRICE))
    bench.hear(status("job-1-0-1", TaskState.FAILED))
    bench.hear(status("job-1-0-1", TaskState.FINISHED))
    assert bench.results == []
    assert bench.core.unfinished_jobs == ("job-1",)


def test_an_attempt_that_lives_although_it_was_given_up_is_killed() -> None:
    bench = Bench().running(job())
    bench.hear(status("job-1-0-1", TaskState.UNKNOWN))
    assert killed(bench.hear(status("job-1-0-1", TaskState.RUNNING))) == ["job-1-0-1"]
    assert killed(bench.hear(status("somebody-elses", TaskState.FINISHED))) == []


def test_an_unreachable_task_is_waited_for_and_may_come_back() -> None:
    bench = Bench().running(job(retry=RetryPolicy(unreachable_ms=60_000)))
    bench.hear(status("job-1-0-1", TaskState.RUNNING, timestamp_ms=5))
    bench.hear(status("job-1-0-1", TaskState.UNREACHABLE))
    assert bench.core.next_deadline_ms() == bench.now_ms + 60_000
    bench.tick(59_999)
    bench.hear(status("job-1-0-1", TaskState.RUNNING))
    assert bench.core.next_deadline_ms() is None
    bench.tick(60_000)
    bench.hear(status("job-1-0-1", TaskState.FINISHED))
    assert [(result.state, result.attempts, result.started_ms) for result in bench.results] == [
        (TaskState.FINISHED, 1, 5)
    ]


def test_an_unreachable_task_that_stays_away_is_tried_elsewhere_and_killed_when_it_returns() -> None:
    bench = Bench().running(job(retry=RetryPolicy(unreachable_ms=60_000)))
    bench.hear(status("job-1-0-1", TaskState.UNREACHABLE))
    bench.tick(60_000)
    assert names(bench.offer()) == ["job-1-0-2"]
    assert killed(bench.hear(status("job-1-0-1", TaskState.RUNNING))) == ["job-1-0-1"]
    bench.hear(status("job-1-0-1", TaskState.KILLED), status("job-1-0-2", TaskState.FINISHED))
    assert [(result.state, result.task_id) for result in bench.results] == [(TaskState.FINISHED, "job-1-0-2")]


# Killing


def test_killing_a_job_kills_what_runs_and_drops_what_waits() -> None:
    bench = Bench()
    bench.submit(job(count=3, retry=FAILURES_THRICE))
    bench.offer(offer("offer-1", "cpus:2;mem:4096"))
    bench.hear(status("job-1-1-1", TaskState.FAILED))
    effects = bench.cancel()
    assert killed(effects) == ["job-1-0-1"]
    assert [(result.index, result.state) for result in bench.results] == [
        (1, TaskState.KILLED),
        (2, TaskState.KILLED),
    ]
    assert effects[-1] == StateDemand(demands=())
    bench.hear(status("job-1-0-1", TaskState.KILLED))
    assert len(bench.summaries) == 1
    assert bench.core.next_deadline_ms() is None


@pytest.mark.parametrize("state", [TaskState.FAILED, TaskState.DROPPED, TaskState.GONE])
def test_nothing_of_a_killed_job_is_tried_again(state: TaskState) -> None:
    bench = Bench().running(job(retry=FAILURES_THRICE))
    bench.cancel()
    bench.hear(status("job-1-0-1", state))
    assert [result.state for result in bench.results] == [state]


def test_a_killed_task_out_of_sight_is_waited_for_and_then_given_up() -> None:
    bench = Bench().running(job(retry=RetryPolicy(unreachable_ms=1000)))
    bench.hear(status("job-1-0-1", TaskState.UNREACHABLE))
    assert killed(bench.cancel()) == ["job-1-0-1"]
    bench.tick(1000)
    assert [result.state for result in bench.results] == [TaskState.UNREACHABLE]


def test_killing_twice_or_what_is_unknown_does_nothing() -> None:
    bench = Bench().running(job())
    bench.cancel()
    assert bench.cancel() == []
    assert bench.cancel("never") == []


# What cannot be


def test_a_task_larger_than_any_agent_fails_at_once_and_is_told_by_how_much() -> None:
    bench = Bench()
    bench.submit(job(count=2, task=TaskSpec(command="true", cpus=64, mem_mib=64)))
    bench.submit(job("small"))
    demand = Demand(role="*", shape=scalars(cpus=64, mem_mib=64).to_wire(), count=2)
    largest = scalars(cpus=8, mem_mib=16_384).to_wire()
    bench.collect(bench.core.apply(TooLarge(now_ms=bench.now_ms, demand=demand, largest=largest)))
    assert [result.state for result in bench.results] == [TaskState.ERROR, TaskState.ERROR]
    assert bench.results[0].message == (
        "no agent is large enough: a task asks for cpus:64;mem:64, and the largest agent has cpus:8;mem:16384 in all"
    )
    assert bench.results[0].attempts == 0
    assert bench.results[0].sandbox_url is None
    assert bench.core.unfinished_jobs == ("small",)


def test_a_job_id_is_used_once() -> None:
    bench = Bench().running(job())
    assert bench.submit(job()) == [Refused(job_id="job-1", reason="the job id was used before")]
    bench.hear(status("job-1-0-1", TaskState.FINISHED))
    assert isinstance(bench.submit(job())[0], Refused)


# One after the other


def test_a_job_waits_until_those_before_it_have_succeeded() -> None:
    bench = Bench()
    bench.submit(job("first"))
    bench.submit(job("second"))
    bench.submit(job("third", after=["first", "second"]))
    assert names(bench.offer()) == ["first-0-1", "second-0-1"]
    bench.hear(status("first-0-1", TaskState.FINISHED))
    assert names(bench.offer()) == []
    bench.hear(status("second-0-1", TaskState.FINISHED))
    assert names(bench.offer()) == ["third-0-1"]


def test_a_job_whose_predecessor_fails_never_starts_nor_do_its_successors() -> None:
    bench = Bench().running(job("first"))
    bench.submit(job("second", after=["first"]))
    bench.submit(job("third", after=["second"]))
    bench.hear(status("first-0-1", TaskState.FAILED))
    assert [(result.job_id, result.state, result.message) for result in bench.results[1:]] == [
        ("second", TaskState.KILLED, "job first did not succeed"),
        ("third", TaskState.KILLED, "job second did not succeed"),
    ]
    bench.submit(job("fourth", after=["third"]))
    assert bench.results[-1].message == "job third did not succeed"
    assert bench.core.unfinished_jobs == ()


def test_a_job_after_one_that_has_succeeded_already_starts_at_once() -> None:
    bench = Bench().running(job("first"))
    bench.hear(status("first-0-1", TaskState.FINISHED))
    bench.submit(job("second", after=["first"]))
    assert names(bench.offer()) == ["second-0-1"]


def test_a_blocked_job_can_be_killed() -> None:
    bench = Bench().running(job("first"))
    bench.submit(job("second", after=["first"]))
    bench.cancel("second")
    assert [result.state for result in bench.results] == [TaskState.KILLED]
    bench.hear(status("first-0-1", TaskState.FINISHED))
    assert names(bench.offer()) == []


def test_a_job_cannot_wait_for_one_that_nobody_knows() -> None:
    bench = Bench()
    assert bench.submit(job(after=["never"]))[0] == Refused(
        job_id="job-1", reason="it waits for unknown jobs: ['never']"
    )
