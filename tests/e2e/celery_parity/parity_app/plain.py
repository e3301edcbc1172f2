"""Tasks that do what they are told."""

from typing import Any

from celery import Task

from .board import note
from .making import task
from .signals import PROCESS


@task(name="parity.add")
def add(a: float, b: float) -> float:
    """Add."""
    return a + b


@task(name="parity.xsum")
def xsum(numbers: Any) -> float:
    """Add up, lists of numbers too."""
    return sum(each if isinstance(each, int | float) else xsum(each) for each in numbers)


@task(name="parity.echo")
def echo(*values: Any, **named: Any) -> list[Any]:
    """Give it back."""
    return [list(values), named]


@task(name="parity.unheard", ignore_result=True)
def unheard(key: str) -> str:
    """Return what nobody keeps."""
    note(key, "ran")
    return "nobody keeps this"


@task(name="parity.own_serializer", serializer="pickle", ignore_result=True)
def own_serializer(value: Any) -> None:
    """Say what came: only pickle carries sets."""
    note(min(value), type(value).__name__)


@task(bind=True, name="parity.request")
def request_fields(self: Any, key: str) -> dict[str, Any]:
    """Say what `self.request` holds, without what differs from run to run."""
    request = self.request
    keys = ("task", "args", "kwargs", "retries", "is_eager", "expires", "eta", "timelimit", "called_directly")
    more = ("group_index", "chain", "chord", "callbacks", "errbacks", "ignore_result", "replaced_task_nesting")
    told = {name: request.get(name) for name in (*keys, *more)}
    told["own root"] = request.root_id == request.id
    told["parent"] = request.parent_id
    told["correlation"] = request.correlation_id == request.id
    told["reply_to"] = bool(request.reply_to)
    told["origin"] = bool(request.origin)
    told["hostname"] = bool(request.hostname)
    told["delivery_info"] = {
        k: v for k, v in request.delivery_info.items() if k in ("exchange", "routing_key", "priority")
    }
    told["headers"] = {k: v for k, v in (request.headers or {}).items() if k.startswith("x-")}
    told["stamps"] = request.stamps
    told["name"] = self.name
    told["app"] = self.app.main
    told["redelivered"] = bool(request.delivery_info.get("redelivered"))
    note(key, request.id)
    return told


@task(name="parity.process")
def process_facts() -> dict[str, int]:
    """Say how often `worker_process_init` was sent in this process."""
    return dict(PROCESS)


class Hooked(Task):  # type: ignore[misc]
    """A task class of the application's own, with every hook."""

    made = 0

    def __init__(self) -> None:
        """Count instances."""
        super().__init__()
        self.made += 1

    def before_start(self, task_id: str, args: Any, kwargs: Any) -> None:
        note(kwargs["key"], "before_start")

    def on_success(self, retval: Any, task_id: str, args: Any, kwargs: Any) -> None:
        note(kwargs["key"], f"on_success {retval}")

    def on_retry(self, exc: BaseException, task_id: str, args: Any, kwargs: Any, einfo: Any) -> None:
        note(kwargs["key"], f"on_retry {type(exc).__name__}")

    def on_failure(self, exc: BaseException, task_id: str, args: Any, kwargs: Any, einfo: Any) -> None:
        note(kwargs["key"], f"on_failure {type(exc).__name__}")

    def after_return(self, status: str, retval: Any, task_id: str, args: Any, kwargs: Any, einfo: Any) -> None:
        note(kwargs["key"], f"after_return {status}")


@task(bind=True, base=Hooked, name="parity.hooked", max_retries=1)
def hooked(self: Any, *, key: str, ending: str) -> str:
    """End as told, through all hooks."""
    if ending == "retry" and not self.request.retries:
        raise self.retry(countdown=0)
    if ending == "failure":
        raise ValueError(ending)
    return f"made {self.made}"
