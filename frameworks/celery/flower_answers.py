"""What a dispatcher answers to those who ask in the cluster's Redis, as Flower of the cluster does: what Celery's worker would.

Celery's own handlers are called (celery `worker/control.py`), in the thread of the event loop, as when somebody asks in the
application's broker. A few are about the broker that was asked, and are answered here.
"""

import queue
from collections.abc import Callable, Mapping
from typing import Any, Final, TypeAlias

from celery.exceptions import WorkerShutdown, WorkerTerminate
from celery.utils.collections import AttributeDict
from celery.utils.functional import pass1
from celery.worker import state as worker_state
from celery.worker.control import Panel

from mesolite.logs import get_logger
from mesolite.transport.celery_control import Listeners, Reply

#: Flower waits a second by default. What comes later reaches nobody, but is done.
ANSWER_WITHIN_S: Final = 2.0

#: Has an action done in the thread of the event loop.
Post: TypeAlias = Callable[[Callable[[], None]], None]

_log = get_logger("mesolite.celery")


class PanelAnswers:
    """Answers by Celery's handlers.

    Args:
        controller: Celery's worker.
        post: The way into its thread.
        is_ours: Whether an id with a slash, as those of other frameworks' tasks have, is a task of this dispatcher.
        listeners: Told about signs of life of those who listen.
    """

    def __init__(self, controller: Any, post: Post, is_ours: Callable[[str], bool], listeners: Listeners) -> None:
        self._controller: Final = controller
        self._post: Final = post
        self._is_ours: Final = is_ours
        self._listeners: Final = listeners

    def answer(self, method: str, arguments: Mapping[str, object]) -> Reply:
        """See `Answers`."""
        match method:
            case "heartbeat":
                self._listeners.listener_came()
                return {"ok": "a heartbeat follows"}
            case "enable_events":
                self._listeners.enable_asked()
                return {"ok": "task events already enabled"}
            case "disable_events":
                return {"error": "the cluster's Flower is always told; --no-flower leaves it out"}
            case "hello":
                return {"error": "workers of an application meet at its own broker"}
            case "revoke" | "terminate":
                wanted = self._ours(arguments.get("task_id"))
                if not wanted:
                    return {"ok": "no such task here"}
                return self._ask(method, {**arguments, "task_id": wanted})
            case _:
                return self._ask(method, arguments)

    def _ours(self, task_id: object) -> list[str]:
        ids: list[object] = list[object](task_id) if isinstance(task_id, list | tuple) else [task_id]
        return [each for each in ids if isinstance(each, str) and ("/" not in each or self._is_ours(each))]

    def _ask(self, method: str, arguments: Mapping[str, object]) -> Reply:
        answered: queue.SimpleQueue[Reply] = queue.SimpleQueue()
        self._post(lambda: answered.put(self._do(method, arguments)))
        try:
            return answered.get(timeout=ANSWER_WITHIN_S)
        except queue.Empty:
            return {"error": f"the dispatcher is busy; {method!r} is done when it comes to it"}

    def _do(self, method: str, arguments: Mapping[str, object]) -> Reply:
        handler: Callable[..., Any] | None = Panel.data.get(method)
        consumer = self._controller.consumer
        if handler is None or consumer is None:
            return {"error": f"a worker of Celery does not know {method!r}" if handler is None else "it is starting"}
        # What Celery's own mailbox gives them (celery `worker/pidbox.py`), where the worker has an event loop.
        state = AttributeDict(app=consumer.app, hostname=consumer.hostname, consumer=consumer, tset=pass1)
        try:
            reply: Reply = handler(state, **arguments)
            return reply
        except WorkerTerminate:
            worker_state.should_terminate = 0
        except WorkerShutdown:
            # The loop ends at its next turn, after this has been answered.
            worker_state.should_stop = 0
        except Exception as error:  # noqa: BLE001 # whatever one of Celery's handlers makes of what people typed
            _log.warning("celery.control_failed", method=method, error=repr(error))
            return {"error": repr(error)}
        return {"ok": f"{method}: it ends"}
