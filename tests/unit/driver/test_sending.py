"""The way out: calls are gathered into batches of bounded weight and size, and numbered so that a repetition shows."""

import random

from mesolite.clock import ManualClock
from mesolite.frameworks.driver.effects import DeliverUpdates
from mesolite.frameworks.driver.events import CallsImpossible
from mesolite.frameworks.driver.outbox import Outbox, weight
from mesolite.frameworks.driver.packing import pack
from mesolite.frameworks.driver.sender import MAX_UNSENT_BYTES, Sender
from mesolite.frameworks.driver.settings import (
    MAX_ACKNOWLEDGEMENTS,
    MAX_BATCH_WEIGHT,
    MAX_WAITING_ACKNOWLEDGEMENTS,
)
from mesolite.ids import AgentId, ExecutorId, TaskId
from mesolite.protocol import (
    MAX_PAYLOAD_BYTES,
    Accept,
    Acknowledge,
    Acknowledgement,
    CallBatch,
    Heartbeat,
    Message,
    TaskState,
    decode_calls,
)
from mesolite.retries import FIRST_MS, QUICK_CAP_MS
from mesolite.transport.memory import MemoryStore
from mesolite.transport.memory_broker import MemoryBroker
from tests.unit.driver.workbench import FRAMEWORK, SESSION, Bench, accept, offer, task


def heavy(number: int, tasks: int) -> Accept:
    return accept(*(task(f"task-{number}-{each}") for each in range(tasks)), offers=(f"offer-{number}",))


def message(size_bytes: int) -> Message:
    return Message(AgentId("agent-1"), ExecutorId("executor-1"), bytes(size_bytes))


def a_batch(*calls: Message | Accept | Heartbeat, number: int = 10) -> CallBatch:
    return CallBatch(framework_id=FRAMEWORK.framework_id, session=SESSION, epoch=1, number=number, calls=calls)


def test_everything_of_a_step_leaves_in_one_batch() -> None:
    bench = Bench().holding(offer("offer-1"), offer("offer-2"))
    bench.want(accept(task("task-1")))
    bench.want(accept(task("task-2"), offers=("offer-2",)))
    assert [len(batch.calls) for batch in bench.batches()] == [2]


def test_batches_are_cut_by_weight_and_keep_their_order() -> None:
    outbox = Outbox()
    calls = [heavy(number, 1500) for number in range(5)]
    for call in calls:
        outbox.add(call)
    batches = outbox.take()
    assert [call for batch in batches for call in batch] == calls
    assert all(sum(weight(call) for call in batch) <= MAX_BATCH_WEIGHT for batch in batches)
    assert len(batches) == 3


def test_a_call_heavier_than_a_batch_leaves_alone() -> None:
    outbox = Outbox()
    outbox.add(Heartbeat())
    outbox.add(heavy(1, MAX_BATCH_WEIGHT + 1))
    assert [len(batch) for batch in outbox.take()] == [1, 1]


def test_acknowledgements_are_gathered_and_bounded() -> None:
    outbox = Outbox()
    for number in range(MAX_WAITING_ACKNOWLEDGEMENTS + 5):
        outbox.acknowledge(Acknowledgement(AgentId("agent-1"), TaskId("task-1"), number.to_bytes(8)))
    calls = [call for batch in outbox.take() for call in batch]
    sizes = [len(call.acknowledgements) for call in calls if isinstance(call, Acknowledge)]
    assert sum(sizes) == MAX_WAITING_ACKNOWLEDGEMENTS
    assert max(sizes) == MAX_ACKNOWLEDGEMENTS
    assert outbox.take() == []


def test_numbers_grow_by_the_calls_they_stand_for() -> None:
    bench = Bench().holding(offer("offer-1"), offer("offer-2"))
    bench.want(accept(task("task-1")))
    bench.want(accept(task("task-2"), offers=("offer-2",)))
    [first] = bench.batches()
    bench.want(message(1))
    [second] = bench.batches()
    assert second.number == first.number + len(second.calls)
    assert first.number >= len(first.calls)


