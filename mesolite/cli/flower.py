"""`mesolite flower`: Flower in the foreground, on the cluster's Redis; for `mesolite up`, service managers and containers."""

import click

from mesolite.config import ClusterConfig

from .options import config_options, read_config


@click.command(context_settings={"ignore_unknown_options": True})
@config_options(ClusterConfig, "flower")
@click.argument("flower_options", nargs=-1, type=click.UNPROCESSED)
@click.pass_context
def flower(ctx: click.Context, /, flower_options: tuple[str, ...], **_: object) -> None:
    """Run Flower until it is told to stop (SIGTERM, SIGINT). It takes Flower's own options too, like --port=5555."""
    settings = read_config(ctx, ClusterConfig, "flower")
    from mesolite.flower_app import run_flower
    from mesolite.logs import configure_logs

    configure_logs(settings.log_level)
    run_flower(settings.redis_url, flower_options)
