"""Takes commands out of the agent's queue into its inbox."""

import threading
from typing import Final

from mesolite.errors import ProtocolError, Unavailable
from mesolite.logs import get_logger
from mesolite.protocol import decode_commands, malformed
from mesolite.transport.contract import CommandBus

from .inbox import Inbox, Undecodable
from .settings import COMMAND_WAIT_MS, MAX_COMMAND_BATCHES, REDIS_BACKOFF_CAP_MS, REDIS_BACKOFF_MS

_log = get_logger("mesolite.agent")


class CommandReader:
    """Reads one queue; `poll` and `run` from one thread."""

    def __init__(self, bus: CommandBus, queue: str, inbox: Inbox) -> None:
        self._bus: Final = bus
        self._queue: Final = queue
        self._inbox: Final = inbox

    def poll(self, wait_ms: int) -> None:
        """Take what is there, waiting at most so long for the first message.

        Raises:
            Unavailable: The broker does not answer.
        """
        for payload in self._bus.receive(self._queue, limit=MAX_COMMAND_BATCHES, wait_ms=wait_ms):
            try:
                self._inbox.put(decode_commands(payload))
            except ProtocolError as error:
                refused = malformed(str(error), payload)
                self._inbox.put(Undecodable(reason=refused.reason, payload=refused.payload))

    def run(self, stop: threading.Event) -> None:
        """Read until `stop` is set; wait for a broker that is away, and for an inbox that is crowded."""
        pause_ms = REDIS_BACKOFF_MS
        while not stop.is_set():
            if self._inbox.crowded:
                stop.wait(REDIS_BACKOFF_MS / 1000)
                continue
            try:
                self.poll(COMMAND_WAIT_MS)
            except Unavailable as error:
                if pause_ms == REDIS_BACKOFF_MS:
                    _log.warning("agent.broker_away", queue=self._queue, reason=str(error))
                stop.wait(pause_ms / 1000)
                pause_ms = min(pause_ms * 2, REDIS_BACKOFF_CAP_MS)
            else:
                if pause_ms != REDIS_BACKOFF_MS:
                    _log.info("agent.broker_back", queue=self._queue)
                pause_ms = REDIS_BACKOFF_MS
