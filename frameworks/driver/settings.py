"""The scheduler driver's numbers, each with its reason and source.

What a framework may have reason to change comes in as `DriverSettings`; the constants below are bounds.
"""

from dataclasses import dataclass
from typing import Final

#: How a master's refusal begins of a framework that was ended, by whomever (Mesos's own words, src/master/master.cpp).
REMOVED: Final = "Framework has been removed"
#: The same, of a scheduler whose framework another has taken over.
FAILED_OVER: Final = "Framework failed over"
#: First wait before SUBSCRIBE is sent again, doubling to the cap. Mesos clients wait 1-2 s at first and 15 s at most
#: (reference 3.1, appendix A).
SUBSCRIBE_RETRY_MS: Final = 1000
SUBSCRIBE_RETRY_CAP_MS: Final = 15_000
#: Waits are spread by a quarter either way (pymesos does the same), so that the schedulers of a cluster whose master has just
#: come back do not all speak at once.
JITTER_SHARE: Final = 0.25
#: Intervals without a word from the master before the subscription counts as broken. Mesos clients: about 5 (reference 3.1).
SILENT_INTERVALS: Final = 5
#: First wait before an unconfirmed TEARDOWN is said again, doubling to the cap.
TEARDOWN_RETRY_MS: Final = 250
TEARDOWN_RETRY_CAP_MS: Final = 2000
#: Heartbeat interval until the master names its own. Mesos: 15 s.
DEFAULT_HEARTBEAT_MS: Final = 15_000
#: Tasks in one RECONCILE call. Aurora: 1,000 (reference 1.9).
RECONCILE_BATCH: Final = 1000
#: Between two such calls of one round: 10,000 tasks a second, which is what the master answers.
RECONCILE_SPACING_MS: Final = 100
#: How long an answer is waited for before the unanswered tasks are asked for again, doubling to the cap. The master stays silent
#: about agents that have not re-registered, which takes them seconds at best and minutes at worst.
RECONCILE_RETRY_MS: Final = 5000
RECONCILE_RETRY_CAP_MS: Final = 120_000
#: Weight of one CallBatch, in tasks launched. The master handles a batch in one step, and others wait for it.
MAX_BATCH_WEIGHT: Final = 4000
#: Weight under way to the master beyond which the scheduler is told to hold back: a second's work of a master that is busy with
#: nothing else. And at which it is told to go on.
CONGESTED_WEIGHT: Final = 5 * MAX_BATCH_WEIGHT
RELIEVED_WEIGHT: Final = CONGESTED_WEIGHT // 2
#: Bytes of data that weigh as much as a task: then the heaviest batch that is not a single call is as large as may travel.
BYTES_PER_WEIGHT: Final = 4096
#: Acknowledgements in one call: 16,000 are 1 MiB on the wire.
MAX_ACKNOWLEDGEMENTS: Final = 16_000
#: The longest that they may be told to wait for calls: well below the 10 s after which agents repeat updates.
MAX_ACKNOWLEDGEMENT_DELAY_MS: Final = 1000
#: Acknowledgements kept while there is no subscription to send them in; beyond it they are dropped, for agents resend.
MAX_WAITING_ACKNOWLEDGEMENTS: Final = 200_000
#: A heartbeat interval outside these is taken for its nearest bound: nobody's typing error shall make a driver spin or sleep.
MIN_HEARTBEAT_MS: Final = 100
MAX_HEARTBEAT_MS: Final = 600_000
#: Final updates remembered so that a resent one is acknowledged without being delivered again. Agents resend after 10 s; a
#: scheduler beyond 5,000 tasks a second whose acknowledgements get lost sees some twice, as every scheduler must expect.
MAX_REMEMBERED_UPDATES: Final = 50_000
#: Shapes in one demand: what a master takes. Further ones are stated when earlier ones are served.
MAX_DEMANDS: Final = 1000
#: Offers held at once. Masters take them back after minutes; this bounds a driver whose rescinds were lost.
MAX_HELD_OFFERS: Final = 100_000


@dataclass(frozen=True, slots=True, kw_only=True)
class DriverSettings:
    """What a framework may set.

    Raises:
        ValueError: A value is out of range; the message names it.
    """

    #: Updates are acknowledged when the scheduler's callback has returned. False: the scheduler does it, with
    #: `SchedulerDriver.acknowledge`, once it has the update in its own safe place.
    implicit_acknowledgements: bool = True
    #: Acknowledgements wait so long for calls to ride on: a scheduler that launches as tasks end mostly has some soon, and each
    #: batch costs the master a whole turn, behind which the next launch waits. Agents repeat updates only after 10 s. Those that
    #: wait when a driver is let go are not said: its next hears the updates again.
    acknowledgement_delay_ms: int = 0
    #: All tasks that have not ended are asked for so often, and demand and kills are said again. Yelp: 5 minutes; Aurora: an
    #: hour (appendix A).
    reconcile_interval_ms: int = 600_000
    #: How long it is waited that the end of the framework is confirmed: longer than a change of master or of Redis takes, and no
    #: longer than somebody at a terminal has patience with a program that is done.
    teardown_patience_ms: int = 10_000

    def __post_init__(self) -> None:
        if not 0 <= self.acknowledgement_delay_ms <= MAX_ACKNOWLEDGEMENT_DELAY_MS:
            raise ValueError(
                f"acknowledgement_delay_ms is {self.acknowledgement_delay_ms}; from 0 to {MAX_ACKNOWLEDGEMENT_DELAY_MS}"
            )
        if self.reconcile_interval_ms < 1000:
            raise ValueError(f"reconcile_interval_ms is {self.reconcile_interval_ms}; at least 1000")
