"""`mesolite celery-workers`: elastic Celery workers in the foreground, for service managers and containers."""

import re
import signal
import threading
from collections.abc import Callable
from types import FrameType
from typing import Any, Final

import click
from click.core import ParameterSource

from mesolite.config import read_groups
from mesolite.errors import BadInput, ConfigError
from mesolite.frameworks.celery_workers import Group, GroupRun, GroupStatus
from mesolite.logs import configure_logs
from mesolite.transport.opening import open_store

from .connect import cluster_address
from .options import cpus_milli, mem_mib
from .root import RootOptions

TABLE: Final = "celery-workers"
#: How often the main thread looks whether the groups still run; signals are heard at once.
_LOOK_S: Final = 0.5
#: Options that describe a group, which a group of the settings file has there.
_DESCRIBING: Final = (
    *("queues", "least", "most", "concurrency", "pool", "cpus", "mem", "per_worker_messages", "max_wait", "quiet"),
    *("drain_grace", "image", "env", "volume", "network", "role", "app_path", "python", "arguments"),
)


@click.command(name=TABLE)
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
@click.option("--app", "-A", metavar="APP", help="The Celery application, as for `celery -A`.")
@click.option(
    "--name", "names", multiple=True, help="Of the group; with a settings file: run these of it. May be repeated."
)
@click.option(
    "--queues", "-Q", metavar="NAMES", help="Queues, with commas between them; the application's own where absent."
)
@click.option("--min", "least", type=int, default=0, show_default=True, help="Workers that there always are.")
@click.option("--max", "most", type=int, default=10, show_default=True, help="Workers that there are at most.")
@click.option("--concurrency", "-c", type=int, default=2, show_default=True, help="Processes (threads) of each worker.")
@click.option("--pool", "-P", default="prefork", show_default=True, help="Celery's pool of each worker.")
@click.option("--cpus", type=cpus_milli, default="1", show_default=True, help="CPUs of each worker, like 0.5.")
@click.option("--mem", type=mem_mib, default="512", show_default=True, help="Memory of each worker: 512, 1GiB.")
@click.option(
    "--per-worker-messages", type=int, help="Messages that one worker is for; 4 for each process where absent."
)
@click.option(
    "--max-wait", type=float, default=30, show_default=True, metavar="SECONDS", help="More workers beyond it."
)
@click.option("--quiet", type=float, default=60, show_default=True, metavar="SECONDS", help="Fewer only after it.")
@click.option(
    "--drain-grace", type=float, default=600, show_default=True, metavar="SECONDS", help="For a worker to finish in."
)
@click.option("--image", help="Docker image with the application; without it the agent's own.")
@click.option("--env", "-e", multiple=True, metavar="NAME=VALUE", help="A variable of the workers. May be repeated.")
@click.option("--volume", multiple=True, metavar="HOST:CONTAINER[:rw]", help="A folder of the host. May be repeated.")
@click.option("--network", type=click.Choice(["bridge", "host", "none"]), default="bridge", show_default=True)
@click.option("--role", default="*", help="Whose share of the cluster to use.")
@click.option("--app-path", metavar="FOLDERS", help="Where the workers find the application, with colons between them.")
@click.option("--python", help="The workers' Python, which has Celery; python3 where absent.")
@click.option(
    "--on-stop",
    type=click.Choice(["leave", "drain"]),
    default="leave",
    show_default=True,
    help="When told to stop: leave the workers at work for the next start, or let them finish and go.",
)
@click.option("--json", "as_json", is_flag=True, help="Write each change as a line of JSON.")
@click.option(
    "--log-level", type=click.Choice(["debug", "info", "warning", "error"]), default="warning", show_default=True
)
@click.pass_context
def celery_workers(
    ctx: click.Context, /, app: str | None, on_stop: str, as_json: bool, log_level: str, **_: Any
) -> None:
    """Run Celery workers on the cluster, more as queues grow, fewer as they rest, until told to stop (SIGTERM, SIGINT).

    ARGUMENTS, after `--`, are passed on to `celery worker`. Without -A the groups of the settings file are run:
    [celery-workers.NAME] with app, queues, min, max and so on. Started again, it goes on with the workers that it left.
    """
    groups = [_own_group(ctx, app)] if app is not None else _groups_of_file(ctx)
    configure_logs(log_level)
    address = cluster_address(ctx)
    board = _Board(as_json)
    runs = [
        _run_of(group, lambda: open_store(address.redis_url, address.cluster), board.show, address.principal)
        for group in groups
    ]
    _run_all(runs, on_stop)


