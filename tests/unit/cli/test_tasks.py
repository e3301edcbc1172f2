"""`mesolite ps | logs | kill`, against the real HTTP faces with made-up rows."""

import pytest

from mesolite.views import AgentRow, TaskRow

from .conftest import Run
from .fake_cluster import ENDED, FakeCluster


def test_ps_shows_running_tasks_and_with_a_all(mesolite: Run, cluster: FakeCluster) -> None:
    cluster.add_task("runs", command="sleep 100")
    cluster.add_task("over", state=ENDED)
    assert "over" not in mesolite("ps").output
    output = mesolite("ps", "-a").output
    assert "runs" in output
    assert "over" in output
    assert "sleep 100" in output


def test_ps_says_why_a_task_failed(mesolite: Run, cluster: FakeCluster) -> None:
    cluster.tasks.append(
        TaskRow(
            task_id="t",
            framework_id="fw",
            agent_id="a",
            state="TASK_FAILED",
            exit_code=137,
            reason="REASON_CONTAINER_LIMITATION_MEMORY",
            message="used more than 64 MiB",
        )
    )
    assert "exit 137: container limitation memory: used more than 64 MiB" in mesolite("ps", "-a").output


def test_logs_are_byte_for_byte(mesolite: Run, cluster: FakeCluster) -> None:
    """Goal: no decoding on the way, and no limit of one read. Method: bytes that are no text, more than two reads."""
    written = bytes(range(256)) * 700
    cluster.add_task("t", state=ENDED, stdout=written)
    result = mesolite("logs", "t")
    assert result.exit_code == 0
    assert result.stdout_bytes == written


def test_logs_that_are_followed_end_with_the_task(mesolite: Run, cluster: FakeCluster) -> None:
    cluster.add_task("t", state=ENDED, stdout=b"all of it\n")
    result = mesolite("logs", "-f", "t")
    assert (result.exit_code, result.stdout_bytes) == (0, b"all of it\n")


def test_a_task_that_a_new_master_does_not_know_yet_is_waited_for(mesolite: Run, cluster: FakeCluster) -> None:
    """Goal: a change of master is no end of a task. Method: the master learns of the task when it is asked for its agents."""
    row = cluster.add_task("t", state=ENDED, stdout=b"all of it\n")
    cluster.tasks.clear()
    cluster.agents.append(AgentRow(agent_id=row.agent_id, hostname="h", status="recovering"))
    cluster.on_agents = lambda: cluster.tasks.append(row)
    result = mesolite("logs", "-f", "t")
    assert (result.exit_code, result.stdout_bytes) == (0, b"all of it\n")


def test_a_task_that_a_new_master_forgot_for_a_while_is_followed_on(mesolite: Run, cluster: FakeCluster) -> None:
    """Method: the task is not listed when the follower looks for its end, until the agents were asked for, twice."""
    row = cluster.add_task("t", stdout=b"first\n")
    cluster.agents.append(AgentRow(agent_id=row.agent_id, hostname="h", status="recovering"))
    output = cluster.work_dir / "sandboxes" / "fw" / "t" / "container-1" / "stdout"
    looks = iter([1, 2])

    def agent_returns() -> None:
        if next(looks, None) is None:
            cluster.agents.clear()
            output.write_bytes(b"first\nlast\n")

    cluster.on_agents = agent_returns
    cluster.on_tasks = cluster.tasks.clear
    result = mesolite("logs", "-f", "t")
    assert (result.exit_code, result.stdout_bytes) == (0, b"first\nlast\n")


def test_logs_of_a_collected_sandbox_say_so(mesolite: Run, cluster: FakeCluster) -> None:
    cluster.add_task("t", state=ENDED)
    result = mesolite("logs", "t")
    assert result.exit_code == 1
    assert "was collected" in result.output


def test_logs_of_a_task_whose_agent_is_away_say_so(mesolite: Run, cluster: FakeCluster) -> None:
    cluster.tasks.append(TaskRow(task_id="t", framework_id="fw", agent_id="gone-1", state="TASK_UNREACHABLE"))
    result = mesolite("logs", "t")
    assert result.exit_code == 1
    assert "gone-1" in result.output


def test_an_unknown_task_is_answered_with_near_ones(mesolite: Run, cluster: FakeCluster) -> None:
    cluster.add_task("render-17")
    result = mesolite("kill", "rendr-17")
    assert result.exit_code == 1
    assert "did you mean render-17?" in result.output
    assert cluster.killed == []


def test_a_task_is_killed_by_its_id(mesolite: Run, cluster: FakeCluster) -> None:
    cluster.add_task("t", framework_id="fw-7")
    result = mesolite("kill", "t")
    assert result.exit_code == 0
    assert cluster.killed == [("fw-7", "t")]


def test_a_task_that_ended_is_not_killed_again(mesolite: Run, cluster: FakeCluster) -> None:
    cluster.add_task("t", state=ENDED)
    result = mesolite("kill", "--wait", "t")
    assert result.exit_code == 0
    assert "has ended already" in result.output
    assert cluster.killed == []


@pytest.mark.parametrize(("given", "killed"), [("t", []), ("b/t", [("b", "t")])])
def test_an_id_that_two_frameworks_use_must_be_told_apart(
    mesolite: Run, cluster: FakeCluster, given: str, killed: list[tuple[str, str]]
) -> None:
    cluster.add_task("t", framework_id="a")
    cluster.add_task("t", framework_id="b")
    result = mesolite("kill", given)
    assert cluster.killed == killed
    assert ("say which: a/t, b/t" in result.output) == (not killed)
