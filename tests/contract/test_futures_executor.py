"""What `concurrent.futures` promises of an executor, held against every pool of ours.

The functions here are sent by value: nothing of the tests is there where they run. Cases that only a real worker can show
(a process that dies, a memory limit) run on the pools that have real workers.
"""

import asyncio
import contextlib
import gc
import os
import pickle
import threading
import time
from collections.abc import Callable, Iterator
from concurrent import futures
from pathlib import Path
from typing import Any

import pytest

from mesolite.errors import ConfigError
from mesolite.frameworks.futures import (
    ArgumentsTooLarge,
    CallError,
    CallTimedOut,
    Executor,
    ExecutorBroken,
    NotPicklable,
    RemoteError,
    RemoteTraceback,
    ResultTooLarge,
)
from tests.waiting import eventually

from .futures_pools import MakeExecutor

#: Longer than any pool takes for a trivial call.
PATIENCE_S = 60.0


def square(number: int) -> int:
    return number * number


def add(first: int, second: int = 0, *, third: int = 0) -> int:
    return first + second + third


def fail(message: str) -> None:
    raise ValueError(message)


def gate(path: str) -> str:
    """Wait until a file is there."""
    deadline = time.monotonic() + 60
    pause = threading.Event()
    while not os.path.exists(path):  # noqa: PTH110 - sent by value: the less it names the better
        if time.monotonic() > deadline:
            raise TimeoutError(path)
        pause.wait(0.005)
    return path


class Local(Exception):
    """An exception of the program's own, with arguments of its own."""

    def __init__(self, code: int, text: str) -> None:
        super().__init__(code, text)
        self.code = code


class Stubborn(Exception):
    """An exception that does not travel."""

    def __init__(self, first: str, second: str) -> None:
        super().__init__(first)
        self.held = threading.Lock()


def fail_locally() -> None:
    raise Local(7, "of its own")


def fail_stubbornly() -> None:
    raise Stubborn("one", "two")


class TestSubmit:
    def test_a_call_returns_its_value(self, executor: Executor) -> None:
        assert executor.submit(square, 7).result(PATIENCE_S) == 49

    def test_positional_and_named_arguments_arrive(self, executor: Executor) -> None:
        assert executor.submit(add, 1, 2, third=3).result(PATIENCE_S) == 6

    def test_names_that_submit_itself_has_can_be_passed_on(self, executor: Executor) -> None:
        def named(**names: int) -> list[str]:
            return sorted(names)

        assert executor.submit(named, fn=1, self=2, timeout=3).result(PATIENCE_S) == ["fn", "self", "timeout"]

    def test_lambdas_and_closures_can_be_called(self, executor: Executor) -> None:
        offset = 5
        closure: Callable[[int], int] = lambda number: number + offset  # noqa: E731 - it is lambdas that are tried
        assert executor.submit(closure, 1).result(PATIENCE_S) == 6

    def test_a_closure_is_sent_as_it_is_when_it_is_submitted(self, executor: Executor) -> None:
        seen: list[int] = []

        def how_many() -> int:
            return len(seen)

        first = executor.submit(how_many).result(PATIENCE_S)
        seen.append(1)
        assert (first, executor.submit(how_many).result(PATIENCE_S)) == (0, 1)

    def test_what_is_no_function_fails_where_it_is_called(self, executor: Executor) -> None:
        with pytest.raises(TypeError):
            executor.submit(None).result(PATIENCE_S)  # type: ignore[arg-type]

    def test_none_is_a_result(self, executor: Executor) -> None:
        assert executor.submit(fail_not).result(PATIENCE_S) is None


def fail_not() -> None:
    return None


