"""Whatever a stream does to entries, each is taken once and in order, and all of them once the stream behaves.

Method: two links over two streams that hypothesis loses, repeats and cuts entries of; then peace, in which time passes until
nothing is to be said.
"""

from typing import Final

from hypothesis import given, settings
from hypothesis import strategies as st

from mesolite.executors.python.link import MAX_SILENCE_MS, WINDOW_ENTRIES, Frame, Link

#: What may happen to the streams, each step with one end (0 or 1).
STEPS: Final = st.lists(
    st.tuples(
        st.sampled_from(["say", "say", "say", "read", "read", "lose_tail", "repeat", "swap", "wait", "reconnect"]),
        st.integers(0, 1),
        st.integers(1, 20),
    ),
    max_size=120,
)


class Wires:
    """Two ends, and a stream to each of them."""

    def __init__(self) -> None:
        self.now_ms = 0.0
        self.ends = (Link(), Link())
        #: To each end, what it has not read.
        self.streams: tuple[list[Frame], list[Frame]] = ([], [])
        #: To each end, all that was ever appended.
        self.past: tuple[list[Frame], list[Frame]] = ([], [])
        self.said: tuple[list[bytes], list[bytes]] = ([], [])
        self.heard: tuple[list[bytes], list[bytes]] = ([], [])

    def append(self, from_end: int, frames: list[Frame]) -> None:
        """An end says something."""
        self.streams[1 - from_end].extend(frames)
        self.past[1 - from_end].extend(frames)

    def say(self, end: int) -> None:
        """An end has something new to say."""
        link = self.ends[end]
        if link.has_room:
            body = b"%d" % len(self.said[end])
            self.said[end].append(body)
            self.append(end, [link.say(body, self.now_ms)])

    def read(self, end: int, count: int) -> None:
        """An end reads so much."""
        stream = self.streams[end]
        for frame in stream[:count]:
            if self.ends[end].hear(frame.number, frame.confirmed, frame.asks, len(frame.body), self.now_ms):
                self.heard[end].append(frame.body)
        del stream[:count]
        self.speak(end)

    def speak(self, end: int) -> None:
        """An end says what is due."""
        link = self.ends[end]
        self.append(end, link.again(self.now_ms))
        confirmation = link.confirmation(self.now_ms)
        if confirmation is not None:
            self.append(end, [confirmation])

    def step(self, what: str, end: int, count: int) -> None:
        """Do one thing."""
        stream, past = self.streams[end], self.past[end]
        match what:
            case "say":
                self.say(end)
            case "read":
                self.read(end, count)
            case "lose_tail":
                del stream[max(0, len(stream) - count) :]
            case "repeat":
                stream[:0] = past[-count:]
            case "swap":
                stream.reverse()
            case "wait":
                self.now_ms += count * 100
                self.speak(end)
            case _:
                self.ends[end].reconnected(self.now_ms)
        for link in self.ends:
            link.check()

    def make_peace(self) -> None:
        """Let time pass with streams that work."""
        for _ in range(1000):
            for end in (0, 1):
                self.speak(end)
                self.read(end, len(self.streams[end]))
            if not any(link.unconfirmed for link in self.ends):
                return
            deadlines = [link.deadline_ms for link in self.ends if link.deadline_ms is not None]
            self.now_ms = max(self.now_ms, min(deadlines))


@settings(max_examples=200)
@given(STEPS)
def test_everything_is_heard_once_and_in_order_whatever_the_streams_do(steps: list[tuple[str, int, int]]) -> None:
    wires = Wires()
    for what, end, count in steps:
        wires.step(what, end, count)
        for end in (0, 1):
            heard = wires.heard[end]
            assert heard == wires.said[1 - end][: len(heard)]


@settings(max_examples=200)
@given(STEPS)
def test_everything_is_heard_and_confirmed_once_there_is_peace(steps: list[tuple[str, int, int]]) -> None:
    wires = Wires()
    for what, end, count in steps:
        wires.step(what, end, count)
    began_ms = wires.now_ms
    wires.make_peace()
    for end in (0, 1):
        assert wires.heard[end] == wires.said[1 - end]
        assert wires.ends[end].unconfirmed == 0
    assert wires.now_ms - began_ms <= 2 * MAX_SILENCE_MS


@settings(max_examples=50)
@given(STEPS)
def test_what_is_kept_is_bounded(steps: list[tuple[str, int, int]]) -> None:
    """Goal: nothing unbounded. Method: nobody reads."""
    wires = Wires()
    for what, end, count in steps * 20:
        if what != "read":
            wires.step(what, end, count)
    assert all(link.unconfirmed <= WINDOW_ENTRIES for link in wires.ends)
