"""`mesolite logs` of tasks under executors, of calls and of executors, against the real HTTP faces with made-up rows."""

import pytest

from mesolite.executors.python.log_names import task_log_name
from mesolite.views import AgentRow, TaskRow

from .conftest import Run
from .fake_cluster import ENDED, FakeCluster


def test_a_call_that_is_a_task_shows_its_own_log(mesolite: Run, cluster: FakeCluster) -> None:
    """Goal: not that of another life of the executor. Method: a newer one has a log of that name, too."""
    cluster.add_executor_task("1-1", state=ENDED)
    cluster.executor_file("calls/1-1.log", b"of the call\n")
    cluster.executor_file("calls/1-1.log", b"of another life\n", run="container-2")
    cluster.executor_file("stdout", b"of the executor\n")
    result = mesolite("logs", "1-1")
    assert (result.exit_code, result.stdout_bytes, result.stderr) == (0, b"of the call\n", "")


def test_the_log_of_a_task_whose_id_is_no_file_name_is_found(mesolite: Run, cluster: FakeCluster) -> None:
    cluster.add_executor_task("-a b", state=ENDED)
    cluster.executor_file(f"calls/{task_log_name('-a b')}.log", b"found\n")
    assert mesolite("logs", "--", "-a b").stdout_bytes == b"found\n"


def test_a_call_that_printed_nothing_is_no_error_and_is_said(mesolite: Run, cluster: FakeCluster) -> None:
    cluster.add_executor_task("1-1", state=ENDED)
    cluster.add_executor_task("2-1")
    cluster.executor_file("calls/3-1.log", b"x")
    over, runs = mesolite("logs", "1-1"), mesolite("logs", "2-1")
    assert (over.exit_code, over.stdout, runs.exit_code, runs.stdout) == (0, "", 0, "")
    assert "1-1 printed nothing, or its log is no more: an executor keeps the newest 1,000 logs" in over.stderr
    assert "2-1 has printed nothing so far" in runs.stderr
    for said in (over.stderr, runs.stderr):
        assert "`mesolite logs fw/python` shows what its executor wrote" in said
        assert "the newest are 3-1" in said


def test_a_call_has_no_stderr_of_its_own(mesolite: Run, cluster: FakeCluster) -> None:
    cluster.add_executor_task("1-1")
    cluster.executor_file("calls/1-1.log", b"x")
    result = mesolite("logs", "--stderr", "1-1")
    assert result.exit_code == 1
    assert "stdout and stderr are one log" in result.stderr
    assert "`mesolite logs --stderr fw/python`" in result.stderr


def test_a_task_of_an_executor_without_logs_of_tasks_shows_what_the_executor_wrote(
    mesolite: Run, cluster: FakeCluster
) -> None:
    cluster.add_executor_task("t", executor_id="shell", state=ENDED)
    cluster.executor_file("stdout", b"out\n", executor_id="shell")
    cluster.executor_file("stderr", b"err\n", executor_id="shell")
    for arguments, written in [(("logs", "t"), b"out\n"), (("logs", "--stderr", "t"), b"err\n")]:
        result = mesolite(*arguments)
        assert (result.exit_code, result.stdout_bytes) == (0, written)
        assert "this is what the executor itself wrote" in result.stderr


def test_a_collected_sandbox_of_an_executor_is_said_to_be_gone(mesolite: Run, cluster: FakeCluster) -> None:
    cluster.add_executor_task("1-1", state=ENDED)
    for name in ("1-1", "fw/python", "fw/python/1-1"):
        result = mesolite("logs", name)
        assert result.exit_code == 1, name
    assert "sandbox of executor python, under which 1-1 ran, is gone" in mesolite("logs", "1-1").stderr
    assert "was collected" in mesolite("logs", "fw/python").stderr
    assert "no log of a call '1-1'" in mesolite("logs", "fw/python/1-1").stderr


def test_a_task_whose_executor_has_not_begun_can_be_waited_for(mesolite: Run, cluster: FakeCluster) -> None:
    """Method: the executor begins and the call ends when the master has been asked for the task some times."""
    waiting = cluster.add_executor_task("1-1", state="TASK_STAGING", run="latest")
    result = mesolite("logs", "1-1")
    assert (result.exit_code, result.stdout) == (0, "")
    assert "1-1 waits for its executor python" in result.stderr
    looks = iter(range(3))

    def begin() -> None:
        if next(looks, None) is None and waiting in cluster.tasks:
            cluster.executor_file("calls/1-1.log", b"begun and over\n")
            cluster.tasks.clear()
            cluster.add_executor_task("1-1", state=ENDED)

    cluster.on_tasks = begin
    result = mesolite("logs", "-f", "1-1")
    assert (result.exit_code, result.stdout, result.stderr) == (0, "begun and over\n", "")


