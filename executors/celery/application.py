"""Finds and loads the application as `celery -A NAME worker` does, up to where that would fork its children.

What a parent of prefork's children has done before it forks them is done here as well, the signals `celeryd_init` and
`worker_init` included: Django's support begins by the second, and users load there what their tasks share.
"""

import contextlib
import importlib
import os
import sys
import traceback
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from .failover import expect_failovers
from .protocol import APP_VARIABLE, LOG_LEVEL_VARIABLE, NODE_VARIABLE, PATH_VARIABLE, VERSION_VARIABLE

#: Of a traceback as people read it.
_MAX_TRACEBACK_LENGTH: Final = 8192


class NoApplication(Exception):
    """The application cannot be loaded here; the text says why, and what to do."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Application:
    """A loaded application."""

    app: Any
    #: As `celery -A` takes it.
    name: str
    #: The name of the node whose tasks run here.
    hostname: str
    #: What tasks print goes through a logger of this level; None: it is left as it is.
    redirect_level: str | None


@dataclass(frozen=True, slots=True)
class _Node:
    """Stands for `celery worker`'s WorkController as the sender of signals."""

    app: Any
    hostname: str


def load(environment: Mapping[str, str]) -> Application:
    """Load it.

    Args:
        environment: Of this process; see protocol.py.

    Raises:
        NoApplication: It cannot be.
    """
    folders = [folder for folder in environment.get(PATH_VARIABLE, "").split(":") if folder]
    _enter(folders)
    name = environment.get(APP_VARIABLE, "")
    if not name:
        raise NoApplication(f"nothing says which application this is: {APP_VARIABLE} is empty")
    _check_version(environment.get(VERSION_VARIABLE, ""))
    try:
        return _loaded(name, environment)
    except NoApplication:
        raise
    # Modules of the user's are imported: anything may come of it, a call of `sys.exit` too.
    except BaseException as error:
        raise NoApplication(_explained(name, folders, error)) from error


def _enter(folders: list[str]) -> None:
    """Be where `celery` would have been started: modules are found there, and files of relative names."""
    sys.path[:0] = [folder for folder in folders if folder not in sys.path]
    if folders:
        with contextlib.suppress(OSError):
            os.chdir(folders[0])


def _check_version(wanted: str) -> None:
    try:
        celery: Any = importlib.import_module("celery")
    except ImportError as error:
        version = wanted or "5"
        raise NoApplication(
            f"there is no Celery in this container ({error}): add it to the image, pip install 'celery=={version}', \
with what the application's result backend needs; or say by MESOLITE_PYTHON which of its Pythons has it"
        ) from error
    here = str(celery.__version__)
    if wanted and here.partition(".")[0] != wanted.partition(".")[0]:
        raise NoApplication(
            f"this container has Celery {here}, the dispatcher has {wanted}: both are to have the same major version"
        )


def _loaded(name: str, environment: Mapping[str, str]) -> Application:
    from celery import Celery, signals
    from celery.app import trace
    from celery.app.utils import find_app
    from celery.utils.nodenames import default_nodename

    app: Any = find_app(name)
    if not isinstance(app, Celery):
        raise NoApplication(f"{name} is a {type(app).__name__}, no Celery application")
    hostname = environment.get(NODE_VARIABLE, "") or str(default_nodename(""))
    node = _Node(app, hostname)
    app.loader.init_worker()
    trace.setup_worker_optimizations(app, hostname)
    signals.celeryd_init.send(sender=hostname, instance=node, conf=app.conf, options={})
    signals.worker_init.send(sender=node)
    level = environment.get(LOG_LEVEL_VARIABLE, "")
    own = app.log.setup(int(level) if level.isdecimal() else None, None, redirect_stdouts=False, hostname=hostname)
    # Again, as Celery does: a receiver may have made a task meanwhile.
    trace.setup_worker_optimizations(app, hostname)
    _import_rest(app)
    expect_failovers()
    redirect = not own and bool(app.conf.worker_redirect_stdouts)
    level_name = str(app.conf.worker_redirect_stdouts_level) if redirect else None
    return Application(app=app, name=name, hostname=hostname, redirect_level=level_name)


def _import_rest(app: Any) -> None:
    """Import what the first task would: all workers share it then. Nothing is connected to."""
    # Where an address is wrong, the tasks that use it say so.
    with contextlib.suppress(Exception):
        _ = app.backend.as_uri()
    with contextlib.suppress(Exception):
        app.connection_for_write().get_transport_cls()


def _explained(name: str, folders: list[str], error: BaseException) -> str:
    text = "".join(traceback.format_exception(error))
    hint = ""
    if isinstance(error, ModuleNotFoundError | AttributeError):
        where = ", ".join(folders) if folders else "no folder (app_path says which)"
        hint = f" Its modules are looked for in {where}, in PYTHONPATH, and among what is installed in the image."
    return (
        f"the application {name} cannot be loaded in this container: {type(error).__name__}: {error}.{hint}\n"
        f"{text[-_MAX_TRACEBACK_LENGTH:]}"
    )
