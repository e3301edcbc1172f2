"""The executor driver's loop: on real descriptors and short moments of real time, each test ended by its last callback."""

import os
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import partial

import pytest

from mesolite.executors.driver.loop import SWEEP_FROM, Loop

#: No test of these waits for so long; a loop that misses what it waits for is stopped then.
PATIENCE_MS = 10_000


@pytest.fixture
def loop() -> Iterator[Loop]:
    """A loop that ends, whatever it missed."""
    made = Loop()
    made.call_later(PATIENCE_MS, made.stop)
    yield made
    made.close()


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    """Two connected sockets."""
    with ExitStack() as stack:
        here, there = socket.socketpair()
        yield stack.enter_context(here), stack.enter_context(there)


def both(first: Callable[[], object], second: Callable[[], object]) -> Callable[[], None]:
    """One callback that does two things."""

    def run() -> None:
        first()
        second()

    return run


def test_moments_come_in_their_order_and_cancelled_ones_not_at_all(loop: Loop) -> None:
    seen: list[str] = []
    loop.call_later(20, both(lambda: seen.append("last"), loop.stop))
    loop.call_later(10, lambda: seen.append("second"))
    loop.call_later(0, lambda: seen.append("first"))
    cancelled = loop.call_later(5, lambda: seen.append("never"))
    cancelled.cancel()
    loop.run()
    assert seen == ["first", "second", "last"]
    assert not cancelled.pending


def test_a_moment_that_is_due_can_cancel_another_one_that_is(loop: Loop) -> None:
    seen: list[str] = []
    second = loop.call_at(1, lambda: seen.append("second"))
    loop.call_at(0, both(second.cancel, loop.stop))
    loop.run()
    assert seen == []


def test_a_moment_in_the_past_that_comes_again_and_again_starves_nobody(
    loop: Loop, pair: tuple[socket.socket, socket.socket]
) -> None:
    def again() -> None:
        loop.call_at(0, again)

    again()
    loop.add_reader(pair[0].fileno(), loop.stop)
    pair[1].send(b"x")
    loop.run()
    assert pair[0].recv(1) == b"x"


def test_cancelled_timers_do_not_pile_up(loop: Loop) -> None:
    for _ in range(100 * SWEEP_FROM):
        loop.call_later(PATIENCE_MS, loop.stop).cancel()
    assert len(loop._timers) <= 2 * SWEEP_FROM  # pyright: ignore[reportPrivateUsage] - what is bounded cannot be seen otherwise


def test_a_descriptor_is_read_and_written_when_it_can_be(loop: Loop, pair: tuple[socket.socket, socket.socket]) -> None:
    here, there = pair
    heard: list[bytes] = []

    def write() -> None:
        here.send(b"hello")
        loop.remove_writer(here.fileno())

    def read() -> None:
        heard.append(there.recv(100))
        loop.stop()

    loop.add_writer(here.fileno(), write)
    loop.add_reader(there.fileno(), read)
    loop.run()
    assert heard == [b"hello"]


def test_a_descriptor_that_another_callback_of_the_turn_removed_is_left_alone(loop: Loop) -> None:
    """Even where its number belongs to something else by then."""
    pairs = [socket.socketpair() for _ in range(2)]
    seen: list[str] = []

    def replace(other: int) -> None:
        seen.append("taken")
        for here, _ in pairs:
            loop.remove(here.fileno())
        number = pairs[other][0].fileno()
        pairs[other][0].close()
        fresh, far = socket.socketpair()
        assert fresh.fileno() == number, "the lowest free number is given"
        loop.add_reader(number, lambda: seen.append("wrong"))
        pairs.append((fresh, far))
        loop.call_soon(loop.stop)

    for own, (here, there) in enumerate(list(pairs)):
        loop.add_reader(here.fileno(), partial(replace, 1 - own))
        there.send(b"x")
    loop.run()
    for here, there in pairs:
        here.close()
        there.close()
    assert seen == ["taken"]


def test_what_is_asked_for_at_the_end_of_a_turn_comes_after_all_of_it_once(loop: Loop) -> None:
    seen: list[str] = []
    loop.call_soon(lambda: loop.call_at_turn_end(lambda: seen.append("end")))
    loop.call_soon(lambda: seen.append("soon"))
    loop.call_soon(lambda: loop.call_soon(loop.stop))
    loop.run()
    assert seen == ["soon", "end"]


def test_what_is_asked_for_at_the_end_is_done_even_in_the_last_turn(loop: Loop) -> None:
    seen: list[str] = []
    loop.call_soon(both(lambda: loop.call_at_turn_end(lambda: seen.append("end")), loop.stop))
    loop.run()
    assert seen == ["end"]


def test_other_threads_hand_in_work_and_none_of_it_is_lost(loop: Loop) -> None:
    counts = [0, 0, 0, 0]
    expected = 2000

    def count(thread: int) -> None:
        counts[thread] += 1
        if sum(counts) == expected * len(counts):
            loop.stop()

    def work(thread: int) -> None:
        for _ in range(expected):
            loop.call_soon_threadsafe(lambda: count(thread))

    threads = [threading.Thread(target=work, args=(number,)) for number in range(len(counts))]
    for thread in threads:
        thread.start()
    loop.run()
    for thread in threads:
        thread.join()
    assert counts == [expected] * 4


def test_a_loop_that_is_closed_takes_no_offence_at_other_threads() -> None:
    loop = Loop()
    loop.close()
    loop.call_soon_threadsafe(lambda: None)


def test_a_signal_ends_the_wait(loop: Loop) -> None:
    before = signal.getsignal(signal.SIGUSR1)
    seen: list[str] = []
    try:
        loop.on_signal(signal.SIGUSR1, both(lambda: seen.append("signal"), loop.stop))
        loop.call_soon(lambda: os.kill(os.getpid(), signal.SIGUSR1))
        loop.run()
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert seen == ["signal"]


def test_an_exception_of_a_callback_ends_it(loop: Loop) -> None:
    def fail() -> None:
        raise LookupError("mine")

    loop.call_soon(fail)
    with pytest.raises(LookupError, match="mine"):
        loop.run()
