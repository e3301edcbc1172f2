"""The dispatcher's pool, as Celery's worker knows pools: each request becomes a call with its own resources on the cluster.

Celery's consumer calls `apply_async` for each request whose turn has come, with the request's own callbacks. From then on:

    given --begun--> on_accepted --ended--> on_success | on_failure | on_timeout --> the last word on its message
      |
      '-- nothing of it ran, or it was withdrawn because the dispatcher stops --> its message is as it was

All of this happens in the thread of the event loop; what runners tell from theirs comes over a `Crossing`. Messages are gathered
over one turn of the loop, said to the broker to be given away, and given together.
"""

import itertools
import time
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

from celery.concurrency.base import BasePool
from celery.utils.quorum_queues import detect_quorum_queues
from celery.worker import state as worker_state

from mesolite.errors import ConfigError
from mesolite.executors.celery.protocol import TaskRun
from mesolite.executors.python.calls import Outcome
from mesolite.logs import get_logger
from mesolite.trimming import IdleTrim, trim

from ..futures.engine_call import Lost
from ..futures.options import Kind
from .calls import Ending, Place, Runner, TaskOptions, call_name
from .crossing import Crossing
from .dispatched_call import DispatchedCall
from .dispatching import Dispatching, prepared
from .requests import Callbacks, acknowledge_again, asks_back, log_success, tell
from .verdicts import (
    Failed,
    NotBegun,
    Raised,
    Succeeded,
    TaskRules,
    Verdict,
    is_last,
    refused_options,
    rules_of,
    verdict,
)
from .window import LEAST_LIMIT, ShapeAtHand, messages_at_hand

#: How often it is looked how many workers there are, and so how many messages are to be at hand.
FOLLOW_EVERY_S: Final = 0.25
#: How often a stopping pool looks whether it is to stop at once.
STOP_LOOK_S: Final = 0.5
#: How long it is asked whether workers have a message that RabbitMQ delivers again: those that live answer at once, and one that
#: was lost with its machine is given up by the cluster much later.
GUESS_PATIENCE_S: Final = 10.0
#: Executors that `celery inspect stats` names; it travels in one message.
MAX_SHOWN_EXECUTORS: Final = 200
#: What a request holds beside its headers; the worker decodes it from the body.
_BODY_FIELDS: Final = ("args", "kwargs")

#: What became of it, as far as anybody knows.
_BEGAN_EARLIER: Final = "it ran when its dispatcher ended, and nobody knows it any more"

_Pool: Any = BasePool
_log = get_logger("mesolite.celery")


