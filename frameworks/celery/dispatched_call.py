"""One request on its way through the dispatcher's pool."""

import time
from typing import Final, Protocol

from mesolite.executors.celery.protocol import TaskRun

from .calls import Ending, Place, TaskOptions
from .crossing import Crossing
from .requests import Callbacks
from .verdicts import TaskRules


class CallKeeper(Protocol):
    """Who has the calls: the pool. Its methods are for the event loop's thread."""

    @property
    def crossing(self) -> Crossing:
        """The way there from other threads."""
        ...

    def accept(self, call: "DispatchedCall", place: Place | None) -> None:
        """A worker has it."""
        ...

    def conclude(self, call: "DispatchedCall", ending: Ending, place: Place | None) -> None:
        """It is over."""
        ...

    def end_call(self, call: "DispatchedCall", signum: int) -> None:
        """End it."""
        ...


class DispatchedCall:
    """One request on its way: a `TaskCall`, and what Celery holds as the result of `apply_async`."""

    __slots__ = (
        "__weakref__",
        "accepted",
        "asked_s",
        "attached",
        "callbacks",
        "given_s",
        "guessed",
        "losses",
        "name",
        "options",
        "over",
        "pid",
        "place",
        "pool",
        "revoked",
        "rules",
        "run",
        "signum",
        "tag",
    )

    def __init__(
        self,
        pool: CallKeeper,
        tag: str,
        name: str,
        losses: int,
        run: TaskRun,
        options: TaskOptions,
        rules: TaskRules,
        pid: int,
        callbacks: Callbacks,
    ) -> None:
        self.pool: Final = pool
        #: Of its message.
        self.tag: Final = tag
        #: How often the message came back before because a worker was lost under it.
        self.losses: Final = losses
        self.name: Final = name
        self.run: Final = run
        self.options: Final = options
        self.rules: Final = rules
        #: What Celery takes for the number of a process.
        self.pid: Final = pid
        #: Of the request that waits for it: the newest, where a broker delivered the message again.
        self.callbacks = callbacks
        #: When, on the clock of `time.monotonic`.
        self.given_s: Final = time.monotonic()
        self.place: Place | None = None
        self.accepted = False
        #: It was asked for as one of an earlier life's. If it had not begun there, it is one of this.
        self.attached = False
        self.over = False
        #: It was revoked, or became too late, while it waited for a worker: Celery knows all about it.
        self.revoked = False
        #: Nobody knows whether it was given away before: where no worker knows it either, it was not.
        self.guessed = False
        #: Since when its workers are looked for, by the monotonic clock.
        self.asked_s = 0.0
        #: The signal by which somebody told it to end; None while nobody did.
        self.signum: int | None = None

    def begun(self, place: Place | None) -> None:
        """See `TaskCall`."""
        self.pool.crossing.post(lambda: self.pool.accept(self, place))

    def ended(self, ending: Ending, place: Place | None) -> None:
        """See `TaskCall`."""
        self.pool.crossing.post(lambda: self.pool.conclude(self, ending, place))

    def terminate(self, signum: int) -> None:
        """End it, begun or not: Celery's way to revoke what its pool has."""
        self.pool.end_call(self, signum)
