"""What happens because time passed: offers expire, the silent are noticed, unconfirmed commands go out again."""

from mesolite.protocol import HeartbeatEvent

from .context import Context
from .registration import lose
from .settings import QUIET_HEARTBEATS
from .state import HeldOffer
from .subscription import end, fell_silent


class Timers:
    """Looks at everybody once per second, and at the oldest offer at each tick."""

    #: Silence is judged in tens of seconds and resending in seconds; a scan of 50,000 agents takes some milliseconds.
    SCAN_INTERVAL_MS = 1000

    def __init__(self) -> None:
        self._next_scan_ms = 0

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
        self._scan_agents(context)
        self._give_up_recovering(context)

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
        quiet_ms = QUIET_HEARTBEATS * context.settings.heartbeat_interval_ms
        for framework in list(context.state.frameworks.values()):
            if framework.active and context.now_ms - framework.last_heard_ms > quiet_ms:
                fell_silent(context, framework)
            if framework.active and context.now_ms - framework.last_told_ms >= context.settings.heartbeat_interval_ms:
                context.tell(framework, HeartbeatEvent())
            if framework.silent_since_ms is not None and not framework.ending:
                silent_ms = context.now_ms - framework.silent_since_ms
                if silent_ms > framework.info.failover_timeout_ms:
                    end(context, framework, "its scheduler was silent for longer than its failover timeout")

    def _scan_agents(self, context: Context) -> None:
        settings = context.settings
        for agent in list(context.state.agents.values()):
            silent_ms = context.now_ms - agent.last_heard_ms
            if silent_ms > settings.agent_timeout_ms:
                lose(context, agent, f"its agent has not been heard for {silent_ms // 1000} s")
                continue
            quiet = silent_ms > QUIET_HEARTBEATS * settings.heartbeat_interval_ms
            context.set_active(agent, not quiet and not agent.commands.behind)
            deadline_ms = agent.commands.deadline_ms
            if deadline_ms is not None and deadline_ms <= context.now_ms:
                context.outbox.touched_agents[agent.info.agent_id] = None

    def _give_up_recovering(self, context: Context) -> None:
        """Agents that did not come back after a change of master are unreachable from now on."""
        gave_up = False
        for lost in context.state.lost_agents.values():
            if not lost.unreachable and lost.since_ms <= context.now_ms:
                lost.unreachable = True
                gave_up = True
        if gave_up and not context.state.agents_recovering():
            context.counts["recoveries_given_up"] += 1
