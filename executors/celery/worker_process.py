"""A process that runs tasks of one application, one after another, as a child of Celery's prefork pool would.

Everything about a task is done by Celery's own tracer (`celery.app.trace`): decoding, signals, states, results, links, chains,
chords, retries. Here is what prefork has around it: what happens when a child begins and ends, soft time limits, how an end is
told, and when the process is replaced.

A task finds its process as the one before has left it, as in prefork: working directory, environment, umask, threads.
"""

import difflib
import logging
import os
import resource
import signal
import sys
import time
import traceback
from typing import Any, Final

import celery._state
from billiard import util
from celery import platforms, signals
from celery.app import trace
from celery.utils.log import LoggingProxy, get_logger
from kombu.exceptions import EncodeError

from ..python.memory import resident_bytes
from .application import Application
from .protocol import RecycleRules, ReportKind, TaskReport, TaskRun
from .raising import pack, shortened
from .recycling import why_end
from .soft_limit import SoftLimit

#: Setting of the application: the largest result that its backend is given, as the backend writes it.
MAX_RESULT_SETTING: Final = "mesolite_max_result_mib"
#: What Redis takes in one value is 512 MiB, and what is over half of that is rarely meant.
DEFAULT_MAX_RESULT_MIB: Final = 256
#: Of a result's or an error's text in a report. Celery itself shows 1,024 characters of a result.
MAX_TEXT_LENGTH: Final = 65_536
#: Names of tasks that an error lists.
_MAX_NAMES: Final = 20
#: As in prefork's children, whatever the parent did with them.
_RESET_SIGNALS: Final = (signal.SIGTERM, signal.SIGHUP, signal.SIGTTIN, signal.SIGTTOU, signal.SIGUSR1)
_MEBIBYTE: Final = 1024 * 1024

#: What prefork itself uses of these is not for others, and has been there under these names for ten years.
_celery_state: Final[Any] = celery._state
_forks: Final[Any] = util
_log: Final = get_logger(__name__)


class WorkerProcess:
    """The process, from before it is forked.

    Args:
        application: Loaded.
        rules: When it ends.
    """

    def __init__(self, application: Application, rules: RecycleRules) -> None:
        self._app: Final[Any] = application.app
        self._application: Final = application
        self._rules: Final = rules
        #: Names of tasks whose tracers were made in this process: a tracer keeps its pid.
        self._traced: Final[set[str]] = set()
        self._soft_limit: Final = SoftLimit()
        self._proxy: Any = None
        self._began_s = 0.0
        self._tasks = 0
        #: Why the last task ends this process.
        self._over = ""

    def begin(self) -> None:
        """Become a worker, after the fork."""
        app, hostname = self._app, self._application.hostname
        self._began_s = time.monotonic()
        _run_after_forkers()
        _celery_state._set_task_join_will_block(True)
        for number in _RESET_SIGNALS:
            signal.signal(number, signal.SIG_DFL)
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        platforms.set_mp_process_title("celeryd", hostname=hostname)
        app.loader.init_worker()
        app.loader.init_worker_process()
        app.set_current()
        app.set_default()
        app.finalize()
        if self._application.redirect_level is not None:
            self._proxy = LoggingProxy(get_logger("celery.redirected"), self._application.redirect_level)
        _quiet_successes()
        _bound_results(app)
        signals.worker_process_init.send(sender=hostname)

    def run(self, run: TaskRun) -> TaskReport:
        """Run one task."""
        if run.name not in self._traced and not self._build_tracer(run.name):
            return TaskReport(ReportKind.UNKNOWN_TASK, self._unknown(run.name), 0.0, _peak_kib())
        if self._proxy is not None:
            # For each: the executor puts its own back, to keep what each prints apart.
            sys.stdout = sys.stderr = self._proxy
        try:
            if run.soft_limit_s:
                failed, value, runtime_s = self._soft_limit.call(run.soft_limit_s, _trace, run)
            else:
                failed, value, runtime_s = _trace(run)
        # What the tracer lets through is for the dispatcher, as prefork's children tell their parent.
        except BaseException as error:  # noqa: BLE001
            return self._escaped(error)
        finally:
            self._tasks += 1
            if run.soft_limit_s and self._soft_limit.exceeded:
                _log.warning("Soft time limit (%ss) exceeded for %s[%s]", run.soft_limit_s, run.name, run.task_id)
        if failed:
            return _raised(value, runtime_s)
        text = "" if value is None else shortened(str(value), MAX_TEXT_LENGTH)
        return TaskReport(ReportKind.SUCCEEDED, text, runtime_s or 0.0, _peak_kib())

    def after_call(self) -> str:
        """Say why this process ends now; "" where it does not."""
        rules = self._rules
        return self._over or why_end(
            rules,
            tasks=self._tasks,
            age_s=time.monotonic() - self._began_s,
            resident_bytes=resident_bytes(os.getpid()) if rules.max_mem_mib else 0,
        )

    def end(self) -> None:
        """Say goodbye."""
        signals.worker_process_shutdown.send(sender=self._application.hostname, pid=os.getpid(), exitcode=0)

    def _build_tracer(self, name: str) -> bool:
        app = self._app
        task = app.tasks.get(name)
        if task is None:
            return False
        task.__trace__ = trace.build_tracer(name, task, app.loader, self._application.hostname, app=app)
        self._traced.add(name)
        return True

    def _unknown(self, name: str) -> str:
        known = sorted(str(each) for each in self._app.tasks if not str(each).startswith("celery."))
        near = difflib.get_close_matches(name, known, 3)
        like = f" Did you mean {', '.join(near)}?" if near else ""
        listed = ", ".join(known[:_MAX_NAMES]) + (", ..." if len(known) > _MAX_NAMES else "")
        return f"the application {self._application.name} in this container has no task {name}.{like} \
It has {len(known)}: {listed}. Is the image older than the application that sent it?"

    def _escaped(self, error: BaseException) -> TaskReport:
        if isinstance(error, SystemExit | KeyboardInterrupt):
            self._over = f"its task raised {type(error).__name__}"
        elif isinstance(error, MemoryError):
            self._over = "its task ran out of memory"
        lines = traceback.format_exception(type(error), error, error.__traceback__)
        detail = pack(error, traced=False, internal=False)
        return TaskReport(ReportKind.RAISED, shortened("".join(lines)), 0.0, _peak_kib(), detail)