class TestFailure:
    def test_an_exception_comes_back_with_the_traceback_of_the_worker(self, executor: Executor) -> None:
        future = executor.submit(fail, "broken on purpose")
        with pytest.raises(ValueError, match="broken on purpose") as caught:
            future.result(PATIENCE_S)
        assert isinstance(caught.value.__cause__, RemoteTraceback)
        assert "in fail" in str(caught.value.__cause__)
        assert future.exception(0) is caught.value

    def test_an_exception_of_the_programs_own_keeps_its_type(self, executor: Executor) -> None:
        with pytest.raises(Local) as caught:
            executor.submit(fail_locally).result(PATIENCE_S)
        assert caught.value.code == 7

    def test_an_exception_that_does_not_travel_is_told_by_name(self, executor: Executor) -> None:
        with pytest.raises(RemoteError, match=r"fail_stubbornly raised .*Stubborn: one") as caught:
            executor.submit(fail_stubbornly).result(PATIENCE_S)
        assert "fail_stubbornly" in str(caught.value.__cause__)

    def test_an_argument_that_cannot_be_pickled_is_named(self, executor: Executor) -> None:
        with pytest.raises(NotPicklable, match="argument 1"):
            executor.submit(add, 1, threading.Lock()).result(PATIENCE_S)  # type: ignore[arg-type]
        with pytest.raises(NotPicklable, match="third"):
            executor.submit(add, 1, third=threading.Lock()).result(PATIENCE_S)  # type: ignore[arg-type]

    def test_a_function_that_cannot_be_pickled_is_named(self, executor: Executor) -> None:
        lock = threading.Lock()

        def held() -> bool:
            return lock.locked()

        with pytest.raises(NotPicklable, match="function"):
            executor.submit(held).result(PATIENCE_S)

    def test_a_result_that_cannot_be_pickled_costs_that_call_alone(self, executor: Executor) -> None:
        with pytest.raises(NotPicklable, match="result"):
            executor.submit(threading.Lock).result(PATIENCE_S)
        assert executor.submit(square, 3).result(PATIENCE_S) == 9

    def test_an_argument_that_does_not_unpickle_costs_that_call_alone(self, executor: Executor) -> None:
        with pytest.raises(NotPicklable, match="refuses"):
            executor.submit(square, Refusing()).result(PATIENCE_S)  # type: ignore[arg-type]
        assert executor.submit(square, 3).result(PATIENCE_S) == 9

    def test_a_result_over_the_limit_names_the_setting(self, make_executor: MakeExecutor) -> None:
        with make_executor(max_result_bytes=1024 * 1024) as executor:
            with pytest.raises(ResultTooLarge, match="max_result"):
                executor.submit(bytes, 3 * 1024 * 1024).result(PATIENCE_S)
            assert len(executor.submit(bytes, 1000).result(PATIENCE_S)) == 1000

    def test_large_arguments_arrive(self, executor: Executor) -> None:
        size = 6 * 1024 * 1024
        futures = [executor.submit(ends_of, bytes([number]) * size) for number in range(3)]
        assert [each.result(PATIENCE_S) for each in futures] == [(number, size, number) for number in range(3)]
        assert list(executor.map(ends_of, [b"x" * size] * 2, chunksize=2)) == [(120, size, 120)] * 2

    def test_arguments_over_the_limit_are_refused_before_they_are_sent(self, make_executor: MakeExecutor) -> None:
        with make_executor(max_argument_bytes=1024 * 1024) as executor:
            with pytest.raises(ArgumentsTooLarge, match="max_argument_bytes allows 1,048,576"):
                executor.submit(len, bytes(2 * 1024 * 1024)).result(PATIENCE_S)
            assert executor.submit(len, bytes(1000)).result(PATIENCE_S) == 1000

    def test_a_function_that_holds_too_much_is_refused_before_it_is_sent(self, executor: Executor) -> None:
        held = bytes(33 * 1024 * 1024)

        def size() -> int:
            return len(held)

        with pytest.raises(ArgumentsTooLarge, match="as arguments instead"):
            executor.submit(size).result(PATIENCE_S)

    def test_a_call_that_takes_too_long_times_out(self, executor: Executor) -> None:
        future = executor.options(timeout=0.2).submit(time.sleep, 30)
        with pytest.raises(CallTimedOut) as caught:
            future.result(PATIENCE_S)
        assert isinstance(caught.value, TimeoutError)
        assert isinstance(caught.value, CallError)
        assert executor.submit(square, 3).result(PATIENCE_S) == 9


def ends_of(data: bytes) -> tuple[int, int, int]:
    return data[0], len(data), data[-1]


