"""A framework's process: the real driver and sender around a scheduler, read and written in one thread."""

import random
from collections.abc import Callable
from typing import Final

from mesolite.errors import RedisUnavailable
from mesolite.frameworks.driver.driver import Action, SchedulerDriver
from mesolite.frameworks.driver.packing import pack
from mesolite.frameworks.driver.sender import Sender
from mesolite.ids import FrameworkId, SessionId
from mesolite.protocol import EventBatch, Offers, decode_events
from mesolite.transport.contract import BEGINNING
from mesolite.transport.keys import MAX_CALLS_LENGTH, calls_stream, framework_stream
from mesolite.transport.memory_broker import parse_entry_id

from .process import Process
from .wires import LATEST_MS
from .world import World

#: The real one looks more often, at nothing: here it is woken by whatever concerns it.
LOOK_MS: Final = 3000
READ_LIMIT: Final = 200
#: What the real reader waits at first before it tries an absent store again.
RETRY_MS: Final = 200


class Program(Process):
    """One framework, through all its lives.

    Args:
        world: Where it lives.
        framework_id: Who it is.
        new_driver: Makes the driver of a life, given its session and a source of chance.
        mortal: Its scheduler can go on in another process. A batch program cannot: its jobs are in its memory.
        name: Its name in the story, where it is not the framework's only process.
    """

    def __init__(
        self,
        world: World,
        framework_id: FrameworkId,
        new_driver: Callable[[SessionId, random.Random], SchedulerDriver],
        *,
        mortal: bool,
        name: str | None = None,
    ) -> None:
        super().__init__(world, framework_id if name is None else name)
        self._new_driver: Final = new_driver
        self.mortal: Final = mortal
        self.framework_id: Final = framework_id
        self.driver: SchedulerDriver | None = None
        #: What is to be done with the driver at the next step.
        self.actions: list[Action] = []
        self._stream: Final = framework_stream(framework_id)
        self._sender: Sender | None = None
        self._position: str | None = None
        self._away = False
        self._blind_until_ms = 0
        self._newest_epoch = 0

    @property
    def unsent(self) -> int:
        """Payloads that wait for the store."""
        return self._sender.unsent if self._sender is not None else 0

    @property
    def twin_name(self) -> str:
        """What a second process of the same framework is called."""
        return f"{self.name}-twin"

    def twin(self) -> "Program":
        """Make a second process of the same framework."""
        return Program(self.world, self.framework_id, self._new_driver, mortal=True, name=self.twin_name)

    def lose_memory(self) -> None:
        """See `Process`: what the scheduler keeps in a safe place stays."""
        self.driver = self._sender = None

    def begin(self, now_ms: int) -> None:
        """See `Process`."""
        rng = self.world.rng
        session = SessionId(f"{self.name}-{rng.getrandbits(32):08x}")
        self.session = session
        self._newest_epoch = 0
        self.world.note(self.name, f"begins as {session}")
        self.driver = self._new_driver(session, rng)
        self._sender = Sender(self.wire.store, calls_stream(), MAX_CALLS_LENGTH, self.clock)
        self._position, self._away, self._blind_until_ms = None, False, 0
        if self.framework_id in self.world.journal.ended:
            # The word may have died with the last life. This one takes over, and says it again.
            self.actions = [lambda driver: driver.teardown()]

    def live(self, now_ms: int) -> None:
        """See `Process`."""
        driver, sender = self.driver, self._sender
        assert driver is not None
        assert sender is not None
        if driver.ended and not sender.unsent:
            self.wake_ms = None
            return
        batches = self._read(now_ms)
        if batches is None:
            self.wake_at(now_ms + RETRY_MS)
            if self._position is None:
                return
        if self.world.peace_ms is not None and self.framework_id in self.world.journal.ended and not driver.ended:
            # Another process of it wanted the end, and was not heard because this one is the newer.
            self.actions.append(lambda driver: None if driver.ended else driver.teardown())
        actions, self.actions = self.actions, []
        for batch in driver.step(now_ms, batches or (), actions):
            payloads, impossible = pack(batch)
            assert not impossible, "nothing here is too large to travel"
            for payload in payloads:
                sender.add(payload)
        driver.core.check()
        soon_ms = None
        if sender.send():
            driver.store_returned(now_ms)
            soon_ms = now_ms
        away_ms = now_ms + RETRY_MS if batches is None else None
        blind_ms = self._blind_until_ms if self._blind_until_ms > now_ms else None
        self.wake_at(now_ms + LOOK_MS, soon_ms, away_ms, blind_ms, driver.next_deadline_ms(), sender.retry_ms)

    def _read(self, now_ms: int) -> list[EventBatch] | None:
        """Read what is there; None where the store does not answer. As the real reader, which has a thread of its own."""
        store, world, driver = self.wire.store, self.world, self.driver
        assert driver is not None
        if now_ms < self._blind_until_ms:
            return []
        try:
            if self._position is None:
                self._position = store.last_id(self._stream)
            elif self._away:
                if parse_entry_id(store.last_id(self._stream)) < parse_entry_id(self._position):
                    self._position = BEGINNING
                self._away = False
                driver.store_returned(now_ms)
            entries = store.read({self._stream: self._position}, limit=READ_LIMIT, wait_ms=0)
        except RedisUnavailable:
            self._away = True
            return None
        if entries and world.rng.random() < world.chances.events_late:
            self._blind_until_ms = now_ms + world.rng.randint(1, LATEST_MS)
            return []
        batches: list[EventBatch] = []
        for entry in entries:
            self._position = entry.entry_id
            if world.rng.random() < world.chances.events_skipped:
                world.note(self.name, f"misses an entry of {self._stream}")
            else:
                batches.append(self._decoded(entry.payload))
        return batches

    def _decoded(self, payload: bytes) -> EventBatch:
        batch = decode_events(payload)
        if batch.epoch < self._newest_epoch:
            for event in batch.events:
                if isinstance(event, Offers):
                    self.world.journal.void_offers.update(offer.offer_id for offer in event.offers)
        self._newest_epoch = max(self._newest_epoch, batch.epoch)
        return batch
