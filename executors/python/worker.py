"""A worker process: takes one call after another out of its socket, runs it, answers. The only place where code of users runs.

It was forked from the zygote, leads a session of its own, and dies with its parent. What a call changes of the process is put
back after it (hygiene.py), or the worker says in its answer that it ends, and is replaced; where the executor was told to load
something first, that something decides (preload.py). Descriptors stand high, where
programs that close everything up to 255 do not reach; a worker that lost them cannot answer any more and says so by its exit
code.

Two sockets: calls come in by `calls`, and answers to those that are not LOUD go out by it, where main looks when it has reason
to; LOUD answers go out by `answers`, which wakes main. So a hundred short calls wake it a few times.
"""

import contextlib
import fcntl
import os
import pickle
import resource
import socket
import stat
import sys
import time
import traceback
import types
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, NoReturn

from .blocks import BlockError, Blocks, high_descriptor
from .calls import PICKLE_PROTOCOL, BlockRef, End
from .codec import dumps, loads, pack_payload, pack_raised, unpack_payload
from .endings import EXIT_CHANNEL_LOST, EXIT_NOT_STARTED
from .explain import explain
from .frames import (
    ARGUMENTS_IN_BLOCK,
    FORGET_FUNCTIONS,
    FUNCTION_IN_BLOCK,
    LOUD,
    MAX_FUNCTIONS,
    MAX_MESSAGE_BYTES,
    PAYLOAD_IN_BLOCK,
    RETIRING,
    CallFrame,
    call_bytes,
    decode_call,
    encode_answer,
    parts_of,
)
from .hygiene import Hygiene
from .limits import WorkerSettings
from .log_names import DIRECTORY
from .output import Output
from .preload import Hooks

#: Whoever ran shorter than this cannot have opened hundreds of files, and so cannot have taken a socket's high number.
_TOO_SHORT_TO_REPLACE_US: Final = 400
#: Raised for workers, so that the kernel, short of memory, ends one of them and not main.
_OOM_SCORE_ADJUSTMENT: Final = 500
#: Quiet answers above this are loud: main's socket is to have room for all that may be on the way.
_MAX_QUIET_BYTES: Final = 4096


@dataclass(frozen=True, slots=True)
class _Answer:
    """What a call came to."""

    end: End
    payload: bytes = b""
    message: str = ""
    flags: int = 0


class _Unpicklable(Exception):
    """Something cannot be pickled or unpickled; its text names it."""


def run(settings: WorkerSettings, calls: socket.socket, answers: socket.socket, hooks: Hooks | None) -> NoReturn:
    """Be a worker until main hangs up, or until something a call did makes another process the better place for the next."""
    try:
        worker = Worker(settings, _moved_up(calls), _moved_up(answers), hooks)
    except OSError as error:
        _last_words(f"a worker cannot start: {error}")
        os._exit(EXIT_NOT_STARTED)
    try:
        while worker.turn():
            pass
        worker.leave()
    finally:
        # Whatever happened: this process is a copy of the zygote and must not go on as one.
        os._exit(0)


def _moved_up(moved: socket.socket) -> socket.socket:
    fd = moved.detach()
    high = fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, high_descriptor())
    os.close(fd)
    return socket.socket(fileno=high)


def _last_words(text: str) -> None:
    with contextlib.suppress(OSError):
        os.write(2, f"mesolite: {text}\n".encode())


