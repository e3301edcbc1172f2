"""What executors say, and when they hang up: led to whoever takes it, once it is known to be in order.

The newest connection of an executor counts; what comes on an older one was superseded. A connection on which something was
said that an executor may not say is closed, and so is one of nobody that is known.
"""

from typing import Final, assert_never

from mesolite.protocol import (
    EXECUTOR_PROTOCOL_VERSION,
    AgentInfo,
    AgentMessage,
    ExecutorCall,
    ExecutorError,
    ExecutorHeartbeat,
    ExecutorSaid,
    ExecutorSubscribe,
    ExecutorSubscribed,
    ExecutorTotals,
    ExecutorUpdate,
)

from .effects import HangUp, Refusal, TotalsChange
from .executor import Executor
from .executor_checks import calls_error
from .executor_links.contract import ExecutorHungUp, ExecutorSpoke, LinkEvent
from .executorbook import ExecutorBook
from .outbox import Outbox
from .taskbook import TaskBook


class ExecutorConnections:
    """Takes executors' words."""

    def __init__(self, info: AgentInfo, book: TaskBook, executors: ExecutorBook) -> None:
        self._info: Final = info
        self._book: Final = book
        self._executors: Final = executors

    def take(self, event: LinkEvent, now_ms: int, outbox: Outbox) -> None:
        """Take what an executor said, or that it hung up."""
        executor = self._executors.executors.get(event.container_id)
        if executor is None or not executor.living:
            outbox.reject(Refusal.UNKNOWN_EXECUTOR, f"container {event.container_id[:64]!r} has no executor that lives")
            if isinstance(event, ExecutorSpoke):
                outbox.hung_up.append(HangUp(container_id=event.container_id, connection=event.connection))
        elif isinstance(event, ExecutorHungUp):
            self._hung_up(executor, event, now_ms, outbox)
        else:
            self._spoke(executor, event, now_ms, outbox)

    def _hung_up(self, executor: Executor, event: ExecutorHungUp, now_ms: int, outbox: Outbox) -> None:
        if event.fault:
            outbox.reject(Refusal.EXECUTOR_FAULT, f"executor {executor.info.executor_id!r}: {event.fault}")
        if executor.connected and event.connection == executor.connection:
            self._executors.disconnected(executor, now_ms, outbox)

    def _spoke(self, executor: Executor, event: ExecutorSpoke, now_ms: int, outbox: Outbox) -> None:
        is_new = event.connection > executor.connection
        if not is_new and not (executor.connected and event.connection == executor.connection):
            # It is closed on our side; what was said on it and matters is said again on the next.
            return
        error = calls_error(event.calls)
        if error is None and is_new and not (event.calls and isinstance(event.calls[0], ExecutorSubscribe)):
            error = "the first word on a connection is SUBSCRIBE"
        if error is not None:
            self._refuse(executor, event.connection, error, now_ms, outbox)
            return
        for call in event.calls:
            self._call(executor, event.connection, call, now_ms, outbox)

    def _refuse(self, executor: Executor, connection: int, error: str, now_ms: int, outbox: Outbox) -> None:
        """Say what was wrong and hang up. Where it was the newest connection, the time to come back begins."""
        outbox.reject(Refusal.EXECUTOR_FAULT, f"executor {executor.info.executor_id!r}: {error}")
        outbox.tell_on(executor, connection, ExecutorError(error))
        outbox.hung_up.append(HangUp(container_id=executor.container_id, connection=connection))
        if executor.connected and connection == executor.connection:
            self._executors.disconnected(executor, now_ms, outbox)

    def _call(self, executor: Executor, connection: int, call: ExecutorCall, now_ms: int, outbox: Outbox) -> None:
        match call:
            case ExecutorUpdate():
                self._executors.tasks.take(executor, call, now_ms, outbox)
            case ExecutorSubscribe():
                self._subscribed(executor, connection, call, now_ms, outbox)
            case ExecutorSaid():
                self._said(executor, call, outbox)
            case ExecutorTotals():
                here = self._book.frameworks[executor.framework_id]
                outbox.totals.append(TotalsChange(here.info, executor.info.executor_id, executor.container_id, call))
            case ExecutorHeartbeat():
                pass
            case _:
                assert_never(call)

    def _subscribed(
        self, executor: Executor, connection: int, call: ExecutorSubscribe, now_ms: int, outbox: Outbox
    ) -> None:
        executor.connection = connection
        executor.connected = True
        outbox.tell(
            executor,
            ExecutorSubscribed(
                version=EXECUTOR_PROTOCOL_VERSION,
                framework_id=executor.framework_id,
                executor_id=executor.info.executor_id,
                agent_id=self._info.agent_id,
                container_id=executor.container_id,
                hostname=self._info.hostname,
                cpus=executor.limits.cpus_milli / 1000,
                mem_mib=executor.limits.mem_mib,
                data=executor.info.data,
            ),
        )
        tasks = self._executors.tasks
        for update in call.unacknowledged_updates:
            tasks.take(executor, update, now_ms, outbox)
        spoken_of = {update.task_id for update in call.unacknowledged_updates}
        tasks.compare(executor, spoken_of, {*call.unacknowledged_tasks} - spoken_of, now_ms, outbox)
        self._executors.connected(executor, now_ms, outbox)

    def _said(self, executor: Executor, call: ExecutorSaid, outbox: Outbox) -> None:
        """Pass a message on; it is lost where no master listens."""
        if self._book.reporting:
            outbox.reports.append(AgentMessage(executor.framework_id, executor.info.executor_id, call.data))
        else:
            outbox.reject(Refusal.UNHEARD_MESSAGE, f"no master listens to executor {executor.info.executor_id!r}")
