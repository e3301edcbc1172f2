"""The books of the block store: who pays for what, and who goes first."""

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from mesolite.agent.blocks.index import OVERHEAD_BYTES, BlockIndex
from mesolite.ids import FrameworkId

KIB = 1024
ONE, TWO = FrameworkId("one"), FrameworkId("two")


def room_for(blocks: int) -> int:
    """A bound that so many blocks of a KiB fit into."""
    return blocks * (KIB + OVERHEAD_BYTES)


def store(index: BlockIndex, framework_id: FrameworkId, *names: str) -> list[tuple[FrameworkId, str]]:
    """Store blocks of a KiB; returns which had to go."""
    gone: list[tuple[FrameworkId, str]] = []
    for name in names:
        evicted = index.reserve(framework_id, KIB)
        assert evicted is not None
        gone += evicted
        index.add(framework_id, name, KIB)
        index.check()
    return gone


def test_nothing_goes_while_all_fits() -> None:
    index = BlockIndex(room_for(3))
    assert store(index, ONE, "a", "b", "c") == []
    assert index.used_bytes == index.used_by(ONE) == room_for(3)


def test_what_was_not_used_for_longest_goes_first() -> None:
    index = BlockIndex(room_for(3))
    store(index, ONE, "a", "b", "c")
    assert index.use(ONE, "a") == KIB
    assert store(index, ONE, "d") == [(ONE, "b")]


def test_whoever_stores_much_displaces_its_own_blocks_and_not_those_of_others() -> None:
    index = BlockIndex(room_for(4))
    store(index, TWO, "small")
    gone = store(index, ONE, *"abcdefgh")
    assert gone == [(ONE, name) for name in "abcde"]
    assert index.use(TWO, "small") == KIB


def test_a_newcomer_gets_room_from_whoever_holds_most() -> None:
    index = BlockIndex(room_for(4))
    store(index, ONE, *"abcd")
    assert store(index, TWO, "x", "y") == [(ONE, "a"), (ONE, "b")]


def test_a_block_larger_than_all_the_room_is_refused_and_nothing_goes_for_it() -> None:
    index = BlockIndex(room_for(2))
    store(index, ONE, "a", "b")
    assert index.reserve(TWO, room_for(2)) is None
    assert index.used_by(ONE) == room_for(2)
    assert index.used_by(TWO) == 0
    index.check()


def test_what_is_still_coming_keeps_its_room() -> None:
    index = BlockIndex(room_for(2))
    assert index.reserve(ONE, KIB) == []
    assert index.reserve(TWO, KIB) == []
    assert index.reserve(TWO, KIB) is None, "nothing that is coming can be put out"
    index.release(TWO, KIB)
    assert index.reserve(TWO, KIB) == []
    index.check()


def test_a_block_of_the_same_name_takes_the_place_of_the_one_before() -> None:
    index = BlockIndex(room_for(3))
    store(index, ONE, "a", "a")
    assert (index.count, index.used_bytes) == (1, room_for(1))


def test_frameworks_do_not_see_each_others_blocks() -> None:
    index = BlockIndex(room_for(3))
    store(index, ONE, "a")
    assert index.use(TWO, "a") is None
    assert not index.remove(TWO, "a")
    assert index.remove(ONE, "a")
    assert not index.remove(ONE, "a")
    assert index.frameworks() == []


def test_the_number_of_blocks_is_bounded_too() -> None:
    index = BlockIndex(room_for(100), max_blocks=2)
    assert store(index, ONE, "a", "b", "c") == [(ONE, "a")]


def test_the_end_of_a_framework_leaves_what_is_still_coming() -> None:
    index = BlockIndex(room_for(3))
    store(index, ONE, "a", "b")
    index.reserve(ONE, KIB)
    index.remove_all(ONE)
    assert index.used_by(ONE) == room_for(1)
    index.add(ONE, "c", KIB)
    index.check()


frameworks = st.sampled_from([ONE, TWO, FrameworkId("three")])
names = st.sampled_from("abcdef")
sizes = st.integers(0, 4 * KIB)


class Books(RuleBasedStateMachine):
    """Anything in any order: the bound holds, and the books add up."""

    def __init__(self) -> None:
        super().__init__()
        self.index = BlockIndex(room_for(8), max_blocks=6)
        self.coming: list[tuple[FrameworkId, int]] = []

    @rule(framework_id=frameworks, size=sizes)
    def reserve(self, framework_id: FrameworkId, size: int) -> None:
        if self.index.reserve(framework_id, size) is not None:
            self.coming.append((framework_id, size))

    @rule(name=names)
    def arrive(self, name: str) -> None:
        if self.coming:
            framework_id, size = self.coming.pop()
            self.index.add(framework_id, name, size)

    @rule()
    def fail(self) -> None:
        if self.coming:
            self.index.release(*self.coming.pop(0))

    @rule(framework_id=frameworks, name=names)
    def use_and_remove(self, framework_id: FrameworkId, name: str) -> None:
        there = self.index.use(framework_id, name) is not None
        assert self.index.remove(framework_id, name) == there

    @rule(framework_id=frameworks)
    def end(self, framework_id: FrameworkId) -> None:
        self.index.remove_all(framework_id)

    @invariant()
    def adds_up(self) -> None:
        self.index.check()
        assert self.index.used_bytes <= self.index.max_bytes


TestBooks = Books.TestCase
TestBooks.settings = settings(max_examples=50, stateful_step_count=30)