class Refusing:
    """Can be pickled, and not be unpickled."""

    def __reduce__(self) -> tuple[Callable[[str], None], tuple[str]]:
        return fail, ("it refuses",)


class TestMap:
    def test_results_come_in_the_order_of_the_arguments(self, executor: Executor) -> None:
        assert list(executor.map(square, range(20))) == [each * each for each in range(20)]

    def test_several_iterables_are_zipped(self, executor: Executor) -> None:
        assert list(executor.map(add, [1, 2, 3], [10, 20])) == [11, 22]

    @pytest.mark.parametrize("chunksize", [1, 3, 100])
    def test_chunks_change_nothing(self, executor: Executor, chunksize: int) -> None:
        assert list(executor.map(add, range(10), range(10), chunksize=chunksize)) == [2 * each for each in range(10)]

    def test_nothing_gives_nothing(self, executor: Executor) -> None:
        assert list(executor.map(square, [])) == []

    def test_an_exception_comes_at_its_place(self, executor: Executor) -> None:
        results = executor.map(divmod, [4, 4, 4], [2, 0, 1])
        assert next(results) == (2, 0)
        with pytest.raises(ZeroDivisionError):
            next(results)

    def test_all_iterables_are_gone_through_at_once(self, executor: Executor) -> None:
        numbers = iter(range(5))
        results = executor.map(square, numbers)
        assert next(numbers, None) is None
        assert list(results) == [0, 1, 4, 9, 16]

    def test_a_buffersize_bounds_the_look_ahead(self, executor: Executor) -> None:
        taken: list[int] = []

        def numbers() -> Iterator[int]:
            for number in range(10):
                taken.append(number)
                yield number

        results = executor.map(square, numbers(), buffersize=3)
        assert taken == [0, 1, 2]
        assert next(results) == 0
        assert taken == [0, 1, 2, 3]
        assert list(results) == [each * each for each in range(1, 10)]

    def test_an_endless_iterable_can_be_mapped_with_a_buffersize(self, executor: Executor) -> None:
        def numbers() -> Iterator[int]:
            number = 0
            while True:
                yield number
                number += 1

        results = executor.map(square, numbers(), buffersize=2)
        assert [next(results) for _ in range(4)] == [0, 1, 4, 9]
        results.close()  # type: ignore[attr-defined]

    @pytest.mark.parametrize(
        ("arguments", "error"),
        [
            ({"chunksize": 0}, ValueError),
            ({"buffersize": 0}, ValueError),
            ({"buffersize": -1}, ValueError),
            ({"buffersize": 1.5}, TypeError),
        ],
    )
    def test_numbers_that_make_no_sense_are_refused(
        self, executor: Executor, arguments: dict[str, Any], error: type[Exception]
    ) -> None:
        with pytest.raises(error):
            executor.map(square, [1], **arguments)

    def test_a_time_limit_is_for_all_results_together(self, executor: Executor) -> None:
        assert executor.submit(square, 1).result(PATIENCE_S) == 1
        results = executor.map(time.sleep, [0, 30], timeout=5.0)
        assert next(results) is None
        with pytest.raises(TimeoutError):
            next(results)


