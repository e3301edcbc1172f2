"""Filters: how many are kept, and which."""

from mesolite.ids import AgentId, FrameworkId
from mesolite.master.allocator.clients import Client, Framework
from mesolite.master.allocator.filters import MAX_FILTERS, SWEEP_AT, Filters, refuse_duration_ms
from mesolite.resources import Resources

AGENT = AgentId("a1")


def client(name: str = "A") -> Client:
    return Client(Framework(FrameworkId(name)), "*")


def blocks(filters: Filters, of: Client, candidate: str) -> bool:
    filters.check()
    return filters.blocking(of, AGENT, Resources.parse(candidate)) is not None


def test_durations() -> None:
    assert [refuse_duration_ms(ms) for ms in (None, 0, 1, -1, 10**15)] == [0, 0, 1, 5_000, 31_536_000_000]


def test_more_of_any_name_passes() -> None:
    filters, one = Filters(), client()
    filters.add(one, AGENT, Resources.parse("cpus:2;mem:64"), 10)
    candidates = ["cpus:2;mem:64", "cpus:1", "cpus:2;mem:65", "cpus:2;mem:64;disk:1", "cpus(eng):1"]
    assert [blocks(filters, one, candidate) for candidate in candidates] == [True, True, False, False, False]


def test_two_refusals_do_not_add_up() -> None:
    filters, one = Filters(), client()
    filters.add(one, AGENT, Resources.parse("cpus:2"), 10)
    filters.add(one, AGENT, Resources.parse("mem:64"), 10)
    assert not blocks(filters, one, "cpus:2;mem:64")


def test_each_ends_at_its_own_time() -> None:
    filters, one = Filters(), client()
    filters.add(one, AGENT, Resources.parse("cpus:2"), 10)
    filters.add(one, AGENT, Resources.parse("cpus:1"), 20)
    assert filters.expire(9) == []
    assert filters.expire(10) == [(one, AGENT)]
    assert [blocks(filters, one, candidate) for candidate in ("cpus:2", "cpus:1")] == [False, True]
    assert filters.next_end_ms() == 20
    assert filters.expire(20) == [(one, AGENT)]
    assert filters.next_end_ms() is None


def test_a_refusal_that_another_covers_is_not_kept() -> None:
    filters, one = Filters(), client()
    filters.add(one, AGENT, Resources.parse("cpus:2"), 20)
    filters.add(one, AGENT, Resources.parse("cpus:1"), 10)
    assert filters.next_end_ms() == 20


def test_refusals_are_bounded_and_the_shortest_go_first() -> None:
    filters, one = Filters(), client()
    for number in range(MAX_FILTERS + 3):
        filters.add(one, AGENT, Resources.parse(f"cpus:{number + 1}"), 1000 - number)
        filters.check()
    assert blocks(filters, one, f"cpus:{MAX_FILTERS}")
    assert not blocks(filters, one, f"cpus:{MAX_FILTERS + 3}")


def test_dropping_leaves_others_alone() -> None:
    filters, one, two = Filters(), client("A"), client("B")
    for each in (one, two):
        filters.add(each, AGENT, Resources.parse("cpus:2"), 10)
    filters.drop_client(one)
    assert (blocks(filters, one, "cpus:1"), blocks(filters, two, "cpus:1")) == (False, True)
    filters.drop_agent(AGENT)
    assert not blocks(filters, two, "cpus:1")
    assert filters.next_end_ms() is None


def test_dropped_filters_leave_nothing_behind() -> None:
    """Goal: refusing for a year and reviving, again and again, costs no memory. Method: do it often, and count."""
    filters, one = Filters(), client()
    for number in range(3 * SWEEP_AT):
        filters.add(one, AGENT, Resources.parse("cpus:1"), 10**9 + number)
        filters.drop_client(one)
    filters.add(one, AGENT, Resources.parse("cpus:1"), 7)
    assert filters.reminders() <= SWEEP_AT + 2
    assert filters.next_end_ms() == 7
    filters.check()
