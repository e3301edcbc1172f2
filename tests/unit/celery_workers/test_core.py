"""A group's workers: launched as they are wanted, replaced when lost, let go idle ones first, kept in mind over lives."""

import itertools

import pytest

from mesolite.frameworks.celery_workers.effects import Drained, Remember
from mesolite.frameworks.celery_workers.settings import (
    EARLY_DEATH_MS,
    FIRST_BACKOFF_MS,
    REFUSE_MS,
    SHRINK_STEP_MS,
    START_PATIENCE_MS,
)
from mesolite.frameworks.celery_workers.worker import Phase
from mesolite.frameworks.driver.scheduling import DeclineOffers, ReviveOffers, TooLarge
from mesolite.protocol import Demand, TaskState
from mesolite.resources import scalars
from tests.unit.celery_workers.workbench import Bench, demanded, group, launched, let_go, offer, view

# Growing


def test_the_first_word_is_a_demand_even_for_nothing() -> None:
    """Without a demand a framework is offered everything."""
    bench = Bench(group())
    assert demanded(bench.tick()) == 0
    assert bench.tick() == []


def test_the_least_number_is_wanted_before_anything_was_seen() -> None:
    bench = Bench(group(least=3))
    assert demanded(bench.tick()) == 3
    assert len(launched(bench.offer(offer(8)))) == 3


def test_workers_are_launched_for_what_waits_and_each_is_kept_in_mind_first() -> None:
    bench = Bench(group())
    assert demanded(bench.look(waiting=9)) == 2
    effects = bench.offer(offer(8, "the-offer"))
    remember = effects[0]
    assert isinstance(remember, Remember)
    assert [each.node for each in remember.kept] == ["g-1@mesolite", "g-2@mesolite"]
    assert [task.task_id for task in launched(effects)] == ["g-1.a1", "g-2.a2"]
    assert demanded(effects) == 0


def test_growth_is_bounded_to_doubling_at_each_look() -> None:
    bench = Bench(group(most=100))
    targets: list[int] = []
    for _ in range(6):
        bench.look(waiting=10_000)
        targets.append(bench.core.status.target)
    assert targets == [2, 4, 8, 16, 32, 64]


def test_there_are_never_more_than_the_most_whatever_waits() -> None:
    bench = Bench(group(most=5))
    for _ in range(10):
        bench.look(waiting=1_000_000)
    assert bench.core.status.target == 5


def test_what_workers_have_taken_and_not_begun_counts_as_waiting() -> None:
    bench = Bench(group())
    bench.run_up(1)
    bench.look(w1=view(active=2, reserved=14))
    assert bench.core.status.target == 2


def test_as_many_workers_stay_as_have_processes_to_spare_for_all_that_runs() -> None:
    """Else four long tasks of four workers would be held for little, and workers would go and come."""
    bench = Bench(group(quiet_ms=0))
    bench.run_up(4)
    for _ in range(10):
        bench.later(SHRINK_STEP_MS)
        bench.look(seen={number: view(active=1) for number in range(1, 5)})
    assert bench.core.status.target == 3


def test_where_messages_wait_for_too_long_there_are_more_workers_however_few_wait() -> None:
    bench = Bench(group(messages_per_worker=1000, max_wait_ms=5000))
    bench.run_up(1)
    for _ in range(3):
        bench.later(2000)
        bench.look(waiting=3, w1=view(active=2))
        assert bench.core.status.target == 1
    bench.later(2000)
    bench.look(waiting=3, w1=view(active=2))
    assert bench.core.status.target == 2


def test_while_workers_are_on_their_way_the_age_of_messages_asks_for_no_more() -> None:
    bench = Bench(group(max_wait_ms=1000))
    bench.look(waiting=1)
    bench.offer(offer(1))
    for _ in range(20):
        bench.later(2000)
        bench.look(waiting=1)
    assert bench.core.status.target == 1


def test_messages_that_a_worker_keeps_until_their_time_keep_one_worker() -> None:
    bench = Bench(group(quiet_ms=1000))
    bench.run_up(2)
    for _ in range(10):
        bench.later(SHRINK_STEP_MS)
        bench.look(w1=view(scheduled=5), w2=view())
    assert bench.core.status.target == 1
    assert [worker.number for worker in bench.core.workers if worker.counts] == [1]


