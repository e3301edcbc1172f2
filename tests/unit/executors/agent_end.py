"""The agent's end of an executor's core, for tests: speaks, listens, moves the clock, and checks after each step."""

from typing import Final, TypeVar

from mesolite.executors.driver.core import ExecutorCore
from mesolite.executors.driver.effects import Connect, Effect, Exit, Refused, Say
from mesolite.executors.driver.events import (
    AgentSpoke,
    Connected,
    ConnectFailed,
    Disconnected,
    Event,
    Started,
    TaskReported,
    TimePassed,
)
from mesolite.executors.driver.protocol import (
    PROTOCOL_VERSION,
    Acknowledged,
    AgentMessage,
    ExecutorMessage,
    Launch,
    Subscribe,
    Subscribed,
    Task,
    Update,
)
from mesolite.executors.driver.states import State

EffectT = TypeVar("EffectT", bound=Effect)

WELCOME: Final = Subscribed(PROTOCOL_VERSION, "f", "e", "a", "c", cpus=1.0, mem_mib=64)


class AgentEnd:
    """One executor's core and what happened to it."""

    def __init__(self, core: ExecutorCore | None = None) -> None:
        self.core = core or ExecutorCore()
        self.now_ms = 1000
        #: Of the last event.
        self.effects: list[Effect] = []

    def apply(self, event: Event) -> list[Effect]:
        """Have something happen."""
        self.effects = self.core.apply(event)
        self.core.check()
        return self.effects

    def start(self) -> list[Effect]:
        """Begin; it asks for a connection."""
        return self.apply(Started(now_ms=self.now_ms))

    def accept(self) -> Subscribe:
        """Take the connection that it asks for; return the SUBSCRIBE on it."""
        self.apply(Connected(now_ms=self.now_ms))
        subscribe = self.said()[0]
        assert isinstance(subscribe, Subscribe)
        return subscribe

    def refuse(self) -> list[Effect]:
        """Do not take the connection."""
        return self.apply(ConnectFailed(now_ms=self.now_ms, why="nobody listens"))

    def hang_up(self) -> list[Effect]:
        """Close the connection."""
        return self.apply(Disconnected(now_ms=self.now_ms, why="closed"))

    def say(self, *messages: AgentMessage) -> list[Effect]:
        """Say these in one piece."""
        return self.apply(AgentSpoke(now_ms=self.now_ms, timestamp_ms=7_000, messages=messages))

    def launch(self, *task_ids: str) -> list[Effect]:
        """Have tasks launched, in one piece."""
        return self.say(*(Launch(Task(task_id)) for task_id in task_ids))

    def acknowledge(self, *updates: Update) -> list[Effect]:
        """Have updates on disk."""
        return self.say(*(Acknowledged(update.task_id, update.update_id) for update in updates))

    def report(self, task_id: str, state: State, data: bytes = b"", message: str = "") -> list[Effect]:
        """The executor's author says so."""
        return self.apply(
            TaskReported(
                now_ms=self.now_ms, timestamp_ms=5_000, task_id=task_id, state=state, data=data, message=message
            )
        )

    def subscribed(self) -> "AgentEnd":
        """Come to a subscription that stands."""
        self.start()
        self.accept()
        self.say(WELCOME)
        return self

    def pass_time(self, ms: int) -> list[Effect]:
        """Let time pass, with a look at each moment that the core named; return what was wanted, all of it."""
        until_ms = self.now_ms + ms
        wanted: list[Effect] = []
        while (deadline_ms := self.core.deadline_ms) is not None and deadline_ms <= until_ms:
            assert deadline_ms > self.now_ms or not wanted, "it does not move on"
            self.now_ms = max(self.now_ms, deadline_ms)
            wanted += self.apply(TimePassed(now_ms=self.now_ms))
        self.now_ms = until_ms
        self.effects = wanted
        return wanted

    def skip(self) -> list[Effect]:
        """Let time pass until the next moment that the core named."""
        assert self.core.deadline_ms is not None, "it waits for nothing"
        self.now_ms = max(self.now_ms, self.core.deadline_ms)
        return self.apply(TimePassed(now_ms=self.now_ms))

    def reconnect(self) -> Subscribe:
        """Hang up, take the next connection, and have the subscription stand again; return the SUBSCRIBE."""
        self.hang_up()
        if not self.wants(Connect):
            self.pass_time(2_000)
        subscribe = self.accept()
        self.say(WELCOME)
        return subscribe

    def said(self) -> list[ExecutorMessage]:
        """What the executor said after the last event, in order."""
        return [message for effect in self.effects if isinstance(effect, Say) for message in effect.messages]

    def updates(self) -> list[Update]:
        """The updates among that."""
        return [message for message in self.said() if isinstance(message, Update)]

    def wants(self, kind: type[EffectT]) -> list[EffectT]:
        """The effects of a kind after the last event."""
        return [effect for effect in self.effects if isinstance(effect, kind)]

    @property
    def refused(self) -> str:
        """Why the last report was not taken; empty where it was."""
        return next((effect.why for effect in self.wants(Refused)), "")

    @property
    def exit(self) -> Exit | None:
        """The end, where the last event brought it."""
        return next(iter(self.wants(Exit)), None)