def _own_group(ctx: click.Context, app: str) -> Group:
    """Make the group that the options describe."""
    from mesolite.frameworks.celery_workers.reading import read_group

    params = ctx.params
    names: tuple[str, ...] = params["names"]
    if len(names) > 1:
        raise BadInput("one group has one name; several groups stand in a settings file")
    said: dict[str, object] = {
        "app": app,
        "min": params["least"],
        "max": params["most"],
        "cpus": params["cpus"] / 1000,
        "mem_mib": params["mem"],
        "max_wait_s": params["max_wait"],
        "quiet_s": params["quiet"],
        "drain_grace_s": params["drain_grace"],
        "env": dict(_variable(text) for text in params["env"]),
        "volumes": params["volume"],
    }
    said |= {key: params[key] for key in ("concurrency", "pool", "network", "role", "arguments")}
    said |= {
        key: params[key] for key in ("per_worker_messages", "image", "app_path", "python") if params[key] is not None
    }
    if params["queues"]:
        said["queues"] = [each.strip() for each in params["queues"].split(",") if each.strip()]
    return read_group(names[0] if names else name_of(app), said, "the command line")


def _groups_of_file(ctx: click.Context) -> list[Group]:
    """Read the groups of the settings file, or those of them that were named."""
    from mesolite.frameworks.celery_workers.reading import read_group

    given = [name for name in _DESCRIBING if ctx.get_parameter_source(name) is ParameterSource.COMMANDLINE]
    if given:
        raise BadInput("options describe one group, with -A APP; groups of a settings file are described there")
    options = ctx.find_object(RootOptions)
    path = options.config if options is not None else None
    tables = read_groups(path, TABLE) if path is not None else {}
    if not tables:
        raise BadInput("which application? Say -A APP, or write groups, [celery-workers.NAME], into a settings file")
    names: tuple[str, ...] = ctx.params["names"] or tuple(tables)
    unknown = [name for name in names if name not in tables]
    if unknown:
        raise ConfigError(f"there is no group {unknown[0]!r} in {path}; there are {', '.join(tables)}")
    return [read_group(name, tables[name], f"[{TABLE}.{name}] of {path}") for name in dict.fromkeys(names)]


def _run_of(group: Group, open_one: Callable[[], Any], show: Callable[[GroupStatus], None], principal: str) -> GroupRun:
    from mesolite.frameworks.celery_workers.application import Application
    from mesolite.frameworks.celery_workers.grace import grace_ms

    application = Application(group.app, group.worker.path, group.queues, group.worker.arguments)
    return GroupRun(
        group,
        application,
        open_one,
        show,
        principal=principal,
        grace_ms=grace_ms(group, application.soft_shutdown_s),
    )


def _run_all(runs: list[GroupRun], on_stop: str) -> None:
    """Run groups, each in a thread, until all have ended; the first error ends the others, and is raised."""
    errors: list[BaseException] = []
    asked = threading.Event()

    def end(signum: int, frame: FrameType | None) -> None:
        for run in runs:
            if on_stop == "drain" and not asked.is_set():
                run.drain()
            else:
                run.stop()
        asked.set()

    def serve(run: GroupRun) -> None:
        try:
            run.run()
        except BaseException as error:  # noqa: BLE001 - a thread has nobody to raise to; it is raised below
            errors.append(error)
            for other in runs:
                other.stop()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, end)
    threads = [threading.Thread(target=serve, args=(run,), name="celery-workers", daemon=True) for run in runs]
    for thread in threads:
        thread.start()
    for thread in threads:
        while thread.is_alive():
            thread.join(_LOOK_S)
    if errors:
        raise errors[0]


class _Board:
    """Shows how groups stand: a line for each change that matters to people, or each change for programs."""

    def __init__(self, as_json: bool) -> None:
        self._as_json: Final = as_json
        self._lock: Final = threading.Lock()
        self._shown: dict[str, object] = {}

    def show(self, status: GroupStatus) -> None:
        """Show it where it is new."""
        from mesolite.frameworks.celery_workers.status import line, summary

        news: object = status if self._as_json else summary(status)
        with self._lock:
            if self._shown.get(status.group) == news:
                return
            self._shown[status.group] = news
            if self._as_json:
                import msgspec

                click.echo(msgspec.json.encode(status).decode())
            else:
                click.echo(line(status))


def name_of(app: str) -> str:
    """Make a name for a group of its application's: "proj" of "proj.celery:app"."""
    return re.sub(r"[^A-Za-z0-9_-]+", "-", re.split(r"[.:]", app, maxsplit=1)[0])[:40].strip("-_") or "celery"


def _variable(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not name or not equals:
        raise BadInput(f"{text!r} is not a variable; write --env NAME=VALUE")
    return name, value
