"""Calls that an earlier life of a client gave away, looked for in executors that answer one by one."""

from mesolite.executors.python.calls import End, Function, Outcome
from mesolite.executors.python.session import session_name
from mesolite.executors.python.wire import (
    Attach,
    Begun,
    Ended,
    Envelope,
    ExecutorItem,
    Hello,
    Options,
    Unknown,
    decode_client_body,
    decode_envelope,
    encode_body,
    encode_envelope,
)
from mesolite.frameworks.futures.engine_call import Ending, Lost, PoolCall
from mesolite.frameworks.futures.engine_takeover import OutlivingCore

FUNCTION = Function(b"f" * 16, b"pickled")
SESSION = session_name("1-0", "0123456789ab")


class Rig:
    """A client that looks for one call in two executors."""

    def __init__(self) -> None:
        self.core = OutlivingCore()
        self.core.named(SESSION, 0.0)
        self.endings: list[Ending] = []
        self.asked: dict[str, int] = {}
        self.said = {"a": 0, "b": 0}
        for executor_id in self.said:
            self.core.executor_up(executor_id, None, 0.0)
            hello = encode_body([Hello(executor_id, "agent", f"c-{executor_id}", "3.11", 1)])
            self.core.hear([encode_envelope(Envelope(f"c-{executor_id}", SESSION, 0, 0, False, hello))], 0.0)
        self.call = PoolCall(FUNCTION, b"", self.note_end, options=Options(name="it"))

    def note_end(self, call: PoolCall, ending: Ending) -> None:
        self.endings.append(ending)

    def attach(self, *executor_ids: str) -> None:
        self.core.attach([self.call], executor_ids)
        for executor_id, entry in self.core.take(0.0):
            envelope = decode_envelope(entry)
            for item in decode_client_body(envelope.body) if envelope.number else []:
                assert isinstance(item, Attach)
                assert item.name == "it"
                self.asked[executor_id] = item.number
        self.tell()

    def answer(self, executor_id: str, item: ExecutorItem) -> None:
        self.said[executor_id] += 1
        body = encode_body([item])
        envelope = Envelope(f"c-{executor_id}", SESSION, self.said[executor_id], 1, False, body)
        self.core.hear([encode_envelope(envelope)], 0.0)
        self.tell()

    def over(self, executor_id: str) -> None:
        self.core.executor_over(executor_id, "killed")
        self.tell()

    def tell(self) -> None:
        for call, ending in self.core.take_endings():
            call.end(call, ending)
        self.core.check()


def test_a_call_that_was_taken_back_from_one_executor_and_runs_in_another_is_found_there() -> None:
    rig = Rig()
    rig.attach("a", "b")
    rig.answer("a", Ended(rig.asked["a"], Outcome(End.CANCELLED, begun=False)))
    assert rig.endings == []
    rig.answer("b", Begun(rig.asked["b"]))
    rig.answer("b", Ended(rig.asked["b"], Outcome(End.RAISED, b"x")))
    assert rig.endings == [Outcome(End.RAISED, b"x")]


def test_a_call_that_all_are_certain_not_to_have_begun_never_began() -> None:
    rig = Rig()
    rig.attach("a", "b")
    rig.answer("a", Unknown(rig.asked["a"], True))
    rig.answer("b", Unknown(rig.asked["b"], True))
    [ending] = rig.endings
    assert isinstance(ending, Outcome)
    assert (ending.end, ending.begun) == (End.REFUSED, False)


def test_where_one_has_forgotten_too_much_an_unknown_call_is_lost() -> None:
    rig = Rig()
    rig.attach("a", "b")
    rig.answer("a", Unknown(rig.asked["a"], False))
    rig.answer("b", Unknown(rig.asked["b"], True))
    assert [type(ending) for ending in rig.endings] == [Lost]


def test_where_one_is_over_before_it_answers_an_unknown_call_is_lost() -> None:
    rig = Rig()
    rig.attach("a", "b")
    assert rig.core.searches_in("a")
    rig.over("a")
    assert (rig.endings, rig.core.searches) == ([], 1)
    rig.answer("b", Unknown(rig.asked["b"], True))
    assert [type(ending) for ending in rig.endings] == [Lost]


def test_an_executor_that_is_over_already_leaves_a_doubt_that_another_may_remove() -> None:
    rig = Rig()
    rig.attach("gone", "b")
    rig.answer("b", Begun(rig.asked["b"]))
    assert rig.endings == []
    assert rig.core.given_to("b") == 1


def test_a_call_that_is_killed_before_it_is_found_is_killed_where_it_is() -> None:
    rig = Rig()
    rig.attach("a")
    assert not rig.core.cancel(rig.call, kill=True)
    rig.answer("a", Begun(rig.asked["a"]))
    kinds = [
        type(item).__name__
        for _, entry in rig.core.take(0.0)
        for item in decode_client_body(decode_envelope(entry).body)
        if decode_envelope(entry).number
    ]
    assert kinds == ["Cancel"]


def test_each_executor_is_awaited_for_the_oldest_of_what_it_has_not_answered() -> None:
    rig = Rig()
    rig.attach("a", "b")
    assert rig.core.awaited() == rig.asked
    rig.answer("a", Unknown(rig.asked["a"], True))
    assert rig.core.awaited() == {"b": rig.asked["b"]}
    rig.over("b")
    assert rig.core.awaited() == {}
