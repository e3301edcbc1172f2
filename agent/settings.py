"""The agent's numbers, each with its reason. What an operator may choose is `mesolite.config.AgentConfig`."""

from dataclasses import dataclass
from typing import Final

# Updates (reference 1.8).

#: First pause before an unacknowledged update is sent again; doubles each time.
UPDATE_RETRY_MS: Final = 10_000
#: The longest such pause. It is never given up.
UPDATE_RETRY_CAP_MS: Final = 600_000

# Registration (reference 1.15).

#: First bound of the random pause between two registrations; doubles each time.
REGISTRATION_BACKOFF_MS: Final = 1_000
#: The largest such bound.
REGISTRATION_BACKOFF_CAP_MS: Final = 60_000
#: Two registrations are at least this far apart, however often a master asks: each one lists every task.
REGISTRATION_GAP_MS: Final = 500
#: Longest time over which an agent lets a master spread its registration: the master waits 10 min for it.
MAX_REGISTRATION_SPREAD_MS: Final = 300_000
#: Bounds for the heartbeat interval that a master asks for: no busy loop, and no silence beyond a minute.
MIN_HEARTBEAT_MS: Final = 10
MAX_HEARTBEAT_MS: Final = 60_000
#: Heartbeats after which an agent that has heard nothing registers again, to be answered: masters speak when there is something
#: to say, so an idle agent cannot tell one that has nothing to say from one that does not hear it. Twice as many at most, drawn
#: anew each time, so that a quiet cluster's agents do not all ask together. Seldom, because a registration costs the master the
#: agent's offers.
SILENT_HEARTBEATS: Final = 60
#: A missing command is complained about again after so long: everything sent since is behind it, and one word is enough.
GAP_REPEAT_MS: Final = 1_000

#: A report that only confirms commands waits so long for another to ride on: what was commanded mostly has an outcome soon, and
#: each report costs the master a whole turn. Far below the 2 s after which the master repeats what is not confirmed.
CONFIRM_DELAY_MS: Final = 10

# Tasks.

#: Tasks that are not acknowledged to the end. A registration that lists them stays well below the payload limit of 16 MiB.
MAX_TASKS: Final = 20_000
#: Ids of forgotten tasks. A repeated launch can only be one that the agent has not confirmed yet; the master keeps at most
#: a few thousand of those, so this many is far beyond what can come back.
MAX_SEEN_TASKS: Final = 100_000
#: Steps of its story that a task remembers for the message of a broken invariant; a life has six, kills may repeat.
MAX_STORY_STEPS: Final = 16

# Executors.

#: Executors that run here. Each has a container, which is what bounds them; a registration that lists them stays small.
MAX_EXECUTORS: Final = 1_000
#: Executors that are over and not forgotten. What is said no more of the oldest, the next registration tells by not listing it.
MAX_ENDED_EXECUTORS: Final = 10_000
#: From an executor's first process to its SUBSCRIBE (reference 1.21, executor_registration_timeout). The pull of an image is
#: over by then.
EXECUTOR_REGISTRATION_TIMEOUT_MS: Final = 60_000
#: From the begin of a life of the agent to the SUBSCRIBE of an executor that outlived the last one: Mesos's longest
#: (reference 1.21), because the executor, too, may have had a long pause between two attempts.
EXECUTOR_REREGISTRATION_TIMEOUT_MS: Final = 15_000
#: From the end of a connection to the SUBSCRIBE on the next, within one life of the agent.
EXECUTOR_RETURN_TIMEOUT_MS: Final = 60_000


@dataclass(frozen=True, slots=True, kw_only=True)
class ExecutorPatience:
    """How long executors may take to subscribe, where an operator has a say (`AgentConfig.executor_registration_timeout_ms`)."""

    registration_ms: int = EXECUTOR_REGISTRATION_TIMEOUT_MS
    reregistration_ms: int = EXECUTOR_REREGISTRATION_TIMEOUT_MS


USUAL_PATIENCE: Final = ExecutorPatience()
#: Limits of a container shrink to the most that was needed within so long: a steady stream of small tasks changes none.
SHRINK_DELAY_MS: Final = 2_000
#: Limits that could not be set are tried again after so long.
RESIZE_RETRY_MS: Final = 30_000
#: Ids of updates remembered of a task that has not ended, so that what an executor says again is known. It keeps few: each
#: until it is acknowledged, which takes a moment.
MAX_UPDATE_IDS: Final = 32
#: Updates of a task that wait for their framework. Beyond it a newer one that is not the last replaces the one before.
MAX_PENDING_UPDATES: Final = 16
#: What one LAUNCH or LAUNCH_GROUP may carry before base64, so that a line of it stays below MAX_LINE_BYTES.
MAX_LAUNCH_BYTES: Final = 5 * 1024 * 1024

# The shell.

#: Longest wait for commands in the bus, and so the longest delay of a stop.
COMMAND_WAIT_MS: Final = 1_000
#: Batches taken out of the bus at once.
MAX_COMMAND_BATCHES: Final = 64
#: Events that may wait before executors are no longer listened to: what they say comes in batches of up to 256 KiB, or in one
#: line of up to 8 MiB.
MAX_WAITING_BESIDE_EXECUTORS: Final = 64
#: Events that one pass of the shell takes up, so that one transaction stays short.
MAX_EVENTS_PER_PASS: Final = 1_000
#: After a pass that wrote so many records the shell lets LINGER_MS pass before the next: where so much happens, more comes at
#: once, and each pass costs a transaction, a report, and a turn of the master. A single task's pass has a few.
BUSY_RECORDS: Final = 24
#: Little beside the tens of milliseconds from a task's launch to its acknowledgement where thousands come in a second.
LINGER_MS: Final = 2
#: Reports in one stream entry.
MAX_REPORTS_PER_BATCH: Final = 1_000
#: Pause between two attempts to write a checkpoint that the disk refused.
CHECKPOINT_RETRY_MS: Final = 1_000
#: Longest wait for the containers of an agent whose checkpoint was lost to end, before a new agent begins beside them.
MAX_ORPHAN_WAIT_MS: Final = 30_000
#: How often disk space and old sandboxes are looked at (reference 1.21, disk_watch_interval).
DISK_WATCH_MS: Final = 60_000
#: A sandbox stays at least so long after its last output, however full the disk is: somebody may want to know what happened.
MIN_SANDBOX_AGE_MS: Final = 60_000

# The disk.

#: Below this much free space nothing is launched: bookkeeping of what runs comes first.
MIN_FREE_DISK_MIB: Final = 64
#: Launching begins again from here on, so that it does not flap.
RESUME_FREE_DISK_MIB: Final = 128
#: Kept allocated beside the checkpoint and given up when the disk is full, so that what runs can still be accounted for.
RESERVE_MIB: Final = 8
