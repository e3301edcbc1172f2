"""Clients of Celery applications in tests: what they leave open, a later test would be blamed for."""

from typing import Any


def close_client(app: Any) -> None:
    """Close all that an application's client has open in this thread, the wait for results included, which `close` leaves."""
    consumer: Any = getattr(app.backend, "result_consumer", None)
    if consumer is not None:
        consumer.stop()
    client: Any = getattr(app.backend, "client", None)
    if hasattr(client, "connection_pool"):
        client.close()
        client.connection_pool.disconnect()
    app.close()
