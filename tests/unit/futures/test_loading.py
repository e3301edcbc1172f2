"""Large arguments of fine-grained calls are in a store before their call is launched, and never stay there after it."""

from hypothesis import given
from hypothesis import strategies as st

from mesolite.executors.python.calls import BlockRef
from mesolite.frameworks.futures.engine_call import StorePlace, Upload
from mesolite.frameworks.futures.errors import ArgumentsTooLarge, CallError, CannotRun
from mesolite.frameworks.futures.loading import MAX_TRIES, LoadingCore
from mesolite.frameworks.futures.options import CallOptions, Kind

from .rig import KIND

OTHER_KIND = CallOptions(cpus=2).kind
PLACE = StorePlace("http://agent-1", "token")
OTHER_PLACE = StorePlace("http://agent-2", "token")
DATA = b"arguments"


class Rig:
    """A core that is checked after each word, with a store that the test plays."""

    def __init__(self) -> None:
        self.core = LoadingCore("pool")
        self.asked: list[Kind] = []
        self.uploads: list[Upload] = []
        self.stored: dict[str, int] = {}
        self.ready: dict[int, BlockRef] = {}
        self.failed: dict[int, CallError] = {}

    def arrive(self, number: int, kind: Kind = KIND) -> None:
        self.core.arrive(number, "work", kind, DATA)
        self.look()

    def answer(self, kind: Kind, place: StorePlace) -> None:
        self.asked.remove(kind)
        self.core.answered(kind, place)
        self.look()

    def refuse(self, kind: Kind, error: CallError) -> None:
        self.asked.remove(kind)
        self.core.unanswered(kind, error)
        self.look()

    def carry(self, upload: Upload, refusal: str = "") -> None:
        """One upload is over."""
        self.uploads.remove(upload)
        if refusal:
            self.core.carried(upload, None, refusal)
        else:
            self.stored[upload.block_id] = upload.number
            self.core.carried(upload, BlockRef(upload.block_id, len(upload.data), upload.url), "")
        self.look()

    def forget(self, number: int) -> None:
        self.core.forget(number)
        self.look()

    def look(self) -> None:
        self.core.check()
        self.asked += self.core.take_questions()
        self.uploads += self.core.take_uploads()
        for upload in self.core.take_drops():
            del self.stored[upload.block_id]
        self.ready.update(self.core.take_loaded())
        self.failed.update(self.core.take_failures())


def test_the_first_asks_where_a_store_is_and_those_after_it_do_not() -> None:
    rig = Rig()
    rig.arrive(1)
    rig.arrive(2)
    assert (rig.asked, rig.uploads) == ([KIND], [])
    rig.answer(KIND, PLACE)
    rig.arrive(3)
    assert [(each.number, each.url, each.token) for each in rig.uploads] == [
        (number, "http://agent-1", "token") for number in (1, 2, 3)
    ]
    assert rig.asked == []
    for upload in list(rig.uploads):
        rig.carry(upload)
    assert sorted(rig.ready) == [1, 2, 3]


def test_the_store_of_any_kind_serves_all() -> None:
    rig = Rig()
    rig.arrive(1)
    rig.arrive(2, OTHER_KIND)
    assert rig.asked == [KIND, OTHER_KIND]
    rig.answer(OTHER_KIND, PLACE)
    assert [each.number for each in rig.uploads] == [1, 2]


def test_a_block_goes_with_its_call() -> None:
    rig = Rig()
    rig.arrive(1)
    rig.answer(KIND, PLACE)
    rig.carry(rig.uploads[0])
    assert list(rig.stored.values()) == [1]
    rig.forget(1)
    assert rig.stored == {}


def test_what_is_there_when_nobody_wants_it_any_more_is_removed() -> None:
    rig = Rig()
    rig.arrive(1)
    rig.answer(KIND, PLACE)
    rig.forget(1)
    rig.carry(rig.uploads[0])
    assert (rig.stored, rig.ready) == ({}, {})


def test_where_a_store_refuses_another_one_is_asked_for_and_then_it_fails() -> None:
    rig = Rig()
    rig.arrive(1)
    rig.answer(KIND, PLACE)
    rig.carry(rig.uploads[0], "507 it is full")
    assert rig.asked == [KIND]
    rig.answer(KIND, OTHER_PLACE)
    assert rig.uploads[0].url == "http://agent-2"
    rig.carry(rig.uploads[0], "507 it is full, too")
    assert isinstance(rig.failed[1], ArgumentsTooLarge)
    assert "507 it is full, too" in str(rig.failed[1])
    assert not rig.core.knows(1)


def test_an_agent_without_a_store_for_clients_is_said_as_that() -> None:
    rig = Rig()
    rig.arrive(1)
    rig.arrive(2, OTHER_KIND)
    rig.answer(KIND, StorePlace("", ""))
    assert isinstance(rig.failed[1], ArgumentsTooLarge)
    assert "serves no block store" in str(rig.failed[1])
    assert rig.core.is_loading(2)


def test_where_no_executor_can_run_the_calls_fail_as_others_of_their_kind() -> None:
    rig = Rig()
    rig.arrive(1)
    rig.arrive(2, OTHER_KIND)
    error = CannotRun("there is no such image")
    rig.refuse(KIND, error)
    assert rig.failed == {1: error}
    rig.arrive(3)
    assert rig.asked == [OTHER_KIND, KIND]


@given(st.data())
def test_every_call_is_loaded_or_fails_once_and_nothing_stays(data: st.DataObject) -> None:
    """Whatever stores say, and whenever calls are given up: played with drawn moves, and then with a world that behaves."""
    rig = Rig()
    given_up: set[int] = set()
    calls = data.draw(st.integers(1, 8))
    for number in range(calls):
        rig.arrive(number, data.draw(st.sampled_from((KIND, OTHER_KIND))))
        for _ in range(data.draw(st.integers(0, 3))):
            move = data.draw(st.sampled_from(("answer", "no store", "cannot", "carry", "refuse", "forget")))
            if move in ("answer", "no store", "cannot") and rig.asked:
                kind = data.draw(st.sampled_from(rig.asked))
                place = data.draw(st.sampled_from((PLACE, OTHER_PLACE)))
                if move == "cannot":
                    rig.refuse(kind, CannotRun("no"))
                else:
                    rig.answer(kind, place if move == "answer" else StorePlace("", ""))
            elif move in ("carry", "refuse") and rig.uploads:
                rig.carry(data.draw(st.sampled_from(rig.uploads)), "no room" if move == "refuse" else "")
            elif move == "forget":
                given_up.add(chosen := data.draw(st.integers(0, number)))
                rig.forget(chosen)
    for _ in range(MAX_TRIES + 1):
        for kind in list(rig.asked):
            rig.answer(kind, PLACE)
        for upload in list(rig.uploads):
            rig.carry(upload)
    assert not rig.ready.keys() & rig.failed.keys(), "a call is loaded and has failed"
    assert rig.ready.keys() | rig.failed.keys() | given_up == set(range(calls)), "a call was forgotten"
    assert set(rig.stored.values()) == rig.ready.keys() - given_up, "a block is missing, or too many are there"
    for number in rig.ready:
        rig.forget(number)
    assert rig.stored == {}
