"""Dumb masters (tests/unit/batch/dumb_master.py) in a thread: they read the calls stream and write the frameworks'."""

import random
import threading
from collections.abc import Callable

from mesolite.errors import RedisUnavailable
from mesolite.ids import FrameworkId
from mesolite.protocol import ErrorEvent, Subscribe, decode_calls, encode
from mesolite.transport import BEGINNING, Store
from mesolite.transport.keys import framework_stream
from tests.unit.batch.dumb_master import DumbMaster

OpenStore = Callable[[], Store]


class MasterThread:
    """Dumb masters, one per framework that speaks, behind a store."""

    def __init__(self, open_one: OpenStore) -> None:
        self.store = open_one()
        self.masters: dict[FrameworkId, DumbMaster] = {}
        self.torn_down: list[FrameworkId] = []
        self.fail_over = threading.Event()
        self.refuse = threading.Event()
        #: While set, calls are read and forgotten.
        self.deaf = threading.Event()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> "MasterThread":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()
        self.store.close()

    def _run(self) -> None:
        position, now_ms = BEGINNING, 0
        while not self._stop.is_set():
            try:
                entries = self.store.read({"calls:default": position}, limit=100, wait_ms=5)
                for entry in entries:
                    position = entry.entry_id
                    if not self.deaf.is_set():
                        self._hear(entry.payload)
                if self.fail_over.is_set():
                    # Cleared before it is done: what is asked for meanwhile counts for the next turn.
                    self.fail_over.clear()
                    for master in self.masters.values():
                        master.fail_over()
                for master in self.masters.values():
                    now_ms += 5
                    master.step(now_ms, faults=False)
                    self._publish(master)
            except RedisUnavailable:
                self._stop.wait(0.01)

    def _hear(self, payload: bytes) -> None:
        calls, malformed = decode_calls(payload)
        assert not malformed
        master = self.masters.setdefault(
            calls.framework_id, DumbMaster(calls.framework_id, random.Random(calls.framework_id), interval_ms=200)
        )
        if self.refuse.is_set() and any(isinstance(call, Subscribe) for call in calls.calls):
            master.say(calls.session, ErrorEvent("no such role"))
            return
        master.hear(calls)
        if master.removed and calls.framework_id not in self.torn_down:
            self.torn_down.append(calls.framework_id)

    def _publish(self, master: DumbMaster) -> None:
        for said in master.said:
            self.store.append(framework_stream(master.framework_id), encode(said), max_length=1000)
        master.said.clear()
