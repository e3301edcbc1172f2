"""What waits for an agent's core, and when those who brought it are told that it was taken."""

import threading

from mesolite.agent.inbox import Inbox
from mesolite.agent.intake import Item, Undecodable
from mesolite.agent.reader import CommandReader
from mesolite.transport import MemoryBroker, MemoryBus
from tests.waiting import eventually

LONG_MS = 20_000


def item(number: int) -> Item:
    return Undecodable(reason=str(number), payload=b"")


def test_items_come_in_their_order_however_they_were_brought() -> None:
    inbox = Inbox()
    inbox.put(item(1))
    inbox.hand_over([item(2), item(3)])
    inbox.put(item(4))
    assert inbox.waiting == 3, "what was handed over together counts once"
    assert inbox.take(10) == [item(1), item(2), item(3), item(4)]
    assert inbox.take(10) == []


def test_what_was_handed_over_together_is_taken_together() -> None:
    inbox = Inbox()
    inbox.put(item(1))
    taken = inbox.hand_over([item(2), item(3)])
    assert inbox.take(1) == [item(1)]
    assert not taken.is_set()
    assert inbox.take(1) == [item(2), item(3)]
    assert taken.is_set()


def test_what_was_put_quietly_wakes_nobody_until_somebody_rings_and_is_there_for_whoever_takes() -> None:
    inbox, woken = Inbox(), threading.Event()

    def wait() -> None:
        inbox.wait(LONG_MS)
        woken.set()

    waiting = threading.Thread(target=wait)
    waiting.start()
    try:
        inbox.put_quietly(item(1))
        assert inbox.take(10) == [item(1)]
        assert not woken.is_set()
    finally:
        inbox.ring()
        waiting.join(LONG_MS / 1000)
    assert woken.is_set()
    inbox.put_quietly(item(2))
    inbox.wait(LONG_MS)
    assert inbox.take(10) == [item(2)], "who is about to wait sees it"


def test_a_reader_leaves_commands_in_the_bus_until_those_before_are_taken() -> None:
    broker, inbox, stop = MemoryBroker(), Inbox(), threading.Event()
    bus = MemoryBus(broker)
    bus.send("queue", b"first")
    reading = threading.Thread(target=CommandReader(MemoryBus(broker), "queue", inbox).run, args=(stop,))
    reading.start()
    try:
        assert eventually(lambda: inbox.waiting == 1)
        bus.send("queue", b"second")
        bus.send("queue", b"third")
        assert (inbox.waiting, len(broker.queues["queue"])) == (1, 2)
        inbox.wait(LONG_MS)
        taken = inbox.take(10)
        taken += eventually(lambda: inbox.take(10))
        assert [each.payload for each in taken if isinstance(each, Undecodable)] == [b"first", b"second", b"third"]
    finally:
        stop.set()
        reading.join(LONG_MS / 1000)
