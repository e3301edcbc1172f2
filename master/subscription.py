"""How frameworks come, come back, fall silent and end (reference 1.1 SUBSCRIBE and TEARDOWN, 1.16).

A framework is known from its first SUBSCRIBE until it is torn down or silent for longer than its failover timeout. In
between, schedulers may come and go: the newest one to subscribe is heard, the others are told that they are not.
Ending takes two steps: its agents are told to kill its tasks and executors, and it is forgotten when the last of them has ended,
because until then their resources are really in use.
"""

from typing import Final

from mesolite.ids import FrameworkId, SessionId
from mesolite.protocol import (
    CallBatch,
    ErrorEvent,
    FrameworkInfo,
    Resubscribe,
    ShutdownFramework,
    Subscribe,
    Subscribed,
)
from mesolite.resources import Quantities

from . import registry
from .context import Context
from .effects import DropState, DropStream
from .settings import MAX_COMPLETED_FRAMEWORKS, MAX_FRAMEWORKS, QUIET_HEARTBEATS
from .state import Framework
from .validation import framework_error, roles_error

#: Stand for the scheduler of a framework that only an agent has told of, and for who may speak for it: the first that does.
UNKNOWN_SESSION: Final = SessionId("unknown")
UNKNOWN_PRINCIPAL: Final = ""


def identify(context: Context, principal: str, batch: CallBatch) -> Framework | None:
    """Find the framework that speaks, registering it where it subscribes; None where it is not to be heard."""
    framework_id = batch.framework_id
    subscribe = next((call for call in batch.calls if isinstance(call, Subscribe)), None)
    if framework_id in context.state.completed_frameworks:
        _turn_away(context, batch, f"Framework has been removed: {context.state.completed_frameworks[framework_id]}")
        return None
    framework = context.state.frameworks.get(framework_id)
    if framework is None:
        return _newcomer(context, principal, batch, subscribe)
    if framework.principal == UNKNOWN_PRINCIPAL:
        if subscribe is None:
            _ask_to_subscribe(context, batch)
            return None
        framework.principal = principal
    if framework.principal != principal:
        _turn_away(context, batch, "the framework belongs to another principal")
        return None
    if framework.ending:
        _turn_away(context, batch, "Framework has been removed")
        return None
    if batch.session != framework.session and not _takes_over(context, framework, batch, subscribe):
        return None
    if not framework.active and subscribe is None:
        _ask_to_subscribe(context, batch)
    return framework


def subscribe_again(context: Context, framework: Framework, call: Subscribe) -> str | None:
    """Confirm a subscription: what the scheduler says of itself now replaces what it said before."""
    error = _subscribe_error(framework.info.framework_id, call)
    if error is not None:
        context.tell(framework, ErrorEvent(error))
        return error
    for offer in list(framework.offers.values()):
        context.give_back(offer, refuse_ms=None)
    is_news = framework.info != call.framework_info or not framework.active
    framework.info = call.framework_info
    framework.suppressed = frozenset(call.suppressed_roles)
    framework.active = True
    framework.silent_since_ms = None
    framework.last_heard_ms = context.now_ms
    if is_news:
        _save(context, framework)
    _tell_allocator(context, framework)
    context.allocator.activate_framework(framework.info.framework_id)
    context.tell(
        framework,
        Subscribed(
            framework_id=framework.info.framework_id, heartbeat_interval_ms=context.settings.heartbeat_interval_ms
        ),
    )
    return None


def recovered(context: Context, info: FrameworkInfo, session: SessionId, principal: str) -> Framework:
    """Enter a framework that is known from the registry or from an agent; its failover timeout runs from now (trap 12).

    It is not ended before its scheduler had the time to be heard, however short its timeout is.
    """
    framework = Framework(
        info=info,
        session=session,
        principal=principal,
        active=False,
        registered_ms=context.now_ms,
        last_heard_ms=context.now_ms,
        silent_since_ms=context.now_ms,
        last_told_ms=context.now_ms,
        no_end_before_ms=context.now_ms + QUIET_HEARTBEATS * context.settings.heartbeat_interval_ms,
    )
    context.state.frameworks[info.framework_id] = framework
    _tell_allocator(context, framework)
    context.allocator.deactivate_framework(info.framework_id)
    return framework


def welcome_back(context: Context, entry: registry.FrameworkEntry) -> None:
    """Restore a framework from the registry, and ask its scheduler to subscribe to this master.

    One that an earlier master found silent has been so since then; of the others it begins to count now.
    """
    framework = recovered(context, entry.info, entry.session, entry.principal)
    framework.superseded.extend(entry.superseded)
    if entry.silent_since_ms is not None:
        framework.silent_since_ms = min(entry.silent_since_ms, context.now_ms)
        framework.silence_saved = True
    context.strangers.should_answer(f"framework {entry.info.framework_id} {entry.session}", context.now_ms)
    context.tell(framework, Resubscribe())


def still_ending(context: Context, info: FrameworkInfo) -> None:
    """Enter a framework again that has ended: an agent came back that runs tasks of it, which are in use until they end."""
    why = context.state.completed_frameworks.pop(info.framework_id)
    framework = recovered(context, info, UNKNOWN_SESSION, UNKNOWN_PRINCIPAL)
    framework.ending, framework.ending_why = True, why


def tear_down(context: Context, framework: Framework, why: str) -> None:
    """End a framework whose scheduler has not asked for it, and tell it."""
    if not framework.ending:
        context.tell(framework, ErrorEvent(f"Framework has been removed: {why}"))
    end(context, framework, why)


