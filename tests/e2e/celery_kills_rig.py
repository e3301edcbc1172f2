"""Celery's dispatcher on real clusters that are mistreated, and tasks that leave behind what happened to them.

`under_kills` has two masters, two agents and Sentinels (`calls_rig`), to be killed one after another, with the dispatcher.
`at_peace` has one agent and a Redis of its own, for tasks that die by themselves.
"""

import contextlib
import json
import sys
import tempfile
from collections.abc import Generator, Iterable, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import celery
import redis

from bench.celery_site import META, QUEUE, Site, with_database
from bench.celery_workers import WorkerSpec, dispatcher
from bench.clusters import cluster
from bench.processes import Program
from mesolite.config import UpConfig
from mesolite.discovery import ClusterAddress
from mesolite.embedded_redis import EmbeddedRedis
from mesolite.transport.redis_client import connect
from tests.waiting import eventually

from . import celery_chaos_app
from .calls_rig import DEADLINE_S, KillsCluster, kills_cluster
from .celery_judge import Account

#: Where tasks wait that are acknowledged early, beside the queue of the others, so that both kinds run all the time.
EARLY_QUEUE: Final = "early"
#: Of a warm worker: what a task needs, and little enough that a greedy one is soon ended.
MEM_MIB: Final = 128
#: Of one agent: two warm workers.
RESOURCES: Final = "cpus:2.2;mem:1024"
#: For tasks to end; whoever ends one in this time makes progress.
PROGRESS_S: Final = 40.0
#: Behind those of sites.
_COUNTERS_DATABASE: Final = 9
_LOOK_AT_ONCE: Final = 500


@dataclass(slots=True)
class CeleryRig:
    """The dispatcher, its application's client, and a look into its Redis."""

    site: Site
    spec: WorkerSpec
    program: Program
    broker: redis.Redis
    backend: redis.Redis

    def kill_dispatcher(self) -> None:
        """Kill it, and start it again, as an init system would."""
        self.program.kill()
        self.program = Program(self.spec.arguments, self.site.folder, self.spec.environment)

    def send(self, task: str, argument_lists: Iterable[Sequence[object]], queue: str = QUEUE) -> list[str]:
        """Have tasks run, and return their ids."""
        return [self.site.task(task).apply_async(args, queue=queue).id for args in argument_lists]

    def send_chord(self, task: str, argument_lists: Iterable[Sequence[object]], body: str) -> str:
        """Have a chord run, and return the id of its body."""
        header = [self.site.task(task).s(*args) for args in argument_lists]
        return str(celery.chord(header)(self.site.task(body).s()).id)

    def metas(self, ids: Sequence[str]) -> list[dict[str, Any] | None]:
        """What the backend has of tasks."""
        found: list[dict[str, Any] | None] = []
        for first in range(0, len(ids), _LOOK_AT_ONCE):
            texts: Any = self.backend.mget([META + task_id for task_id in ids[first : first + _LOOK_AT_ONCE]])
            found += [None if text is None else json.loads(text) for text in texts]
        return found

    def wait_until_ended(self, ids: Sequence[str]) -> None:
        """Wait for the last words on tasks; fail where there is none for a while."""
        waiting = list(ids)
        while waiting:
            before = len(waiting)

            def fewer() -> bool:
                with contextlib.suppress(redis.RedisError, OSError):
                    metas = self.metas(waiting)
                    waiting[:] = [each for each, meta in zip(waiting, metas, strict=True) if not _is_last(meta)]
                return not waiting or len(waiting) < before  # noqa: B023 - it is called before the next turn

            try:
                eventually(fewer, within_s=PROGRESS_S)
            except AssertionError:
                raise AssertionError(f"nothing ended for {PROGRESS_S} s; {self._story(waiting)}") from None

    def _story(self, waiting: Sequence[str]) -> str:
        words = dict(zip(waiting, self.metas(waiting), strict=True))
        return (
            f"{len(waiting)} have no last word: {list(words.items())[:3]}; left in the broker: {self.messages_left()}"
        )

    def last_words(self, ids: Mapping[int, str]) -> dict[int, str]:
        """How tasks ended: "SUCCESS", the name of an exception, or "nothing"."""
        metas = self.metas(list(ids.values()))
        return {number: _last_word(meta) for number, meta in zip(ids, metas, strict=True)}

    def messages_left(self) -> dict[str, int]:
        """What of messages is still in the broker: in queues, and owned."""
        left = {queue: int(self.broker.llen(queue)) for queue in (QUEUE, EARLY_QUEUE)}
        left |= {
            key.decode(): int(self.broker.hlen(key)) for key in self.broker.scan_iter("*mesolite.owned.*", _type="hash")
        }
        return {name: count for name, count in left.items() if count}


