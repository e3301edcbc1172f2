"""Collects the facts that the judge judges: from sandboxes on disk, the engine, the masters, Flower, and an offer taker."""

import http.client
import json
import random
import urllib.parse
import urllib.request
from collections import Counter
from collections.abc import Generator, Iterable, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, cast
from uuid import uuid4

import docker

from mesolite import FrameworkId, FrameworkInfo, Offer, OfferId, SessionId, TaskId
from mesolite.errors import Unavailable
from mesolite.frameworks import DriverShell, Scheduler, SchedulerDriver
from mesolite.transport import open_store

from .judge import Container
from .story import Story

CONTAINER_LABEL: Final = "mesolite.container"
#: More than a whole file of tests makes; Flower's own default is 100.
FLOWER_TASKS: Final = 10_000
HTTP_TIMEOUT_S: Final = 10


def lines_that_ran(work_dirs: Iterable[Path], framework_id: FrameworkId) -> dict[TaskId, list[str]]:
    """Per task the lines of `ran`, over all agents and all of the task's containers."""
    ran: dict[TaskId, list[str]] = {}
    for work_dir in work_dirs:
        for file in sorted((work_dir / "sandboxes" / framework_id).glob("*/*/ran")):
            ran.setdefault(TaskId(file.parent.parent.name), []).extend(file.read_text().splitlines())
    return ran


def output_of(work_dirs: Iterable[Path], framework_id: FrameworkId, task_id: TaskId) -> str:
    """A task's standard output, as its agent keeps it."""
    found = [
        file
        for work_dir in work_dirs
        for file in sorted((work_dir / "sandboxes" / framework_id / task_id).glob("*/stdout"))
        if not file.parent.is_symlink()
    ]
    return "".join(file.read_text(errors="replace") for file in found)


def containers_of(engine: docker.DockerClient, story: Story, task_ids: Iterable[TaskId]) -> dict[TaskId, Container]:
    """The containers that the engine has for tasks, found by the container id that the tasks' statuses named."""
    named = {
        word.container_id: task_id
        for task_id in task_ids
        for word in story.tasks[task_id].heard
        if word.container_id is not None
    }
    found: dict[TaskId, Container] = {}
    for container in engine.containers.list(all=True, filters={"label": CONTAINER_LABEL}, ignore_removed=True):
        task_id = named.get(cast("Any", container.labels).get(CONTAINER_LABEL))
        if task_id is None:
            continue
        details = container.attrs
        state, host = details["State"], details["HostConfig"]
        found[task_id] = Container(
            engine_id=details["Id"],
            started_at=state["StartedAt"],
            running=state["Running"],
            mem_bytes=host["Memory"],
            cpus_milli=1000 * host["CpuQuota"] // host["CpuPeriod"],
        )
    return found


def used_by(story: Story, *, cpus: float, mem_mib: float) -> dict[str, Counter[str]]:
    """What the tasks that run hold on each agent, in thousandths."""
    used: dict[str, Counter[str]] = {}
    for task in story.tasks.values():
        if task.runs():
            agent_id = task.heard[-1].agent_id
            assert agent_id is not None, f"{task.task_id} runs, and nobody says where"
            mine = Counter({"cpus": round(cpus * 1000), "mem": round(mem_mib * 1000)})
            used[agent_id] = used.get(agent_id, Counter()) + mine
    return used


class OfferTaker(Scheduler):
    """States no demand, so it is offered all there is; it keeps every offer until it is rescinded."""

    def __init__(self) -> None:
        self.held: dict[OfferId, Offer] = {}

    def offers(self, driver: SchedulerDriver, offers: Sequence[Offer]) -> None:
        """See `Scheduler`."""
        self.held |= {offer.offer_id: offer for offer in offers}

    def rescinded(self, driver: SchedulerDriver, offer_ids: Sequence[OfferId]) -> None:
        """See `Scheduler`."""
        for offer_id in offer_ids:
            self.held.pop(offer_id, None)

    def now_held(self) -> frozenset[OfferId]:
        """The offers it holds; from any thread."""
        return frozenset(self.held.copy())


@contextmanager
def taking_all_offers(redis_url: str, cluster: str) -> Generator[OfferTaker]:
    """Hold all offers there are, and give them back."""
    taker = OfferTaker()
    framework_id = FrameworkId(f"taker-{uuid4().hex[:8]}")
    driver = SchedulerDriver(
        taker,
        FrameworkInfo(framework_id, "taker", failover_timeout_ms=1000),
        session=SessionId(uuid4().hex),
        rng=random.Random(framework_id),
    )
    shell = DriverShell(driver, lambda: open_store(redis_url, cluster))
    shell.start()
    try:
        yield taker
    finally:
        shell.post(lambda verbs: None if verbs.ended else verbs.teardown())
        shell.join(15)


class FlowerApi:
    """What Flower tells over HTTP."""

    def __init__(self, url: str) -> None:
        self._url = url.rstrip("/")

    def tasks(self) -> dict[str, str]:
        """The state of each task, by "framework id/task id".

        Raises:
            Unavailable: Flower does not answer, or not with what was asked for. So does `workers`.
        """
        listed = cast("Mapping[str, Mapping[str, Any]]", self._get(f"/api/tasks?limit={FLOWER_TASKS}"))
        return {shown_id: str(task["state"]) for shown_id, task in listed.items()}

    def workers(self) -> dict[str, bool]:
        """Whether each worker is online."""
        listed = cast("Mapping[str, object]", self._get("/api/workers?status=true"))
        return {name: status is True for name, status in listed.items()}

    def _get(self, path: str) -> object:
        try:
            with urllib.request.urlopen(self._url + path, timeout=HTTP_TIMEOUT_S) as answer:
                return json.loads(answer.read())
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise Unavailable(f"Flower does not answer {path}: {error}") from None


def leader_named_by(master_url: str) -> str:
    """Say as "host:port" whom a master takes for the leader: itself where it answers, or where it sends to; else nothing."""
    parts = urllib.parse.urlsplit(master_url)
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port or 80, timeout=HTTP_TIMEOUT_S)
    try:
        connection.request("GET", "/state")
        answer = connection.getresponse()
        answer.read()
    except (OSError, http.client.HTTPException):
        return ""
    finally:
        connection.close()
    match answer.status:
        case 200:
            return parts.netloc
        case 307:
            return urllib.parse.urlsplit(answer.headers.get("Location", "")).netloc
        case _:
            return ""
