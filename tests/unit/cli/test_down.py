"""Before agents are stopped everything on them is: what does not end is said, and what ended meanwhile is not."""

from mesolite.cli.cluster import end_frameworks
from mesolite.operator import OperatorClient
from mesolite.views import AgentRow, FrameworkRow

from .fake_cluster import FakeCluster

PATIENCE_S = 20.0


def agent(*, tasks: int = 0, executors: int = 0) -> AgentRow:
    return AgentRow(agent_id="agent-1", hostname="here", status="active", tasks=tasks, executors=executors)


def test_an_executor_that_is_ending_is_waited_for_also_where_its_framework_is_over(cluster: FakeCluster) -> None:
    cluster.agents = [agent(executors=1)]
    looks = [agent(executors=1), agent()]

    def go_on() -> None:
        if looks:
            cluster.agents = [looks.pop(0)]

    cluster.on_agents = go_on
    assert end_frameworks(OperatorClient(cluster.master.url), within_s=PATIENCE_S) == []
    assert looks == []


def test_frameworks_are_torn_down_and_what_does_not_end_is_said(cluster: FakeCluster) -> None:
    cluster.frameworks = [FrameworkRow(framework_id="fw", name="pool", status="connected")]
    cluster.agents = [agent(tasks=2, executors=1)]
    [left] = end_frameworks(OperatorClient(cluster.master.url), within_s=0)
    assert cluster.torn_down == ["fw"]
    assert left.startswith("agent-1, which is active, still has tasks (2) or executors (1)")
