"""Makes the application for one broker, as a worker's module and as tests do; both know the same tasks."""

from typing import Any

import msgspec
from celery import Celery, shared_task
from kombu import serialization

from . import signals

#: Of Celery's and kombu's, which have no types.
task: Any = shared_task
register: Any = serialization.register

QUEUES = ("celery", "slow", "first", "second")
ACCEPTED = ("json", "pickle", "yaml", "parity-msgpack")
#: One that the client knows and no worker accepts.
REFUSED = "parity-refused"


def make_app(broker: str, backend: str, board: str) -> Any:
    """Return the application.

    Args:
        broker: Where messages go.
        backend: Where results go.
        board: The Redis on which tasks tell what happened.
    """
    register("parity-msgpack", msgspec.msgpack.encode, msgspec.msgpack.decode, "application/x-parity-msgpack", "binary")
    register(REFUSED, msgspec.json.encode, msgspec.json.decode, "application/x-parity-refused", "utf-8")
    app: Any = Celery("parity", broker=broker, backend=backend, set_as_current=False)
    app.conf.update(
        parity_board=board,
        imports=[f"{__package__}.{name}" for name in ("plain", "failing", "flow", "gates")],
        accept_content=list(ACCEPTED),
        result_accept_content=["json", "pickle"],
        result_extended=True,
        result_expires=3600,
        task_send_sent_event=False,
        task_default_queue="celery",
        task_create_missing_queues=True,
        task_queue_max_priority=None,
        broker_connection_retry_on_startup=True,
        broker_transport_options={"priority_steps": [0, 3, 6, 9], "queue_order_strategy": "round_robin"},
        redis_backend_health_check_interval=5,
        worker_hijack_root_logger=False,
        beat_schedule={"tick": {"task": "parity.unheard", "schedule": 1.0, "args": ("beat",)}},
        worker_prefetch_multiplier=4,
    )
    signals.connect()
    return app