class Worker:
    """Runs calls one by one."""

    def __init__(
        self, settings: WorkerSettings, calls: socket.socket, answers: socket.socket, hooks: Hooks | None = None
    ) -> None:
        self._limits: Final = settings.limits
        self._calls: Final = calls
        self._answers: Final = answers
        #: Which sockets these are, to tell them from others that got their numbers.
        self._inodes: Final = (os.fstat(calls.fileno()).st_ino, os.fstat(answers.fileno()).st_ino)
        self._pid: Final = os.getpid()
        #: By digest. A function that could not be unpickled is there as the reason: calls behind it come without its bytes.
        self._functions: Final[dict[bytes, Callable[..., Any] | _Unpicklable | BlockError]] = {}
        self._hooks: Final = hooks
        if hooks is None:
            os.chdir(settings.sandbox)
        _forget_main(settings.sandbox)
        directory = settings.sandbox / DIRECTORY
        directory.mkdir(exist_ok=True)
        _raise_oom_score()
        # A crash is told by its signal; an image of the process would fill the sandbox.
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        self._hygiene: Final = Hygiene()
        if hooks is not None:
            hooks.begin()
        self._output: Final = Output(directory, settings.number)
        self._blocks: Final = Blocks.from_environment()

    def turn(self) -> bool:
        """Take one call, run it, answer it; False once main has hung up."""
        try:
            head = self._calls.recv(MAX_MESSAGE_BYTES)
        except OSError:
            os._exit(EXIT_CHANNEL_LOST)
        if not head:
            return False
        frame = decode_call(self._whole(head))
        began_ns = time.perf_counter_ns()
        answer = self._run(frame)
        ran_us = (time.perf_counter_ns() - began_ns) // 1000
        if os.getpid() != self._pid:
            # A child that the call forked came back instead of its parent.
            self._output.flush()
            os._exit(0)
        self._finish(frame, answer, ran_us)
        return True

    def _whole(self, head: bytes) -> bytes:
        missing = call_bytes(head) - len(head)
        if not missing:
            return head
        parts = [head]
        while missing > 0:
            part = self._calls.recv(MAX_MESSAGE_BYTES)
            if not part:
                os._exit(0)  # main is gone in the middle of a call
            parts.append(part)
            missing -= len(part)
        return b"".join(parts)

    # Running

    def _run(self, frame: CallFrame) -> _Answer:
        try:
            function = self._function(frame)
            args, kwargs = self._arguments(frame)
            if frame.environment:
                self._set_environment(frame.environment)
        except _Unpicklable as error:
            return _Answer(End.UNPICKLABLE, message=str(error))
        except BlockError as error:
            return _Answer(End.BLOCK_LOST, message=str(error))
        try:
            value = function(*args, **kwargs)
        # Whatever a user's function raises, `SystemExit` and `KeyboardInterrupt` included, is its own end and not the worker's.
        except BaseException as error:  # noqa: BLE001
            return self._raised(error)
        return self._returned(value, frame.by_reference_from)

    def _function(self, frame: CallFrame) -> Callable[..., Any]:
        if frame.flags & FORGET_FUNCTIONS:
            self._functions.clear()
        function = self._functions.get(frame.digest)
        if function is None:
            function = self._functions[frame.digest] = self._unpickled_function(frame)
            assert len(self._functions) <= MAX_FUNCTIONS, "main counts along"
        if isinstance(function, Exception):
            raise function
        return function

    def _unpickled_function(self, frame: CallFrame) -> Callable[..., Any] | _Unpicklable | BlockError:
        try:
            pickled = self._bytes(frame.function, frame.flags & FUNCTION_IN_BLOCK)
            found: object = _unpickle(pickled, "the function")
        except (_Unpicklable, BlockError) as error:
            return error
        if not callable(found) or isinstance(found, Exception):
            return _Unpicklable(f"what was sent as a function is a {type(found).__name__}")
        return found

    def _arguments(self, frame: CallFrame) -> tuple[Any, Any]:
        pickled = self._bytes(frame.arguments, frame.flags & ARGUMENTS_IN_BLOCK)
        match _unpickle(pickled, "the arguments"):
            case (args, kwargs):
                return args, kwargs
            case _:
                raise _Unpicklable("the arguments are not a pair of a tuple and a dictionary")

    def _bytes(self, data: bytes, in_block: int) -> bytes:
        if not in_block:
            return data
        reference = unpack_payload(loads(data))
        assert isinstance(reference, BlockRef), "main says that it is one"
        return self._blocks.get(reference)

    def _set_environment(self, pickled: bytes) -> None:
        values: Any = loads(pickled)
        self._hygiene.set_environment(values)

    # Ends

    def _returned(self, value: object, by_reference_from: int) -> _Answer:
        try:
            payload = _pickle(value)
        # A `__reduce__` of the user's may raise whatever it likes.
        except BaseException:  # noqa: BLE001
            return _Answer(End.UNPICKLABLE, message=explain(value, "result", _pickle))
        size = len(payload)
        if size < by_reference_from and size <= self._limits.max_inline_bytes:
            return _Answer(End.RETURNED, payload)
        return self._large(payload)

    def _large(self, payload: bytes) -> _Answer:
        """Store a result, or say why it cannot travel."""
        size, limits = len(payload), self._limits
        if size > limits.max_result_bytes:
            text = f"the result has {size:,} bytes pickled; max_result_bytes allows {limits.max_result_bytes:,}"
            return _Answer(End.TOO_LARGE, message=text)
        trouble = "there is no block store here"
        if self._blocks:
            try:
                return _Answer(End.RETURNED, dumps(pack_payload(self._blocks.put(payload))), flags=PAYLOAD_IN_BLOCK)
            except BlockError as error:
                trouble = str(error)
        if size <= limits.max_inline_bytes:
            return _Answer(End.RETURNED, payload)
        text = f"the result has {size:,} bytes pickled, without a block at most {limits.max_inline_bytes:,}: {trouble}"
        return _Answer(End.TOO_LARGE, message=text)

    def _raised(self, error: BaseException) -> _Answer:
        name = f"{type(error).__module__}.{type(error).__qualname__}".removeprefix("builtins.")
        trace = error.__traceback__
        text = "".join(traceback.format_exception(type(error), error, trace.tb_next if trace else None))
        pickled = _pickled_exception(error)
        if pickled is not None and len(pickled) > self._limits.max_inline_bytes // 2:
            pickled = None
        return _Answer(End.RAISED, pack_raised(pickled, name, _text_of(error), text))

    # Answering

    def _finish(self, frame: CallFrame, answer: _Answer, ran_us: int) -> None:
        why, log_bytes = "", 0
        try:
            log_bytes = self._output.keep(frame.name, frame.number)
        except OSError as error:
            why = str(error)
        why = (self._hygiene.clean() if self._hooks is None else self._hooks.after_call()) or why
        if ran_us > _TOO_SHORT_TO_REPLACE_US:
            self._check_sockets()
        flags = answer.flags | (RETIRING if why else 0)
        data = encode_answer(frame.number, flags, answer.end, ran_us, log_bytes, answer.payload, answer.message)
        self._send(data, loud=bool(frame.flags & LOUD or why))
        if why:
            self.leave()
            os._exit(0)

    def leave(self) -> None:
        """Do what is to be done at the end. The answer is out: main gives nothing more, and ends who takes too long."""
        if self._hooks is not None:
            self._hooks.end()
            self._output.flush()

    def _send(self, data: bytes, *, loud: bool) -> None:
        try:
            if not loud and len(data) <= _MAX_QUIET_BYTES:
                with contextlib.suppress(BlockingIOError):
                    self._calls.send(data, socket.MSG_DONTWAIT)
                    return
            if len(data) <= MAX_MESSAGE_BYTES:
                self._answers.send(data)
                return
            for part in parts_of(data):
                self._answers.send(part)
        except OSError:
            os._exit(EXIT_CHANNEL_LOST)

    def _check_sockets(self) -> None:
        for each, inode in zip((self._calls, self._answers), self._inodes, strict=True):
            try:
                found = os.fstat(each.fileno())
            except OSError:
                os._exit(EXIT_CHANNEL_LOST)
            if found.st_ino != inode or not stat.S_ISSOCK(found.st_mode):
                os._exit(EXIT_CHANNEL_LOST)