def test_a_call_that_is_followed_and_prints_nothing_is_said_to(mesolite: Run, cluster: FakeCluster) -> None:
    cluster.add_executor_task("1-1", state=ENDED)
    cluster.executor_file("calls/2-1.log", b"x")
    result = mesolite("logs", "-f", "1-1")
    assert (result.exit_code, result.stdout) == (0, "")
    assert "1-1 printed nothing" in result.stderr


@pytest.mark.parametrize("name", ["fw/python", "named/python", "python"])
def test_an_executor_is_named_with_its_framework_or_alone(mesolite: Run, cluster: FakeCluster, name: str) -> None:
    cluster.add_executor_task("1-1", state=ENDED, framework_name="named")
    cluster.executor_file("stdout", b"of the executor\n")
    cluster.executor_file("stderr", b"its complaints\n")
    assert mesolite("logs", name).stdout_bytes == b"of the executor\n"
    assert mesolite("logs", "--stderr", name).stdout_bytes == b"its complaints\n"


def test_executors_of_one_name_on_two_agents_are_told_apart(mesolite: Run, cluster: FakeCluster) -> None:
    cluster.add_executor_task("1-1")
    cluster.add_executor_task("2-1", agent_id="agent-2")
    cluster.executor_file("stdout", b"of the executor\n")
    result = mesolite("logs", "fw/python")
    assert result.exit_code == 1
    assert "--agent: fw on agent-1, fw on agent-2" in result.stderr
    assert mesolite("logs", "fw/python", "--agent", "agent-2").stdout_bytes == b"of the executor\n"
    assert "was not on agent agent-2, but on agent-1" in mesolite("logs", "1-1", "--agent", "agent-2").stderr


def test_an_executor_whose_tasks_run_counts_before_one_that_is_over(mesolite: Run, cluster: FakeCluster) -> None:
    cluster.add_executor_task("1-1", state=ENDED)
    cluster.add_executor_task("2-1", agent_id="agent-2")
    cluster.executor_file("stdout", b"of the executor\n")
    assert mesolite("logs", "fw/python").stdout_bytes == b"of the executor\n"


def test_a_call_of_a_pool_is_found_by_its_number(mesolite: Run, cluster: FakeCluster) -> None:
    cluster.add_executor_task("worker-1")
    cluster.executor_file("calls/17.log", b"of call 17\n")
    assert mesolite("logs", "fw/python/17").stdout_bytes == b"of call 17\n"
    missing = mesolite("logs", "fw/python/18")
    assert missing.exit_code == 1
    assert "no log of a call '18'" in missing.stderr
    assert "the newest are 17" in missing.stderr
    assert "no executor 'pythn' of fw is known" in mesolite("logs", "fw/pythn/17").stderr


def test_a_name_that_leads_out_of_the_sandbox_leads_nowhere(mesolite: Run, cluster: FakeCluster) -> None:
    cluster.add_executor_task("1-1")
    cluster.executor_file("stdout", b"x")
    cluster.executor_file("calls/1.log", b"x")
    assert mesolite("logs", "fw/python/../stdout").exit_code == 1


def test_an_executor_that_is_followed_goes_on_without_tasks_until_its_agent_says_that_it_is_over(
    mesolite: Run, cluster: FakeCluster
) -> None:
    """Method: its last words are written when its task is over and its agent was asked twice."""
    row = cluster.add_executor_task("1-1", state=ENDED)
    cluster.agents.append(AgentRow(agent_id=row.agent_id, hostname="h", url=cluster.files.url, status="active"))
    cluster.agent_state["executors"] = [{"framework_id": "fw", "executor_id": "python", "phase": "running"}]
    output = cluster.executor_file("stdout", b"first\n")
    looks = iter(range(2))

    def end() -> None:
        if next(looks, None) is None:
            cluster.agent_state.clear()
            output.write_bytes(b"first\nlast\n")

    cluster.on_agents = end
    result = mesolite("logs", "-f", "fw/python")
    assert (result.exit_code, result.stdout) == (0, "first\nlast\n")


def test_an_executor_whose_agent_is_away_is_said_to_be_out_of_reach(mesolite: Run, cluster: FakeCluster) -> None:
    cluster.tasks.append(
        TaskRow(task_id="1-1", framework_id="fw", agent_id="gone-1", state="TASK_UNREACHABLE", executor_id="python")
    )
    for name in ("1-1", "fw/python", "fw/python/1"):
        result = mesolite("logs", name)
        assert result.exit_code == 1
        assert "gone-1" in result.stderr


def test_ps_shows_executors_where_there_are_any(mesolite: Run, cluster: FakeCluster) -> None:
    cluster.add_task("alone")
    assert "EXECUTOR" not in mesolite("ps").output
    cluster.add_executor_task("1-1")
    output = mesolite("ps").output
    assert "EXECUTOR" in output
    assert "python" in output
