"""Finding the cluster: where is looked, in which order, and what is said where nothing is found."""

import stat
from pathlib import Path
from urllib.parse import quote

import msgspec
import pytest

from mesolite.discovery import (
    CLUSTER_FILE,
    ClusterAddress,
    ProcessRecord,
    find_cluster,
    find_masters,
    forget_cluster,
    public_redis_url,
    state_home,
    write_cluster,
)
from mesolite.errors import ConfigError, MasterUnavailable


def address(name: str) -> ClusterAddress:
    """A cluster told from others by its name."""
    return ClusterAddress(redis_url="redis://127.0.0.1:1/0", master_url="http://127.0.0.1:2", cluster=name)


def test_a_socket_is_the_nearest_way_for_those_who_may_use_it(tmp_path: Path) -> None:
    path = tmp_path / "a b.sock"
    near = f"unix://:secret@{quote(str(path))}?db=0"
    there = msgspec.structs.replace(address("c"), near_redis_url=near)
    assert there.nearest_redis_url == there.redis_url, "as in a container that has the folder and not the socket"
    path.touch(mode=0o600)
    assert there.nearest_redis_url == near
    assert address("c").nearest_redis_url == address("c").redis_url


def test_an_address_survives_the_file_and_is_for_its_owner_only(tmp_path: Path) -> None:
    record = ProcessRecord(name="master", pid=1, start_ticks=2, log="logs/master.log")
    written = ClusterAddress(redis_url="redis://:secret@h/0", master_url="http://h:1", processes=(record,))
    write_cluster(tmp_path, written)
    assert find_cluster(tmp_path) == written
    assert stat.S_IMODE((tmp_path / CLUSTER_FILE).stat().st_mode) == 0o600


def test_the_environment_comes_first_then_home_then_the_folder_then_the_user(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("home", ".mesolite", "state/mesolite"):
        write_cluster(tmp_path / name, address(name.replace("/", "-")))
    user = {"XDG_STATE_HOME": str(tmp_path / "state")}
    home = {**user, "MESOLITE_HOME": str(tmp_path / "home")}
    direct = {**home, "MESOLITE_MASTER_URL": "http://far:5050/", "MESOLITE_CLUSTER": "far"}
    assert find_masters(environment=direct).master_url == "http://far:5050"
    assert find_masters(tmp_path / "home", environment=direct).cluster == "home", (
        "what is given comes before everything"
    )
    assert find_cluster(environment=home).cluster == "home"
    assert find_cluster(environment=user).cluster == ".mesolite"
    forget_cluster(tmp_path / ".mesolite")
    assert find_cluster(environment=user).cluster == "state-mesolite"


def test_the_environment_says_what_masters_do_not_tell() -> None:
    """Goal: a Redis with a password is usable. Method: nobody is asked, since the name of the master leads nowhere."""
    variables = {"MESOLITE_REDIS_URL": "redis://:secret@far:6379/0", "MESOLITE_CLUSTER": "east"}
    assert find_cluster("http://far.invalid:5050,http://near.invalid:5050", variables) == ClusterAddress(
        redis_url="redis://:secret@far:6379/0",
        master_url="http://far.invalid:5050,http://near.invalid:5050",
        cluster="east",
    )


@pytest.mark.parametrize(
    ("url", "public"),
    [
        ("redis://10.0.0.5:6379/2", "redis://10.0.0.5:6379/2"),
        ("redis://:secret@10.0.0.5:6379/2", "redis://10.0.0.5:6379/2"),
        ("rediss://user:secret@[fd00::5]:6379/0", "rediss://[fd00::5]:6379/0"),
        ("unix:///run/redis.sock?db=3&password=secret", "unix:///run/redis.sock?db=3"),
        ("sentinel://:secret@a:1,b:2/main/3?sentinel_password=s&replicas=2", "sentinel://a:1,b:2/main/3?replicas=2"),
        ("sentinel://u:secret@a/main?sentinel_user=u&sentinel_password=s", "sentinel://a/main"),
    ],
)
def test_an_address_for_everybody_connects_and_has_no_password(url: str, public: str) -> None:
    assert public_redis_url(url) == public


def test_where_nothing_runs_the_error_says_where_was_looked(tmp_path: Path) -> None:
    with pytest.raises(MasterUnavailable, match="mesolite up") as caught:
        find_cluster(environment={"MESOLITE_HOME": str(tmp_path)})
    assert str(tmp_path) in str(caught.value)


def test_a_file_that_is_not_ours_is_an_error_that_names_it(tmp_path: Path) -> None:
    (tmp_path / CLUSTER_FILE).write_text("{")
    with pytest.raises(ConfigError, match=CLUSTER_FILE):
        find_cluster(tmp_path)


def test_a_new_cluster_lives_in_the_folder_only_where_that_was_prepared(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    user = {"XDG_STATE_HOME": str(tmp_path / "state")}
    assert state_home(user) == tmp_path / "state" / "mesolite"
    (tmp_path / ".mesolite").mkdir()
    assert state_home(user) == tmp_path / ".mesolite"
    assert state_home({**user, "MESOLITE_HOME": str(tmp_path / "x")}) == tmp_path / "x"