# Offers


def test_offers_of_no_use_are_declined_for_a_while_and_welcome_again_with_the_next_demand() -> None:
    bench = Bench(group())
    bench.look(waiting=1)
    effects = bench.offer(offer(0, "too-small"))
    assert effects == [DeclineOffers(offer_ids=("too-small",), refuse_ms=REFUSE_MS)]  # type: ignore[arg-type]
    assert any(isinstance(effect, ReviveOffers) for effect in bench.look(waiting=100))


def test_where_nothing_is_wanted_offers_are_declined_without_a_filter() -> None:
    bench = Bench(group())
    effects = bench.offer(offer(4, "unasked"))
    assert DeclineOffers(offer_ids=("unasked",), refuse_ms=0) in effects  # type: ignore[arg-type]


def test_a_worker_too_large_for_every_agent_is_told_with_the_largest() -> None:
    bench = Bench(group())
    bench.look(waiting=1)
    shape, largest = bench.group.worker.resources, scalars(cpus=0.5, mem_mib=64).to_wire()
    bench.core.apply(TooLarge(now_ms=bench.now_ms, demand=Demand(role="*", shape=shape, count=1), largest=largest))
    assert "no agent is large enough" in bench.core.status.trouble
    assert "cpus:0.5" in bench.core.status.trouble
    bench.offer(offer(1))
    assert bench.core.status.trouble == ""


# Shrinking


def test_one_goes_at_a_time_and_only_after_the_quiet_time() -> None:
    bench = Bench(group(quiet_ms=60_000))
    bench.run_up(3)
    idle = {number: view() for number in (1, 2, 3)}
    gone: list[tuple[int, str]] = []
    began_ms = bench.now_ms
    while bench.now_ms - began_ms < 120_000:
        bench.later(2000)
        gone += [(bench.now_ms - began_ms, each) for each in let_go(bench.look(seen=idle))]
    assert [at_ms >= 60_000 for at_ms, _ in gone] == [True, True, True]
    assert [later - earlier >= SHRINK_STEP_MS for (earlier, _), (later, _) in itertools.pairwise(gone)] == [
        True,
        True,
    ]


def test_a_load_that_comes_again_within_the_quiet_time_moves_nothing() -> None:
    bench = Bench(group(quiet_ms=60_000))
    bench.run_up(3)
    for step in range(200):
        bench.later(2000)
        busy = step % 25 == 0
        in_hand = view(active=2, reserved=6) if busy else view()
        assert let_go(bench.look(w1=in_hand, w2=in_hand, w3=in_hand)) == []


def test_idle_workers_go_before_busy_ones_and_of_idle_ones_the_newest() -> None:
    bench = Bench(group(quiet_ms=0))
    bench.run_up(2)
    bench.later(1000)
    bench.look(waiting=24, w1=view(active=1), w2=view())
    bench.offer(offer(1))
    bench.update("g-3.a3", TaskState.RUNNING)
    order: list[str] = []
    for _ in range(3):
        bench.later(SHRINK_STEP_MS)
        order += let_go(bench.look(w1=view(active=1), w2=view(), w3=view()))
    assert order == ["g-3.a3", "g-2.a2"]
    bench.later(SHRINK_STEP_MS)
    assert let_go(bench.look(w1=view())) == ["g-1.a1"]


def test_a_worker_that_should_answer_and_does_not_is_taken_for_busy() -> None:
    bench = Bench(group(quiet_ms=0))
    bench.run_up(3)
    gone: list[str] = []
    for _ in range(5):
        bench.later(START_PATIENCE_MS)
        gone += let_go(bench.look(w1=view(), w2=view()))
    assert gone == ["g-2.a2"]
    assert [worker.number for worker in bench.core.workers if worker.counts] == [1, 3]


def test_a_worker_that_is_leaving_counts_no_more_and_is_not_called_back() -> None:
    bench = Bench(group(quiet_ms=0))
    bench.run_up(1)
    bench.later(SHRINK_STEP_MS)
    assert let_go(bench.look(w1=view())) == ["g-1.a1"]
    assert demanded(bench.look(waiting=1, w1=view())) == 1
    # Its number is taken until it is over.
    assert [task.task_id for task in launched(bench.offer(offer(1)))] == ["g-2.a2"]


