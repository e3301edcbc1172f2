"""Addresses of Sentinels: what they may say, what is refused, and what is never shown."""

import pytest

from mesolite.config import AgentConfig, MasterConfig, UpConfig, check_config
from mesolite.errors import ConfigError
from mesolite.transport.address import SentinelAddress, confirming_replicas, parse_sentinel, scheme_of, shown


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("sentinel://a:1/m", SentinelAddress(sentinels=(("a", 1),), master_name="m")),
        (
            "sentinel://a:1,10.0.0.2:2,c/my-master_1.x/3",
            SentinelAddress(sentinels=(("a", 1), ("10.0.0.2", 2), ("c", 26_379)), master_name="my-master_1.x", db=3),
        ),
        (
            "sentinel://[::1]:3,[fe80::2],h:4/m/",
            SentinelAddress(sentinels=(("::1", 3), ("fe80::2", 26_379), ("h", 4)), master_name="m"),
        ),
        (
            "SENTINEL://user:p%40%2F@ss@a:1/m?sentinel_password=x%26y&sentinel_user=s&replicas=2",
            SentinelAddress(
                sentinels=(("a", 1),),
                master_name="m",
                username="user",
                password="p@/@ss",
                sentinel_username="s",
                sentinel_password="x&y",
                replicas=2,
            ),
        ),
        (
            "sentinel://:secret@a:1/m?replicas=0",
            SentinelAddress(sentinels=(("a", 1),), master_name="m", password="secret", replicas=0),
        ),
    ],
)
def test_an_address_of_sentinels_says_where_they_are_and_what_they_guard(url: str, expected: SentinelAddress) -> None:
    assert parse_sentinel(url) == expected


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("redis://:secret@a:1/0", "cannot be read"),
        ("http://:secret@a:1/0", "is not an address"),
        ("sentinel://", "name of the primary"),
        ("sentinel://:secret@a:1", "name of the primary"),
        ("sentinel://:secret@a:1/", "name of the primary"),
        ("sentinel://:secret@/m", "each Sentinel"),
        ("sentinel://:secret@a:1,/m", "each Sentinel"),
        ("sentinel://:secret@a:0/m", "each Sentinel"),
        ("sentinel://:secret@a:65536/m", "each Sentinel"),
        ("sentinel://:secret@a:/m", "port"),
        ("sentinel://:secret@a:b/m", "port"),
        ("sentinel://:secret@a:1:2/m", "port"),
        ("sentinel://:secret@a:²/m", "port"),
        ("sentinel://:secret@a;b/m;x:y/m", "database"),
        ("sentinel://:secret@[::1/m", "IPv6"),
        ("sentinel://:secret@[::1]2/m", "IPv6"),
        ("sentinel://:secret@a:1/m/x", "database"),
        ("sentinel://:secret@a:1/m/-1", "database"),
        ("sentinel://:secret@a:1/m/0/1", "database"),
        ("sentinel://secret@a:1/m", "USER:PASSWORD"),
        ("sentinel://:sec#secret@a:1/m", "%23"),
        ("sentinel://:sec?secret@a:1/m", "name of the primary"),
        ("sentinel://:secret/secret@a:1/m", "port"),
        ("sentinel://a:1/m?password=secret", "only sentinel_password"),
        ("sentinel://a:1/m?sentinel_password=secret&sentinel_password=secret", "each once"),
        ("sentinel://a:1/m?replicas=", "with a value"),
        ("sentinel://a:1/m?replicas=-1", "replicas"),
        ("sentinel://a:1/m?replicas=one", "replicas"),
        ("sentinel://a:1/m?secret", "NAME=VALUE"),
    ],
)
def test_what_is_not_of_that_form_is_refused_with_the_reason_and_without_secrets(url: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said) as refused:
        parse_sentinel(url)
    assert "secret" not in str(refused.value)


def test_writes_of_the_lease_are_confirmed_by_a_replica_where_there_are_sentinels() -> None:
    urls = ("sentinel://a:1/m", "sentinel://a:1/m?replicas=2", "redis://a/0", "unix:///s", "memory://")
    assert [confirming_replicas(url) for url in urls] == [1, 2, 0, 0, 0]


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("sentinel://u:secret@a:1,b:2/m/0?sentinel_password=secret", "sentinel://a:1,b:2/m/0"),
        ("sentinel://:secret@[::1]:1,[::2]:2/m", "sentinel://[::1]:1,[::2]:2/m"),
        ("sentinel://a:1/m?sentinel_password=secret@secret", "?"),
        ("sentinel://:se/secret@a:1/m", "sentinel://a:1/m"),
        ("redis://:se/secret@host/0", "redis://host/0"),
        ("redis://:se#secret@host/0", "?"),
    ],
)
def test_an_address_is_shown_without_its_secrets(url: str, expected: str) -> None:
    assert shown(url) == expected


def test_settings_take_an_address_of_sentinels() -> None:
    url = "sentinel://:secret@a:1,b:2,c:3/mesolite/0"
    for kind, name in ((MasterConfig, "redis_url"), (AgentConfig, "redis_url"), (UpConfig, "redis")):
        config = check_config(kind, {name: url}, lambda setting: f"--{setting}")
        assert getattr(config, name) == url
    assert scheme_of(url) == "sentinel"