def test_a_batch_too_large_to_travel_is_split_and_its_parts_are_numbered_in_order() -> None:
    rng = random.Random(7)
    calls = [message(rng.randrange(MAX_PAYLOAD_BYTES // 4, MAX_PAYLOAD_BYTES // 2)) for _ in range(6)]
    payloads, impossible = pack(a_batch(*calls))
    batches = [decode_calls(payload)[0] for payload in payloads]
    assert impossible == []
    assert [call for batch in batches for call in batch.calls] == calls
    numbers = [batch.number for batch in batches]
    assert numbers == sorted(set(numbers))
    assert numbers[-1] == 10
    assert numbers[0] > 10 - len(calls)


def test_a_call_too_large_by_itself_is_named() -> None:
    monster = message(MAX_PAYLOAD_BYTES + 1)
    payloads, impossible = pack(a_batch(Heartbeat(), monster, Heartbeat()))
    assert impossible == [monster]
    assert sum(len(decode_calls(payload)[0].calls) for payload in payloads) == 2


def test_tasks_of_a_launch_too_large_to_travel_end_as_errors() -> None:
    bench = Bench().holding()
    wanted = accept(task("task-1"))
    bench.want(wanted)
    bench.calls()
    event = CallsImpossible(now_ms=bench.now_ms, calls=(wanted,), reason="too large")
    [effect] = bench.apply(bench.core.apply(event))
    assert isinstance(effect, DeliverUpdates)
    assert [(each.task_id, each.state, each.message) for each in effect.statuses] == [
        ("task-1", TaskState.ERROR, "too large")
    ]


# The sender


def sender_on(broker: MemoryBroker, clock: ManualClock) -> Sender:
    return Sender(MemoryStore(broker), "calls:default", 100, clock)


def sent(broker: MemoryBroker) -> list[bytes]:
    entries = MemoryStore(broker).read({"calls:default": "0-0"}, limit=1000, wait_ms=0)
    return [entry.payload for entry in entries]


def test_payloads_are_kept_while_the_store_is_away_and_sent_in_order_when_it_is_back() -> None:
    clock = ManualClock()
    broker = MemoryBroker()
    sender = sender_on(broker, clock)
    broker.available = False
    sender.add(b"one")
    assert not sender.send()
    sender.add(b"two")
    broker.available = True
    assert not sender.send()
    assert sender.unsent == 2, "tried again before its time"
    clock.advance(FIRST_MS)
    assert sender.send(), "it must say that the store came back"
    assert sent(broker) == [b"one", b"two"]
    sender.add(b"three")
    assert not sender.send()
    assert sent(broker) == [b"one", b"two", b"three"]


def test_a_failover_is_over_for_the_sender_within_a_moment_of_its_end() -> None:
    """Goal: at most QUICK_CAP_MS lost, however many seconds Redis was away. Method: an outage of ten seconds."""
    clock = ManualClock()
    broker = MemoryBroker()
    sender = sender_on(broker, clock)
    broker.available = False
    sender.add(b"one")
    for _ in range(1000):
        assert not sender.send()
        clock.advance(10)
    broker.available = True
    back_ms = clock.now_ms()
    while not sender.send():
        clock.advance(10)
    assert clock.now_ms() - back_ms <= QUICK_CAP_MS


def test_a_sender_that_is_told_so_tries_at_once() -> None:
    clock = ManualClock()
    broker = MemoryBroker()
    sender = sender_on(broker, clock)
    broker.available = False
    sender.add(b"one")
    sender.send()
    broker.available = True
    sender.try_now()
    assert sender.send()


def test_what_is_kept_is_bounded_and_the_oldest_go() -> None:
    clock = ManualClock()
    broker = MemoryBroker()
    sender = sender_on(broker, clock)
    part = MAX_UNSENT_BYTES // 4
    for number in range(6):
        sender.add(bytes([number]) * part)
    assert sender.unsent == 4
    sender.send()
    assert [payload[0] for payload in sent(broker)] == [2, 3, 4, 5]


def test_an_empty_sender_has_nothing_to_do() -> None:
    sender = sender_on(MemoryBroker(), ManualClock())
    assert not sender.send()
    assert sender.retry_ms is None
