"""Names in Redis: one cluster's never look like another's."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mesolite.errors import ConfigError
from mesolite.ids import AgentId, FrameworkId, id_error
from mesolite.transport import open_bus, open_store, shown
from mesolite.transport.keys import agent_queue, calls_stream, escape_glob, framework_stream, key_prefix, reports_stream

clusters = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", fullmatch=True)
ids = st.text(st.characters(codec="utf-8"), min_size=1, max_size=40).filter(lambda text: id_error(text) is None)


@pytest.mark.parametrize("name", ["a", "default", "team-1.eu_west", "9", "x" * 64])
def test_a_cluster_name_stands_in_the_prefix_as_a_hash_tag(name: str) -> None:
    assert key_prefix(name) == "mesolite:{" + name + "}:"


@pytest.mark.parametrize("name", ["", "-a", ".a", "a b", "a:b", "{a}", "a*", "ä", "a\n", "x" * 65])
def test_a_name_that_would_break_keys_is_refused_with_what_is_allowed(name: str) -> None:
    with pytest.raises(ConfigError, match="letters, digits, dots, dashes or underscores"):
        key_prefix(name)


def test_streams_have_the_names_of_the_design() -> None:
    assert calls_stream() == "calls:default"
    assert reports_stream("team") == "reports:team"
    assert framework_stream(FrameworkId("f-1")) == "framework:f-1"
    assert agent_queue(AgentId("a-1")) == "mesolite.agent.a-1"


@given(clusters, ids, clusters, ids)
def test_two_agents_never_share_a_queue(cluster: str, agent: str, other_cluster: str, other_agent: str) -> None:
    same = agent_queue(AgentId(agent), cluster) == agent_queue(AgentId(other_agent), other_cluster)
    assert same == ((cluster, agent) == (other_cluster, other_agent))


@given(clusters, clusters)
def test_no_clusters_keys_begin_with_anothers_prefix(cluster: str, other: str) -> None:
    assert key_prefix(cluster).startswith(key_prefix(other)) == (cluster == other)


@pytest.mark.parametrize(
    ("text", "pattern"),
    [
        ("mesolite:{a}:calls:x", "mesolite:{a}:calls:x"),
        ("a*b?c", r"a\*b\?c"),
        ("[a-c]", r"\[a-c]"),
        ("back\\slash", r"back\\slash"),
    ],
)
def test_what_means_something_in_a_pattern_is_escaped(text: str, pattern: str) -> None:
    assert escape_glob(text) == pattern


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("redis://user:secret@host:6379/0", "redis://host:6379/0"),
        ("rediss://:secret@[::1]:6379/1?ssl_keyfile=x", "rediss://[::1]:6379/1"),
        ("unix://:secret@/run/redis.sock?db=2", "unix:///run/redis.sock"),
        ("redis://:pa@ss@host/0", "redis://host/0"),
        ("memory://", "memory://"),
        ("secret", "?"),
        ("redis://[secret", "?"),
    ],
)
def test_an_address_is_shown_without_its_password(url: str, expected: str) -> None:
    assert shown(url) == expected


@pytest.mark.parametrize(
    "url", ["", "secret", "localhost:6379", "http://:secret@host", "amqp://:secret@host", "redis:"]
)
def test_an_address_of_something_else_is_refused_and_keeps_its_secret(url: str) -> None:
    for open_it in (open_store, open_bus):
        with pytest.raises(ConfigError, match="redis://HOST:PORT/DB") as refused:
            open_it(url, "default")
        assert "secret" not in str(refused.value)


@pytest.mark.parametrize("url", ["redis://:secret@host:port/0", "redis://:secret@host:99999/0"])
def test_an_address_that_cannot_be_read_is_refused_and_keeps_its_secret(url: str) -> None:
    for open_it in (open_store, open_bus):
        with pytest.raises(ConfigError, match="cannot be read") as refused:
            open_it(url, "default")
        assert "secret" not in str(refused.value)


def test_in_memory_one_process_shares_a_cluster_and_no_more() -> None:
    open_store("memory://", "shared").put("leader", b"x")
    open_bus("memory://", "shared").send("q", b"x")
    assert open_store("memory://", "shared").get("leader") == b"x"
    assert open_store("memory://", "apart").get("leader") is None
    assert open_bus("memory://", "apart").receive("q", limit=1, wait_ms=0) == []
    assert open_bus("memory://", "shared").receive("q", limit=1, wait_ms=0) == [b"x"]