def fell_silent(context: Context, framework: Framework) -> None:
    """Stop offering to a framework whose scheduler is not heard; its tasks run on."""
    for offer in list(framework.offers.values()):
        context.give_back(offer, refuse_ms=None)
    framework.active = False
    framework.silent_since_ms = context.now_ms
    context.allocator.deactivate_framework(framework.info.framework_id)
    save_silence(context, framework)


def save_silence(context: Context, framework: Framework) -> None:
    """Write down that a framework is silent, so that its failover timeout runs on through a change of master."""
    framework.silence_saved = True
    _save(context, framework)


def has_outlasted(framework: Framework, now_ms: int) -> bool:
    """Say whether a framework's scheduler has been silent for longer than its failover timeout."""
    if framework.silent_since_ms is None:
        return False
    return now_ms > max(framework.silent_since_ms + framework.info.failover_timeout_ms, framework.no_end_before_ms)


def end(context: Context, framework: Framework, why: str) -> None:
    """End a framework: refuse its id from now on, kill its tasks, forget it with the last of them."""
    if framework.ending:
        return
    if framework.active:
        fell_silent(context, framework)
    framework.ending, framework.ending_why = True, why
    framework_id = framework.info.framework_id
    entry = registry.FrameworkEntry(
        info=framework.info,
        session=framework.session,
        principal=framework.principal,
        ended=why,
        ended_ms=context.now_ms,
    )
    context.outbox.save(registry.FRAMEWORK + framework_id, registry.encode(entry))
    context.outbox.effects.append(DropState(framework_id=framework_id))
    framework.unreachable.clear()
    for agent_id in sorted({task.agent_id for task in framework.tasks.values()} | framework.executors.keys()):
        context.command(context.state.agents[agent_id], ShutdownFramework(framework_id))
    forget_if_empty(context, framework)


def forget_if_empty(context: Context, framework: Framework) -> None:
    """Forget an ending framework that has neither tasks nor executors left."""
    if not framework.ending or framework.tasks or framework.executors:
        return
    framework_id = framework.info.framework_id
    context.allocator.remove_framework(framework_id)
    del context.state.frameworks[framework_id]
    context.ended_tasks.extend(framework.completed)
    completed = context.state.completed_frameworks
    completed[framework_id] = framework.ending_why
    while len(completed) > MAX_COMPLETED_FRAMEWORKS:
        oldest = next(iter(completed))
        del completed[oldest]
        context.outbox.save(registry.FRAMEWORK + oldest, None)
        context.outbox.effects.append(DropStream(framework_id=oldest))


def _newcomer(context: Context, principal: str, batch: CallBatch, subscribe: Subscribe | None) -> Framework | None:
    if subscribe is None:
        _ask_to_subscribe(context, batch)
        return None
    error = _subscribe_error(batch.framework_id, subscribe)
    if error is None and len(context.state.frameworks) >= MAX_FRAMEWORKS:
        error = f"the cluster has {MAX_FRAMEWORKS} frameworks, which is the limit"
    if error is not None:
        _turn_away(context, batch, error)
        return None
    context.counts["frameworks_registered"] += 1
    return recovered(context, subscribe.framework_info, batch.session, principal)


def _takes_over(context: Context, framework: Framework, batch: CallBatch, subscribe: Subscribe | None) -> bool:
    """Decide between two schedulers that claim one id: the newest subscriber wins."""
    if batch.session in framework.superseded:
        _turn_away(context, batch, "Framework failed over: a newer scheduler subscribed with this id")
        return False
    if subscribe is None:
        _ask_to_subscribe(context, batch)
        return False
    error = _subscribe_error(framework.info.framework_id, subscribe)
    if error is not None:
        _turn_away(context, batch, error)
        return False
    context.tell(framework, ErrorEvent("Framework failed over: a newer scheduler subscribed with this id"))
    framework.superseded.append(framework.session)
    framework.session = batch.session
    framework.last_batch = 0
    framework.demands = ()
    context.allocator.set_demand(framework.info.framework_id, None)
    context.counts["frameworks_failed_over"] += 1
    _save(context, framework)
    return True


def _subscribe_error(framework_id: FrameworkId, call: Subscribe) -> str | None:
    info = call.framework_info
    if info.framework_id != framework_id:
        return f"framework_info names {info.framework_id}, the sender is {framework_id}"
    return framework_error(info) or roles_error(call.suppressed_roles, info)


def _turn_away(context: Context, batch: CallBatch, message: str) -> None:
    """Tell a scheduler that it must stop; not for each thing that it says."""
    context.counts["calls_turned_away"] += 1
    if context.strangers.should_answer(f"framework {batch.framework_id} {batch.session}", context.now_ms):
        context.outbox.tell(batch.framework_id, batch.session, ErrorEvent(message))


def _ask_to_subscribe(context: Context, batch: CallBatch) -> None:
    if context.strangers.should_answer(f"framework {batch.framework_id} {batch.session}", context.now_ms):
        context.outbox.tell(batch.framework_id, batch.session, Resubscribe())


def _tell_allocator(context: Context, framework: Framework) -> None:
    info = framework.info
    context.allocator.add_framework(
        info.framework_id,
        info.roles,
        suppressed=framework.suppressed,
        min_allocatable={
            role: tuple(Quantities.parse(minimum) for minimum in minimums)
            for role, minimums in info.min_allocatable_resources.items()
        },
    )


def _save(context: Context, framework: Framework) -> None:
    if framework.active:
        framework.silence_saved = False
    entry = registry.FrameworkEntry(
        info=framework.info,
        session=framework.session,
        principal=framework.principal,
        silent_since_ms=framework.silent_since_ms if framework.silence_saved else None,
        superseded=tuple(framework.superseded),
    )
    context.outbox.save(registry.FRAMEWORK + framework.info.framework_id, registry.encode(entry))