def test_the_number_of_a_worker_that_is_over_is_used_again_under_another_id() -> None:
    bench = Bench(group(least=2))
    bench.tick()
    bench.offer(offer(2))
    bench.later(EARLY_DEATH_MS)
    bench.update("g-1.a1", TaskState.GONE)
    (task,) = launched(bench.offer(offer(1)))
    assert task.task_id == "g-1.a3"
    assert task.labels["celery.node"] == "g-1@mesolite"


# Losses


@pytest.mark.parametrize("state", [TaskState.GONE, TaskState.DROPPED, TaskState.GONE_BY_OPERATOR, TaskState.KILLED])
def test_a_lost_worker_is_replaced_at_once(state: TaskState) -> None:
    bench = Bench(group(least=1))
    bench.tick()
    bench.offer(offer(1))
    assert demanded(bench.update("g-1.a1", state)) == 1
    assert bench.core.status.trouble == ""


def test_a_worker_out_of_sight_is_replaced_and_one_goes_when_it_returns() -> None:
    bench = Bench(group(least=1))
    bench.tick()
    bench.offer(offer(1))
    bench.update("g-1.a1", TaskState.RUNNING)
    assert demanded(bench.update("g-1.a1", TaskState.UNREACHABLE)) == 1
    bench.later(1000)
    bench.offer(offer(1))
    bench.update("g-2.a2", TaskState.RUNNING)
    assert let_go(bench.update("g-1.a1", TaskState.RUNNING)) == ["g-2.a2"]


def test_one_that_somebody_else_is_killing_is_replaced_at_once() -> None:
    bench = Bench(group(least=1))
    bench.tick()
    bench.offer(offer(1))
    bench.update("g-1.a1", TaskState.RUNNING)
    assert demanded(bench.update("g-1.a1", TaskState.KILLING)) == 1


def test_workers_that_die_at_once_come_later_and_later_one_at_a_time_and_why_is_said() -> None:
    bench = Bench(group(least=3))
    bench.tick()
    bench.offer(offer(3))
    for number in (1, 2, 3):
        bench.update(f"g-{number}.a{number}", TaskState.FAILED, message="the command exited with code 2")
    assert "the command exited with code 2" in bench.core.status.trouble
    assert "mesolite logs g-3.a3" in bench.core.status.trouble
    waits: list[int] = []
    for _ in range(4):
        due_ms = bench.core.next_deadline_ms()
        assert due_ms is not None
        waits.append(due_ms - bench.now_ms)
        assert launched(bench.offer(offer(3))) == [], "it is too early"
        bench.later(due_ms - bench.now_ms)
        assert demanded(bench.tick()) == 1
        (task,) = launched(bench.offer(offer(3)))
        bench.update(task.task_id, TaskState.RUNNING)
        bench.update(task.task_id, TaskState.FAILED, message="again")
    assert waits == [FIRST_BACKOFF_MS * factor for factor in (4, 8, 16, 32)]


def test_when_one_has_lived_for_long_enough_the_others_follow() -> None:
    bench = Bench(group(least=3))
    bench.tick()
    bench.offer(offer(3))
    for number in (1, 2, 3):
        bench.update(f"g-{number}.a{number}", TaskState.FAILED)
    bench.later(4 * FIRST_BACKOFF_MS)
    bench.tick()
    (task,) = launched(bench.offer(offer(3)))
    bench.update(task.task_id, TaskState.RUNNING)
    assert bench.core.next_deadline_ms() == bench.now_ms + EARLY_DEATH_MS
    bench.later(EARLY_DEATH_MS)
    assert demanded(bench.tick()) == 2
    assert bench.core.status.trouble == ""


def test_a_worker_that_dies_late_is_replaced_at_once() -> None:
    bench = Bench(group(least=1))
    bench.tick()
    bench.offer(offer(1))
    bench.update("g-1.a1", TaskState.RUNNING)
    bench.later(EARLY_DEATH_MS)
    assert demanded(bench.update("g-1.a1", TaskState.FAILED)) == 1


# A broker that does not answer


