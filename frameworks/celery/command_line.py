"""Celery's command line down to `celery worker`, without its other commands.

Celery's own root imports every command and every plugin: a prompt, Tornado, the whole of Flower, 13 MiB that a dispatcher would
hold for good and never use. So here is what that root does for `worker`, in its place: it reads the same variables of the
environment, and gives the command the application's own options.
"""

import os
import sys
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from typing import Any, Final

import click


@contextmanager
def _without(package: str) -> Generator[None]:
    """Have imports do as if a package were not installed, unless it is loaded already."""
    hidden = package not in sys.modules
    if hidden:
        # What the import system takes for "not found" (docs.python.org, The module cache).
        sys.modules[package] = None  # type: ignore[assignment]
    try:
        yield
    finally:
        if hidden:
            del sys.modules[package]


# Celery colours with it what `celery inspect` prints, where it is installed; here it would be 2 MiB for nothing.
with _without("pygments"):
    from celery.bin.base import CLIContext
    from celery.bin.worker import worker

#: What Celery's root takes for each of these options, and leaves to the application to read.
_LEFT_TO_READ: Final[Mapping[str, str]] = {
    "loader": "CELERY_LOADER",
    "broker": "CELERY_BROKER_URL",
    "result_backend": "CELERY_RESULT_BACKEND",
    "config": "CELERY_CONFIG_MODULE",
}


@click.group()
# Names and variables are Celery's. They are said by the environment: none of them is an option of `mesolite celery`.
@click.option("--broker", envvar="BROKER_URL")
@click.option("--result-backend", envvar="RESULT_BACKEND")
@click.option("--loader", envvar="LOADER")
@click.option("--config", envvar="CONFIG_MODULE")
@click.option("--no-color", envvar="NO_COLOR", is_flag=True)
@click.option("--quiet", is_flag=True)
@click.option("--skip-checks", envvar="SKIP_CHECKS", is_flag=True)
@click.pass_context
def celery_root(ctx: click.Context, /, no_color: bool, quiet: bool, skip_checks: bool, **read: str | None) -> None:
    """Stand for `celery`; its object is the application."""
    for option, variable in _LEFT_TO_READ.items():
        if value := read[option]:
            os.environ[variable] = value
    if skip_checks:
        # Of Django's support.
        os.environ["CELERY_SKIP_CHECKS"] = "true"
    app: Any = ctx.obj
    ctx.obj = CLIContext(app=app, no_color=no_color, workdir=None, quiet=quiet)
    for kind in ("worker", "preload"):
        worker.params.extend(app.user_options.get(kind, ()))


celery_root.add_command(worker)
