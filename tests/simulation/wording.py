"""Messages in few words, for the trace."""

from collections.abc import Iterable

import msgspec

from mesolite.errors import ProtocolError
from mesolite.protocol import (
    Accept,
    Acknowledge,
    AcknowledgeExecutors,
    AcknowledgeStatuses,
    Decline,
    ExecutorExited,
    Failure,
    Kill,
    KillTask,
    Offers,
    Reconcile,
    RegisterAgent,
    Rescind,
    RunTask,
    RunTaskGroup,
    RunTasks,
    SetDemand,
    Shutdown,
    ShutdownExecutor,
    StatusUpdate,
    TaskStatus,
    Update,
    decode_calls,
    decode_commands,
    decode_events,
    decode_reports,
)


def in_words(payload: bytes) -> str:
    """Say what a batch says, whichever of the four kinds it is: they differ in the fields that they must have."""
    fields = msgspec.msgpack.decode(payload)
    try:
        if "calls" in fields:
            calls = decode_calls(payload)[0]
            return f"#{calls.number} of {calls.session}, epoch {calls.epoch}: {_join(calls.calls)}"
        if "events" in fields:
            events = decode_events(payload)
            return f"#{events.number} to {events.session}, epoch {events.epoch}: {_join(events.events)}"
        if "commands" in fields:
            commands = decode_commands(payload)
            return f"#{commands.first_number} to {commands.session}, epoch {commands.epoch}: {_join(commands.commands)}"
        reports = decode_reports(payload)[0]
        gap = ", gap" if reports.gap else ""
        return (
            f"#{reports.number} of {reports.session}, epoch {reports.epoch}, confirms {reports.confirmed}{gap}: "
            f"{_join(reports.reports)}"
        )
    except ProtocolError as error:
        return str(error)


def _join(messages: Iterable[object]) -> str:
    return "; ".join(map(_word, messages)) or "nothing"


def _status(status: TaskStatus) -> str:
    mark = status.uuid[-2:].hex() if status.uuid is not None else "master's"
    return f"{status.task_id} {status.state.name} ({mark})"


def _word(message: object) -> str:
    name = type(message).__name__
    match message:
        case Accept():
            tasks = [task.task_id for operation in message.operations for task in operation.task_infos]
            return f"{name} {','.join(message.offer_ids)} for {','.join(tasks)}"
        case Decline() | Rescind():
            return f"{name} {','.join(message.offer_ids)}"
        case Offers():
            return f"{name} " + ",".join(f"{each.offer_id}@{each.agent_id}" for each in message.offers)
        case Update():
            return f"{name} {_status(message.status)}"
        case StatusUpdate():
            return f"{name} {_status(message.status)}, latest {message.latest_state.name}"
        case Acknowledge() | AcknowledgeStatuses():
            acknowledged = (f"{each.task_id} ({each.uuid[-2:].hex()})" for each in message.acknowledgements)
            return f"{name} {','.join(acknowledged)}"
        case Kill() | KillTask():
            return f"{name} {message.task_id}"
        case RunTask():
            return f"{name} {message.task.task_id}"
        case RunTasks() | RunTaskGroup():
            what = "a new" if message.launch_executor else "the"
            launched = ",".join(task.task_id for task in message.tasks)
            return f"{name} {launched} in {what} {message.executor.executor_id}"
        case ExecutorExited():
            return f"{name} {message.executor_id} launched by {message.launched_by}"
        case Failure() if message.executor_id is not None:
            return f"{name} of {message.executor_id}@{message.agent_id}"
        case Shutdown() | ShutdownExecutor():
            return f"{name} {message.executor_id}"
        case AcknowledgeExecutors():
            return f"{name} {','.join(each.executor_id for each in message.acknowledgements)}"
        case Reconcile():
            return f"{name} {','.join(each.task_id for each in message.tasks)}"
        case RegisterAgent():
            listed = (f"{each.task.task_id} {each.latest_state.name}" for each in message.tasks)
            executors = "".join(f", executor {each.executor.executor_id}" for each in message.executors)
            return f"{name} {', '.join(listed) or 'without tasks'}{executors}"
        case SetDemand():
            return f"{name} {','.join(f'{each.count} in {each.role}' for each in message.demands) or 'nothing'}"
        case _:
            return name
