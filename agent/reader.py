"""Takes commands out of the agent's queue into its inbox."""

import threading
from typing import Final

from mesolite.errors import ProtocolError, Unavailable
from mesolite.logs import get_logger
from mesolite.protocol import decode_commands, malformed
from mesolite.retries import Retries
from mesolite.transport.contract import CommandBus

from .inbox import BrokerReturned, Inbox, Undecodable
from .settings import COMMAND_WAIT_MS, CROWDED_PAUSE_MS, MAX_COMMAND_BATCHES

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
        retries = Retries()
        while not stop.is_set():
            if self._inbox.crowded:
                stop.wait(CROWDED_PAUSE_MS / 1000)
                continue
            try:
                self.poll(COMMAND_WAIT_MS)
            except Unavailable as error:
                if retries.is_first:
                    _log.warning("agent.broker_away", queue=self._queue, reason=str(error))
                stop.wait(retries.take_ms() / 1000)
            else:
                if not retries.is_first:
                    _log.info("agent.broker_back", queue=self._queue)
                    self._inbox.put(BrokerReturned())
                retries.reset()
