"""The dispatcher's pool between Celery's requests, a runner and the ownership of messages."""

import logging
import time
from collections.abc import Iterator, Sequence
from typing import Any, Final

import pytest
from billiard.exceptions import Terminated, WorkerLostError
from celery import Celery

from mesolite.executors.celery.protocol import TaskRun
from mesolite.executors.python.calls import End, Outcome
from mesolite.frameworks.celery import dispatching, pool
from mesolite.frameworks.celery.broker.plain import PlainOwnership
from mesolite.frameworks.celery.calls import TaskCall
from mesolite.frameworks.celery.dispatched_call import DispatchedCall
from mesolite.frameworks.celery.dispatching import Dispatching, Holds
from mesolite.frameworks.celery.errors import CannotRunHere, MemoryLimitExceeded, Poisoned
from mesolite.frameworks.celery.fake_runner import FakeRunner
from mesolite.frameworks.celery.options import OptionsBook
from mesolite.frameworks.celery.pool import DispatchPool
from mesolite.frameworks.celery.watching import WatchedCall
from mesolite.frameworks.celery.window import HELD_UP_S, LEAST_LIMIT

_TAG: Final = "0123456789abcdef"
_NAME: Final = "id-1.01234567"
_MEBIBYTE: Final = 1024 * 1024


class Owned(PlainOwnership):
    """An ownership that tells what it was told."""

    def __init__(self) -> None:
        super().__init__()
        self.told: list[tuple[str, str]] = []
        self.of_earlier_life: set[str] = set()
        self.acknowledged_earlier: set[str] = set()
        self.lost: dict[str, int] = {}
        self.knows = True
        self.ended: set[str] = set()

    @property
    def knows_earlier_lives(self) -> bool:
        return self.knows

    def over(self, tag: str) -> None:
        self.ended.add(tag)

    def is_over(self, tag: str) -> bool:
        return tag in self.ended

    def give(self, tags: Sequence[str]) -> None:
        self.told += [("give", tag) for tag in tags]

    def end(self, tag: str) -> None:
        self.told.append(("end", tag))

    def take_back(self, tag: str) -> None:
        self.told.append(("take back", tag))

    def set_aside(self, tag: str, why: str) -> None:
        self.told.append(("set aside", tag))

    def was_given(self, tag: str) -> bool:
        return tag in self.of_earlier_life

    def was_acknowledged(self, tag: str) -> bool:
        return tag in self.acknowledged_earlier

    def losses(self, tag: str) -> int:
        return self.lost.get(tag, 0)

    def returns(self, tag: str) -> int:
        return self.lost.get(tag, 0)


class Watcher:
    """A watcher that tells what it was told."""

    def __init__(self) -> None:
        self.told: list[tuple[str, str]] = []

    def given(self, call: WatchedCall) -> None:
        self.told.append(("given", call.name))

    def started(self, call: WatchedCall) -> None:
        self.told.append(("started", call.name))

    def ended(self, call: WatchedCall, peak_kib: int | None) -> None:
        self.told.append(("ended", call.name))

    def given_back(self, call: WatchedCall) -> None:
        self.told.append(("given back", call.name))


class Bench:
    """A pool with a request to be told of."""

    def __init__(self, **task_options: Any) -> None:
        self.app: Any = Celery("bench", broker="memory://", set_as_current=False)
        self.ownership: Final = Owned()
        self.runner = FakeRunner()
        self.watcher: Final = Watcher()
        self.finished = 0
        #: What the request was told.
        self.told: list[tuple[str, Any]] = []

        @self.app.task(name="work", shared=False, **task_options)  # type: ignore[untyped-decorator] # Celery has no types
        def work() -> None:
            """Do nothing."""

        self.app.finalize()
        dispatching.use(self.prepare)
        self.pool = DispatchPool(10, app=self.app)
        self.pool.start()

    def prepare(self, app: Any, holds: Holds) -> Dispatching:
        def finish() -> None:
            self.finished += 1

        return Dispatching(
            ownership=self.ownership,
            runners={"worker": self.runner},
            options=OptionsBook(app.conf),
            watcher=self.watcher,
            max_losses=3,
            controller=None,
            leave_running=False,
            start=lambda: None,
            finish=finish,
        )

    def apply(self, tag: str = _TAG, **options: Any) -> DispatchedCall:
        """Let Celery ask for a task of a message."""
        call = self.ask(tag, **options)
        assert isinstance(call, DispatchedCall)
        return call

    def ask(
        self, tag: str = _TAG, *, timeout: float | None = None, redelivered: bool = False, **headers: Any
    ) -> object:
        """The same, where it may be that nothing is run."""
        request = {"id": "id-1", "retries": 0, "args": (), "kwargs": {}, **headers}
        request |= {
            "properties": {"delivery_tag": tag},
            "delivery_info": {"routing_key": "celery", "redelivered": redelivered},
        }

        def hear(what: str) -> Any:
            def append(*arguments: Any) -> None:
                self.told.append((what, arguments))

            return append

        asked: object = self.pool.apply_async(
            None,
            args=("work", "id-1", request, b"[]", "application/json", "utf-8"),
            accept_callback=hear("accepted"),
            callback=hear("success"),
            error_callback=hear("failure"),
            timeout_callback=hear("timeout"),
            timeout=timeout,
        )
        return asked

    def turn(self) -> list[str]:
        """Let the event loop turn; return the kinds of what the request was told since the beginning."""
        self.pool.crossing.run()
        return [what for what, _ in self.told]

    def error(self) -> BaseException:
        """The exception of the failure that the request was told."""
        [[info]] = [arguments for what, arguments in self.told if what == "failure"]
        # As it is: what wraps it for other processes is what events would show.
        error = info.exception
        assert isinstance(error, BaseException)
        return error


