"""Calls that are no tasks, counted for Flower: each once, whatever becomes of the executor that ran it."""

from mesolite.agent.effects import TotalsChange
from mesolite.agent.flower_totals import CALL_NAME, CallTotals
from mesolite.ids import ContainerId, ExecutorId, FrameworkId
from mesolite.protocol import ExecutorTotals, FrameworkInfo

FRAMEWORK = FrameworkInfo(user="", name="calls", framework_id=FrameworkId("f"))


def change(container_id: str, totals: ExecutorTotals | None) -> TotalsChange:
    return TotalsChange(FRAMEWORK, ExecutorId("python"), ContainerId(container_id), totals)


def test_the_newest_word_of_each_executor_counts() -> None:
    totals = CallTotals()
    assert (totals.processed(), totals.active(), totals.by_name()) == (0, 0, {})
    totals.changed(
        [change("a", ExecutorTotals(succeeded=5, failed=1, active=2)), change("b", ExecutorTotals(active=1))]
    )
    assert (totals.processed(), totals.active()) == (6, 3)
    totals.changed([change("a", ExecutorTotals(succeeded=7, failed=2, active=0))])
    assert (totals.processed(), totals.active()) == (9, 1)
    assert totals.by_name() == {CALL_NAME: 9}


def test_what_an_executor_has_done_stays_counted_when_it_is_over_and_what_it_did_then_does_not_run_any_more() -> None:
    totals = CallTotals()
    totals.changed([change("a", ExecutorTotals(succeeded=5, active=2)), change("a", None), change("a", None)])
    assert (totals.processed(), totals.active()) == (5, 0)
    totals.changed([change("b", ExecutorTotals(succeeded=1))])
    assert totals.processed() == 6


def test_the_end_of_an_executor_that_never_said_anything_is_nothing() -> None:
    totals = CallTotals()
    totals.changed([change("a", None)])
    assert totals.by_name() == {}
