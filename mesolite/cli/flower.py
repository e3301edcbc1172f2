"""`mesolite flower`: Flower in the foreground, for `mesolite up`, service managers and containers."""

import click

from mesolite.config import FlowerConfig

from .options import config_options, read_config


@click.command()
@config_options(FlowerConfig, "flower")
@click.pass_context
def flower(ctx: click.Context, /, **_: object) -> None:
    """Run Flower in the foreground; it shows agents as Celery workers and tasks as Celery tasks.

    Flower's own settings are read from variables: FLOWER_BASIC_AUTH, FLOWER_MAX_TASKS, FLOWER_URL_PREFIX and so on.
    """
    settings = read_config(ctx, FlowerConfig, "flower")
    from mesolite.flower_app import run_flower
    from mesolite.logs import configure_logs

    configure_logs(settings.log_level)
    run_flower(settings)