def _forget_main(sandbox: Path) -> None:
    """Be no copy of the executor for whoever asks what program this is; find modules that were fetched into the sandbox.

    What is started from here by `multiprocessing`'s spawn imports the file of `__main__` again: that of the bundle would make
    it another executor.
    """
    sys.modules["__main__"] = types.ModuleType("__main__")
    sys.argv = [""]
    sys.path.append(str(sandbox))


def _raise_oom_score() -> None:
    with contextlib.suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text(str(_OOM_SCORE_ADJUSTMENT), encoding="ascii")


def _unpickle(data: bytes, what: str) -> Any:
    try:
        return pickle.loads(data)
    # Unpickling imports modules of the user and runs their code: anything may come of it.
    except BaseException as error:
        hint = ""
        if isinstance(error, ModuleNotFoundError):
            hint = (
                ". A module beside your program is not on the agents: put it into the image, send it as an URI, or have \
cloudpickle send it (cloudpickle.register_pickle_by_value)"
            )
        text = f"{what} cannot be unpickled in the worker: {type(error).__name__}: {_text_of(error)}{hint}"
        raise _Unpicklable(text) from error


def _pickle(value: object) -> bytes:
    """Plain pickle where it will do, which is ten times faster; cloudpickle for what it does not know, as local classes."""
    try:
        return pickle.dumps(value, PICKLE_PROTOCOL)
    # What it cannot do is for cloudpickle to say.
    except Exception:  # noqa: BLE001
        if "cloudpickle" not in sys.modules:
            _import_cloudpickle()
        return bytes(sys.modules["cloudpickle"].dumps(value, PICKLE_PROTOCOL))


def _import_cloudpickle() -> None:
    __import__("cloudpickle")


def _pickled_exception(error: BaseException) -> bytes | None:
    """The exception as bytes that make one again; None where they would not."""
    try:
        pickled = _pickle(error)
        remade: object = pickle.loads(pickled)
    # As for results.
    except BaseException:  # noqa: BLE001
        return None
    return pickled if isinstance(remade, type(error)) else None


def _text_of(error: BaseException) -> str:
    try:
        return str(error)
    # As for results: a `__str__` of the user's.
    except Exception:  # noqa: BLE001
        return f"(a {type(error).__name__} that cannot be shown)"
