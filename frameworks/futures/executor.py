"""A `concurrent.futures.Executor` whose workers are on the cluster.

    with Executor() as executor:                                  # the cluster of `mesolite up`
        print(sum(executor.map(work, range(100), chunksize=10)))

        future = executor.options(cpus=2, mem_mib=4096, timeout=600).submit(train, data)
        future.add_done_callback(...)

What differs from the pools of the standard library: a call whose worker dies takes no other with it, and fails by itself with
`WorkerDied` or `OutOfMemory`; what lies in the program's own modules is sent along; and after a fork the child gets a
clear error instead of a pool whose threads are in its parent.
"""

import asyncio
import types
import weakref
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent import futures
from functools import partial
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, ParamSpec, Self, TypeAlias, TypeVar, Unpack
from uuid import uuid4

from mesolite.errors import ConfigError
from mesolite.executors.python.calls import Function

from .blocks import fetch
from .errors import ArgumentsTooLarge, CallError
from .explaining import not_picklable
from .future import ClusterFuture
from .mapping import SubmitRows, batched, chained, check, mapped
from .options import CallOptions, OptionChanges
from .pickling import FunctionCache, dump_arguments, name_of
from .pool import CallBounds, PoolOptions, open_pool
from .progress import ProgressBar
from .remote import run_argument, run_chunk, run_initialized
from .session import Session
from .settings import (
    DEFAULT_CPUS,
    DEFAULT_MAX_ARGUMENT_BYTES,
    DEFAULT_MAX_RESULT_BYTES,
    DEFAULT_MEM_MIB,
    IDLE_MS,
)
from .work import Backend, BackendListener

if TYPE_CHECKING:
    # Whoever has one has imported it; most never do (progress.py).
    from rich.console import Console

_Arguments = ParamSpec("_Arguments")
_Result = TypeVar("_Result")

#: How calls reach their workers; docs/executors.md, section 4.
Mode: TypeAlias = Literal["coarse", "fine"]


class Calls(futures.Executor):
    """What can be done with an executor, and with a view of it that has other options."""

    _session: Session
    _options: CallOptions
    _functions: FunctionCache
    #: Wraps functions so that workers run the initializer first.
    _prepare: Callable[[Callable[..., Any]], Callable[..., Any]]
    _bounds: CallBounds

    def submit(
        self, fn: Callable[_Arguments, _Result], /, *args: _Arguments.args, **kwargs: _Arguments.kwargs
    ) -> ClusterFuture[_Result]:
        """Have a function called on the cluster; see `concurrent.futures.Executor.submit`.

        What cannot be pickled is said by the future (`NotPicklable`), as by a process pool's.

        Raises:
            RuntimeError: The executor was shut down, or is broken (`ExecutorBroken`).
        """
        self._session.check_open()
        is_plain = isinstance(fn, types.FunctionType | types.BuiltinFunctionType | type)
        try:
            function = self._functions.pack(self._prepare(fn if is_plain else run_argument))
        except Exception as error:  # noqa: BLE001 - pickling runs the code of whatever is pickled
            return self._session.failed(not_picklable(fn, args, kwargs, error))
        sent = args if is_plain else (fn, *args)
        arguments = _packed_arguments(fn, function, sent, kwargs, self._bounds)
        [future] = self._session.submit(name_of(fn), function, (arguments,), self._options)
        return future

    def map(
        self,
        fn: Callable[..., _Result],
        *iterables: Iterable[Any],
        timeout: float | None = None,
        chunksize: int = 1,
        buffersize: int | None = None,
    ) -> Iterator[_Result]:
        """Call a function with each tuple of `zip(*iterables)`; results come in that order. As Python 3.14 defines it.

        Args:
            fn: Called with as many arguments as there are iterables.
            iterables: Gone through at once, unless there is a buffersize.
            timeout: Seconds from now until when each result must be there.
            chunksize: How many are sent as one call. Large ones save time where each takes little.
            buffersize: How many calls may be submitted whose results have not been asked for; None: all of them.

        Raises:
            ValueError: chunksize or buffersize is less than 1.
            TypeError: buffersize is no number.
            TimeoutError: From the iterator, as everything that a call raises.
        """
        check(chunksize, buffersize)
        rows: Iterator[tuple[Any, ...]] = zip(*iterables, strict=False)
        is_held = _IsHeld(self)
        if chunksize == 1:
            return mapped(rows, self._row_submitter(fn, fn), is_held, timeout, buffersize)
        chunks = ((chunk,) for chunk in batched(rows, chunksize))
        submit = self._row_submitter(fn, partial(run_chunk, fn))
        return chained(mapped(chunks, submit, is_held, timeout, buffersize))

    def options(self, **changes: Unpack[OptionChanges]) -> "ExecutorView":
        """The same pool with other options for the calls that are submitted through what this returns.

        Raises:
            ConfigError: There is no such option, or a value makes no sense.
        """
        return ExecutorView(self, self._options.changed(changes))

    async def asubmit(
        self, fn: Callable[_Arguments, _Result], /, *args: _Arguments.args, **kwargs: _Arguments.kwargs
    ) -> _Result:
        """Call a function on the cluster from a coroutine. Cancelling the coroutine cancels the call if it has not been sent."""
        return await asyncio.wrap_future(self.submit(fn, *args, **kwargs))

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """See `concurrent.futures.Executor.shutdown`. Of a view it closes what it is a view of."""
        self._session.shutdown(wait=wait, cancel_futures=cancel_futures)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await asyncio.to_thread(self.shutdown)

    def __reduce__(self) -> str:
        raise TypeError("an Executor cannot be pickled: make one in the process that needs it")

    def _row_submitter(self, named: Callable[..., Any], function: Callable[..., Any]) -> SubmitRows:
        """Pickle a function once, and return what submits calls of it; it holds the session, but not the executor.

        Args:
            named: Whose name the calls have.
            function: What is called.

        Raises:
            RuntimeError: As `submit`.
        """
        session, options, bounds = self._session, self._options, self._bounds
        session.check_open()
        try:
            packed = self._functions.pack(self._prepare(function))
        except Exception as error:  # noqa: BLE001 - pickling runs the code of whatever is pickled
            failure = not_picklable(named, (), {}, error)

            def fail(rows: list[tuple[Any, ...]]) -> list[futures.Future[Any]]:
                return [session.failed(failure) for _ in rows]

            return fail

        def submit(rows: list[tuple[Any, ...]]) -> list[futures.Future[Any]]:
            arguments = [_packed_arguments(named, packed, row, {}, bounds) for row in rows]
            return list(session.submit(name_of(named), packed, arguments, options))

        return submit


