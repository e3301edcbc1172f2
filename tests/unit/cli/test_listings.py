"""The listings: tables for people, JSON for programs, and a sentence where there is nothing."""

import json

import pytest

from mesolite.views import AgentRow, DeadLetterRow, FrameworkRow, OfferRow

from .conftest import Run
from .fake_cluster import FakeCluster

AGENT = AgentRow(
    agent_id="agent-1",
    hostname="host-a",
    status="active",
    total={"cpus": 4, "mem": 1024, "ports": "[31000-32000]"},
    used={"cpus": 0.5, "mem": 64},
    offered={"cpus": 1, "mem": 100},
    tasks=3,
    containerizer="docker 20.10",
)


def test_agents_show_what_is_neither_used_nor_offered(mesolite: Run, cluster: FakeCluster) -> None:
    cluster.agents = [AGENT]
    result = mesolite("agents")
    assert result.exit_code == 0
    assert "2.5 of 4" in result.output
    assert "860 of 1024" in result.output
    assert "docker 20.10" in result.output


def test_agents_as_json_are_the_rows_themselves(mesolite: Run, cluster: FakeCluster) -> None:
    cluster.agents = [AGENT]
    rows = json.loads(mesolite("agents", "--json").output)
    assert rows[0]["agent_id"] == "agent-1"
    assert rows[0]["total"] == {"cpus": 4, "mem": 1024, "ports": "[31000-32000]"}


@pytest.mark.parametrize(
    ("command", "hint"),
    [
        ("ps", "ps -a"),
        ("agents", "mesolite up"),
        ("offers", "no outstanding offers"),
        ("frameworks", "mesolite run"),
        ("dead-letters", "every message was understood"),
    ],
)
def test_an_empty_listing_says_so(mesolite: Run, command: str, hint: str) -> None:
    result = mesolite(command)
    assert result.exit_code == 0
    assert hint in result.output
    assert json.loads(mesolite(command, "--json").output) == []


def test_offers_name_their_holder_and_how_long_it_holds_them(mesolite: Run, cluster: FakeCluster) -> None:
    cluster.offers = [
        OfferRow(
            offer_id="o-1",
            framework_id="fw-1",
            framework_name="spark",
            agent_id="agent-1",
            resources={"cpus": 1, "mem": 64},
            age_ms=12_300,
        )
    ]
    output = mesolite("offers").output
    assert "spark" in output
    assert "cpus:1;mem:64" in output
    assert "12.3s" in output


def test_frameworks_show_what_they_use_and_want(mesolite: Run, cluster: FakeCluster) -> None:
    cluster.frameworks = [
        FrameworkRow(
            framework_id="fw-1",
            name="batch",
            status="connected",
            roles=("web",),
            used={"cpus": 1.5},
            tasks={"TASK_RUNNING": 3},
            demand=("2 x cpus:1;mem:64",),
        )
    ]
    output = mesolite("frameworks").output
    assert "connected" in output
    assert "running:3" in output
    assert "2 x cpus:1;mem:64" in output


def test_dead_letters_say_why_they_were_refused(mesolite: Run, cluster: FakeCluster) -> None:
    cluster.dead_letters = [DeadLetterRow(entry_id="1-0", reason="not a message", excerpt="\\x00[red]bytes")]
    output = mesolite("dead-letters").output
    assert "not a message" in output
    assert "[red]bytes" in output, "what a stranger sent is shown as it is, not as markup"


def test_explain_takes_a_name_as_well_as_an_id(mesolite: Run, cluster: FakeCluster) -> None:
    cluster.frameworks = [FrameworkRow(framework_id="fw-1", name="web-shop", status="connected")]
    result = mesolite("explain", "web-shop")
    assert result.exit_code == 0
    assert "its role is at its quota" in result.output
    assert "quota of role web reached" in result.output


def test_explain_of_an_unknown_framework_names_a_near_one(mesolite: Run, cluster: FakeCluster) -> None:
    cluster.frameworks = [FrameworkRow(framework_id="fw-1", name="web-shop", status="connected")]
    result = mesolite("explain", "webshop")
    assert result.exit_code == 1
    assert "did you mean web-shop?" in result.output


def test_listings_of_many_rows_are_fetched_page_by_page(mesolite: Run, cluster: FakeCluster) -> None:
    """Goal: nothing is lost beyond the first page. Method: more rows than one page holds."""
    for number in range(2_345):
        cluster.add_task(f"t-{number}")
    rows = json.loads(mesolite("ps", "--json").output)
    assert [row["task_id"] for row in rows] == [f"t-{number}" for number in range(2_345)]


def test_tables_carry_no_colours_into_a_pipe(mesolite: Run, cluster: FakeCluster) -> None:
    cluster.add_task("t-1")
    assert "\x1b" not in mesolite("ps").output
