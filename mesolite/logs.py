"""Structured logs over Python's own logging: a stable event name, then what it is about, as `name=value`.

    2026-11-23 06:12:21.034 warning mesolite.master  master.store_away  reason='...' retry_seconds=0.5

Everything goes through `logging`, so that in somebody else's program their configuration decides and nothing is ever
written to stdout, which belongs to tasks' output and `--json`. The processes of a cluster call `configure_logs`.
"""

import logging
import sys
from collections.abc import Mapping
from typing import Final

_FORMAT: Final = "%(asctime)s.%(msecs)03d %(levelname)-7s %(name)s  %(message)s"
_TIME_FORMAT: Final = "%Y-%m-%d %H:%M:%S"


class EventLogger:
    """A logger whose lines are events with values.

    Args:
        logger: Where they go.
    """

    def __init__(self, logger: logging.Logger) -> None:
        self._logger: Final = logger

    def debug(self, event: str, /, **values: object) -> None:
        """Log what helps who looks for a fault."""
        self._say(logging.DEBUG, event, values)

    def info(self, event: str, /, **values: object) -> None:
        """Log what is as it should be."""
        self._say(logging.INFO, event, values)

    def warning(self, event: str, /, **values: object) -> None:
        """Log what may need somebody."""
        self._say(logging.WARNING, event, values)

    def error(self, event: str, /, *, exc_info: BaseException | None = None, **values: object) -> None:
        """Log what does.

        Args:
            event: Its name, "master.store_away".
            exc_info: The exception behind it, whose traceback is shown.
            values: What it is about.
        """
        self._say(logging.ERROR, event, values, exc_info)

    def exception(self, event: str, /, **values: object) -> None:
        """Log an error, with the exception that is being handled."""
        self._say(logging.ERROR, event, values, sys.exception())

    def log(self, level: int, event: str, /, **values: object) -> None:
        """Log at a level of `logging`."""
        self._say(level, event, values)

    def _say(self, level: int, event: str, values: Mapping[str, object], exc_info: BaseException | None = None) -> None:
        # A line that nobody writes is not to cost its making.
        if self._logger.isEnabledFor(level):
            shown = " ".join(f"{name}={value!r}" for name, value in values.items())
            # As an argument: what stands in a value is never a place for another.
            self._logger.log(level, "%s", f"{event}  {shown}" if shown else event, exc_info=exc_info)


def get_logger(name: str) -> EventLogger:
    """Return the logger of a part: "mesolite.master"."""
    return EventLogger(logging.getLogger(name))


def configure_logs(level: str) -> None:
    """Write this process's logs to stderr.

    Args:
        level: "debug", "info", "warning" or "error": the least important that is written.
    """
    logging.basicConfig(stream=sys.stderr, format=_FORMAT, datefmt=_TIME_FORMAT, level=logging.WARNING, force=True)
    logging.getLogger("mesolite").setLevel(level.upper())
