"""`mesolite celery`: a Celery application on the cluster, by the command line of `celery worker`."""

import os
from pathlib import Path
from typing import Final

import click

from .connect import cluster_address
from .options import cpus_milli, mem_mib

#: Tasks at once, where nobody says: more than small clusters run, and few enough to be held by one dispatcher with ease.
DEFAULT_CONCURRENCY: Final = 200
#: As agents do: three events each, of which Flower follows some 2,000 a second.
DEFAULT_FLOWER_TASKS_PER_S: Final = 200.0
#: Where Celery finds pools that are not its own.
_POOL_VARIABLE: Final = "CELERY_CUSTOM_WORKER_POOL"
_POOL: Final = "mesolite.frameworks.celery.pool:DispatchPool"


@click.command(context_settings={"ignore_unknown_options": True})
@click.argument("worker_options", nargs=-1, type=click.UNPROCESSED)
@click.option("--app", "-A", required=True, help="The application, as `celery -A` takes it.")
@click.option("--name", help="Of this dispatcher: its next life goes on under the same name.  [the application's]")
@click.option("--workdir", type=click.Path(exists=True, file_okay=False), help="Change to this directory first.")
@click.option(
    "--path", multiple=True, metavar="FOLDER", help="In containers, where modules are found. May be repeated.  [here]"
)
@click.option("--concurrency", "-c", type=click.IntRange(1, 10_000), default=DEFAULT_CONCURRENCY, show_default=True)
@click.option("--min-workers", type=click.IntRange(0, 10_000), default=0, help="Kept warm whatever the load.  [0]")
@click.option(
    "--idle", type=click.FloatRange(0), metavar="SECONDS", help="Warm workers end after so long without task.  [10]"
)
@click.option(
    "--max-age",
    type=click.FloatRange(1),
    metavar="SECONDS",
    help="A warm worker's container is replaced after so long, between tasks.  [never]",
)
@click.option(
    "--workers-per-container",
    type=click.IntRange(1, 1_000),
    default=1,
    show_default=True,
    help="Warm workers of one shape that share a container and its limits.",
)
@click.option("--cpus", type=cpus_milli, help="CPUs of tasks that say nothing, like 0.5.  [1]")
@click.option("--mem", type=mem_mib, help="Memory of tasks that say nothing: 256, 1GiB.  [256]")
@click.option("--image", help="Docker image of tasks that say nothing; without it the agent's own.")
@click.option("--role", help="Whose share of the cluster tasks use.  [*]")
@click.option("--flower/--no-flower", default=True, help="Appear in the cluster's Flower, with all tasks.")
@click.option(
    "--flower-tasks-per-s",
    type=click.FloatRange(0, min_open=True),
    default=DEFAULT_FLOWER_TASKS_PER_S,
    show_default=True,
    help="Above this, new tasks are counted there and not shown, but for some that fail.",
)
@click.option(
    "--routes",
    type=click.Path(exists=True, dir_okay=False, resolve_path=True, path_type=Path),
    help="TOML or JSON: what tasks are given, by their names and queues.",
)
@click.option("--leave-running", is_flag=True, help="When it ends, let tasks run on for the next life to hear of.")
@click.pass_context
def celery(
    ctx: click.Context,
    worker_options: tuple[str, ...],
    app: str,
    name: str | None,
    workdir: str | None,
    path: tuple[str, ...],
    concurrency: int,
    min_workers: int,
    idle: float | None,
    max_age: float | None,
    workers_per_container: int,
    cpus: int | None,
    mem: int | None,
    image: str | None,
    role: str | None,
    flower: bool,
    flower_tasks_per_s: float,
    routes: Path | None,
    leave_running: bool,
) -> None:
    """Run the tasks of a Celery application on the cluster, each with its own CPU and memory.

    It is started like `celery -A APP worker`, and takes its options: mesolite celery -A proj -Q reports -l info
    """
    address = cluster_address(ctx)
    if workdir is not None:
        os.chdir(workdir)
    os.environ[_POOL_VARIABLE] = _POOL
    from mesolite.frameworks.celery.route_file import read_route_file
    from mesolite.frameworks.celery.settings import DispatchSettings
    from mesolite.frameworks.celery.starting import start_worker
    from mesolite.frameworks.futures.connection import ClusterPlace

    settings = DispatchSettings(
        app=app,
        name=name or app.replace(":", "."),
        place=ClusterPlace(address.nearest_redis_url, address.cluster, address.principal),
        path=path or (str(Path.cwd()),),
        concurrency=concurrency,
        min_workers=min_workers,
        idle_s=idle,
        max_age_s=max_age,
        workers_per_container=workers_per_container,
        defaults={
            key: value
            for key, value in {
                "cpus": cpus / 1000 if cpus is not None else None,
                "mem_mib": mem,
                "image": image,
                "role": role,
            }.items()
            if value is not None
        },
        flower=flower,
        flower_tasks_per_s=flower_tasks_per_s,
        routes=read_route_file(routes) if routes is not None else None,
        routes_where=str(routes or ""),
        leave_running=leave_running,
    )
    start_worker(settings, worker_options)