def test_what_there_is_stays_while_the_broker_does_not_answer_and_lost_workers_are_replaced() -> None:
    bench = Bench(group(quiet_ms=4000))
    bench.run_up(2)
    for _ in range(20):
        bench.later(10_000)
        assert let_go(bench.look_failed("connection refused")) == []
    assert "connection refused" in bench.core.status.trouble
    assert demanded(bench.update("g-1.a1", TaskState.GONE)) == 1


def test_after_it_has_answered_again_the_quiet_time_begins_anew() -> None:
    bench = Bench(group(quiet_ms=60_000))
    bench.run_up(1)
    bench.later(55_000)
    bench.look_failed()
    for _ in range(29):
        bench.later(2000)
        assert let_go(bench.look(w1=view())) == []
    assert bench.core.status.trouble == ""
    bench.later(4000)
    assert let_go(bench.look(w1=view())) == ["g-1.a1"]


# Lives


def test_a_later_life_goes_on_with_the_workers_that_were_kept() -> None:
    bench = Bench(group())
    bench.run_up(3)
    bench.restart()
    assert demanded(bench.tick()) == 0
    assert bench.core.status.target == 3
    assert let_go(bench.look(w1=view(), w2=view(), w3=view())) == []


def test_who_was_leaving_is_asked_again() -> None:
    bench = Bench(group(quiet_ms=0))
    bench.run_up(1)
    bench.later(SHRINK_STEP_MS)
    bench.look(w1=view())
    bench.restart()
    assert let_go(bench.tick()) == ["g-1.a1"]
    assert let_go(bench.tick()) == []


def test_a_worker_that_was_forgotten_is_known_again_by_its_task() -> None:
    bench = Bench(group())
    bench.run_up(2)
    bench.restart(kept=())
    bench.tick()
    assert let_go(bench.update("g-1.a1", TaskState.RUNNING)) == []
    assert let_go(bench.update("g-2.a2", TaskState.RUNNING)) == []
    assert [(each.number, each.node) for each in bench.core.workers] == [(1, "g-1@mesolite"), (2, "g-2@mesolite")]


@pytest.mark.parametrize("stranger", ["other-1.a1", "g-x.a1", "g-1", "g"])
def test_a_task_that_is_none_of_its_workers_is_ended(stranger: str) -> None:
    bench = Bench(group())
    assert let_go(bench.update(stranger, TaskState.RUNNING)) == [stranger]


def test_a_second_worker_of_one_name_is_ended() -> None:
    bench = Bench(group())
    bench.run_up(1)
    assert let_go(bench.update("g-1.older1", TaskState.RUNNING)) == ["g-1.older1"]


def test_the_end_of_an_unknown_task_means_nothing() -> None:
    bench = Bench(group())
    bench.tick()
    assert bench.update("g-7.a7", TaskState.GONE) == []


def test_a_worker_that_is_over_is_forgotten() -> None:
    bench = Bench(group())
    bench.run_up(1)
    remember = bench.update("g-1.a1", TaskState.GONE)[0]
    assert isinstance(remember, Remember)
    assert (remember.kept, remember.forgotten) == ((), ("g-1.a1",))


# Draining


def test_drained_all_leave_none_come_and_the_end_is_said_once() -> None:
    bench = Bench(group(least=2))
    bench.tick()
    bench.offer(offer(2))
    bench.update("g-1.a1", TaskState.RUNNING)
    assert let_go(bench.drain()) == ["g-1.a1", "g-2.a2"]
    assert all(worker.phase is Phase.LEAVING for worker in bench.core.workers)
    assert demanded(bench.look(waiting=100)) is None
    bench.update("g-1.a1", TaskState.FINISHED)
    assert Drained() in bench.update("g-2.a2", TaskState.FINISHED)
    assert Drained() not in bench.tick()


def test_drained_without_workers_it_is_over_at_once() -> None:
    assert Drained() in Bench(group()).drain()


def test_a_worker_out_of_sight_is_not_waited_for_when_drained() -> None:
    """The end of the framework ends it when its agent returns."""
    bench = Bench(group(least=1))
    bench.tick()
    bench.offer(offer(1))
    bench.update("g-1.a1", TaskState.UNREACHABLE)
    assert Drained() in bench.drain()