@contextmanager
def dispatching(address: ClusterAddress, site: Site) -> Generator[CeleryRig]:
    """Start a dispatcher, wait until it runs tasks, and end it."""
    # Results are looked up, so the client need not listen for each, and follow Sentinels for that.
    site.app.backend.result_consumer.consume_from = _ask_for_nothing
    spec = dispatcher(address, "--mem", str(MEM_MIB), "-Q", f"{QUEUE},{EARLY_QUEUE}", "--loglevel", "INFO")
    with ExitStack() as cleanup:
        broker = cleanup.enter_context(closing(connect(site.broker_url)))
        backend = cleanup.enter_context(closing(connect(site.backend_url)))
        rig = CeleryRig(site, spec, Program(spec.arguments, site.folder, spec.environment), broker, backend)
        cleanup.callback(lambda: rig.program.stop())
        try:
            yield rig
        except BaseException:
            # pytest shows it below the failure.
            sys.stdout.write(f"== dispatcher\n{(site.folder / 'log').read_text(errors='replace')}")
            raise


@contextmanager
def under_kills() -> Generator[tuple[KillsCluster, CeleryRig]]:
    """Start all that is to be killed."""
    with kills_cluster() as cluster_:
        folder = cluster_.journal.parent
        (folder / "bodies").touch()
        (folder / "bodies").chmod(0o666)
        address = ClusterAddress(redis_url=cluster_.redis.url, master_url=",".join(cluster_.masters.urls))
        more = (str(folder), "")
        with (
            closing(Site(folder / "site", cluster_.redis.url, 0, celery_chaos_app, more)) as site,
            dispatching(address, site) as rig,
        ):
            yield cluster_, rig


@contextmanager
def at_peace() -> Generator[tuple[CeleryRig, redis.Redis]]:
    """Start a cluster and a dispatcher, and give a client of the Redis that counts."""
    with ExitStack() as cleanup:
        folder = Path(cleanup.enter_context(tempfile.TemporaryDirectory(prefix="mesolite-chaos-")))
        folder.chmod(0o755)
        server = cleanup.enter_context(EmbeddedRedis(folder / "redis"))
        config = UpConfig(agents=1, agent_resources=RESOURCES, containerizer="process", redis=server.url, flower=False)
        address = cleanup.enter_context(cluster(config))
        counters = with_database(server.url, _COUNTERS_DATABASE)
        client = cleanup.enter_context(closing(connect(counters)))
        more = (str(folder), counters)
        site = cleanup.enter_context(closing(Site(folder / "site", server.url, 0, celery_chaos_app, more)))
        yield cleanup.enter_context(dispatching(address, site)), client


def accounts(rig: CeleryRig, counters: redis.Redis, told: Mapping[str, tuple[int, str]]) -> list[Account]:
    """What tasks left, by their ids and what each was told."""
    counts: Any = counters.hgetall(celery_chaos_app.STARTS)
    starts = {key.decode(): int(count) for key, count in counts.items()}
    found: list[Account] = []
    for (task_id, (number, how)), meta in zip(told.items(), rig.metas(list(told)), strict=True):
        seen: dict[str, Any] = meta or {}
        failed = seen.get("status") == "FAILURE"
        found.append(
            Account(
                number=number,
                how=how,
                starts=starts.get(task_id, 0),
                state=seen.get("status"),
                value=None if failed else seen.get("result"),
                error=seen["result"]["exc_type"] if failed else None,
            )
        )
    return found


def wait_for_beginnings(cluster_: KillsCluster, count: int) -> None:
    """Wait until so many have begun, whichever."""
    eventually(lambda: len(cluster_.began()) >= count, within_s=DEADLINE_S)


def _ask_for_nothing(*_: object) -> None:
    """See `dispatching`."""


def _is_last(meta: dict[str, Any] | None) -> bool:
    return meta is not None and meta["status"] in {"SUCCESS", "FAILURE", "REVOKED"}


def _last_word(meta: dict[str, Any] | None) -> str:
    if meta is None or not _is_last(meta):
        return "nothing"
    return str(meta["result"]["exc_type"]) if meta["status"] == "FAILURE" else str(meta["status"])