class TestFutures:
    def test_as_completed_and_wait_know_our_futures(self, executor: Executor) -> None:
        submitted = [executor.submit(square, number) for number in range(5)]
        assert sorted(each.result() for each in futures.as_completed(submitted, PATIENCE_S)) == [0, 1, 4, 9, 16]
        done, not_done = futures.wait(submitted, PATIENCE_S)
        assert (done, not_done) == (set(submitted), set())

    def test_wait_returns_at_the_first_exception(self, executor: Executor, open_dir: Path) -> None:
        waiting: futures.Future[Any] = executor.submit(gate, str(open_dir / "gate"))
        failing: futures.Future[Any] = executor.submit(fail, "first")
        done, not_done = futures.wait([waiting, failing], PATIENCE_S, futures.FIRST_EXCEPTION)
        assert (done, not_done) == ({failing}, {waiting})
        (open_dir / "gate").touch()
        assert waiting.result(PATIENCE_S) == str(open_dir / "gate")

    def test_callbacks_are_called_with_the_future_once(self, executor: Executor) -> None:
        called: list[futures.Future[int]] = []
        future = executor.submit(square, 3)
        future.add_done_callback(called.append)
        assert future.result(PATIENCE_S) == 9
        eventually(lambda: called == [future])
        future.add_done_callback(called.append)
        assert called == [future, future]

    def test_a_callback_may_submit(self, executor: Executor) -> None:
        chained: futures.Future[int] = futures.Future()

        def go_on(future: "futures.Future[int]") -> None:
            executor.submit(square, future.result()).add_done_callback(
                lambda second: chained.set_result(second.result())
            )

        executor.submit(square, 2).add_done_callback(go_on)
        assert chained.result(PATIENCE_S) == 16

    def test_a_time_limit_for_a_result_leaves_the_call_alone(self, executor: Executor, open_dir: Path) -> None:
        future = executor.submit(gate, str(open_dir / "gate"))
        with pytest.raises(futures.TimeoutError):
            future.result(0.01)
        (open_dir / "gate").touch()
        assert future.result(PATIENCE_S) == str(open_dir / "gate")

    def test_a_call_that_waits_for_its_turn_can_be_cancelled(self, make_executor: MakeExecutor, open_dir: Path) -> None:
        with make_executor(max_workers=1) as executor:
            running = executor.submit(gate, str(open_dir / "gate"))
            eventually(running.running, within_s=PATIENCE_S)
            later = [executor.submit(square, number) for number in range(300)]
            assert later[-1].cancel()
            assert later[-1].cancelled()
            assert later[-1].cancel()
            assert not running.cancel()
            with pytest.raises(futures.CancelledError):
                later[-1].result(PATIENCE_S)
            # Whoever waits is told as well.
            assert futures.wait([later[-1]], PATIENCE_S).done == {later[-1]}
            (open_dir / "gate").touch()
            assert [each.result(PATIENCE_S) for each in later[:-1]] == [each * each for each in range(299)]

    def test_what_runs_can_be_killed(self, executor: Executor) -> None:
        future = executor.submit(time.sleep, 60)
        eventually(future.running, within_s=PATIENCE_S)
        assert future.kill()
        with pytest.raises(CallError):
            future.result(PATIENCE_S)
        assert not future.kill()


class TestShutdown:
    def test_nothing_is_taken_after_it(self, make_executor: MakeExecutor) -> None:
        executor = make_executor()
        executor.shutdown()
        with pytest.raises(RuntimeError, match="cannot schedule new futures after shutdown"):
            executor.submit(square, 1)
        with pytest.raises(RuntimeError, match="cannot schedule new futures after shutdown"):
            executor.map(square, [1])

    def test_it_waits_for_what_was_submitted(self, make_executor: MakeExecutor) -> None:
        with make_executor() as executor:
            submitted = [executor.submit(square, number) for number in range(10)]
        assert all(each.done() for each in submitted)
        assert [each.result() for each in submitted] == [each * each for each in range(10)]

    def test_without_waiting_it_returns_at_once_and_calls_end(
        self, make_executor: MakeExecutor, open_dir: Path
    ) -> None:
        executor = make_executor()
        future = executor.submit(gate, str(open_dir / "gate"))
        executor.shutdown(wait=False)
        assert not future.done()
        (open_dir / "gate").touch()
        assert future.result(PATIENCE_S) == str(open_dir / "gate")
        executor.shutdown(wait=True)

    def test_it_may_be_said_twice(self, make_executor: MakeExecutor) -> None:
        executor = make_executor()
        executor.shutdown()
        executor.shutdown(cancel_futures=True)
        with pytest.raises(RuntimeError):
            executor.submit(square, 1)

    def test_pending_calls_are_cancelled_where_asked(self, make_executor: MakeExecutor, open_dir: Path) -> None:
        executor = make_executor(max_workers=1)
        running = executor.submit(gate, str(open_dir / "gate"))
        eventually(running.running, within_s=PATIENCE_S)
        pending = [executor.submit(gate, str(open_dir / "never")) for _ in range(300)]
        executor.shutdown(wait=False, cancel_futures=True)
        assert pending[-1].cancelled()
        (open_dir / "gate").touch()
        (open_dir / "never").touch()
        executor.shutdown(wait=True)
        assert running.result() == str(open_dir / "gate")
        assert all(each.done() for each in pending)

    def test_an_executor_that_nobody_holds_ends_when_its_calls_have(
        self, make_executor: MakeExecutor, open_dir: Path
    ) -> None:
        executor = make_executor()
        future = executor.submit(gate, str(open_dir / "gate"))
        session = executor._session  # pyright: ignore[reportPrivateUsage]
        del executor
        gc.collect()
        assert not future.done()
        (open_dir / "gate").touch()
        assert future.result(PATIENCE_S) == str(open_dir / "gate")
        with pytest.raises(RuntimeError):
            session.check_open()
        session.join(PATIENCE_S)

    def test_a_view_keeps_its_executor(self, make_executor: MakeExecutor) -> None:
        view = make_executor().options(retries=1)
        gc.collect()
        assert view.submit(square, 4).result(PATIENCE_S) == 16
        view.shutdown()