class Executor(Calls):
    """Runs functions on a cluster.

    Args:
        redis_url: The cluster's Redis; where absent, the cluster of `mesolite up` is found.
        cluster: Its name.
        mode: "coarse": workers are held and calls sent to them directly, which is fast. "fine": each call is a task of its
            own, with its own resources, seen by the master and Flower.
        cpus: Of each worker ("coarse") or call ("fine").
        mem_mib: The same; hard limits, both of them.
        timeout: Seconds that a call may run; None: as long as it takes.
        retries: How often a call is tried again that was lost, or whose worker died.
        image: Container image with Python of this program's minor version; the agent's default where absent.
        python: The interpreter in it; where absent this program's own if the agent has it, else `python3`.
        roles: Whose share of the cluster it may use; calls use the first, unless their options say otherwise.
        principal: See DESIGN 6.
        min_workers: "coarse": held though there is nothing to do.
        max_workers: At most so many workers, or calls at a time; None: what the cluster offers.
        idle_timeout: Seconds after which workers without calls are given back.
        max_result_bytes: Larger results are refused, with `ResultTooLarge`.
        max_argument_bytes: Larger arguments of a call, pickled, are refused, with `ArgumentsTooLarge`.
        initializer: Run once in each worker process before its first call. If it raises, the pool is broken.
        initargs: Its arguments.
        progress: Show a progress bar, in the terminal or on a console of `rich`.
        name: Of the framework, for people.
        backend: Makes what runs the calls, instead of a cluster: `InProcessPool` for one.

    Raises:
        ConfigError: An argument makes no sense.
        MasterUnavailable: No cluster was found.
        RedisUnavailable: Redis does not answer.
    """

    def __init__(
        self,
        redis_url: str | None = None,
        cluster: str | None = None,
        *,
        mode: Mode = "coarse",
        cpus: float = DEFAULT_CPUS,
        mem_mib: int = DEFAULT_MEM_MIB,
        timeout: float | None = None,
        retries: int = 0,
        image: str | None = None,
        python: str | None = None,
        roles: Sequence[str] = ("*",),
        principal: str | None = None,
        min_workers: int = 0,
        max_workers: int | None = None,
        idle_timeout: float = IDLE_MS / 1000,
        max_result_bytes: int = DEFAULT_MAX_RESULT_BYTES,
        max_argument_bytes: int = DEFAULT_MAX_ARGUMENT_BYTES,
        initializer: Callable[..., object] | None = None,
        initargs: tuple[Any, ...] = (),
        progress: "bool | Console" = False,
        name: str = "futures",
        backend: Callable[[BackendListener], Backend] | None = None,
    ) -> None:
        if initializer is not None and not callable(initializer):
            raise TypeError("initializer must be a callable")
        if not roles:
            raise ConfigError("roles is empty; leave it out for the default")
        pool = PoolOptions(
            name=name,
            mode=mode,
            roles=tuple(roles),
            min_workers=min_workers,
            max_workers=max_workers,
            idle_timeout_ms=round(idle_timeout * 1000),
            max_result_bytes=max_result_bytes,
            max_argument_bytes=max_argument_bytes,
        )
        self._options = CallOptions(
            cpus=cpus, mem_mib=mem_mib, timeout=timeout, retries=retries, image=image, python=python, role=roles[0]
        )
        self._functions = FunctionCache()
        #: dask reads this name of an executor.
        self._max_workers = max_workers
        self._bounds = pool.bounds
        token = f"mesolite initializer {uuid4().hex}"
        self._prepare = _Prepare(token, initializer, initargs) if initializer is not None else _as_it_is
        self._session = Session(
            backend or partial(open_pool, pool, self._options, redis_url, cluster, principal),
            fetch,
            ProgressBar(name, None if progress is True else progress) if progress else None,
            token if initializer is not None else None,
        )
        weakref.finalize(self, self._session.shutdown, wait=False).atexit = False


