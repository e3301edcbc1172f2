"""What happens because time passed: offers expire, the silent are noticed, unconfirmed commands go out again."""

from mesolite.protocol import HeartbeatEvent

from .absence import give_up, lose, prune
from .calls import warn_of_unsatisfiable
from .claims import quiet_ms
from .context import Context
from .removal import RemovalLimit
from .settings import PRUNE_INTERVAL_MS, MasterSettings
from .state import Agent, HeldOffer
from .subscription import end, fell_silent, has_outlasted, save_silence


class Timers:
    """Looks at those who are silent once per second, and at the oldest offer at each tick."""

    #: Silence is judged in tens of seconds and resending in seconds. Agents are kept in the order in which they spoke, so a look
    #: costs what there is to do, however many they are.
    SCAN_INTERVAL_MS = 1000

    def __init__(self, settings: MasterSettings) -> None:
        self._removals = RemovalLimit(settings.agent_removal_limit, settings.agent_removal_interval_ms)
        self._next_scan_ms = 0
        self._next_prune_ms: int | None = None
        #: Agents that were to come back when this epoch began.
        self._expected = 0
        #: Some of them are neither back nor given up.
        self._recovering = False

    def expect_back(self, count: int) -> None:
        """So many agents are to come back to this master."""
        self._expected = count
        self._recovering = count > 0

    def heard(self, context: Context, agent: Agent) -> None:
        """An agent spoke: it is not silent any more, whatever was to follow from that."""
        context.state.hear(agent, context.now_ms)
        if agent.overdue:
            agent.overdue = False
            context.counts["agent_removals_cancelled"] += 1
        if not agent.active and not agent.commands.behind:
            context.set_active(agent, True)

    def next_deadline_ms(self, context: Context) -> int:
        """Return when `run` has something to do next."""
        deadline = self._next_scan_ms
        oldest = next(iter(context.state.offers.values()), None)
        if oldest is not None:
            deadline = min(deadline, oldest.made_ms + context.settings.offer_timeout_ms)
        allocation = context.allocator.next_deadline_ms()
        return deadline if allocation is None else min(deadline, allocation)

    def run(self, context: Context) -> None:
        """Do what is due."""
        self._expire_offers(context)
        if context.now_ms < self._next_scan_ms:
            return
        self._next_scan_ms = context.now_ms + self.SCAN_INTERVAL_MS
        self._scan_frameworks(context)
        self._scan_silent(context)
        self._scan_unconfirmed(context)
        self._give_up_recovering(context)
        self._prune(context)

    def _expire_offers(self, context: Context) -> None:
        expired: list[HeldOffer] = []
        for offer in context.state.offers.values():
            if offer.made_ms + context.settings.offer_timeout_ms > context.now_ms:
                break
            expired.append(offer)
        if expired:
            context.counts["offers_timed_out"] += len(expired)
            context.withdraw(expired)

    def _scan_frameworks(self, context: Context) -> None:
        bound_ms = quiet_ms(context)
        for framework in list(context.state.frameworks.values()):
            if framework.active and context.now_ms - framework.last_heard_ms > bound_ms:
                fell_silent(context, framework)
            if framework.active and context.now_ms - framework.last_told_ms >= context.settings.heartbeat_interval_ms:
                context.tell(framework, HeartbeatEvent())
            if framework.active or framework.ending:
                continue
            if has_outlasted(framework, context.now_ms):
                end(context, framework, "its scheduler was silent for longer than its failover timeout")
            elif not framework.silence_saved and context.now_ms > framework.no_end_before_ms:
                save_silence(context, framework)

    def _scan_silent(self, context: Context) -> None:
        """Offer nothing of agents that are quiet, and remove those silent for too long, as many as the limit allows."""
        timeout_ms, bound_ms = context.settings.agent_timeout_ms, quiet_ms(context)
        overdue: list[Agent] = []
        quiet: list[Agent] = []
        for agent in context.state.heard.values():
            silent_ms = context.now_ms - agent.last_heard_ms
            if silent_ms <= bound_ms:
                break
            (overdue if silent_ms > timeout_ms else quiet).append(agent)
        allowed = self._removals.take(len(overdue), context.now_ms)
        for agent in overdue[:allowed]:
            silent_ms = context.now_ms - agent.last_heard_ms
            lose(context, agent, f"its agent has not been heard for {silent_ms // 1000} s")
        for agent in overdue[allowed:]:
            agent.overdue = True
            context.set_active(agent, False)
        for agent in quiet:
            context.set_active(agent, False)

    def _scan_unconfirmed(self, context: Context) -> None:
        """Send again what was not confirmed in time, and offer nothing of agents that confirm too slowly."""
        for agent_id in list(context.state.unconfirmed):
            agent = context.state.agents[agent_id]
            deadline_ms = agent.commands.deadline_ms
            if deadline_ms is None:
                del context.state.unconfirmed[agent_id]
                continue
            if agent.commands.behind:
                context.set_active(agent, False)
            if deadline_ms <= context.now_ms:
                context.outbox.touched_agents[agent_id] = None

    def _give_up_recovering(self, context: Context) -> None:
        """Agents that did not come back in time after a change of master are unreachable from now on."""
        if not self._recovering:
            return
        recovering = context.state.recovering
        limit = context.settings.recovery_agent_removal_limit_percent
        if len(recovering) * 100 <= limit * self._expected:
            due = [lost for lost in recovering.values() if lost.since_ms <= context.now_ms]
            for lost in due[: self._removals.take(len(due), context.now_ms)]:
                give_up(context, lost)
        if recovering:
            return
        self._recovering = False
        for framework in context.state.frameworks.values():
            if framework.active:
                warn_of_unsatisfiable(context, framework)

    def _prune(self, context: Context) -> None:
        if self._next_prune_ms is None or context.now_ms >= self._next_prune_ms:
            self._next_prune_ms = context.now_ms + PRUNE_INTERVAL_MS
            prune(context)
