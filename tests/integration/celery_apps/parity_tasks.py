"""Tasks that do what tasks do, for `celery worker` and for workers of Mesolite: both are to leave the same behind.

Its broker and backend are of the environment: PARITY_REDIS.
"""

import ctypes
import os
import signal
import sys
import threading
import time
from typing import Any

from celery import Celery, Task, signals
from celery.exceptions import Ignore, Reject, SoftTimeLimitExceeded

REDIS = os.environ["PARITY_REDIS"]
app: Any = Celery("parity", broker=REDIS, backend=REDIS)
app.conf.update(
    result_extended=True,
    task_track_started=True,
    task_default_queue=os.environ.get("PARITY_QUEUE", "parity"),
    accept_content=["json"],
    mesolite_max_result_mib=1,
    broker_connection_retry_on_startup=True,
)
#: Signals that this process heard, in order.
HEARD: list[str] = []
#: What one task leaves for the next.
KEPT: dict[str, Any] = {}


@signals.worker_init.connect
def hear_init(sender: Any = None, **_: Any) -> None:
    HEARD.append(f"worker_init {sender.app is app}")


@signals.worker_process_init.connect
def hear_process_init(sender: Any = None, **_: Any) -> None:
    HEARD.append(f"worker_process_init {sender}")


@signals.worker_process_shutdown.connect
def hear_process_shutdown(sender: Any = None, pid: int = 0, **_: Any) -> None:
    path = os.environ.get("PARITY_GOODBYES")
    if path:
        with open(path, "a") as file:  # noqa: PTH123 - an application of anybody
            file.write(f"{sender} {pid == os.getpid()}\n")


@signals.task_prerun.connect
@signals.task_postrun.connect
def hear_task(signal: Any = None, sender: Any = None, state: str = "", **_: Any) -> None:
    if sender.name == "parity.add":
        HEARD.append(f"{signal.name} {state}".strip())


class Unlucky(Exception):
    """Raised by tasks."""


class Stubborn(Exception):
    """Cannot be pickled."""

    def __reduce__(self) -> Any:
        raise TypeError("not me")


@app.task(name="parity.add")
def add(x: int, y: int) -> int:
    return x + y


@app.task(name="parity.quiet", ignore_result=True, track_started=False)
def quiet() -> None:
    """Do nothing: what a task costs."""


@app.task(name="parity.fail")
def fail(text: str = "no luck") -> None:
    raise Unlucky(text, 7)


@app.task(name="parity.stubborn")
def stubborn() -> None:
    raise Stubborn("no")


@app.task(name="parity.expected", throws=(Unlucky,))
def expected() -> None:
    raise Unlucky("as expected")


@app.task(name="parity.try_again", bind=True, max_retries=3)
def try_again(self: Any) -> None:
    try:
        raise Unlucky("this time")
    except Unlucky as error:
        raise self.retry(exc=error, countdown=3600) from error


@app.task(name="parity.reject")
def reject(requeue: bool = False) -> None:
    raise Reject("not mine", requeue=requeue)


@app.task(name="parity.ignore", bind=True)
def ignore(self: Any) -> None:
    self.update_state(state="HALFWAY", meta={"at": 50})
    raise Ignore


@app.task(name="parity.leave")
def leave(code: int = 3) -> None:
    sys.exit(code)


@app.task(name="parity.no_memory")
def no_memory() -> None:
    raise MemoryError("much too much")


@app.task(name="parity.die")
def die() -> None:
    os._exit(5)


@app.task(name="parity.crash")
def crash() -> None:
    ctypes.string_at(0)


@app.task(name="parity.close_all")
def close_all() -> None:
    os.closerange(0, 1 << 16)


@app.task(name="parity.fork")
def fork() -> int:
    child = os.fork()
    if child == 0:
        os._exit(9)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


@app.task(name="parity.unserializable")
def unserializable() -> object:
    return object()


@app.task(name="parity.large")
def large(size: int) -> str:
    return "x" * size


@app.task(name="parity.say")
def say(text: str) -> str:
    print(text)  # noqa: T201 - it is what is tested
    return text


@app.task(name="parity.me", bind=True)
def me(self: Any) -> dict[str, Any]:
    request = self.request
    return {
        "hostname": request.hostname,
        "eager": request.is_eager,
        "direct": request.called_directly,
        "retries": request.retries,
        "routing_key": request.delivery_info["routing_key"],
        "current": app.current_task is self or app.current_task.name == self.name,
    }


@app.task(name="parity.heard")
def heard() -> list[str]:
    return HEARD


@app.task(name="parity.where")
def where() -> dict[str, Any]:
    return {"cwd": os.getcwd(), "pid": os.getpid(), "threads": threading.active_count()}  # noqa: PTH109


@app.task(name="parity.keep")
def keep(name: str, value: Any) -> int:
    """Leave a thread, a variable and a directory behind, as many libraries do."""
    KEPT[name] = value
    os.environ[f"KEPT_{name.upper()}"] = str(value)
    threading.Thread(target=threading.Event().wait, args=(300,), daemon=False).start()
    return os.getpid()


@app.task(name="parity.kept")
def kept(name: str) -> list[Any]:
    return [KEPT.get(name), os.environ.get(f"KEPT_{name.upper()}"), os.getpid()]


@app.task(name="parity.wait_for")
def wait_for(task_id: str) -> Any:
    return app.AsyncResult(task_id).get(timeout=1)


@app.task(name="parity.nap")
def nap(seconds: float, tidy: bool = False) -> str:
    """Wait in steps, or until interrupted."""
    until = time.monotonic() + seconds
    try:
        while time.monotonic() < until:
            threading.Event().wait(0.005)
    except SoftTimeLimitExceeded:
        if not tidy:
            raise
        return "tidied up"
    return "slept"


@app.task(name="parity.alarm")
def alarm(seconds: float) -> str:
    """Use SIGALRM, which is the task's own."""
    rung = threading.Event()

    def ring(_number: int, _frame: Any) -> None:
        rung.set()

    signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    return "rung" if rung.wait(5) else "silent"


@app.task(name="parity.hoard")
def hoard(mib: int) -> int:
    KEPT["hoard"] = bytearray(mib * 1024 * 1024)
    return mib


class Counting(Task):  # type: ignore[misc]
    """A class of the user's, with a `__call__` of its own."""

    calls = 0

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        type(self).calls += 1
        return super().__call__(*args, **kwargs)

    def on_success(self, retval: Any, task_id: str, args: Any, kwargs: Any) -> None:
        HEARD.append(f"on_success {retval}")


@app.task(name="parity.counted", base=Counting, bind=True)
def counted(self: Any) -> list[Any]:
    return [self.calls, self.request.id]
