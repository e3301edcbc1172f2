"""One worker's place in bench/celery.py: a broker and a backend of its own on the shared Redis, the application, and its client.

Messages can be made here without a client's cost: one that Celery published is the mould, and others differ in their ids.
"""

import json
import shutil
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any, Final
from uuid import uuid4

import redis
from celery.exceptions import TimeoutError as CeleryTimeout

from mesolite.transport.address import SENTINEL_SCHEME, parse_sentinel, scheme_of
from mesolite.transport.kombu_address import kombu_url

from . import celery_tasks

#: Celery's own default.
QUEUE: Final = "celery"
#: Of results, as Celery's Redis backend names them.
META: Final = "celery-task-meta-"
_MOULD: Final = "mould"
_STAGED: Final = "staged"
#: Messages to a round trip.
_BATCH: Final = 500
_LOOK_EVERY_S: Final = 0.01
#: What containers' users need to read the application.
_OPEN_FOLDER: Final = 0o755


class Site:
    """Queue, results, application and client of one worker.

    Args:
        folder: Made, for the application's module; anybody can read it.
        url: Of the Redis that all workers share, as Mesolite writes it, with database 0.
        number: Tells sites apart: each has two databases.
        module: Makes the application by its `make_app`, and needs nothing that containers have not.
        more: Further arguments of `make_app`.
    """

    #: The module in the folder, as `celery -A` takes it.
    APP: Final = "benchapp"

    def __init__(
        self, folder: Path, url: str, number: int, module: ModuleType = celery_tasks, more: Sequence[str] = ()
    ) -> None:
        self.folder: Final = folder
        broker, backend = (with_database(url, 2 * number + which) for which in (1, 2))
        self.broker_url: Final = broker
        self.backend_url: Final = backend
        settings = (kombu_url(broker), kombu_url(backend), _transport_options(broker), *more)
        folder.mkdir(parents=True)
        folder.chmod(_OPEN_FOLDER)
        assert module.__file__ is not None, "it is a file's"
        written = folder / f"{self.APP}.py"
        shutil.copyfile(module.__file__, written)
        with written.open("a") as file:
            file.write(f"\n\napp = make_app{settings!r}\n")
        #: The client's end of the same application.
        self.app: Final[Any] = module.make_app(*settings)

    def task(self, name: str) -> Any:
        """The client's end of a task."""
        return self.app.tasks[name]

    def messages(self, task: str, args: Sequence[object]) -> "Mould":
        """Prepare to make messages of one task."""
        return Mould(self.app, task, args)

    def purge(self, queue: str) -> None:
        """Drop what is in a queue."""
        with self.app.connection_for_write() as connection:
            connection.default_channel.queue_purge(queue)

    def close(self) -> None:
        """Let go of connections."""
        self.app.close()


class Mould:
    """Makes messages that Celery could have published.

    Args:
        app: The application.
        task: Name of the task.
        args: Of every one.
    """

    def __init__(self, app: Any, task: str, args: Sequence[object]) -> None:
        app.send_task(task, args, queue=_MOULD)
        with app.connection_for_write() as connection:
            text = connection.default_channel.client.rpop(_MOULD)
        self._text: Final[str] = text.decode().replace(f'"{_MOULD}"', f'"{QUEUE}"')

    def cast(self) -> tuple[str, str]:
        """Return a task's id and its message."""
        message: Any = json.loads(self._text)
        task_id = str(uuid4())
        message["headers"]["id"] = message["headers"]["root_id"] = message["properties"]["correlation_id"] = task_id
        message["properties"]["delivery_tag"] = str(uuid4())
        return task_id, json.dumps(message)


class Drain:
    """Puts messages into a site's queue all at once, and waits for their results. Needs a Redis that stays.

    Args:
        site: Whose.
    """

    def __init__(self, site: Site) -> None:
        self._broker: Final = redis.Redis.from_url(site.broker_url)
        self._backend: Final = redis.Redis.from_url(site.backend_url)
        self._mould: Final = site.messages("nothing", (1,))

    def seconds(self, count: int, *, within_s: float) -> float:
        """From the moment at which so many are in the queue until the last result is stored.

        Raises:
            TimeoutError: They were not.
        """
        self.forget_results()
        messages = [self._mould.cast()[1] for _ in range(count)]
        for first in range(0, count, _BATCH):
            self._broker.lpush(_STAGED, *messages[first : first + _BATCH])
        began_s = time.perf_counter()
        # To whoever waits for the queue, they all come at this moment.
        self._broker.rename(_STAGED, QUEUE)
        while (stored := self._stored()) < count:
            if time.perf_counter() > began_s + within_s:
                raise TimeoutError(f"{stored} of {count} results within {within_s:g} s")
            time.sleep(_LOOK_EVERY_S)
        return time.perf_counter() - began_s

    def forget_results(self) -> None:
        """Make every run begin alike."""
        self._backend.flushdb()

    def close(self) -> None:
        """Let go of connections."""
        self._broker.close()
        self._backend.close()

    def _stored(self) -> int:
        # Nothing else is in this database.
        return int(self._backend.dbsize())


def failure_of(result: Any, within_s: float) -> str | None:
    """Wait for a task to end, and return how it failed; None where it did not.

    Raises:
        TimeoutError: It did not end.
    """
    try:
        value = result.get(timeout=within_s, propagate=False)
    except CeleryTimeout:
        raise TimeoutError(f"no result within {within_s:g} s") from None
    return None if result.state == "SUCCESS" else f"{type(value).__name__}: {value}"


def let_go(results: Iterable[Any]) -> None:
    """Have results ask for nothing any more.

    One that was not received unsubscribes when it is collected, and where its Redis is gone by then, it tries for twenty seconds.
    """
    for result in results:
        result.backend = None


def with_database(url: str, number: int) -> str:
    """Return the address of another database of the same Redis, both as Mesolite writes them."""
    if scheme_of(url) == SENTINEL_SCHEME:
        return url.replace("/0?", f"/{number}?")
    return f"{url.rpartition('/')[0]}/{number}"


def _transport_options(url: str) -> dict[str, Any]:
    """What an application's settings say of Sentinels; for both ends the least that Celery's documentation tells."""
    if scheme_of(url) != SENTINEL_SCHEME:
        return {}
    address = parse_sentinel(url)
    return {"master_name": address.master_name, "sentinel_kwargs": {"password": address.sentinel_password}}
