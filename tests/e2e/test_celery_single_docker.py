"""Tasks each in a Docker container of its own: limits by the kernel, images that cannot run them."""

import itertools
import os
import socket
from collections.abc import Iterator
from dataclasses import replace
from typing import Any, Final

import pytest

from mesolite.executors.celery.protocol import APP_VARIABLE, TaskRun
from mesolite.executors.python.calls import End
from mesolite.frameworks.celery.calls import TaskOptions
from mesolite.frameworks.celery.errors import CannotRunHere, MemoryLimitExceeded
from mesolite.frameworks.celery.single import SingleRunner, SingleSettings
from mesolite.frameworks.celery.task_function import ENTRY
from mesolite.frameworks.celery.verdicts import Failed, TaskRules, verdict
from mesolite.frameworks.futures.connection import ClusterPlace
from mesolite.frameworks.futures.errors import CannotRun
from mesolite.frameworks.futures.options import CallOptions
from mesolite.frameworks.futures.pickling import FunctionCache
from mesolite.ids import FrameworkId
from mesolite.protocol import FrameworkInfo
from tests.integration.warm_rig import Task

from .conftest import Cluster

pytestmark = [pytest.mark.docker, pytest.mark.slow, pytest.mark.xdist_group("docker"), pytest.mark.timeout(180)]
KIND: Final = CallOptions(cpus=0.5, mem_mib=64).kind
WITHIN_S: Final = 90.0
_numbers = itertools.count()


def work(name: str, *_: object) -> tuple[str, int]:
    """Tell in which container it runs, or take more and more."""
    if name == "eat":
        eaten = bytearray()
        while True:
            eaten += b"x" * 4_000_000
    return socket.gethostname(), os.cpu_count() or 0


class Runners:
    """Makes runners and tasks."""

    def __init__(self, cluster: Cluster) -> None:
        address = cluster.address
        self._place: Final = ClusterPlace(address.redis_url, address.cluster, address.principal)
        self._runners: Final[list[SingleRunner]] = []

    def runner(self, function: Any = None) -> SingleRunner:
        """Begin one, of a framework of its own."""
        info = FrameworkInfo(
            framework_id=FrameworkId(f"single-{next(_numbers)}-{os.getpid()}"), name="single", roles=("*",)
        )
        settings = SingleSettings(name="single", environment={APP_VARIABLE: "no_such_app"})
        runner = SingleRunner(
            self._place, info, settings, lambda why: None, function=function or FunctionCache().pack(work)
        )
        self._runners.append(runner)
        return runner

    def close(self) -> None:
        """End all."""
        for runner in self._runners:
            runner.close(leave_running=False)
        for runner in self._runners:
            runner.join(20.0)


@pytest.fixture
def runners(docker_cluster: Cluster) -> Iterator[Runners]:
    made = Runners(docker_cluster)
    yield made
    made.close()


def task(what: str = "work", **changes: Any) -> Task:
    """A task that does this."""
    name = f"{what}-{next(_numbers)}"
    return Task(
        name, TaskRun(what, name, {}, ((), {}, {}), None, None, None), TaskOptions(kind=replace(KIND, **changes))
    )


def test_two_tasks_run_in_two_containers(runners: Runners) -> None:
    tasks = [task(), task()]
    runners.runner().submit(tasks)
    assert len({each.returned(WITHIN_S)[0] for each in tasks}) == 2


def test_the_kernel_holds_a_task_to_its_memory(runners: Runners) -> None:
    greedy = task("eat")
    runners.runner().submit([greedy])
    outcome = greedy.outcome(WITHIN_S)
    assert outcome.end is End.OUT_OF_MEMORY
    decided = verdict(outcome, TaskRules(), greedy.options, losses=0, signum=None, withdrawn=False)
    assert isinstance(decided, Failed)
    assert isinstance(decided.error, MemoryLimitExceeded)
    assert decided.error.limit_mib == 64
    assert 32 <= decided.error.peak_mib <= 64 + 48


def test_an_image_that_cannot_be_had_is_named(runners: Runners) -> None:
    wrong = task(image="127.0.0.1:1/nothing:1")
    runners.runner().submit([wrong])
    ending = wrong.ending(WITHIN_S)
    assert isinstance(ending, CannotRun)
    assert "127.0.0.1:1/nothing:1" in str(ending)


def test_an_image_without_celery_is_a_clear_refusal_of_the_task(runners: Runners) -> None:
    wrong = task()
    runners.runner(ENTRY).submit([wrong])
    decided = verdict(wrong.outcome(WITHIN_S), TaskRules(), wrong.options, losses=0, signum=None, withdrawn=False)
    assert isinstance(decided, Failed)
    assert isinstance(decided.error, CannotRunHere)
    assert "elery" in str(decided.error)
