"""The master's numbers, each with its reason and source.

What an operator may change comes in as `MasterSettings`; the constants below are bounds that nobody has needed to change.
"""

from dataclasses import dataclass
from typing import Final

#: Mesos keeps 50 completed frameworks and forgets at failover, so that a torn-down id can come back (trap 13). Ours are in the
#: registry; 1,000 ids are 100 KiB.
MAX_COMPLETED_FRAMEWORKS: Final = 1000
#: Ended tasks kept per framework for `mesolite ps -a` (Mesos: max_completed_tasks_per_framework).
MAX_COMPLETED_TASKS: Final = 1000
#: Ids of ended tasks remembered per framework, newest, so that using one again is refused here and not by whichever agent
#: happens to remember it (Mesos checks live tasks only, trap 11).
MAX_REMEMBERED_IDS: Final = 10_000
#: Tasks of lost agents kept per framework, so that they can return (Mesos: max_unreachable_tasks_per_framework is 1,000; ours is
#: what one lost agent may hold).
MAX_UNREACHABLE_TASKS: Final = 100_000
#: Lives of executors on one agent whose end was told to their frameworks, remembered while the agent may say it again: it does so
#: for as long as an acknowledgement takes, so of ten thousand that end within a second some are told twice.
MAX_ENDED_EXECUTORS: Final = 1000
#: Tasks in one RUN_TASKS. An agent takes a command whole, and what it weighs is what is sent again if it gets lost.
MAX_TASKS_PER_COMMAND: Final = 1000
#: What is said to a framework in one batch, by a guess at its size (`packing.py`): a quarter of what a batch may have. One that
#: has more to hear gets several.
MAX_BATCH_BYTES: Final = 4 * 1024 * 1024
#: Data and message of one update; an agent takes MAX_EXECUTOR_DATA_BYTES of data, and its messages are a few lines.
MAX_UPDATE_BYTES: Final = 2 * 1024 * 1024
#: Acknowledgements in one command: some hundred KiB.
MAX_ACKNOWLEDGEMENTS_PER_COMMAND: Final = 10_000
#: Calls of one framework after which it is told how far it was heard, if there is nothing else to tell.
MANY_CALLS: Final = 1000
#: Sessions of a framework that were superseded and are told so when they speak again.
MAX_SUPERSEDED_SESSIONS: Final = 16
#: Senders that the master does not know, and has told to introduce themselves.
MAX_STRANGERS: Final = 100_000
#: A stranger is asked to introduce itself at most this often.
STRANGER_INTERVAL_MS: Final = 1000
#: Processes that claim the id of another agent. Each is one machine that somebody set up wrongly.
MAX_RIVALS: Final = 1000
#: Agents that return to a new master, in a second: nine tenths of what one master takes up with ten tasks on each
#: (bench/rebuild.py). With more they wait in its stream, and repeat themselves meanwhile, which makes it worse: at 5,000 it took
#: half as long again. Ten come within 3 ms, 10,000 within 3 s.
REREGISTRATIONS_PER_S: Final = 3500
#: Absent agents that are remembered, and for how long (Mesos: registry_max_agent_count and registry_max_agent_age). One that an
#: operator declared gone is forgotten for want of room only.
MAX_ABSENT_AGENTS: Final = 102_400
MAX_ABSENT_AGE_MS: Final = 14 * 86_400_000
#: How often those beyond are forgotten (Mesos: registry_gc_interval).
PRUNE_INTERVAL_MS: Final = 900_000
#: Kills of one framework that wait for an agent which may come back with the task; its driver repeats them anyhow.
MAX_WANTED_KILLS: Final = 10_000
#: The kill of a task that cannot be killed now is answered so often: a scheduler that kills whatever it is told to be UNREACHABLE
#: would be told again at once, for ever.
KILL_ANSWER_INTERVAL_MS: Final = 5000
#: How far beyond the clock an epoch may be that somebody claims to follow. Epochs are milliseconds, one for each election; clocks
#: of masters differ by less than a day. Beyond it is a mistake, or a lie that would leave no epoch to go on with.
MAX_EPOCH_LEAD_MS: Final = 86_400_000
#: A DECLINE that refuses for less counts for so long: a lone framework that declines for no time at all would be asked again
#: within a millisecond, for ever (Mesos's allocation interval of 1 s did the same, trap 3).
MIN_REFUSE_MS: Final = 100
#: Commands to one agent that it has not confirmed. Beyond it the agent gets no offers; beyond twice as many, acknowledgements and
#: kills are dropped, since both are said again by their senders.
MAX_UNCONFIRMED_COMMANDS: Final = 50_000
#: Unconfirmed commands are sent again after this long, doubling to the cap. A round trip is a few milliseconds.
COMMAND_RESEND_MS: Final = 2000
COMMAND_RESEND_CAP_MS: Final = 30_000
#: Frameworks and agents of one cluster. Mesos's users ran 35,000 agents; frameworks there are tens to hundreds.
MAX_FRAMEWORKS: Final = 10_000
MAX_AGENTS: Final = 100_000
#: Tasks of one framework that have not ended.
MAX_TASKS_PER_FRAMEWORK: Final = 1_000_000
#: Shapes in one framework's demand; each is compared with each changed agent.
MAX_DEMANDS: Final = 1000
#: What a real master takes for `MasterSettings.offer_delay_ms`: the round trip of a small task takes 5 ms, on a busy machine 20.
OFFER_DELAY_MS: Final = 25
#: Missed heartbeats before an agent gets no offers, and before a framework counts as disconnected.
QUIET_HEARTBEATS: Final = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class MasterSettings:
    """What an operator may set.

    Raises:
        ValueError: A value is out of range; the message names it.
    """

    #: Frameworks that hold offers longer lose them. Mesos has none, and one silent framework locks its cluster (complaint 2);
    #: Aurora held offers for 5 minutes on purpose.
    offer_timeout_ms: int = 300_000
    #: Agents and frameworks speak at least this often. Mesos: 15 s.
    heartbeat_interval_ms: int = 5000
    #: Silence after which an agent is UNREACHABLE. Mesos: 75 s (five pings of 15 s).
    agent_timeout_ms: int = 75_000
    #: After a change of master: agents that do not return within it are UNREACHABLE. Mesos: 10 minutes.
    agent_reregister_timeout_ms: int = 600_000
    #: So many agents at most become UNREACHABLE within `agent_removal_interval_ms`, the longest silent first (Mesos:
    #: agent_removal_rate_limit, off by default). A hundred is a rack or two: a small cluster never notices, and half of a large
    #: one that a switch cut off mostly comes back before its turn.
    agent_removal_limit: int = 100
    agent_removal_interval_ms: int = 60_000
    #: After a change of master: while more than this share of the agents is missing none of them is given up (Mesos:
    #: recovery_agent_removal_limit, where the master exits; here it waits, since the next one would know no better). 100: off.
    recovery_agent_removal_limit_percent: int = 100
    #: What a framework is offered in the turn in which it launches waits so long for news of a task to ride on, or until it says
    #: something else; 0: not at all. One whose tasks take milliseconds is then told of an end and of the next offer in one.
    offer_delay_ms: int = 0
    #: Weights of roles in thousandths; a role not named has 1000.
    weights_milli: tuple[tuple[str, int], ...] = ()

    def __post_init__(self) -> None:
        if self.offer_timeout_ms < 1000:
            raise ValueError(f"offer_timeout_ms is {self.offer_timeout_ms}; at least 1000")
        if not 100 <= self.heartbeat_interval_ms <= 60_000:
            raise ValueError(f"heartbeat_interval_ms is {self.heartbeat_interval_ms}; 100 to 60000")
        if self.agent_removal_limit < 1:
            raise ValueError(f"agent_removal_limit is {self.agent_removal_limit}; at least 1")
        if self.agent_removal_interval_ms < 1:
            raise ValueError(f"agent_removal_interval_ms is {self.agent_removal_interval_ms}; at least 1")
        if not 1 <= self.recovery_agent_removal_limit_percent <= 100:
            percent = self.recovery_agent_removal_limit_percent
            raise ValueError(f"recovery_agent_removal_limit_percent is {percent}; 1 to 100")
        if self.agent_timeout_ms < QUIET_HEARTBEATS * self.heartbeat_interval_ms:
            raise ValueError(
                f"agent_timeout_ms is {self.agent_timeout_ms}; at least {QUIET_HEARTBEATS} times heartbeat_interval_ms"
            )