def _trace(run: TaskRun) -> tuple[int, Any, float | None]:
    """Celery's own, with its shortcuts on: whether it failed, the error or the result's text, how long it took."""
    name, task_id, request, body, content_type, content_encoding, _ = run
    found: tuple[int, Any, float | None] = trace.fast_trace_task(
        name, task_id, request, body, content_type, content_encoding
    )
    return found


def _raised(info: Any, runtime_s: float | None) -> TaskReport:
    """A report of what the tracer has seen to: `info` is billiard's `ExceptionInfo`."""
    error = info.exception
    error = getattr(error, "exc", error) if type(error).__name__ == "ExceptionWithTraceback" else error
    detail = pack(error, traced=True, internal=bool(info.internal))
    return TaskReport(ReportKind.RAISED, shortened(str(info.traceback)), runtime_s or 0.0, _peak_kib(), detail)


def _peak_kib() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def _run_after_forkers() -> None:
    """What Celery, kombu and users registered with billiard for the child's side of a fork: pools of connections are renewed."""
    _forks._finalizer_registry.clear()
    _forks._run_after_forkers()


def _quiet_successes() -> None:
    """Leave it to the dispatcher to log that a task succeeded: a run that prints nothing needs no log of its own."""
    tracer = logging.getLogger(trace.__name__)
    if tracer.isEnabledFor(logging.INFO) and not tracer.isEnabledFor(logging.DEBUG):
        tracer.setLevel(logging.WARNING)


def _bound_results(app: Any) -> None:
    """Have the backend refuse results that are too large, as it refuses what it cannot encode: the task fails by it.

    Backends that are no stores of keys (databases) have bounds of their own.
    """
    max_bytes = int(app.conf.get(MAX_RESULT_SETTING, DEFAULT_MAX_RESULT_MIB)) * _MEBIBYTE
    backend = app.backend
    store = getattr(backend, "_set_with_state", None)
    if store is None or not max_bytes:
        return

    def bounded(key: Any, value: Any, state: Any) -> Any:
        size = len(value)
        if size > max_bytes:
            raise EncodeError(f"the result has {size:,} bytes encoded; {MAX_RESULT_SETTING} allows {max_bytes:,}")
        return store(key, value, state)

    backend._set_with_state = bounded
