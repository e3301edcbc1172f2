"""Options: which source counts, and amounts as people write them."""

from pathlib import Path

import click
import msgspec
import pytest
from click.testing import CliRunner

from mesolite.cli.options import config_options, cpus_milli, mem_mib, read_config
from mesolite.cli.root import Failure, RootOptions
from mesolite.config import MasterConfig
from mesolite.errors import MesoliteError


@click.group(context_settings={"auto_envvar_prefix": "MESOLITE"})
@click.pass_context
def program(ctx: click.Context) -> None:
    """A root with a settings file."""
    ctx.obj = RootOptions(config=Path("settings.toml"))
    ctx.default_map = {"master": {"http_port": 1, "cluster": "from-file", "http_host": "from-file"}}


@program.command()
@config_options(MasterConfig, "master")
@click.pass_context
def master(ctx: click.Context, /, **_: object) -> None:
    """Print the settings."""
    try:
        config = read_config(ctx, MasterConfig, "master")
    except MesoliteError as error:
        raise Failure(str(error)) from None
    click.echo(msgspec.json.encode(config).decode())


def config_of(*arguments: str, **environment: str) -> MasterConfig:
    """What the command makes of flags and variables."""
    result = CliRunner().invoke(program, ["master", *arguments], env=environment)
    assert result.exit_code == 0, result.output
    return msgspec.json.decode(result.stdout, type=MasterConfig)


def test_flag_beats_variable_beats_file_beats_default() -> None:
    variables = {"MESOLITE_MASTER_HTTP_PORT": "2", "MESOLITE_CLUSTER": "from-variable"}
    config = config_of("--http-port", "3", **variables)
    assert config.http_port == 3
    assert config.cluster == "from-variable"
    assert config.http_host == "from-file"
    assert config.offer_timeout_ms == MasterConfig().offer_timeout_ms


def test_a_variable_of_the_process_beats_one_of_the_cluster() -> None:
    config = config_of(MESOLITE_CLUSTER="all", MESOLITE_MASTER_CLUSTER="mine")
    assert config.cluster == "mine"


@pytest.mark.parametrize(
    ("arguments", "environment", "source"),
    [
        (["--http-port", "x"], {}, "--http-port"),
        ([], {"MESOLITE_MASTER_HTTP_PORT": "x"}, "MESOLITE_MASTER_HTTP_PORT"),
        (["--weights", "a=b"], {}, "--weights"),
    ],
)
def test_a_wrong_setting_says_where_it_came_from(
    arguments: list[str], environment: dict[str, str], source: str
) -> None:
    result = CliRunner().invoke(program, ["master", *arguments], env=environment)
    assert result.exit_code == 1
    assert f"(from {source})" in result.stderr


def test_a_wrong_setting_of_the_file_names_the_file() -> None:
    def spoil(ctx: click.Context) -> None:
        ctx.default_map = {"master": {"http_port": 99_999}}

    @click.group()
    @click.pass_context
    def spoiled(ctx: click.Context) -> None:
        ctx.obj = RootOptions(config=Path("settings.toml"))
        spoil(ctx)

    spoiled.add_command(master)
    result = CliRunner().invoke(spoiled, ["master"])
    assert "http_port is 99999 (from settings.toml)" in result.stderr


@pytest.mark.parametrize(
    ("written", "mib"),
    [("64", 64), ("64MiB", 64), ("64m", 64), ("1GiB", 1024), ("1.5 GB", 1536), ("100KiB", 1), ("2t", 2 * 2**20)],
)
def test_memory_is_read_as_people_write_it(written: str, mib: int) -> None:
    assert mem_mib(written) == mib


@pytest.mark.parametrize("written", ["", "MiB", "64 parrots", "-1", "0", "nan", "1e40"])
def test_memory_that_means_nothing_is_refused(written: str) -> None:
    with pytest.raises(click.BadParameter):
        mem_mib(written)


@pytest.mark.parametrize(("written", "milli"), [("1", 1000), ("0.5", 500), ("0.001", 1)])
def test_cpus_are_thousandths(written: str, milli: int) -> None:
    assert cpus_milli(written) == milli


@pytest.mark.parametrize("written", ["", "x", "0", "-1", "0.0001", "1e9", "nan", "inf"])
def test_cpus_that_mean_nothing_are_refused(written: str) -> None:
    with pytest.raises(click.BadParameter):
        cpus_milli(written)
