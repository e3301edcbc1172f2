"""Structured logs over Python's own logging: a stable event name, then what it is about, as `name=value`.

    2026-11-23 06:12:21.034 warning mesolite.master  master.store_away  reason='...' retry_seconds=0.5

Everything goes through `logging`, so that in somebody else's program their configuration decides and nothing is ever
written to stdout, which belongs to tasks' output and `--json`. The processes of a cluster call `configure_logs`.
"""

import logging
import sys
from typing import Final

import structlog
from structlog.stdlib import BoundLogger
from structlog.typing import EventDict, WrappedLogger

_FORMAT: Final = "%(asctime)s.%(msecs)03d %(levelname)-7s %(name)s  %(message)s"
_TIME_FORMAT: Final = "%Y-%m-%d %H:%M:%S"


def get_logger(name: str) -> BoundLogger:
    """Return the logger of a part: "mesolite.master"."""
    logger: BoundLogger = structlog.wrap_logger(
        logging.getLogger(name),
        processors=[structlog.stdlib.filter_by_level, _line],
        wrapper_class=BoundLogger,
    )
    return logger


def configure_logs(level: str) -> None:
    """Write this process's logs to stderr.

    Args:
        level: "debug", "info", "warning" or "error": the least important that is written.
    """
    logging.basicConfig(stream=sys.stderr, format=_FORMAT, datefmt=_TIME_FORMAT, level=logging.WARNING, force=True)
    logging.getLogger("mesolite").setLevel(level.upper())


def _line(logger: WrappedLogger, method: str, event: EventDict) -> tuple[tuple[str], dict[str, object]]:
    name = event.pop("event")
    passed_on = {key: event.pop(key) for key in ("exc_info", "stack_info") if key in event}
    values = " ".join(f"{key}={value!r}" for key, value in event.items())
    return (f"{name}  {values}" if values else str(name),), passed_on