class TestThreadsAndProcesses:
    def test_several_threads_may_use_one_executor(self, executor: Executor) -> None:
        results: dict[int, list[int]] = {}

        def use(thread: int) -> None:
            submitted = [executor.submit(add, thread, number) for number in range(20)]
            results[thread] = [each.result(PATIENCE_S) for each in submitted]

        threads = [threading.Thread(target=use, args=(number,)) for number in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(PATIENCE_S)
        assert results == {thread: [thread + number for number in range(20)] for thread in range(4)}

    @pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
    def test_a_forked_child_is_told_to_make_its_own(self, executor: Executor) -> None:
        assert executor.submit(square, 1).result(PATIENCE_S) == 1
        reading, writing = os.pipe()
        child = os.fork()
        if child == 0:
            told = b"nothing"
            with contextlib.suppress(BaseException):
                try:
                    executor.submit(square, 2)
                except RuntimeError as error:
                    told = str(error).encode()
                executor.shutdown()
            os.write(writing, told)
            os._exit(0)
        os.close(writing)
        with os.fdopen(reading, "rb") as pipe:
            told = pipe.read()
        os.waitpid(child, 0)
        assert b"make a new Executor in this process" in told
        assert executor.submit(square, 3).result(PATIENCE_S) == 9

    def test_it_cannot_be_pickled_into_another_process(self, executor: Executor) -> None:
        with pytest.raises(TypeError, match="make one in the process that needs it"):
            pickle.dumps(executor)


class TestOptions:
    def test_an_option_that_there_is_not_is_refused(self, executor: Executor) -> None:
        with pytest.raises(ConfigError, match="'gpus'"):
            executor.options(gpus=1)  # type: ignore[call-arg]

    def test_an_initializer_runs_before_the_first_call_of_a_worker(self, make_executor: MakeExecutor) -> None:
        with make_executor(initializer=os.putenv, initargs=("MESOLITE_TEST_INITIALIZED", "yes")) as executor:
            assert executor.submit(square, 5).result(PATIENCE_S) == 25

    def test_an_initializer_that_fails_breaks_the_pool(self, make_executor: MakeExecutor) -> None:
        executor = make_executor(initializer=fail, initargs=("no start",))
        future = executor.submit(square, 5)
        with pytest.raises(futures.BrokenExecutor, match="no start"):
            future.result(PATIENCE_S)
        with pytest.raises(ExecutorBroken, match="no start"):
            executor.submit(square, 5)
        executor.shutdown()


class TestAsyncio:
    def test_calls_can_be_awaited(self, make_executor: MakeExecutor) -> None:
        async def program() -> list[int]:
            async with make_executor() as executor:
                loop = asyncio.get_running_loop()
                first = await executor.asubmit(add, 1, third=2)
                second = await loop.run_in_executor(executor, square, 4)
                many = await asyncio.gather(*(executor.asubmit(square, number) for number in range(3)))
                return [first, second, *many]

        assert asyncio.run(program()) == [3, 16, 0, 1, 4]
