"""Notices a Docker Engine that does not answer: one that is down, and one that hangs, which looks like a slow one.

Requests that do work may take long on a busy host, and wait for two minutes. So whether the engine is there at all is asked
apart from them, with a question that it answers in milliseconds: for one container, whichever. The HTTP face's own sign of life
(`/_ping`) would say less, because it answers while everything behind it hangs.
"""

import threading
from collections.abc import Callable
from typing import Final

from mesolite.errors import MesoliteError
from mesolite.logs import get_logger

#: Between two questions.
PROBE_EVERY_S: Final = 5.0
#: Questions without an answer until the engine counts as away. A single one may meet a pause of a busy host.
PROBES_TO_TROUBLE: Final = 2

_log = get_logger("mesolite.agent")


class EngineWatch:
    """Asks an engine for a sign of life, in a thread of its own."""

    def __init__(self, probe: Callable[[], None]) -> None:
        """Begin to ask.

        Args:
            probe: Asks once; raises `MesoliteError` where no answer came in a few seconds.
        """
        self._probe: Final = probe
        self._closing: Final = threading.Event()
        self._failures = 0
        #: Why nothing can be started or ended; empty while the engine answers.
        self.trouble = ""
        self._thread: Final = threading.Thread(target=self._run, name="docker-watch", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Ask no more. A question that hangs is left to its own end."""
        self._closing.set()

    def _run(self) -> None:
        while not self._closing.wait(PROBE_EVERY_S):
            try:
                self._probe()
            except MesoliteError as error:
                self._failures += 1
                if self._failures == PROBES_TO_TROUBLE and not self._closing.is_set():
                    self.trouble = str(error)
                    _log.error("agent.engine_away", reason=self.trouble)
            else:
                if self.trouble:
                    _log.info("agent.engine_back")
                self._failures = 0
                self.trouble = ""