@pytest.fixture
def bench() -> Iterator[Bench]:
    made = Bench()
    yield made
    made.pool.crossing.close()


def test_a_message_is_said_to_be_given_before_its_task_is(bench: Bench) -> None:
    seen: list[list[tuple[str, str]]] = []

    class Noting(FakeRunner):
        def submit(self, calls: Sequence[Any]) -> None:
            seen.append(list(bench.ownership.told))
            super().submit(calls)

    bench.pool._parts.runners = {"worker": Noting()}  # pyright: ignore[reportPrivateUsage]

    bench.apply()

    assert seen == [[("give", _TAG)]]


def test_a_task_that_returns_is_accepted_first_and_ends_its_message_last(bench: Bench) -> None:
    bench.apply()
    bench.runner.cells.succeed(_NAME, "3", 0.25)

    assert bench.turn() == ["accepted", "success"]
    assert bench.told[-1] == ("success", ((0, "3", 0.25),))
    assert bench.ownership.told == [("give", _TAG), ("end", _TAG)]
    assert bench.watcher.told == [("given", _NAME), ("started", _NAME), ("ended", _NAME)]


def test_a_success_is_logged_as_a_prefork_child_logs_it(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    """Workers leave it to the dispatcher: each would need a log of its own for that one line."""
    bench.apply(shadow="shown as this")
    with caplog.at_level(logging.INFO, "celery.app.trace"):
        bench.runner.cells.succeed(_NAME, "3", 0.25)
        bench.turn()

    assert "Task shown as this[id-1] succeeded in 0.25s: 3" in caplog.text


def test_the_request_travels_without_its_arguments_which_are_in_the_body(bench: Bench) -> None:
    bench.apply()

    run = bench.runner.cells.run_of(_NAME)

    assert isinstance(run, TaskRun)
    assert not {"args", "kwargs"} & run.request.keys()
    assert run.body == b"[]"


def test_a_worker_over_its_memory_limit_is_a_lost_worker_that_says_so(bench: Bench) -> None:
    bench.apply()
    bench.runner.cells.begin(_NAME)
    bench.runner.cells.end(
        _NAME, Outcome(End.OUT_OF_MEMORY, limit_bytes=64 * _MEBIBYTE, peak_bytes=65 * _MEBIBYTE, message="killed")
    )

    assert bench.turn() == ["accepted", "failure"]
    error = bench.error()
    assert isinstance(error, MemoryLimitExceeded)
    assert isinstance(error, WorkerLostError)
    assert (error.limit_mib, error.peak_mib) == (64, 65)


def test_a_task_that_is_revoked_while_it_runs_ends_as_terminated(bench: Bench) -> None:
    call = bench.apply()
    bench.runner.cells.begin(_NAME)
    bench.turn()

    bench.pool.terminate_job(call.pid, 15)

    assert bench.turn() == ["accepted", "failure"]
    assert isinstance(bench.error(), Terminated)


def test_the_shorter_of_two_time_limits_holds(bench: Bench) -> None:
    short = bench.apply("a" * 16, timeout=2.0, mesolite={"max_time_s": 5})
    long = bench.apply("b" * 16, timeout=9.0, mesolite={"max_time_s": 5})

    assert (short.options.max_time_s, long.options.max_time_s) == (2.0, 5)


def test_a_header_that_makes_no_sense_fails_its_own_message_alone(bench: Bench) -> None:
    bench.apply(mesolite={"cpus": "many"})
    bench.apply("b" * 16)

    assert bench.turn() == ["accepted", "failure"]
    assert isinstance(bench.error(), CannotRunHere)
    assert bench.runner.cells.waiting == ["id-1.bbbbbbbb"]


def test_a_message_that_comes_again_while_its_task_runs_is_not_run_again(bench: Bench) -> None:
    bench.apply()
    bench.runner.cells.begin(_NAME)
    bench.turn()

    bench.apply()
    bench.runner.cells.end(_NAME, Outcome(End.DIED, message="gone"))

    assert bench.turn() == ["accepted", "accepted", "failure"], "the newer request hears of both"


def test_what_an_earlier_life_gave_away_is_attached_to_and_not_started(bench: Bench) -> None:
    earlier = bench.apply()
    bench.runner.cells.begin(_NAME)
    bench.pool._forget(earlier)  # pyright: ignore[reportPrivateUsage] # as if that life were over
    bench.ownership.of_earlier_life.add(_TAG)
    bench.ownership.told.clear()

    bench.apply()
    assert bench.turn()[-1] == "accepted"
    bench.runner.cells.end(_NAME, Outcome(End.DIED, message="gone"))

    assert bench.turn()[-1] == "failure"
    assert bench.ownership.told == [("end", _TAG)], "nothing was given"


def test_what_an_earlier_life_gave_away_in_vain_is_given_by_this_one(bench: Bench) -> None:
    earlier = bench.apply()
    bench.pool._forget(earlier)  # pyright: ignore[reportPrivateUsage] # as if that life were over
    bench.ownership.of_earlier_life.add(_TAG)
    bench.ownership.told.clear()
    bench.apply()
    bench.turn()
    bench.runner.cells.end(_NAME, Outcome(End.REFUSED, begun=False))
    bench.turn()

    assert bench.ownership.told == [("give", _TAG)]
    assert bench.runner.cells.waiting == [_NAME], "it is asked for once, and then run"


def test_what_an_earlier_life_acknowledged_early_had_begun_and_is_lost_where_nobody_knows_it(bench: Bench) -> None:
    """It may say that it never began who has forgotten: the cluster, of a dispatcher that was stopped, or away for too long."""
    earlier = bench.apply()
    bench.pool._forget(earlier)  # pyright: ignore[reportPrivateUsage] # as if that life were over
    bench.ownership.of_earlier_life.add(_TAG)
    bench.ownership.acknowledged_earlier.add(_TAG)
    bench.apply()
    bench.turn()
    bench.runner.cells.end(_NAME, Outcome(End.REFUSED, begun=False))

    assert bench.turn() == ["accepted", "failure"]
    assert isinstance(bench.error(), WorkerLostError)
    assert bench.runner.cells.waiting == [], "it is not run again"


@pytest.mark.parametrize("late", [False, True])
def test_what_has_succeeded_and_is_delivered_again_is_not_run_again(late: bool) -> None:
    bench = Bench(acks_late=late)
    bench.apply()
    bench.runner.cells.succeed(_NAME)
    told = bench.turn()

    assert bench.ask(redelivered=True) is None
    assert bench.turn() == told, "Celery has heard of it"
    assert bench.runner.cells.waiting == bench.runner.cells.running == []
    bench.pool.crossing.close()


def test_who_sends_a_message_anew_has_its_task_run_anew(bench: Bench) -> None:
    bench.apply()
    bench.runner.cells.succeed(_NAME)
    bench.turn()

    assert bench.ask(redelivered=False) is not None


def test_a_late_task_that_lost_its_worker_runs_again_when_it_is_delivered_again() -> None:
    bench = Bench(acks_late=True, reject_on_worker_lost=True)
    bench.apply()
    bench.runner.cells.end(_NAME, Outcome(End.DIED, message="gone"))
    bench.turn()

    bench.apply(redelivered=True)
    assert bench.runner.cells.waiting == [_NAME]
    bench.pool.crossing.close()


def test_where_nobody_knows_of_earlier_lives_workers_are_asked_first(bench: Bench) -> None:
    bench.ownership.knows = False
    earlier = bench.apply()
    bench.runner.cells.begin(_NAME)
    bench.pool._forget(earlier)  # pyright: ignore[reportPrivateUsage] # as if that life were over

    bench.apply(redelivered=True)
    bench.runner.cells.succeed(_NAME)
    assert bench.turn() == ["accepted", "success"], "it is not run again"


def test_where_not_every_worker_answers_it_is_run_after_a_while(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    bench.ownership.knows = False

    def ask_in_vain(_calls: Sequence[TaskCall]) -> None:
        """Nobody answers."""

    monkeypatch.setattr(bench.runner, "attach", ask_in_vain)
    bench.apply(redelivered=True)
    bench.pool._follow()  # pyright: ignore[reportPrivateUsage] # as the event loop does
    assert bench.runner.cells.waiting == []

    monkeypatch.setattr(pool, "GUESS_PATIENCE_S", -1.0)
    bench.pool._follow()  # pyright: ignore[reportPrivateUsage]
    [name] = bench.runner.cells.waiting
    bench.runner.cells.succeed(name)
    assert bench.turn() == ["accepted", "success"]


def test_what_no_worker_knows_was_not_given_by_an_earlier_life(bench: Bench) -> None:
    bench.ownership.knows = False
    bench.apply(redelivered=True)
    assert bench.turn() == []
    assert bench.runner.cells.waiting == [_NAME]


def test_a_message_that_kills_its_workers_again_and_again_is_set_aside() -> None:
    bench = Bench(acks_late=True, reject_on_worker_lost=True)
    bench.ownership.lost[_TAG] = 2
    bench.apply()
    bench.runner.cells.end(f"{_NAME}.2", Outcome(End.DIED, message="killed by signal 11"))

    assert bench.turn() == ["accepted", "failure"]
    assert isinstance(bench.error(), Poisoned)
    assert ("set aside", _TAG) in bench.ownership.told
    bench.pool.crossing.close()


def test_a_stopping_pool_lets_end_what_runs_and_takes_back_what_does_not(bench: Bench) -> None:
    bench.apply()
    bench.apply("b" * 16)
    bench.runner.cells.begin(_NAME)
    bench.turn()
    bench.pool.crossing.post(lambda: bench.runner.cells.end(_NAME, Outcome(End.DIED, message="gone")))

    bench.pool.stop()

    assert ("take back", "b" * 16) in bench.ownership.told
    assert bench.turn() == ["accepted", "failure"], "what did not begin is told to nobody"
    assert bench.finished == 1


def test_what_a_request_raises_at_its_end_stops_nobody_else(bench: Bench) -> None:
    first = bench.apply()
    bench.apply("b" * 16)

    def fail(*_: object) -> None:
        raise OSError("the backend is away")

    first.callbacks = type(first.callbacks)(fail, fail, fail, fail)
    bench.runner.cells.end(_NAME, Outcome(End.DIED, message="gone"))
    bench.runner.cells.succeed("id-1.bbbbbbbb")

    assert bench.turn() == ["accepted", "success"]


def test_statistics_name_executors_and_what_runs(bench: Bench) -> None:
    bench.apply()
    bench.runner.cells.begin(_NAME)
    bench.turn()

    info = bench.pool.info

    assert (info["max-concurrency"], info["workers"], info["tasks"], info["begun"]) == (10, 1, 1, 1)
    assert [each["agent"] for each in info["executors"]] == ["fake-agent"]


def test_a_task_that_is_revoked_while_it_waits_never_runs_and_is_acknowledged(bench: Bench) -> None:
    """Goal: as with Celery's own pools, which ask just before they run it. Method: a request that says that it was revoked."""
    asked: list[str] = []

    class Request:
        """As far as the pool asks it."""

        def accepted(self, *_: Any) -> None:
            asked.append("accepted")

        def revoked(self) -> bool:
            asked.append("revoked")
            return True

    bench.pool.apply_async(
        None,
        args=("work", "id-1", {"properties": {"delivery_tag": _TAG}}, b"", None, None),
        accept_callback=Request().accepted,
    )
    bench.turn()
    bench.pool._follow()  # pyright: ignore[reportPrivateUsage]
    bench.turn()
    assert asked == ["revoked"]
    assert ("end", _TAG) in bench.ownership.told
    assert [what for what, _ in bench.watcher.told] == ["given", "ended"]


def test_tasks_whose_shape_waits_for_room_leave_the_window_to_others(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    now_s = time.monotonic()
    for number in range(LEAST_LIMIT):
        bench.apply(f"{number}" + _TAG, mesolite={"cpus": 64})
    bench.turn()

    follow = bench.pool._follow  # pyright: ignore[reportPrivateUsage]
    follow()
    at_first = bench.pool.limit
    monkeypatch.setattr(time, "monotonic", lambda: now_s + HELD_UP_S + 1)
    follow()

    assert at_first == LEAST_LIMIT
    assert bench.pool.limit >= 2 * LEAST_LIMIT


def test_a_quick_end_in_the_midst_of_a_warm_one_lets_go_once(bench: Bench) -> None:
    bench.pool.stop()
    bench.pool.terminate()

    assert bench.finished == 1
