"""An executor's core against an agent and a wire as bad as allowed: lives, losses and repetitions in any order.

The wire may break at any moment, and what was under way is lost from some point on. The agent may die, be away, say a launch or a
kill again, acknowledge late or twice. What must hold:

- safety: a task id is launched once; nothing is said without a connection; each connection begins with SUBSCRIBE; the agent first
  hears the updates of a task in the order in which they were taken.
- liveness: once agent and wire behave, every update that was taken is heard and acknowledged, and nothing is kept.
"""

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from mesolite.executors.driver.core import Phase
from mesolite.executors.driver.effects import Connect, Effect, Exit, Say, TellLaunch, TellLaunchGroup
from mesolite.executors.driver.protocol import (
    AgentMessage,
    ExecutorMessage,
    Kill,
    Launch,
    LaunchGroup,
    Subscribe,
    Task,
    Update,
)
from mesolite.executors.driver.states import ENDS, State
from tests.unit.executors.agent_end import WELCOME, AgentEnd

TASK_IDS = st.sampled_from([f"t{number}" for number in range(6)])


class ExecutorAndAgent(RuleBasedStateMachine):
    """Both ends and the wire between them."""

    def __init__(self) -> None:
        super().__init__()
        self.end = AgentEnd()
        #: Said by the executor on this connection and not heard by the agent yet.
        self.wire: list[ExecutorMessage] = []
        self.connected = False
        #: On this connection the agent has heard SUBSCRIBE.
        self.greeted = False
        #: What the executor's author was told to launch.
        self.launched: list[str] = []
        #: Updates that were taken of the author, and those that the agent has, in order.
        self.taken: list[tuple[str, State]] = []
        self.heard: dict[str, Update] = {}
        #: Of tasks that the agent believes to have launched.
        self.sent: set[str] = set()
        self.follow(self.end.start())

    # What becomes of effects

    def follow(self, effects: list[Effect]) -> None:
        for effect in effects:
            match effect:
                case Say(messages):
                    assert self.connected, "said into the air"
                    assert self.wire or self.greeted or isinstance(messages[0], Subscribe), "not SUBSCRIBE first"
                    self.wire += messages
                case TellLaunch(tasks) | TellLaunchGroup(tasks):
                    self.launched += [task.task_id for task in tasks]
                case Connect():
                    assert not self.connected, "two connections"
                case _:
                    assert not isinstance(effect, Exit), "nobody asked for an end"

    def speak(self, *messages: AgentMessage) -> None:
        if self.greeted:
            self.follow(self.end.say(*messages))

    def hear(self, count: int) -> None:
        """Let the agent read so many of the executor's messages."""
        for message in self.wire[:count]:
            match message:
                case Subscribe():
                    self.greeted = True
                    self.note(message.unacknowledged_updates)
                    self.follow(self.end.say(WELCOME))
                case Update():
                    self.note((message,))
                case _:
                    raise AssertionError(message)
        del self.wire[:count]

    def note(self, updates: tuple[Update, ...]) -> None:
        for update in updates:
            assert self.heard.setdefault(update.update_id, update) == update, "an update changed"

    # What may happen

    @rule(task_ids=st.lists(TASK_IDS, min_size=1, max_size=4))
    def launch(self, task_ids: list[str]) -> None:
        self.speak(*(Launch(Task(task_id)) for task_id in task_ids))

    @rule(task_ids=st.lists(TASK_IDS, min_size=1, max_size=3))
    def launch_group(self, task_ids: list[str]) -> None:
        before = len(self.launched)
        self.speak(LaunchGroup(tuple(Task(task_id) for task_id in task_ids)))
        assert self.launched[before:] in ([], task_ids), "a part of a group"

    @rule(task_id=TASK_IDS, grace_ms=st.integers(0, 100))
    def kill(self, task_id: str, grace_ms: int) -> None:
        self.speak(Kill(task_id, grace_ms))

    @rule(task_id=TASK_IDS, state=st.sampled_from(State))
    def report(self, task_id: str, state: State) -> None:
        self.follow(self.end.report(task_id, state))
        if not self.end.refused:
            self.taken.append((task_id, state))

    @precondition(lambda self: self.connected)
    @rule(count=st.integers(1, 3))
    def agent_reads(self, count: int) -> None:
        self.hear(count)

    @precondition(lambda self: self.greeted and self.heard)
    @rule(data=st.data())
    def agent_acknowledges(self, data: st.DataObject) -> None:
        """Anything that it has on disk, again where it likes."""
        update = data.draw(st.sampled_from(list(self.heard.values())))
        self.follow(self.end.acknowledge(update))

    @precondition(lambda self: self.connected)
    @rule(reads=st.integers(0, 2))
    def wire_breaks(self, reads: int) -> None:
        self.hear(reads)
        self.connected = self.greeted = False
        self.wire.clear()
        self.follow(self.end.hang_up())

    @precondition(lambda self: not self.connected)
    @rule(accepts=st.booleans())
    def executor_tries(self, accepts: bool) -> None:
        if self.end.core.phase is Phase.WAITING:
            self.follow(self.end.skip())
        if accepts:
            self.connected = True
            self.end.accept()
            self.follow(self.end.effects)
        else:
            self.follow(self.end.refuse())

    # What must hold

    @invariant()
    def each_task_is_launched_once(self) -> None:
        assert len(self.launched) == len(set(self.launched))

    @invariant()
    def nothing_is_reported_past_an_end(self) -> None:
        ended = [task_id for task_id, state in self.taken if state in ENDS]
        assert len(ended) == len(set(ended))

    def teardown(self) -> None:
        """Heal, and see that all is heard, in order, and forgotten."""
        if not self.connected:
            self.executor_tries(accepts=True)
        for _ in range(len(self.taken) + 100):
            self.hear(len(self.wire))
            if not len(self.end.core.outbox):
                break
            self.follow(self.end.acknowledge(*self.heard.values()))
        assert not len(self.end.core.outbox)
        told = [(update.task_id, update.state) for update in self.heard.values()]
        for task_id, _ in self.taken:
            taken = [state for each, state in self.taken if each == task_id]
            # The executor's own answers, to kills of what never came, are told besides.
            assert [state for each, state in told if each == task_id][: len(taken)] == taken


ExecutorAndAgent.TestCase.settings = settings(max_examples=150, stateful_step_count=40)
TestExecutorAndAgent = ExecutorAndAgent.TestCase
