"""Settings: what is checked, and how a wrong one is explained."""

from collections.abc import Mapping
from pathlib import Path

import pytest
from msgspec import Struct

from mesolite.agent.containerizer.policy import ContainerPolicy
from mesolite.agent.settings import USUAL_PATIENCE
from mesolite.config import AgentConfig, ClusterConfig, MasterConfig, UpConfig, check_config, read_config_file
from mesolite.errors import ConfigError


def error_of(kind: type[Struct], values: Mapping[str, object]) -> str:
    """The message for wrong settings."""
    with pytest.raises(ConfigError) as caught:
        check_config(kind, values, lambda name: f"--{name}")
    return str(caught.value)


def test_without_any_setting_every_default_is_valid() -> None:
    for kind in (ClusterConfig, MasterConfig, AgentConfig, UpConfig):
        assert check_config(kind, {}, str) == kind()


def test_text_from_flags_and_variables_is_converted() -> None:
    config = check_config(
        AgentConfig,
        {"http_port": "0", "allow_root": "true", "allowed_host_paths": "/data, /srv", "flower_tasks_per_s": "2.5"},
        str,
    )
    assert config.http_port == 0
    assert config.allow_root
    assert config.allowed_host_paths == ("/data", "/srv")
    assert config.flower_tasks_per_s == 2.5


def test_weights_can_be_text_or_a_table() -> None:
    assert check_config(MasterConfig, {"weights": "web=2, batch=1"}, str).weights == {"web": 2, "batch": 1}
    assert check_config(MasterConfig, {"weights": {"web": 2}}, str).weights == {"web": 2}


@pytest.mark.parametrize(
    ("kind", "name", "value", "allowed"),
    [
        (MasterConfig, "http_port", "70000", "65535"),
        (MasterConfig, "http_port", "http", "int"),
        (MasterConfig, "offer_timeout_ms", "999", "1000"),
        (MasterConfig, "weights", "web=heavy", "int"),
        (AgentConfig, "containerizer", "dokcer", "auto, docker, process"),
        (AgentConfig, "redis_url", "http://127.0.0.1", "redis://HOST:PORT/DB"),
        (AgentConfig, "cluster", "a:b", "Name of the cluster"),
        (UpConfig, "agents", "0", "1"),
    ],
)
def test_a_wrong_setting_is_named_with_its_source_and_what_is_allowed(
    kind: type[Struct], name: str, value: str, allowed: str
) -> None:
    message = error_of(kind, {name: value})
    assert message.startswith(f"{name} is {value!r} (from --{name}): ")
    assert allowed in message


def test_settings_that_contradict_each_other_are_refused() -> None:
    message = error_of(MasterConfig, {"agent_timeout_ms": 10_000, "heartbeat_interval_ms": 5000})
    assert "at least 15000" in message


def test_an_unknown_setting_is_refused_with_a_near_one() -> None:
    assert "did you mean 'http_port'?" in error_of(MasterConfig, {"htp_port": 1})


def test_what_stands_at_the_top_of_the_file_reaches_every_process(tmp_path: Path) -> None:
    path = tmp_path / "mesolite.toml"
    path.write_text('cluster = "blue"\n[master]\nhttp_port = 1\n[agent]\ncluster = "green"\n')
    tables = read_config_file(path)
    assert tables["master"] == {"cluster": "blue", "http_port": 1}
    assert tables["agent"] == {"cluster": "green"}
    assert tables["up"] == {"cluster": "blue"}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("redis_ulr = 'redis://a'", "did you mean 'redis_url'?"),
        ("[agnet]\nhttp_port = 1", "did you mean 'agent'?"),
        ("[agent]\nport = 1", "in [agent]"),
        ("agent = 5", "is not a table"),
        ("a = = 1", "is not TOML"),
    ],
)
def test_a_file_that_is_wrong_is_refused_by_name(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "mesolite.toml"
    path.write_text(text)
    with pytest.raises(ConfigError) as caught:
        read_config_file(path)
    assert said in str(caught.value)
    assert str(path) in str(caught.value)


def test_a_missing_file_is_an_error_that_names_the_flag(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="--config"):
        read_config_file(tmp_path / "absent.toml")


def test_what_an_agent_is_not_told_about_containers_is_what_containerizers_do_by_themselves() -> None:
    """Two places state these defaults; a third would not help."""
    config, policy = AgentConfig(), ContainerPolicy()
    assert (config.pids_limit, config.max_output_bytes) == (policy.pids_limit, policy.max_output_bytes)
    assert config.bridge_network == policy.bridge_network
    assert (config.fetch_file_roots, config.image) == (policy.fetch_file_roots, policy.default_image)


@pytest.mark.parametrize("network", ["host", "none", "container:other", "", "-x"])
def test_the_network_of_tasks_is_one_of_the_engines_by_name(network: str) -> None:
    assert "bridge_network" in error_of(AgentConfig, {"bridge_network": network})


def test_what_an_agent_is_not_told_about_its_patience_with_executors_is_what_its_core_has_by_itself() -> None:
    config = AgentConfig()
    patience = config.executor_registration_timeout_ms, config.executor_reregistration_timeout_ms
    assert patience == (USUAL_PATIENCE.registration_ms, USUAL_PATIENCE.reregistration_ms)
    error = error_of(AgentConfig, {"executor_registration_timeout_ms": "10"})
    assert "executor_registration_timeout_ms is '10'" in error


def test_one_agent_id_does_not_fit_agents_that_share_a_pattern() -> None:
    assert "leave agent_id out" in error_of(AgentConfig, {"agent_id": "a", "work_dir": "/agents/{slot}"})
    assert check_config(AgentConfig, {"work_dir": "/agents/{slot}"}, str).agent_id is None