class ExecutorView(Calls):
    """An executor with other options for each call; see `Executor.options`."""

    def __init__(self, root: Calls, options: CallOptions) -> None:
        #: Keeps it from being collected while the view is used.
        self._root = root
        self._options = options
        self._session = root._session  # pyright: ignore[reportPrivateUsage]
        self._functions = root._functions  # pyright: ignore[reportPrivateUsage]
        self._prepare = root._prepare  # pyright: ignore[reportPrivateUsage]
        self._bounds = root._bounds  # pyright: ignore[reportPrivateUsage]
        self._max_workers: int | None = getattr(root, "_max_workers", None)


class _Prepare:
    """Puts the initializer before a function."""

    def __init__(self, token: str, initializer: Callable[..., object], initargs: tuple[Any, ...]) -> None:
        self._arguments = token, initializer, initargs

    def __call__(self, function: Callable[..., Any]) -> Callable[..., Any]:
        return partial(run_initialized, *self._arguments, function)


def _as_it_is(function: Callable[..., Any]) -> Callable[..., Any]:
    return function


class _IsHeld:
    """Whether anybody still holds an executor, without holding it."""

    def __init__(self, calls: Calls) -> None:
        self._calls = weakref.ref(calls)

    def __call__(self) -> bool:
        return self._calls() is not None


def _packed_arguments(
    fn: Callable[..., Any], function: Function, args: tuple[Any, ...], kwargs: dict[str, Any], bounds: CallBounds
) -> bytes | CallError:
    """The bytes of a call's arguments, or why it cannot be sent."""
    try:
        arguments = dump_arguments(args, kwargs)
    except Exception as error:  # noqa: BLE001 - pickling runs the code of whatever is pickled
        return not_picklable(fn, args[1:] if args[:1] == (fn,) else args, kwargs, error)
    assert isinstance(function.pickled, bytes), "functions are not put into block stores here"
    if len(function.pickled) > bounds.function_bytes:
        return ArgumentsTooLarge(
            f"{name_of(fn)} has {len(function.pickled):,} bytes with all that it holds, of which "
            f"{bounds.function_bytes:,} travel; give it large values as arguments instead"
        )
    if len(arguments) > bounds.argument_bytes:
        return ArgumentsTooLarge(
            f"{name_of(fn)}: its arguments have {len(arguments):,} bytes; max_argument_bytes allows "
            f"{bounds.argument_bytes:,}: raise it, or let the function fetch what it works on"
        )
    return arguments
