"""`mesolite master | agent`: one process in the foreground, for service managers and containers.

The process's own code is imported here, after its settings were found to be right.
"""

import click

from mesolite.config import AgentConfig, MasterConfig

from .options import config_options, read_config


@click.command()
@config_options(MasterConfig, "master")
@click.pass_context
def master(ctx: click.Context, /, **_: object) -> None:
    """Run a master until it is told to stop (SIGTERM, SIGINT)."""
    settings = read_config(ctx, MasterConfig, "master")
    from mesolite.logs import configure_logs
    from mesolite.master.process import run_master

    configure_logs(settings.log_level)
    run_master(settings)


@click.command()
@config_options(AgentConfig, "agent")
@click.pass_context
def agent(ctx: click.Context, /, **_: object) -> None:
    """Run an agent until it is told to stop (SIGTERM, SIGINT). Its tasks run on; start it again to adopt them."""
    settings = read_config(ctx, AgentConfig, "agent")
    from mesolite.agent import run_agent
    from mesolite.logs import configure_logs

    configure_logs(settings.log_level)
    run_agent(settings)
