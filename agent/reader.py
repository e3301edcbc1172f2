"""Takes commands out of the agent's queue, to whoever takes them up at once or into its inbox."""

import threading
from collections.abc import Callable, Sequence
from typing import Final

from mesolite.errors import ProtocolError, Unavailable
from mesolite.logs import get_logger
from mesolite.protocol import decode_commands, malformed
from mesolite.retries import Retries
from mesolite.transport.contract import CommandBus

from .inbox import Inbox
from .intake import BrokerReturned, Item, Undecodable
from .settings import COMMAND_WAIT_MS, MAX_COMMAND_BATCHES

_log = get_logger("mesolite.agent")


class CommandReader:
    """Reads one queue; `poll` and `run` from one thread.

    Args:
        bus: Where the queue is.
        queue: Its name.
        inbox: Takes what `take_up` does not.
        take_up: Does what follows from commands, on the reader's thread, which saves the way to another. It says after how
            many milliseconds it wants to be called at the latest, if need be with none; None where it did nothing, because
            another thread is at it.
    """

    def __init__(
        self,
        bus: CommandBus,
        queue: str,
        inbox: Inbox,
        take_up: Callable[[Sequence[Item]], int | None] = lambda _: None,
    ) -> None:
        self._bus: Final = bus
        self._queue: Final = queue
        self._inbox: Final = inbox
        self._take_up: Final = take_up

    def poll(self) -> None:
        """Take what is there.

        Raises:
            Unavailable: The broker does not answer.
        """
        for item in self._receive(0):
            self._inbox.put(item)

    def run(self, stop: threading.Event) -> None:
        """Read until `stop` is set; wait for a broker that is away, and for an inbox that is not emptied.

        What was read has to be taken before more is read. It bounds what waits in this process, and the thread that takes it
        begins at once: one that read on would hold the interpreter's lock until it waits for the broker again.
        """
        retries = Retries()
        wait_ms = COMMAND_WAIT_MS
        while not stop.is_set():
            try:
                items = self._receive(wait_ms)
            except Unavailable as error:
                wait_ms = COMMAND_WAIT_MS
                if retries.is_first:
                    _log.warning("agent.broker_away", queue=self._queue, reason=str(error))
                stop.wait(retries.take_ms() / 1000)
                continue
            if not retries.is_first:
                _log.info("agent.broker_back", queue=self._queue)
                items.append(BrokerReturned())
            retries.reset()
            again_ms = self._take_up(items) if items or wait_ms < COMMAND_WAIT_MS else None
            wait_ms = COMMAND_WAIT_MS if again_ms is None else min(again_ms, COMMAND_WAIT_MS)
            if items and again_ms is None:
                taken = self._inbox.hand_over(items)
                while not taken.wait(COMMAND_WAIT_MS / 1000) and not stop.is_set():
                    pass

    def _receive(self, wait_ms: int) -> list[Item]:
        return [
            self._decoded(each) for each in self._bus.receive(self._queue, limit=MAX_COMMAND_BATCHES, wait_ms=wait_ms)
        ]

    def _decoded(self, payload: bytes) -> Item:
        try:
            return decode_commands(payload)
        except ProtocolError as error:
            refused = malformed(str(error), payload)
            return Undecodable(reason=refused.reason, payload=refused.payload)
