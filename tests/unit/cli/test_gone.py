"""`mesolite gone`: what cannot be taken back is asked for twice."""

from mesolite.views import AgentRow

from .conftest import Run
from .fake_cluster import FakeCluster


def lost(agent_id: str) -> AgentRow:
    return AgentRow(agent_id=agent_id, hostname=agent_id, status="unreachable", total={}, used={}, offered={}, tasks=1)


def test_agents_are_given_up_by_name(mesolite: Run, cluster: FakeCluster) -> None:
    cluster.agents = [lost("a"), lost("b")]
    result = mesolite("gone", "--yes", "a", "b")
    assert result.exit_code == 0
    assert cluster.gone == ["a", "b"]


def test_nobody_is_given_up_without_a_yes(mesolite: Run, cluster: FakeCluster) -> None:
    cluster.agents = [lost("a")]
    result = mesolite("gone", "a")
    assert result.exit_code != 0
    assert "Give up a for good?" in result.output
    assert cluster.gone == []


def test_an_agent_that_nobody_knows_is_an_error(mesolite: Run, cluster: FakeCluster) -> None:
    result = mesolite("gone", "--yes", "a")
    assert result.exit_code != 0
    assert "no such agent" in result.output
    assert cluster.gone == []