class DispatchPool(_Pool):  # type: ignore[misc] # Celery has no types
    """See `celery.concurrency.base.BasePool`. Made by Celery's worker; what it works with, `dispatching` prepares."""

    #: Nothing blocks where many tasks are at hand; there are no slots in this process.
    uses_semaphore = False

    def __init__(self, limit: int | None = None, **options: Any) -> None:
        super().__init__(limit, **options)
        #: The most tasks at once, as `-c` says and `celery control pool_grow` changes.
        self._most: int = max(1, limit or 0)
        #: Whether the broker lets a consumer have more messages than at first.
        self._is_static = _is_static(self.app)
        self.limit = self._most if self._is_static else min(self._most, LEAST_LIMIT)
        self.crossing: Final = Crossing()
        self._numbers = itertools.count(1)
        #: Calls that are not over, by the number that Celery knows, and by the tag of their message.
        self._by_pid: dict[int, DispatchedCall] = {}
        self._by_tag: dict[str, DispatchedCall] = {}
        #: Of tasks, by name.
        self._rules: dict[str, TaskRules] = {}
        #: Gathered in this turn of the loop.
        self._gathered: list[DispatchedCall] = []
        self._hub: Any = None
        self._idle: Final = IdleTrim()
        self._stopping = False
        self._is_finished = False
        self._parts: Dispatching = prepared(self.app, self._by_tag.__contains__)

    # What Celery calls

    def on_start(self) -> None:
        """Connect to the cluster."""
        self._parts.start()

    def register_with_event_loop(self, hub: Any) -> None:
        """Let the event loop hear of ends. Called again after each restart of the consumer, which resets the loop."""
        self._hub = hub
        hub.add_reader(self.crossing.fileno(), self.crossing.run)
        hub.call_repeatedly(FOLLOW_EVERY_S, self._follow)

    def on_apply(
        self, target: Any, args: Sequence[Any], kwargs: Mapping[str, Any], **given: Any
    ) -> DispatchedCall | None:
        """Take a request's task on.

        Args:
            target: Celery's tracer, which the worker in the container calls.
            args: Of the tracer: name, id, request, body, content type and encoding.
            kwargs: Empty.
            given: Celery's callbacks and limits.
        """
        name, task_id, request, body, content_type, content_encoding = args
        callbacks = Callbacks.of(given)
        tag = _tag_of(task_id, request)
        known = self._by_tag.get(tag)
        if known is not None:
            # The broker delivered it again, as RabbitMQ does after a lost connection: it is not run again.
            known.callbacks = callbacks
            self._parts.watcher.given(known)
            if known.accepted:
                callbacks.accept(known.pid, time.monotonic())
            return known
        ownership, redelivered = self._parts.ownership, _is_redelivered(request)
        if redelivered and ownership.is_over(tag):
            _log.info("celery.acknowledged_again", task=name, id=task_id)
            acknowledge_again(callbacks)
            return None
        fields = {key: value for key, value in request.items() if key not in _BODY_FIELDS}
        soft_limit_s = given.get("soft_timeout") or self.options.get("soft_timeout")
        run = TaskRun(name, task_id, fields, body, content_type, content_encoding, soft_limit_s)
        options, refusal = self._options_of(name, fields)
        hard_limit_s = given.get("timeout") or self.options.get("timeout")
        if hard_limit_s and (options.max_time_s is None or hard_limit_s < options.max_time_s):
            options = replace(options, max_time_s=hard_limit_s)
        number, returns = next(self._numbers), ownership.returns(tag)
        called = call_name(task_id, tag, returns)
        losses = ownership.losses(tag)
        call = DispatchedCall(self, tag, called, losses, run, options, self._rules_of(name), number, callbacks)
        call.guessed = redelivered and not returns and not ownership.knows_earlier_lives
        self._by_pid[number] = self._by_tag[tag] = call
        self._parts.watcher.given(call)
        if refusal is not None:
            decided = refusal
            self.crossing.post(lambda: self._decide(call, decided))
        else:
            self._gather(call)
        return call

    def terminate_job(self, pid: int, signal: int | None = None) -> None:
        """End the call that has this number."""
        call = self._by_pid.get(pid)
        if call is not None:
            self.end_call(call, signal or 0)

    def grow(self, n: int = 1) -> None:
        """Have more tasks at once, at most."""
        self._most += n

    def shrink(self, n: int = 1) -> None:
        """Have fewer tasks at once, at most; those that run are let be."""
        self._most = max(1, self._most - n)

    def on_stop(self) -> None:
        """Let end what runs, and give back what does not; until Celery says that it is to be quick."""
        self._stopping = True
        self._give()
        if not self._parts.leave_running:
            for call in self._by_pid.values():
                if not call.accepted:
                    self._runner(call).withdraw(call.name)
            while self._by_pid and worker_state.should_terminate is None:
                self.crossing.wait(STOP_LOOK_S)
        self._finish()

    def on_terminate(self) -> None:
        """End what runs: the worker stops at once."""
        self._stopping = True
        self._finish()

    def _get_info(self) -> dict[str, Any]:
        """What `celery inspect stats` shows of a pool."""
        views = [view for runner in self._parts.runners.values() for view in runner.executors()]
        return {
            **super()._get_info(),
            "max-concurrency": self._most,
            "processes": [],
            "workers": sum(view.workers for view in views),
            "tasks": len(self._by_pid),
            "begun": sum(call.accepted for call in self._by_pid.values()),
            "executors": [
                {
                    "executor": view.executor_id,
                    "agent": view.agent_id,
                    "hostname": view.hostname,
                    "workers": view.workers,
                    "tasks": view.calls,
                    "cpus": view.cpus_milli / 1000,
                    "mem_mib": view.mem_mib,
                    "image": view.image,
                }
                for view in views[:MAX_SHOWN_EXECUTORS]
            ],
        }

    # From the crossing

    def accept(self, call: DispatchedCall, place: Place | None) -> None:
        """A worker has it."""
        if call.over or call.accepted or call.revoked:
            return
        call.accepted = True
        call.place = place or call.place
        self._parts.watcher.started(call)
        self._tell(call, lambda: call.callbacks.accept(call.pid, time.monotonic()))

    def conclude(self, call: DispatchedCall, ending: Ending, place: Place | None) -> None:
        """It is over, in one way or another."""
        if call.over:
            return
        call.place = place or call.place
        if call.attached and _is_unbegun(ending) and self._parts.ownership.was_acknowledged(call.tag):
            # Acknowledged early, so it began. Its life ended what ran when it stopped, or the cluster did, and forgot.
            ending = Lost("", begun=True, reason=_BEGAN_EARLIER)
        decided = verdict(
            ending,
            call.rules,
            call.options,
            losses=call.losses,
            signum=call.signum,
            withdrawn=self._stopping,
        )
        if isinstance(ending, Lost) and call.guessed and not call.accepted and call.signum is None:
            decided = NotBegun("no worker knows it")
        call.guessed = False
        self._decide(call, decided)

    def end_call(self, call: DispatchedCall, signum: int) -> None:
        """End a call, begun or not."""
        if not call.over:
            call.signum = signum
            self._runner(call).kill(call.name)

    # Inside

    def _decide(self, call: DispatchedCall, decided: Verdict) -> None:
        """Do what a verdict says: tell Celery, and close the book on the message."""
        if isinstance(decided, NotBegun) and not call.revoked:
            if self._stopping:
                self._forget(call)
                self._parts.watcher.given_back(call)
                self._parts.ownership.take_back(call.tag)
            else:
                _log.info("celery.given_again", call=call.name, why=decided.why)
                self._gather(call)
            return
        if call.revoked:
            self._forget(call)
            self._parts.watcher.ended(call, None)
            self._parts.ownership.end(call.tag)
            return
        self.accept(call, call.place)
        self._forget(call)
        self._parts.watcher.ended(call, decided.peak_kib)
        if isinstance(decided, Failed) and decided.aside is not None:
            self._parts.ownership.set_aside(call.tag, decided.aside)
        asked_back = isinstance(decided, Raised) and asks_back(decided.report)
        if asked_back:
            self._parts.ownership.asked_back(call.tag)
        if isinstance(decided, Succeeded):
            log_success(call.run, decided)
        if self._tell(call, lambda: tell(call.callbacks, decided)) and is_last(
            decided, call.rules, asked_back=asked_back
        ):
            self._parts.ownership.over(call.tag)
        self._parts.ownership.end(call.tag)

    def _tell(self, call: DispatchedCall, tell_request: Callable[[], None]) -> bool:
        """Tell a request; whatever it raises stops nobody else, as in Celery's own pools. True where it raised nothing."""
        try:
            tell_request()
            return True
        # Celery asks the application's backend, classes and receivers of signals.
        except Exception:  # noqa: BLE001
            _log.exception("celery.callback_failed", call=call.name, task=call.run.name)
            return False

    def _gather(self, call: DispatchedCall) -> None:
        """Give it with what else comes in this turn of the loop."""
        if not self._gathered and self._hub is not None:
            self._hub.call_soon(self._give)
        self._gathered.append(call)
        if self._hub is None:
            self._give()

    def _give(self) -> None:
        """Say to the broker which messages are given away, and give them; what an earlier life gave away is attached to."""
        gathered, self._gathered = self._gathered, []
        if not gathered:
            return
        ownership = self._parts.ownership
        earlier = [call for call in gathered if not call.attached and (call.guessed or ownership.was_given(call.tag))]
        for call in earlier:
            call.attached, call.asked_s = True, time.monotonic()
        fresh = [call for call in gathered if call not in earlier] if earlier else gathered
        # What is only guessed to be an earlier life's counts as given by this one.
        ownership.give([call.tag for call in (fresh if ownership.knows_earlier_lives else gathered)])
        for isolation, runner in self._parts.runners.items():
            if mine := [call for call in fresh if call.options.isolation == isolation]:
                runner.submit(mine)
            if mine := [call for call in earlier if call.options.isolation == isolation]:
                runner.attach(mine)

    def _options_of(self, name: str, request: Mapping[str, Any]) -> tuple[TaskOptions, Failed | None]:
        queue = (request.get("delivery_info") or {}).get("routing_key")
        task = self.app.tasks[name]
        try:
            return self._parts.options.of(task, request, queue), None
        except ConfigError as error:
            return self._parts.options.of(task, None, queue), refused_options(error)

    def _rules_of(self, name: str) -> TaskRules:
        rules = self._rules.get(name)
        if rules is None:
            rules = self._rules[name] = rules_of(self.app.tasks[name], self._parts.max_losses)
        return rules

    def _runner(self, call: DispatchedCall) -> Runner:
        return self._parts.runners[call.options.isolation]

    def _forget(self, call: DispatchedCall) -> None:
        call.over = True
        self._by_pid.pop(call.pid, None)
        if self._by_tag.get(call.tag) is call:
            del self._by_tag[call.tag]

    def _follow(self) -> None:
        """Have as many messages at hand as `window` says, and as little memory as can be where that is none."""
        if self._idle.look(busy=bool(self._by_pid), now_s=time.monotonic()):
            trim()
        self._drop_revoked()
        self._stop_guessing()
        if self._is_static:
            return
        limit = messages_at_hand(self._shapes().values(), self._most, time.monotonic())
        change, self.limit = limit - (self.limit or 0), limit
        consumer = getattr(self._parts.controller, "consumer", None)
        if change and consumer is not None and consumer.qos is not None:
            consumer._update_prefetch_count(change)

    def _shapes(self) -> "defaultdict[tuple[str, Kind], ShapeAtHand]":
        """What there is of each shape and isolation."""
        shapes: defaultdict[tuple[str, Kind], ShapeAtHand] = defaultdict(ShapeAtHand)
        for isolation, runner in self._parts.runners.items():
            for view in runner.executors():
                shape = shapes[isolation, view.kind]
                shape.workers += view.workers
                shape.is_placed = True
        for call in self._by_pid.values():
            if not call.accepted:
                shapes[call.options.isolation, call.options.kind].waits_since(call.given_s)
        return shapes

    def _drop_revoked(self) -> None:
        """End what was revoked or is too late, and has not begun: Celery's own pools are given nothing before it is its turn."""
        for call in list(self._by_pid.values()):
            if not call.accepted and not call.revoked and call.callbacks.revoked():
                call.revoked = True
                self._runner(call).kill(call.name)

    def _stop_guessing(self) -> None:
        """Run what may have been an earlier life's where nobody has said so for a while, as one of this life."""
        before_s = time.monotonic() - GUESS_PATIENCE_S
        for call in list(self._by_pid.values()):
            if call.guessed and call.attached and not (call.accepted or call.revoked) and call.asked_s < before_s:
                _log.warning("celery.given_again", call=call.name, why="not every worker has said whether it has it")
                self._runner(call).withdraw(call.name)
                self._forget(call)
                # Of another name: of the first there may still be word.
                name = call_name(call.run.task_id, f"a{call.tag}", 0)
                rest = (call.losses, call.run, call.options, call.rules, call.pid, call.callbacks)
                again = DispatchedCall(self, call.tag, name, *rest)
                self._by_pid[call.pid] = self._by_tag[call.tag] = again
                self._parts.watcher.given_back(call)
                self._parts.watcher.given(again)
                self._gather(again)

    def _finish(self) -> None:
        """Let go of cluster and broker; once, though a quick shutdown may come in the midst of a warm one."""
        if self._is_finished:
            return
        self._is_finished = True
        self._parts.finish()
        for call in list(self._by_pid.values()):
            self._forget(call)


def _is_unbegun(ending: Ending) -> bool:
    return isinstance(ending, Outcome) and not ending.begun


def _is_static(app: Any) -> bool:
    """Whether there is a quorum queue: then RabbitMQ has a consumer keep the prefetch count that it began with."""
    if not app.conf.worker_detect_quorum_queues:
        return False
    found, _ = detect_quorum_queues(app, app.connection_for_read().transport.driver_type)
    return bool(found)


def _is_redelivered(request: Mapping[str, Any]) -> bool:
    return bool((request.get("delivery_info") or {}).get("redelivered"))


def _tag_of(task_id: str, request: Mapping[str, Any]) -> str:
    """What a message is known by: its own tag where its producer gave it one, as on Redis; else which try of which task it is."""
    properties = request.get("properties") or {}
    return str(properties.get("delivery_tag") or f"{request.get('retries') or 0}-{task_id}")
